"""Distances between queries and a gallery, a block of queries at a time.

A distance is prepared once for a gallery, then called for each block of queries. Of the gallery
alone it keeps one number per image, never a second copy of the features: for 500,000 images of
512 values that would be a gigabyte. The distances of one block are written over those of the
block before, so that memory does not grow with queries × gallery.

>>> order, to_distance = known_distance("euclidean")
>>> block_distance = order(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # a gallery of two images
>>> to_distance(block_distance(torch.tensor([[0.0, 0.0]])))
tensor([[5., 1.]])
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reidlab.errors import ReidlabError

# (B, D) -> (B, G); a second argument of that shape is memory that may be written over.
BlockDistance = Callable[..., Tensor]
# Distances that were made elsewhere: a matrix (Q, G), or blocks of its rows in turn.
Distances = Tensor | np.ndarray | Iterable[Tensor | np.ndarray]

# Distances held at a time, in elements: 32 MiB of float32, about the size of a last-level cache.
BLOCK = 2**23
# A product with fewer queries than this spends its time on reading the gallery.
MIN_ROWS = 96


def _per_row(function: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply `function` to slices of rows, so that its temporaries stay small: (N, D) -> (N,)."""
    # Written in place: small results kept between large temporaries would fragment the heap.
    out = features.new_empty(len(features))
    for into, part in zip(out.split(2048), features.split(2048)):
        into.copy_(function(part))
    return out


def _euclidean_squared(gf: Tensor) -> BlockDistance:
    # |q - g|² = |q|² + |g|² - 2 q·g, added up as torchreid does. The square root waits for
    # `retrieve`: it changes no order, but would round neighbouring floats into ties.
    squares = _per_row(lambda part: part.square().sum(1), gf)

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        out = torch.add(qf.square().sum(1, keepdim=True), squares, out=out)
        return out.addmm_(qf, gf.T, alpha=-2)

    return block_distance


def _centred(features: Tensor) -> Tensor:
    return features - features.mean(1, keepdim=True)


def _cosine(gf: Tensor, centre: Callable[[Tensor], Tensor] = torch.clone) -> BlockDistance:
    # 1 - q·g / (|q| |g|), of centred features for the correlation distance. A centred q is
    # orthogonal to constants, so that g itself need not be centred in the product.
    norms = _per_row(lambda part: centre(part).norm(dim=1), gf)
    scale = -1 / norms.clamp(min=1e-12)
    one = torch.ones((), dtype=gf.dtype, device=gf.device)

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        product = torch.mm(F.normalize(centre(qf), dim=1), gf.T, out=out)
        return torch.addcmul(one, product, scale, out=product)

    return block_distance


def _minkowski(gf: Tensor, order: float) -> BlockDistance:
    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        # `cdist` cannot write into given memory: what it returns is kept small.
        out = gf.new_empty(len(qf), len(gf)) if out is None else out
        for into, part in zip(out.split(4096, dim=1), gf.split(4096)):
            into.copy_(torch.cdist(qf, part, p=order))
        return out

    return block_distance


# name -> (what orders the gallery, the distance itself as a function of that)
DISTANCES: dict[str, tuple[Callable[[Tensor], BlockDistance], Callable[[Tensor], Tensor]]] = {
    # Rounding can leave a square just below zero.
    "euclidean": (_euclidean_squared, lambda squared: squared.clamp(min=0).sqrt()),
    "cosine": (_cosine, torch.clone),
    "correlation": (lambda gf: _cosine(gf, _centred), torch.clone),
    "cityblock": (lambda gf: _minkowski(gf, 1), torch.clone),
    # Of order 3: orders 1 and 2 have names of their own.
    "minkowski": (lambda gf: _minkowski(gf, 3), torch.clone),
}


def known_distance(name: str) -> tuple[Callable[[Tensor], BlockDistance], Callable]:
    """The entry of `DISTANCES` with this name, or a `ReidlabError` that lists the names."""
    if name not in DISTANCES:
        raise ReidlabError(f"distance is {name!r}; known are {', '.join(DISTANCES)}")
    return DISTANCES[name]


def rows_at_a_time(num_gallery: int) -> int:
    """How many queries' distances to a gallery of this size are held at a time."""
    return max(BLOCK // num_gallery, MIN_ROWS)


def feature_blocks(qf: Tensor, gf: Tensor, distance: str) -> Iterator[Tensor]:
    """Distances of the queries to the gallery, as they order it, in blocks of rows.

    Args:
        qf: (Q, D) features of the queries.
        gf: (G, D) features of the gallery; its device and type are those of the distances.
        distance: a name in :data:`DISTANCES`.

    Yields:
        (B, G) distances of the next B queries, in memory that the next block will take: use or
        change them at once, or copy them.
    """
    prepare, _ = known_distance(distance)
    block_distance = prepare(gf)
    rows = min(rows_at_a_time(len(gf)), len(qf))
    # Fresh memory for each block would cost a page fault for every 4 KiB of it.
    memory = gf.new_empty(rows, len(gf))
    for part in qf.split(rows):
        yield block_distance(part.to(gf), memory[: len(part)])


def ready_blocks(distances: Distances, num_query: int, num_gallery: int) -> Iterator[Tensor]:
    """Distances that were made elsewhere, checked, in blocks of rows as from `feature_blocks`.

    Args:
        distances: (Q, G) matrix, or blocks (B, G) of its rows in turn; finite floats.
        num_query: Q.
        num_gallery: G.

    Yields:
        (B, G) copies of the next B rows.

    Raises:
        ReidlabError: a shape, type or value is not as above, or there are not Q rows.
    """
    whole = isinstance(distances, Tensor | np.ndarray)
    if isinstance(distances, str) or not (whole or isinstance(distances, Iterable)):
        raise ReidlabError(
            f"distance is {distances!r}: give one of {', '.join(DISTANCES)}, a matrix of "
            "distances (Q, G), or blocks of its rows in turn"
        )
    found = 0
    for block in [distances] if whole else distances:
        block = torch.as_tensor(block)
        if block.ndim != 2 or block.shape[1] != num_gallery or not block.is_floating_point():
            raise ReidlabError(
                f"distance has {block.dtype} of shape {tuple(block.shape)} where floats of shape "
                f"(B, {num_gallery}) are needed: a row for each query, a column for each of the "
                f"{num_gallery} gallery images"
            )
        for part in block.split(rows_at_a_time(num_gallery)):
            bad = torch.nonzero(~torch.isfinite(part).all(1)).flatten()
            if len(bad):
                raise ReidlabError(
                    f"distance holds NaN or infinite values in row {found + int(bad[0])}: every "
                    "distance must be a number, those that the same-camera rule removes too"
                )
            found += len(part)
            if found > num_query:
                raise ReidlabError(
                    f"distance has more than {num_query} rows, but there are {num_query} queries"
                )
            # Half precision is widened, which keeps order and ties.
            wide = part.dtype in (torch.float32, torch.float64)
            yield part.clone() if wide else part.float()
    if found < num_query:
        raise ReidlabError(
            f"distance has {found} rows, but there are {num_query} queries: give one for each "
            "(a generator gives its blocks only once)"
        )
