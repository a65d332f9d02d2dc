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

    def __init__(
        self,
        query: FeatureSet,
        gallery: FeatureSet,
        k1: int,
        k2: int,
        lambda_value: float,
        distance: str,
    ):
        self._prepare, _ = known_distance(distance)
        self._distance = distance
        qf, self._gf = checked_features(query, gallery)
        self._qf = qf.to(self._gf)
        self._features = torch.cat([self._qf, self._gf])  # of all images, queries first
        _check_parameters(k1, k2, lambda_value, len(self._features))
        self.shape = (len(qf), len(self._gf))
        self.lambda_value = lambda_value
        neighbours, self._farthest = self._neighbours(k1 + 1)
        encoding = self._encode(neighbours, k1)
        if k2 > 1:  # local query expansion: the mean encoding of the k2 nearest (equation 11)
            encoding = _pattern(neighbours[:, :k2]).astype(np.float32) @ encoding
            encoding.data /= k2
        self._query = encoding[: len(qf)]
        self._gallery = encoding[len(qf) :].tocsc()  # by neighbour: who has it?

    def __iter__(self) -> Iterator[Tensor]:
        """Yields (B, G) float32 distances of the next B queries, on the features' device."""
        first = 0
        for original in feature_blocks(self._qf, self._gf, self._distance):
            stop = first + len(original)
            normalised = original.float() / self._farthest[first:stop].to(original.device)
            jaccard = torch.from_numpy(self._jaccard(first, stop)).to(normalised)
            # d* = (1 - λ) d_J + λ d (equation 12)
            yield jaccard.mul_(1 - self.lambda_value).add_(normalised, alpha=self.lambda_value)
            first = stop

    def _neighbours(self, k: int) -> tuple[np.ndarray, Tensor]:
        """The k nearest of each image, (N, k), itself mostly among them; its largest distance.

        The published code divides distances by the largest one of each image, (N, 1), and then
        sorts: two that differ by less than rounding are equal then, which is repeated here.
        """
        neighbours, farthest = [], []
        total = -(-len(self._features) // rows_at_a_time(len(self._features)))
        blocks = feature_blocks(self._features, self._features, self._distance)
        for block in track(blocks, "re-ranking", total):
            block = block.float()
            largest = block.amax(dim=1, keepdim=True)
            largest.masked_fill_(largest <= 0, 1)  # all images are the same
            neighbours.append(smallest(block.div_(largest), k)[1].cpu())
            farthest.append(largest.cpu())
        return torch.cat(neighbours).numpy(), torch.cat(farthest)

    def _encode(self, neighbours: np.ndarray, k1: int) -> sparse.csr_array:
        """(N, N) encodings: exp(-d) on the expanded k-reciprocal neighbours, rows summing to 1."""
        near = _reciprocal(neighbours[:, : k1 + 1])
        # The published code rounds a half to even.
        nearer = _reciprocal(neighbours[:, : int(np.around(k1 / 2)) + 1])
        # Neighbours q whose own narrower neighbourhood lies mostly in that of p bring all of it
        # in: |R(p, k1) ∩ R(q, k1/2)| > 2/3 |R(q, k1/2)| (equation 5).
        overlap = near.multiply(near @ nearer.T).tocoo()
        joins = overlap.data > 2.0 / 3 * np.diff(nearer.indptr)[overlap.col]
        joined = sparse.csr_array(
            (overlap.data[joins], (overlap.row[joins], overlap.col[joins])), overlap.shape
        )
        expanded = (near + joined @ nearer).tocsr()
        expanded.sort_indices()

        rows = np.repeat(np.arange(expanded.shape[0]), np.diff(expanded.indptr))
        distance = self._pairs(rows, expanded.indices) / self._farthest.numpy()[rows, 0]
        weight = np.exp(-distance)
        weight /= np.bincount(rows, weight, expanded.shape[0])[rows]
        expanded.data = weight.astype(np.float32)
        return expanded

    def _pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(P,) original distances of some pairs; rows ascend."""
        out, count = np.empty(len(rows), dtype=np.float32), len(self._features)
        ends = np.searchsorted(rows, np.arange(0, count + ROWS, ROWS))
        for first, start, stop in zip(range(0, count, ROWS), ends, ends[1:]):
            # Images of consecutive rows share neighbours: the distances of few columns suffice.
            if start == stop:
                continue
            needed, column = np.unique(columns[start:stop], return_inverse=True)
            block_distance = self._prepare(self._features[torch.from_numpy(needed)])
            block = block_distance(self._features[first : first + ROWS]).float().cpu().numpy()
            out[start:stop] = block[rows[start:stop] - first, column.ravel()]
        return out

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
    >>> torch.cat(list(rerank(query, gallery, k1=2, k2=1, lambda_value=0))).argsort()
    tensor([[0, 1, 2, 3]])
    """
    return Reranked(query, gallery, k1, k2, lambda_value, distance)


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
