"""The ranking metrics of person re-identification, CMC, mAP and mINP, and ranked lists.

Every query ranks the whole gallery by distance. Under the protocol of Market-1501 (Zheng et
al., "Scalable Person Re-identification: A Benchmark", ICCV 2015) the gallery images of the
query's own identity *and* camera are removed from its list first: they count neither as right
nor as wrong. Distractors (pid 0) stay in every list, as wrong answers.

No list is ever sorted. The rank of a true match is one plus the number of gallery images before
it, and counting those is much cheaper than sorting; a query has few true matches. Equal
distances are settled in gallery order, so a result never depends on a sorting algorithm.
Distances exist for one block of queries at a time: memory does not grow with
queries × gallery.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlab.distances import known_distance
from reidlab.errors import ReidlabError

# Distances held at a time, in elements: 32 MiB of float32, about the size of a last-level cache.
BLOCK = 2**23
# Above this many true matches, sorting a row once is cheaper than counting once per match.
MANY_MATCHES = 256


class FeatureSet(NamedTuple):
    """The features of a query or gallery set, with what is known about each image.

    Attributes:
        features: (N, D) float32.
        pids: (N,) int64, identities; 0 marks distractors.
        camids: (N,) int64, cameras.
    """

    features: Tensor
    pids: Tensor
    camids: Tensor


@dataclass(frozen=True)
class Ranking:
    """What `evaluate` returns; every rate is in [0, 1].

    Attributes:
        cmc: (max_rank,) array; `cmc[k - 1]` is the share of queries with a true match among
            their first k answers.
        mAP: Mean average precision as the field reports it (rectangular).
        mAP_trapezoid: The same, as Market-1501's own evaluation code integrates it.
        mINP: Mean inverse negative penalty.
        num_valid: Queries with at least one true match; the means above are over these.
        per_query: One row per query: query (its position), pid, camid, valid, num_matches,
            first_match (rank of the first true match, from 1; <NA> if not valid), ap,
            ap_trapezoid and inp (NaN if not valid).
    """

    cmc: np.ndarray
    mAP: float
    mAP_trapezoid: float
    mINP: float
    num_valid: int
    per_query: pd.DataFrame

    def rank(self, k: int) -> float:
        """Rank-k accuracy in [0, 1]: `cmc[k - 1]`, for k from 1 to max_rank."""
        if not 1 <= k <= len(self.cmc):
            raise ReidlabError(
                f"rank(k={k}): this CMC curve covers ranks 1 to {len(self.cmc)}; "
                f"evaluate with max_rank={k} or more"
            )
        return float(self.cmc[k - 1])

    def summary(self) -> dict[str, float]:
        """Rank-1, 5, 10 (those within max_rank), both mAP and mINP in percent; num_valid."""
        ranks = {f"rank{k}": 100 * self.rank(k) for k in (1, 5, 10) if k <= len(self.cmc)}
        return {
            **ranks,
            "mAP": 100 * self.mAP,
            "mAP_trapezoid": 100 * self.mAP_trapezoid,
            "mINP": 100 * self.mINP,
            "num_valid": self.num_valid,
        }


# --- Scores of one query -------------------------------------------------------------------


def average_precision(ranks: np.ndarray) -> float:
    """Average precision as the field reports it (rectangular).

    AP = 1/M · Σ_j j / r_j, with r_1 < … < r_M the ranks of the M true matches: the mean, over
    the hits, of the precision at each hit (torchreid, fast-reid and nearly every paper).

    Args:
        ranks: (M,) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        AP in (0, 1].

    >>> round(average_precision(np.array([1, 2, 4, 7])), 4)
    0.8304
    >>> average_precision(np.array([2]))
    0.5
    """
    hits = np.arange(1, len(ranks) + 1)
    return float(np.mean(hits / ranks))


def average_precision_trapezoid(ranks: np.ndarray) -> float:
    """Average precision as Market-1501's own evaluation code integrates it (trapezoid).

    AP = 1/M · Σ_j (p_j + q_j) / 2, with p_j = j / r_j the precision at the j-th hit and
    q_j = (j - 1) / (r_j - 1) the precision one rank earlier; q_j = 1 at rank 1. This is the area
    under the precision-recall curve by trapezoids, and never above the rectangular AP.
    Source: the Oxford Buildings code (Philbin et al., CVPR 2007), used by Zheng et al. 2015.

    Args:
        ranks: (M,) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        AP in (0, 1].

    >>> round(average_precision_trapezoid(np.array([1, 2, 4, 7])), 4)
    0.811
    >>> average_precision_trapezoid(np.array([2]))
    0.25
    """
    hits = np.arange(1, len(ranks) + 1)
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    return float(np.mean((hits / ranks + before) / 2))


def inverse_negative_penalty(ranks: np.ndarray) -> float:
    """Inverse negative penalty: what finding the hardest true match costs.

    INP = M / r_M, the number of true matches over the rank of the last one (Ye et al., "Deep
    Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021, eq. 3).

    Args:
        ranks: (M,) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        INP in (0, 1].

    >>> round(inverse_negative_penalty(np.array([1, 2, 4, 7])), 4)
    0.5714
    """
    return len(ranks) / float(ranks[-1])


# --- Ranking -------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    query: FeatureSet,
    gallery: FeatureSet,
    distance: str = "euclidean",
    max_rank: int = 50,
    same_camera_rule: bool = True,
) -> Ranking:
    """Rank the gallery for every query and score the lists (single query, Market-1501).

    A query without a true match left cannot be scored: it is left out of every mean (as in
    torchreid), marked in `per_query`, and not counted in `num_valid`.

    Args:
        query: Features of the queries, (Q, D).
        gallery: Features of the gallery, (G, D), distractors included, junk (pid -1) dropped.
        distance: "euclidean", "cosine", "correlation", "cityblock" or "minkowski" (order 3).
        max_rank: Length of the CMC curve; it may exceed the size of the gallery.
        same_camera_rule: Remove the gallery images of the query's identity and camera from its
            list. False is for data that has no cameras.

    Returns:
        CMC, mAP in both definitions, mINP, and the scores of each query.

    Raises:
        ReidlabError: An argument is malformed, or no query has a true match.

    >>> query = FeatureSet(torch.tensor([[0.0]]), torch.tensor([7]), torch.tensor([1]))
    >>> line = torch.arange(1.0, 8.0)[:, None]  # the gallery, at distances 1 to 7
    >>> pids = torch.tensor([7, 7, 3, 7, 0, 3, 7])  # true matches at ranks 1, 2, 4, 7
    >>> ranking = evaluate(query, FeatureSet(line, pids, torch.full((7,), 2)))
    >>> round(ranking.mAP, 4), round(ranking.mAP_trapezoid, 4), round(ranking.mINP, 4)
    (0.8304, 0.811, 0.5714)
    """
    if max_rank < 1:
        raise ReidlabError(f"max_rank is {max_rank}; the CMC curve needs at least rank 1")
    index = _Gallery(query, gallery, same_camera_rule)
    names = ("first_match", "ap", "ap_trapezoid", "inp")
    scores = np.full((index.num_queries, len(names)), np.nan)
    num_matches = np.zeros(index.num_queries, dtype=np.int64)
    for i, distances, matches in index.rows(distance):
        num_matches[i] = len(matches)
        if len(matches):
            ranks = _ranks(distances, matches)
            scores[i] = (
                ranks[0],
                average_precision(ranks),
                average_precision_trapezoid(ranks),
                inverse_negative_penalty(ranks),
            )

    valid = num_matches > 0
    num_valid = int(valid.sum())
    if num_valid == 0:
        raise ReidlabError(index.explain_no_match())
    per_query = pd.DataFrame(
        {
            "query": np.arange(index.num_queries),
            "pid": index.q_pids,
            "camid": index.q_camids,
            "valid": valid,
            "num_matches": num_matches,
            **dict(zip(names, scores.T)),
        }
    ).astype({"first_match": "Int64"})
    first, *means = scores[valid].T
    return Ranking(
        cmc=np.array([np.mean(first <= k) for k in range(1, max_rank + 1)]),
        mAP=float(means[0].mean()),
        mAP_trapezoid=float(means[1].mean()),
        mINP=float(means[2].mean()),
        num_valid=num_valid,
        per_query=per_query,
    )


@torch.no_grad()
def retrieve(
    query: FeatureSet,
    gallery: FeatureSet,
    k: int = 10,
    distance: str = "euclidean",
    same_camera_rule: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The first k answers of every query, in the order in which `evaluate` ranks them.

    Args:
        query: Features of the queries, (Q, D).
        gallery: Features of the gallery, (G, D).
        k: Answers per query.
        distance: As in `evaluate`.
        same_camera_rule: As in `evaluate`.

    Returns:
        Gallery positions (Q, k) int64 and their distances (Q, k) float32, nearest first, equal
        distances in gallery order. A list with fewer than k images ends in -1 and infinity.

    Raises:
        ReidlabError: An argument is malformed.

    >>> query = FeatureSet(torch.tensor([[0.0]]), torch.tensor([7]), torch.tensor([1]))
    >>> line = torch.tensor([[3.0], [1.0], [2.0]])
    >>> gallery = FeatureSet(line, torch.tensor([7, 7, 5]), torch.tensor([2, 1, 1]))
    >>> retrieve(query, gallery, k=2)  # image 1 shows the query's person in the query's camera
    (array([[2, 0]]), array([[2., 3.]], dtype=float32))
    """
    if k < 1:
        raise ReidlabError(f"k is {k}; at least one answer per query is needed")
    index = _Gallery(query, gallery, same_camera_rule)
    indices = np.full((index.num_queries, k), -1, dtype=np.int64)
    values = np.full((index.num_queries, k), np.inf, dtype=np.float32)
    for i, distances, _ in index.rows(distance):
        first = _smallest(distances, k)
        indices[i, : len(first)] = first
        values[i, : len(first)] = distances[first]
    _, to_distance = known_distance(distance)
    return indices, to_distance(torch.from_numpy(values)).numpy()


def _ranks(distances: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Ranks, from 1 and ascending, of the images `matches` in a row of distances.

    Before a match stand the images that are nearer, and those at the same distance that come
    earlier in the gallery. Removed images are at infinity, thus before nothing.
    """
    if len(matches) > MANY_MATCHES:
        is_match = np.zeros(len(distances), dtype=bool)
        is_match[matches] = True
        return np.flatnonzero(is_match[np.argsort(distances, kind="stable")]) + 1
    before = [
        np.count_nonzero(distances[:position] <= distances[position])
        + np.count_nonzero(distances[position + 1 :] < distances[position])
        for position in matches.tolist()
    ]
    return np.sort(np.array(before)) + 1


def _smallest(distances: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k smallest finite distances, ascending, ties by position."""
    k = min(k, len(distances))
    # All that tie with the k-th have to be looked at: a partition alone picks any of them.
    candidates = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
    order = candidates[np.argsort(distances[candidates], kind="stable")[:k]]
    return order[np.isfinite(distances[order])]


class _Gallery:
    """A checked gallery, grouped by identity, that hands out one query's distances at a time."""

    def __init__(self, query: FeatureSet, gallery: FeatureSet, same_camera_rule: bool):
        self.qf, self.q_pids, self.q_camids = _checked(query, "query")
        self.gf, self.g_pids, self.g_camids = _checked(gallery, "gallery")
        if self.qf.shape[1] != self.gf.shape[1]:
            raise ReidlabError(
                f"query.features have {self.qf.shape[1]} dimensions, gallery.features "
                f"{self.gf.shape[1]}: both must come from the same network"
            )
        self.same_camera_rule = same_camera_rule
        self.num_queries = len(self.qf)
        # Gallery positions of one identity: a slice of `order`, ascending.
        self.order = np.argsort(self.g_pids, kind="stable")
        grouped = self.g_pids[self.order]
        self.start = np.searchsorted(grouped, self.q_pids, side="left")
        self.stop = np.searchsorted(grouped, self.q_pids, side="right")

    def split(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Gallery positions of the true matches of query i, and of the images to remove."""
        same_pid = self.order[self.start[i] : self.stop[i]]
        if not self.same_camera_rule:
            return same_pid, same_pid[:0]
        same_camera = self.g_camids[same_pid] == self.q_camids[i]
        return same_pid[~same_camera], same_pid[same_camera]

    def rows(self, distance: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each query: its number, distances (G,) with removed images at ∞, true matches."""
        prepare, _ = known_distance(distance)
        block_distance = prepare(self.gf)
        size = max(1, BLOCK // len(self.gf))
        for first in range(0, self.num_queries, size):
            qf = self.qf[first : first + size].to(self.gf)  # its device and type
            for i, row in enumerate(block_distance(qf).cpu().numpy(), start=first):
                matches, removed = self.split(i)
                row[removed] = np.inf
                yield i, row, matches

    def explain_no_match(self) -> str:
        """Why not a single query has a true match, and what to do about it."""
        same_camera = [len(self.split(i)[1]) for i in range(self.num_queries)]
        only_there = int(np.count_nonzero(same_camera))
        remedy = "check how pids and camids are read from the file names"
        if only_there:
            remedy = f"if the data has no cameras, pass same_camera_rule=False; else {remedy}"
        return (
            f"none of the {self.num_queries} queries has a true match in the gallery of "
            f"{len(self.g_pids)} images: the pids of {self.num_queries - only_there} queries are "
            f"absent from it, those of {only_there} are there in the query's own camera only "
            f"(the same-camera rule removed {sum(same_camera)} images). Query camids: "
            f"{_listed(self.q_camids)}; gallery camids: {_listed(self.g_camids)}. "
            f"Remedy: {remedy}"
        )


def _listed(camids: np.ndarray, most: int = 20) -> str:
    distinct = np.unique(camids)
    more = f", … ({len(distinct)} in all)" if len(distinct) > most else ""
    return ", ".join(map(str, distinct[:most])) + more


def _checked(features: FeatureSet, name: str) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Features as they are; pids and camids as arrays; an error that names what is wrong."""
    values = torch.as_tensor(features.features)
    if values.ndim != 2 or not values.is_floating_point():
        raise ReidlabError(
            f"{name}.features must be floats of shape (N, D), not {values.dtype} of shape "
            f"{tuple(values.shape)}"
        )
    if values.numel() == 0:
        raise ReidlabError(f"{name} is empty: its features have shape {tuple(values.shape)}")
    labels = []
    for field in ("pids", "camids"):
        label = torch.as_tensor(getattr(features, field)).cpu().numpy()
        if label.shape != (len(values),):
            raise ReidlabError(
                f"{name}.{field} has shape {label.shape}, but there are {len(values)} features: "
                "one is needed for each"
            )
        labels.append(label.astype(np.int64))
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()  # half precision would order by rounding
    # A row's sum is not finite if one of its values is not; no mask of (N, D) is needed.
    bad = torch.nonzero(~torch.isfinite(values.sum(1))).flatten()
    if len(bad):
        raise ReidlabError(
            f"{name}.features holds NaN or infinite values in {len(bad)} of {len(values)} rows, "
            f"the first being row {int(bad[0])}: check the network's weights and the images"
        )
    return values, *labels
