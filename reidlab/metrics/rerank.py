"""Re-ranking with k-reciprocal neighbours.

Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
2017. Two images show the same person if they have the same neighbours. So every image, query or
gallery, is encoded by its neighbours: those that have it among their own nearest, with weights
that fall with distance. The Jaccard distance of two encodings is mixed with the original one.

An encoding has some dozens of entries, one row of a sparse matrix. Original distances, of all
images to all, exist for a block of rows at a time, as in :mod:`metrics.ranks`; so memory grows
with the number of images, not with its square. The result is that of the published code on the
same distances; where that leaves the order of equal distances to its sorting algorithm, here they
are taken in order of position, queries first, then the gallery.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reidlab.common.errors import ReidlabError
from reidlab.common.progress import track
from reidlab.metrics.distances import feature_blocks, known_distance, rows_at_a_time
from reidlab.metrics.ranks import FeatureSet, checked_features, smallest

# Rows whose few distances are made together, or whose encodings are compared together.
ROWS = 64


class Reranked:
    """Re-ranked distances of Q queries to G gallery images: blocks of rows, whenever iterated.

    They go straight into :func:`metrics.scores.evaluate` or `retrieve`, any number of times.

    Attributes:
        shape: (Q, G).
    """

    def __init__(self, source: "_Features | _Matrices", k1: int, k2: int, lambda_value: float):
        num_query, num_images = source.num_query, source.num_images
        _check_parameters(k1, k2, lambda_value, num_images)
        self.shape = (num_query, num_images - num_query)
        self.lambda_value = lambda_value
        self._source = source
        neighbours, self._farthest = _neighbours(source, k1 + 1)
        encoding = _encode(source, neighbours, self._farthest, k1)
        if k2 > 1:  # local query expansion: the mean encoding of the k2 nearest (equation 11)
            encoding = _pattern(neighbours[:, :k2]).astype(np.float32) @ encoding
            encoding.data /= k2
        self._query = encoding[:num_query]
        self._gallery = encoding[num_query:].tocsc()  # by neighbour: who has it?

    def __iter__(self) -> Iterator[Tensor]:
        """Yields (B, G) float32 distances of the next B queries, on the features' device."""
        first = 0
        for original in self._source.query_blocks():
            stop = first + len(original)
            normalised = original.float() / self._farthest[first:stop].to(original.device)
            jaccard = torch.from_numpy(self._jaccard(first, stop)).to(normalised)
            # d* = (1 - λ) d_J + λ d (equation 12)
            yield jaccard.mul_(1 - self.lambda_value).add_(normalised, alpha=self.lambda_value)
            first = stop

    def matrix(self) -> Tensor:
        """All of them at once: (Q, G) float32."""
        return torch.cat(list(self))

    def _jaccard(self, first: int, stop: int) -> np.ndarray:
        """Jaccard distances (B, G) of the queries first to stop (equation 10).

        Encodings sum to 1, so the maxima sum to 2 less what the minima do. Only images that
        share a neighbour with the query are looked at.
        """
        out = np.empty((stop - first, self.shape[1]), dtype=np.float32)
        for into, start in zip(range(0, len(out), ROWS), range(first, stop, ROWS)):
            part = self._query[start : min(start + ROWS, stop)]
            begin = self._gallery.indptr[part.indices]
            size = self._gallery.indptr[part.indices + 1] - begin
            row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            # For each of the query's neighbours, every gallery image that has it too.
            at = np.repeat(begin - np.cumsum(size) + size, size) + np.arange(size.sum())
            smaller = np.minimum(np.repeat(part.data, size), self._gallery.data[at])
            place = np.repeat(row * self.shape[1], size) + self._gallery.indices[at]
            shared = np.bincount(place, smaller, part.shape[0] * self.shape[1])
            shared = shared.reshape(part.shape[0], -1)
            out[into : into + ROWS] = 1 - shared / (2 - shared)
        return out


@torch.no_grad()
def rerank(
    query: FeatureSet,
    gallery: FeatureSet,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    distance: str = "euclidean",
) -> Reranked:
    """Re-rank the gallery for every query by k-reciprocal encoding.

    Uses features alone: neither pids nor camids are looked at. Queries are neighbours of each
    other too, so what stands first for one depends on the others.

    Args:
        query: features of the queries, (Q, D).
        gallery: features of the gallery, (G, D).
        k1: neighbours that may encode an image, from 1 to Q + G - 1. The paper's value is 20.
        k2: images whose encodings are averaged, itself included, from 1 (none but itself) to k1.
        lambda_value: weight of the original distance in [0, 1]; 1 leaves the order as it was.
        distance: the original distance, as in :func:`metrics.scores.evaluate`. For "euclidean"
            its square is taken, as published; all others are taken as they are.

    Returns:
        (Q, G) distances, in blocks of rows.

    Raises:
        ReidlabError: an argument is malformed.

    >>> def line(*places):  # images on a line
    ...     return FeatureSet(torch.tensor(places)[:, None], torch.ones(len(places)), None)
    >>> query, gallery = line(0.0), line(-1.0, 1.1, 1.2, 1.3)
    >>> rerank(query, gallery, k1=2, k2=1, lambda_value=0).matrix().argsort()
    tensor([[0, 1, 2, 3]])
    """
    return Reranked(_Features(query, gallery, distance), k1, k2, lambda_value)


@torch.no_grad()
def rerank_distances(
    q_g_dist: Tensor | np.ndarray,
    q_q_dist: Tensor | np.ndarray,
    g_g_dist: Tensor | np.ndarray,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Reranked:
    """Re-rank by k-reciprocal encoding from distances that were made elsewhere.

    The distances are taken as they are, and the published results are those of squared Euclidean
    ones. torchreid's `re_ranking`, which this follows otherwise, squares what it is given: what
    was given to it has to be squared here.

    Args:
        q_g_dist: (Q, G) distances of queries to gallery images.
        q_q_dist: (Q, Q) distances among queries.
        g_g_dist: (G, G) distances among gallery images.
        k1: see :func:`rerank`.
        k2: see :func:`rerank`.
        lambda_value: see :func:`rerank`.

    Returns:
        (Q, G) distances, in blocks of rows.

    Raises:
        ReidlabError: an argument is malformed.
    """
    return Reranked(_Matrices(q_g_dist, q_q_dist, g_g_dist), k1, k2, lambda_value)


def _check_parameters(k1: int, k2: int, lambda_value: float, num_images: int) -> None:
    if not 1 <= k1 < num_images:
        raise ReidlabError(
            f"k1 is {k1}; it must be from 1 to {num_images - 1}, since query and gallery have "
            f"{num_images} images together"
        )
    if not 1 <= k2 <= k1:
        raise ReidlabError(f"k2 is {k2}; it must be from 1 to k1, which is {k1}")
    if not 0 <= lambda_value <= 1:
        raise ReidlabError(
            f"lambda_value is {lambda_value}; as the weight of the original distance it must be "
            "from 0 to 1"
        )


# --- Encoding ------------------------------------------------------------------------------


def _neighbours(source: "_Features | _Matrices", k: int) -> tuple[np.ndarray, Tensor]:
    """The k nearest of each image, (N, k), itself mostly among them; its largest distance (N, 1).

    The published code divides distances by the largest one of each image, and then sorts: two
    that differ by less than rounding are equal then, which is repeated here.
    """
    neighbours, farthest = [], []
    total = -(-source.num_images // rows_at_a_time(source.num_images))
    for block in track(source.blocks(), "re-ranking", total):
        block = block.float()
        largest = block.amax(dim=1, keepdim=True)
        largest.masked_fill_(largest <= 0, 1)  # all images are the same
        neighbours.append(smallest(block.div_(largest), k)[1].cpu())
        farthest.append(largest.cpu())
    return torch.cat(neighbours).numpy(), torch.cat(farthest)


def _encode(
    source: "_Features | _Matrices", neighbours: np.ndarray, farthest: Tensor, k1: int
) -> sparse.csr_array:
    """(N, N) encodings: exp(-d) on the expanded k-reciprocal neighbours, rows summing to 1."""
    near = _reciprocal(neighbours[:, : k1 + 1])
    # The published code rounds a half to even.
    nearer = _reciprocal(neighbours[:, : int(np.around(k1 / 2)) + 1])
    # Neighbours q whose own narrower neighbourhood lies mostly in that of p bring all of it in:
    # |R(p, k1) ∩ R(q, k1/2)| > 2/3 |R(q, k1/2)| (equation 5).
    overlap = near.multiply(near @ nearer.T).tocoo()
    size = np.diff(nearer.indptr)[overlap.col]
    joins = overlap.data > 2.0 / 3 * size
    joined = sparse.csr_array(
        (overlap.data[joins], (overlap.row[joins], overlap.col[joins])), overlap.shape
    )
    expanded = (near + joined @ nearer).tocsr()
    expanded.sort_indices()

    rows = np.repeat(np.arange(expanded.shape[0]), np.diff(expanded.indptr))
    distance = source.pairs(rows, expanded.indices) / farthest.numpy()[rows, 0]
    weight = np.exp(-distance)
    weight /= np.bincount(rows, weight, expanded.shape[0])[rows]
    expanded.data = weight.astype(np.float32)
    return expanded


def _pattern(neighbours: np.ndarray) -> sparse.csr_array:
    """(N, k) neighbours as an (N, N) matrix of ones."""
    count, k = neighbours.shape
    ones = np.ones(count * k, dtype=np.int32)
    starts = np.arange(0, count * k + 1, k)
    return sparse.csr_array((ones, neighbours.ravel(), starts), (count, count))


def _reciprocal(neighbours: np.ndarray) -> sparse.csr_array:
    """R(p, k): the neighbours of p that have p among their own (equation 3), as ones."""
    pattern = _pattern(neighbours)
    return pattern.multiply(pattern.T.tocsr()).tocsr()


# --- Original distances --------------------------------------------------------------------


class _Features:
    """Distances of all images to all, queries first, made from features."""

    def __init__(self, query: FeatureSet, gallery: FeatureSet, distance: str):
        self.prepare, _ = known_distance(distance)
        self.distance = distance
        qf, self.gf = checked_features(query, gallery)
        self.qf = qf.to(self.gf)
        self.features = torch.cat([self.qf, self.gf])
        self.num_query, self.num_images = len(qf), len(self.features)

    def blocks(self) -> Iterator[Tensor]:
        """Blocks (B, N) of rows, each in the memory of the one before."""
        return feature_blocks(self.features, self.features, self.distance)

    def query_blocks(self) -> Iterator[Tensor]:
        """Blocks (B, G) of the queries' rows."""
        return feature_blocks(self.qf, self.gf, self.distance)

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(P,) distances of some pairs; rows ascend."""
        out = np.empty(len(rows), dtype=np.float32)
        ends = np.searchsorted(rows, np.arange(0, self.num_images + ROWS, ROWS))
        for first, start, stop in zip(range(0, self.num_images, ROWS), ends, ends[1:]):
            # Images of consecutive rows share neighbours: the distances of few columns suffice.
            if start == stop:
                continue
            needed, column = np.unique(columns[start:stop], return_inverse=True)
            block_distance = self.prepare(self.features[torch.from_numpy(needed)])
            block = block_distance(self.features[first : first + ROWS]).float().cpu().numpy()
            out[start:stop] = block[rows[start:stop] - first, column.ravel()]
        return out


class _Matrices:
    """Distances of all images to all, queries first, from three matrices, in float32."""

    def __init__(self, q_g_dist, q_q_dist, g_g_dist):
        given = {"q_g_dist": q_g_dist, "q_q_dist": q_q_dist, "g_g_dist": g_g_dist}
        q_g_dist, q_q_dist, g_g_dist = (torch.as_tensor(x) for x in given.values())
        if q_g_dist.ndim != 2 or q_g_dist.numel() == 0:
            raise ReidlabError(
                f"q_g_dist has shape {tuple(q_g_dist.shape)}; it must be a matrix (Q, G)"
            )
        q, g = q_g_dist.shape
        needed = ((q, g), (q, q), (g, g))
        for name, matrix, shape in zip(given, (q_g_dist, q_q_dist, g_g_dist), needed):
            if matrix.shape != shape or not matrix.is_floating_point():
                raise ReidlabError(
                    f"{name} is {matrix.dtype} of shape {tuple(matrix.shape)}; with q_g_dist of "
                    f"shape ({q}, {g}) it must be floats of shape {shape}"
                )
            if not torch.isfinite(matrix.sum(1)).all():
                raise ReidlabError(f"{name} holds NaN or infinite values: each must be a number")
        self.num_query, self.num_images = q, q + g
        # An image's distances are a column in the published code: that matters where rounding
        # has made a matrix not quite symmetric.
        self.query_rows = (q_q_dist.T, q_g_dist)
        self.gallery_rows = (q_g_dist.T, g_g_dist.T)

    def blocks(self) -> Iterator[Tensor]:
        """Blocks (B, N) of rows."""
        size = rows_at_a_time(self.num_images)
        for left, right in (self.query_rows, self.gallery_rows):
            for parts in zip(left.split(size), right.split(size)):
                yield torch.cat([part.float() for part in parts], dim=1)

    def query_blocks(self) -> Iterator[Tensor]:
        """Blocks (B, G) of the queries' rows."""
        return iter(self.query_rows[1].split(rows_at_a_time(self.num_images)))

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(P,) distances of some pairs; rows ascend."""
        parts, first = [], 0
        for block in self.blocks():
            start, stop = np.searchsorted(rows, [first, first + len(block)])
            parts.append(block.cpu().numpy()[rows[start:stop] - first, columns[start:stop]])
            first += len(block)
        return np.concatenate(parts)
