"""Distances between a block of queries and a gallery.

A distance is prepared once for a gallery, then called for each block of queries. Of the gallery
alone it keeps one number per image, never a second copy of the features: for 500,000 images of
512 values that would be a gigabyte.

>>> order, to_distance = known_distance("euclidean")
>>> block_distance = order(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # a gallery of two images
>>> to_distance(block_distance(torch.tensor([[0.0, 0.0]])))
tensor([[5., 1.]])
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlab.errors import ReidlabError

BlockDistance = Callable[[Tensor], Tensor]  # (B, D) -> (B, G)


def _per_row(function: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply `function` to slices of rows, so that its temporaries stay small: (N, D) -> (N,)."""
    # Written in place: small results kept between large temporaries would fragment the heap.
    out = features.new_empty(len(features))
    for into, part in zip(out.split(2048), features.split(2048)):
        into.copy_(function(part))
    return out


def _euclidean_squared(gf: Tensor) -> BlockDistance:
    # |q - g|² = |q|² + |g|² - 2 q·g. The square root waits for `retrieve`: it changes no order,
    # but would round neighbouring floats into ties.
    squares = _per_row(lambda part: part.square().sum(1), gf)
    return lambda qf: torch.addmm(squares, qf, gf.T, alpha=-2).add_(
        qf.square().sum(1, keepdim=True)
    )


def _centred(features: Tensor) -> Tensor:
    return features - features.mean(1, keepdim=True)


def _cosine(gf: Tensor, centre: Callable[[Tensor], Tensor] = torch.clone) -> BlockDistance:
    # 1 - q·g / (|q| |g|), of centred features for the correlation distance. A centred q is
    # orthogonal to constants, so that g itself need not be centred in the product.
    norms = _per_row(lambda part: centre(part).norm(dim=1), gf)
    scale = -1 / norms.clamp(min=1e-12)
    return lambda qf: (F.normalize(centre(qf), dim=1) @ gf.T).mul_(scale).add_(1)


# name -> (what orders the gallery, the distance itself as a function of that)
DISTANCES: dict[str, tuple[Callable[[Tensor], BlockDistance], Callable[[Tensor], Tensor]]] = {
    # Rounding can leave a square just below zero.
    "euclidean": (_euclidean_squared, lambda squared: squared.clamp(min=0).sqrt()),
    "cosine": (_cosine, torch.clone),
    "correlation": (lambda gf: _cosine(gf, _centred), torch.clone),
    "cityblock": (lambda gf: lambda qf: torch.cdist(qf, gf, p=1), torch.clone),
    # Of order 3: orders 1 and 2 have names of their own.
    "minkowski": (lambda gf: lambda qf: torch.cdist(qf, gf, p=3), torch.clone),
}


def known_distance(name: str) -> tuple[Callable[[Tensor], BlockDistance], Callable]:
    """The entry of `DISTANCES` with this name, or a `ReidlabError` that lists the names."""
    if name not in DISTANCES:
        raise ReidlabError(f"distance is {name!r}; known are {', '.join(DISTANCES)}")
    return DISTANCES[name]
