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

from reidlab.common.errors import ReidlabError
from reidlab.recipe.names import minkowski_order

# (B, D) -> (B, G); a second argument of that shape is memory that may be written over.
BlockDistance = Callable[..., Tensor]
# Distances that were made elsewhere: a matrix (Q, G), or blocks of its rows in turn.
Distances = Tensor | np.ndarray | Iterable[Tensor | np.ndarray]

# Distances held at a time, in elements: 32 MiB of float32, about the size of a last-level cache.
BLOCK = 2**23
# The centre of features farther from 0 than this, in squared multiples of their spread, is moved
# to 0: float32 would keep less than four digits of a distance. Features of networks are at 0.1 to
# 30; what that rounds is left as everybody rounds it.
FAR_OUT = 100
# A product with fewer queries than this spends its time on reading the gallery.
MIN_ROWS = 96


def _per_row(function: Callable[[Tensor], Tensor], features: Tensor, dtype=None) -> Tensor:
    """Apply `function` to slices of rows, so that its temporaries stay small: (N, D) -> (N,)."""
    # Written in place: small results kept between large temporaries would fragment the heap.
    out = features.new_empty(len(features), dtype=dtype)
    for into, part in zip(out.split(2048), features.split(2048)):
        into.copy_(function(part))
    return out


def _lengths(features: Tensor) -> Tensor:
    """|f| of each row, (N,), never 0. In float32 the square of a tiny value would vanish."""
    lengths = features.norm(dim=1)
    if (tiny := lengths < 1e-12).any():
        lengths[tiny] = features[tiny].double().norm(dim=1).to(features)
    return lengths.clamp_(min=torch.finfo(features.dtype).tiny)


def _unit(features: Tensor) -> Tensor:
    return features / _lengths(features)[:, None]


def _centred(features: Tensor) -> Tensor:
    return features - features.mean(1, keepdim=True)


def _euclidean_squared(gf: Tensor) -> BlockDistance:
    squares = _per_row(lambda part: part.square().sum(1), gf)
    centre = gf.mean(0)
    if _is_far_out(centre, float(squares.mean()), len(gf)):
        return _from(centre, lambda features: features, gf)

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        return _squared(qf, gf, squares, out)

    return block_distance


def _squared(qf: Tensor, gf: Tensor, squares: Tensor, out: Tensor | None = None) -> Tensor:
    # |q - g|² = |q|² + |g|² - 2 q·g, added up as torchreid does. The square root waits for
    # `retrieve`: it changes no order, but would round neighbouring floats into ties.
    out = torch.add(qf.square().sum(1, keepdim=True), squares, out=out)
    return out.addmm_(qf, gf.T, alpha=-2)


def _is_far_out(centre: Tensor, mean_square: float, count: int) -> bool:
    """Whether products of such features are so large that their differences lose digits."""
    square = float(centre.square().sum())
    # The mean of a few images tells nothing about all of them.
    return count >= 32 and square > FAR_OUT * (mean_square - square)


def _from(
    centre: Tensor, change: Callable[[Tensor], Tensor], gf: Tensor, factor: float = 1
) -> BlockDistance:
    """Squared Euclidean distances of changed features, as seen from their centre (D,)."""

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        out = gf.new_empty(len(qf), len(gf)) if out is None else out
        qf = change(qf) - centre
        for into, part in zip(out.split(4096, dim=1), gf.split(4096)):
            part = change(part) - centre
            into.copy_(_squared(qf, part, part.square().sum(1)))
        return out.clamp_(min=0).mul_(factor)

    return block_distance


def _cosine(gf: Tensor) -> BlockDistance:
    # 1 - q·g / (|q| |g|)
    scale = -1 / _per_row(_lengths, gf)
    # Angles between features that point all one way: 1 - q·g = |q - g|² / 2 for unit vectors.
    centre = scale @ gf / -len(gf)
    if _is_far_out(centre, 1, len(gf)):
        return _from(centre, _unit, gf, 0.5)
    one = torch.ones((), dtype=gf.dtype, device=gf.device)

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        product = torch.mm(_unit(qf), gf.T, out=out)
        return torch.addcmul(one, product, scale, out=product)

    return block_distance


def _correlation(gf: Tensor) -> BlockDistance:
    # The cosine distance of centred features. A centred q is orthogonal to constants, but a large
    # mean of g would leave a trace in floats: g is centred too, a part at a time.
    scale = -1 / _per_row(lambda part: _lengths(_centred(part)), gf)
    parts = zip(scale.split(4096), gf.split(4096))
    centre = sum(weight @ _centred(part) for weight, part in parts) / -len(gf)
    if _is_far_out(centre, 1, len(gf)):
        return _from(centre, lambda features: _unit(_centred(features)), gf, 0.5)

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        out = gf.new_empty(len(qf), len(gf)) if out is None else out
        qf = _unit(_centred(qf))
        for into, part in zip(out.split(4096, dim=1), gf.split(4096)):
            into.copy_(qf @ _centred(part).T)
        return out.mul_(scale).add_(1)

    return block_distance


def _minkowski(gf: Tensor, order: float) -> BlockDistance:
    if order in (1, 2, torch.inf):
        return _by_cdist(gf, order)
    # The gallery's values are at most 1 then: powers of differences neither vanish nor overflow.
    # Dividing by a power of two rounds nothing.
    exponent = torch.maximum(gf.max(), -gf.min()).frexp().exponent
    scale = torch.ldexp(gf.new_ones(()), exponent)
    # (r, c, D) differences at a time: they stay in a core's cache, or fill a GPU.
    rows = 4
    columns = max(1, (2**18 if gf.device.type == "cpu" else 2**26) // (rows * gf.shape[1]))

    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        out = gf.new_empty(len(qf), len(gf)) if out is None else out
        qf = qf / scale
        for into_columns, part in zip(out.split(columns, dim=1), gf.split(columns)):
            part = part / scale
            for into, some in zip(into_columns.split(rows), qf.split(rows)):
                into.copy_(_norm((some[:, None] - part).abs_(), order))
        return out.mul_(scale)

    return block_distance


def _by_cdist(gf: Tensor, order: float) -> BlockDistance:
    def block_distance(qf: Tensor, out: Tensor | None = None) -> Tensor:
        # `cdist` cannot write into given memory: what it returns is kept small.
        out = gf.new_empty(len(qf), len(gf)) if out is None else out
        for into, part in zip(out.split(4096, dim=1), gf.split(4096)):
            into.copy_(torch.cdist(qf, part, p=order))
        return out

    return block_distance


def _norm(values: Tensor, order: float) -> Tensor:
    """(Σ vᵖ)^(1/p) over the last dimension, of values that are not negative; writes over them."""
    largest = None
    if order > 4:  # small values to a high power would vanish, and distances be equal
        largest = values.amax(-1, keepdim=True).clamp_(min=torch.finfo(values.dtype).tiny)
        values.div_(largest)
    norm = _power(values, order).sum(-1)
    # A CPU's vectorised `pow` rounds one number in two ways, which would part equal images.
    norm = (norm.double() if norm.device.type == "cpu" else norm).pow(1 / order).to(norm)
    return norm if largest is None else norm.mul_(largest[..., 0])


def _power(values: Tensor, order: float) -> Tensor:
    # A product or a root takes a tenth of the time of `pow`.
    rest = order % 1
    if order > 8 or rest not in (0, 0.5):
        return values.pow(order)
    power = values.sqrt() if rest else values.clone()
    for _ in range(int(order - 0.5)):
        power.mul_(values)
    return power


# name -> (what orders the gallery, the distance itself as a function of that)
DISTANCES: dict[str, tuple[Callable[[Tensor], BlockDistance], Callable[[Tensor], Tensor]]] = {
    # Rounding can leave a square just below zero.
    "euclidean": (_euclidean_squared, lambda squared: squared.clamp(min=0).sqrt()),
    "cosine": (_cosine, torch.clone),
    "correlation": (_correlation, torch.clone),
    "cityblock": (lambda gf: _minkowski(gf, 1), torch.clone),
    # Of order 3, unless a number follows: orders 1 and 2 have names of their own.
    "minkowski": (lambda gf: _minkowski(gf, 3), torch.clone),
}


def known_distance(
    name: str, ties: bool = True
) -> tuple[Callable[[Tensor], BlockDistance], Callable]:
    """What makes the distance of this name, as an entry of `DISTANCES`.

    Images of the gallery with equal features are at exactly equal distances of a query, wherever
    they stand: which of them comes first is then settled by position, not by rounding.

    Args:
        name: see :func:`reidlab.recipe.names.minkowski_order`. Below order 1 the Minkowski
            distance (Σ |q - g|ᵖ)^(1/p) breaks the triangle inequality, but still orders a gallery.
        ties: False spares looking for equal images, where a gallery is used for one query only.

    Raises:
        ReidlabError: there is no such distance.

    >>> order, to_distance = known_distance("minkowski:inf")  # the largest difference
    >>> to_distance(order(torch.tensor([[3.0, 4.0]]))(torch.tensor([[0.0, 0.0]])))
    tensor([[4.]])
    """
    order = minkowski_order(name)
    prepare, to_distance = DISTANCES[name.partition(":")[0]]
    if ":" in name:
        prepare = lambda gf: _minkowski(gf, order)  # noqa: E731
    return (lambda gf: _tied(prepare(gf), gf)) if ties else prepare, to_distance


def distance_to(gf: Tensor, name: str, ties: bool = True) -> Callable[[Tensor], Tensor]:
    """The distance of this name to a gallery (G, D), as a function: (B, D) -> (B, G)."""
    prepare, to_distance = known_distance(name, ties)
    order = prepare(gf)
    return lambda qf: to_distance(order(qf.to(gf)))


def _tied(block_distance: BlockDistance, gf: Tensor) -> BlockDistance:
    # A product's last digits depend on the column in which a vector stands.
    again, first = _repeated(gf)
    if not len(again):
        return block_distance

    def tied(qf: Tensor, out: Tensor | None = None) -> Tensor:
        out = block_distance(qf, out)
        out[:, again] = out[:, first]
        return out

    return tied


def _repeated(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that equal an earlier one, (n,), and the first row that each of them equals, (n,)."""
    # A look at some 32 values tells nearly all rows apart; only the others are read whole.
    some = _hashes(features[:, :: max(1, features.shape[1] // 32)])
    _, kind, count = np.unique(some, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(count[kind] > 1)
    whole = features[torch.from_numpy(rows).to(features.device)]
    _, first, kind = np.unique(_hashes(whole), return_index=True, return_inverse=True)
    again = np.flatnonzero(first[kind] != np.arange(len(rows)))
    again, first = (torch.from_numpy(x).to(features.device) for x in (again, first[kind][again]))
    pairs = zip(again.split(4096), first.split(4096))
    same = torch.cat([(whole[i] == whole[j]).all(1) for i, j in pairs])
    rows = torch.from_numpy(rows).to(features.device)
    return rows[again[same]], rows[first[same]]


def _hashes(features: Tensor) -> np.ndarray:
    """(N,) int64: the same for equal rows, and hardly ever for others."""
    bits = torch.int32 if features.dtype == torch.float32 else torch.int64
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(2**62, (features.shape[1],), generator=generator).to(features.device)
    # Adding 0 makes -0 equal to 0.
    found = _per_row(lambda part: ((part + 0).view(bits) * weights).sum(1), features, torch.int64)
    return found.cpu().numpy()


def rows_at_a_time(num_gallery: int) -> int:
    """How many queries' distances to a gallery of this size are held at a time."""
    return max(BLOCK // num_gallery, MIN_ROWS)


def feature_blocks(qf: Tensor, gf: Tensor, distance: str) -> Iterator[Tensor]:
    """Distances of the queries to the gallery, as they order it, in blocks of rows.

    Args:
        qf: (Q, D) features of the queries.
        gf: (G, D) features of the gallery; its device and type are those of the distances.
        distance: as in :func:`known_distance`.

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
