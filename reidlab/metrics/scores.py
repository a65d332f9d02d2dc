"""The ranking metrics of person re-identification, CMC, mAP and mINP, and ranked lists.

Every query ranks the whole gallery by distance. Under the protocol of Market-1501 (Zheng et
al., "Scalable Person Re-identification: A Benchmark", ICCV 2015) the gallery images of the
query's own identity *and* camera are removed from its list first: they count neither as right
nor as wrong. Distractors (pid 0) stay in every list, as wrong answers.

How lists are ranked, and what equal distances mean, is said in :mod:`metrics.ranks`. Distances
exist for one block of queries at a time: memory does not grow with queries × gallery.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from reidlab.common.errors import ReidlabError
from reidlab.metrics.distances import Distances, known_distance
from reidlab.metrics.ranks import FeatureSet, Lists, match_ranks, smallest
from reidlab.metrics.single_shot import expected_curves


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
        single_shot: (max_rank,) array, the single-gallery-shot CMC curve of
            :mod:`metrics.single_shot`; None where nobody has asked for it.
    """

    cmc: np.ndarray
    mAP: float
    mAP_trapezoid: float
    mINP: float
    num_valid: int
    per_query: pd.DataFrame
    single_shot: np.ndarray | None = None

    def rank(self, k: int) -> float:
        """Rank-k accuracy in [0, 1]: `cmc[k - 1]`, for k from 1 to max_rank."""
        if not 1 <= k <= len(self.cmc):
            raise ReidlabError(
                f"rank(k={k}): this CMC curve covers ranks 1 to {len(self.cmc)}; "
                f"evaluate with max_rank={k} or more"
            )
        return float(self.cmc[k - 1])

    def summary(self) -> dict[str, float]:
        """Rank-1, 5, 10 (those within max_rank), both mAP and mINP in percent; num_valid.

        Where there is a single-gallery-shot curve: its ``rank1_single_shot`` and so on, too.
        """
        shown = [k for k in (1, 5, 10) if k <= len(self.cmc)]
        ranks = {f"rank{k}": 100 * self.rank(k) for k in shown}
        if self.single_shot is not None:
            ranks |= {f"rank{k}_single_shot": 100 * float(self.single_shot[k - 1]) for k in shown}
        return {
            **ranks,
            "mAP": 100 * self.mAP,
            "mAP_trapezoid": 100 * self.mAP_trapezoid,
            "mINP": 100 * self.mINP,
            "num_valid": self.num_valid,
        }


# --- Scores of a list ----------------------------------------------------------------------
#
# A list is told by the ranks of its true matches. Several lists, one a row, may be given at once:
# the shorter ones end in infinity, which adds nothing to any sum.


def average_precision(ranks: np.ndarray) -> np.ndarray:
    """Average precision as the field reports it (rectangular).

    AP = 1/M · Σ_j j / r_j, with r_1 < … < r_M the ranks of the M true matches: the mean, over
    the hits, of the precision at each hit (torchreid, fast-reid and nearly every paper).

    Args:
        ranks: (…, M) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        (…) AP in (0, 1].

    >>> print(average_precision(np.array([1, 2, 4, 7])).round(4))
    0.8304
    >>> print(average_precision(np.array([[2, np.inf], [1, 2]])))
    [0.5 1. ]
    """
    hits = np.arange(1, np.shape(ranks)[-1] + 1)
    return np.sum(hits / ranks, axis=-1) / _num_matches(ranks)


def average_precision_trapezoid(ranks: np.ndarray) -> np.ndarray:
    """Average precision as Market-1501's own evaluation code integrates it (trapezoid).

    AP = 1/M · Σ_j (p_j + q_j) / 2, with p_j = j / r_j the precision at the j-th hit and
    q_j = (j - 1) / (r_j - 1) the precision one rank earlier; q_j = 1 at rank 1. This is the area
    under the precision-recall curve by trapezoids, and never above the rectangular AP.
    Source: the Oxford Buildings code (Philbin et al., CVPR 2007), used by Zheng et al. 2015.

    Args:
        ranks: (…, M) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        (…) AP in (0, 1].

    >>> print(average_precision_trapezoid(np.array([1, 2, 4, 7])).round(4))
    0.811
    >>> print(average_precision_trapezoid(np.array([2])))
    0.25
    """
    ranks = np.asarray(ranks)
    hits = np.arange(1, ranks.shape[-1] + 1)
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    return np.sum((hits / ranks + before) / 2, axis=-1) / _num_matches(ranks)


def inverse_negative_penalty(ranks: np.ndarray) -> np.ndarray:
    """Inverse negative penalty: what finding the hardest true match costs.

    INP = M / r_M, the number of true matches over the rank of the last one (Ye et al., "Deep
    Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021, eq. 3).

    Args:
        ranks: (…, M) ranks of the true matches, ascending, from 1; M ≥ 1.

    Returns:
        (…) INP in (0, 1].

    >>> print(inverse_negative_penalty(np.array([1, 2, 4, 7])).round(4))
    0.5714
    """
    last = np.max(np.where(np.isinf(ranks), 0, ranks), axis=-1)
    return _num_matches(ranks) / last


def _num_matches(ranks: np.ndarray) -> np.ndarray:
    return np.count_nonzero(np.isfinite(ranks), axis=-1)


# --- Ranking -------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    query: FeatureSet,
    gallery: FeatureSet,
    distance: str | Distances = "euclidean",
    max_rank: int = 50,
    same_camera_rule: bool = True,
    single_shot: bool = False,
) -> Ranking:
    """Rank the gallery for every query and score the lists (single query, Market-1501).

    A query without a true match left cannot be scored: it is left out of every mean (as in
    torchreid), marked in `per_query`, and not counted in `num_valid`.

    Args:
        query: Features of the queries, (Q, D).
        gallery: Features of the gallery, (G, D), distractors included, junk (pid -1) dropped.
        distance: "euclidean", "cosine", "correlation", "cityblock" or "minkowski" (order 3;
            "minkowski:p" for order p); or distances that were made elsewhere, as re-ranking or a
            network that scores pairs makes them: a matrix (Q, G), or an iterable of blocks of
            its rows. Smaller is nearer, and the features are then not looked at.
        max_rank: Length of the CMC curve; it may exceed the size of the gallery.
        same_camera_rule: Remove the gallery images of the query's identity and camera from its
            list. False is for data that has no cameras.
        single_shot: Give the single-gallery-shot curve as well.

    Returns:
        CMC, mAP in both definitions, mINP, and the scores of each query.

    Raises:
        ReidlabError: An argument is malformed, or no query has a true match.

    >>> query = FeatureSet(torch.tensor([[0.0]]), torch.tensor([7]), torch.tensor([1]))
    >>> line = torch.arange(1.0, 8.0)[:, None]  # the gallery, at distances 1 to 7
    >>> pids = torch.tensor([7, 7, 3, 7, 0, 3, 7])  # true matches at ranks 1, 2, 4, 7
    >>> gallery = FeatureSet(line, pids, torch.full((7,), 2))
    >>> ranking = evaluate(query, gallery)
    >>> round(ranking.mAP, 4), round(ranking.mAP_trapezoid, 4), round(ranking.mINP, 4)
    (0.8304, 0.811, 0.5714)
    >>> round(evaluate(query, gallery, distance=line.T).mAP, 4)
    0.8304
    """
    if max_rank < 1:
        raise ReidlabError(f"max_rank is {max_rank}; the CMC curve needs at least rank 1")
    lists = Lists(query, gallery, distance, same_camera_rule)
    names = ("first_match", "ap", "ap_trapezoid", "inp")
    scores = np.full((len(lists), len(names)), np.nan)
    num_matches = np.zeros(len(lists), dtype=np.int64)
    curves = np.zeros(max_rank)
    for block in lists.blocks():
        if single_shot:
            curves += expected_curves(block, lists.g_pids, max_rank)
        ranks = match_ranks(block)
        counts = _num_matches(ranks)
        num_matches[block.first : block.first + len(counts)] = counts
        some = np.flatnonzero(counts)
        if len(some):
            ranks = ranks[some]
            scores[block.first + some] = np.stack(
                [
                    ranks[:, 0],
                    average_precision(ranks),
                    average_precision_trapezoid(ranks),
                    inverse_negative_penalty(ranks),
                ],
                axis=1,
            )

    valid = num_matches > 0
    num_valid = int(valid.sum())
    if num_valid == 0:
        raise ReidlabError(lists.explain_no_match())
    per_query = pd.DataFrame(
        {
            "query": np.arange(len(lists)),
            "pid": lists.q_pids,
            "camid": lists.q_camids,
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
        single_shot=curves / num_valid if single_shot else None,
    )


@torch.no_grad()
def retrieve(
    query: FeatureSet,
    gallery: FeatureSet,
    k: int = 10,
    distance: str | Distances = "euclidean",
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
    lists = Lists(query, gallery, distance, same_camera_rule)
    indices = np.full((len(lists), k), -1, dtype=np.int64)
    values = np.full((len(lists), k), np.inf, dtype=np.float32)
    kept = min(k, len(lists.g_pids))
    for block in lists.blocks():
        here = slice(block.first, block.first + len(block.distances))
        found, positions = smallest(block.distances, kept)
        values[here, :kept] = found.cpu().numpy()
        indices[here, :kept] = positions.masked_fill(found.isinf(), -1).cpu().numpy()
    if isinstance(distance, str):
        _, to_distance = known_distance(distance)
        values = to_distance(torch.from_numpy(values)).numpy()
    return indices, values
