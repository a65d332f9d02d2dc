"""How far can a score be trusted? Confidence intervals by bootstrap over the queries.

The test queries could have been other ones. The bootstrap imitates that: it draws as many again
out of those that there are, with replacement, and looks at how the scores scatter. The middle
95 % of the redrawn scores are the interval (the percentile interval: Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13). Several evaluations of the same queries are
redrawn together; so the interval of a difference is a paired one, in which a query that is hard
for both cancels out.

Queries of one person are not independent of each other: same clothes, same body, same matches in
the gallery. Drawing them one by one pretends that there is more evidence than there is, and gives
intervals that are too narrow. So whole people are drawn by default, each with all queries (the
cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section
3.8; Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007). ``by="query"`` draws
single queries.

What an interval does not know of: the luck of the training (its seed), another gallery, another
camera network. And where all queries have the same score, it has no width: nothing can be learned
from scatter that is not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reidlab.common.errors import StudyError

#: Scores of a query besides Rank-k: column of the per-query table -> name of their mean.
MEANS = {"ap": "mAP", "ap_trapezoid": "mAP_trapezoid", "inp": "mINP"}

#: What identifies a query, and whether it counts.
KEYS = ["query", "pid", "camid", "valid"]

# Counts of redrawn people or queries held at a time: 64 MiB of int64.
COUNTS = 2**23


def query_scores(per_query: pd.DataFrame, ranks: Sequence[int] = (1, 5, 10)) -> pd.DataFrame:
    """The scores of each valid query, whose means are those of an evaluation.

    Args:
        per_query: of :class:`reidlab.metrics.scores.Ranking`.
        ranks: for which k; a query scores 1 at Rank-k if a true match is among its first k.

    Returns:
        One row a valid query, by its position; columns rank1, rank5, …, mAP, mAP_trapezoid and
        mINP, in [0, 1].

    Raises:
        StudyError: a column is missing, or no query is valid.

    >>> two = pd.DataFrame({"query": [0, 1], "pid": [3, 4], "camid": 1, "valid": True})
    >>> two = two.assign(first_match=[1, 7], ap=[1.0, 0.3], ap_trapezoid=[1.0, 0.2], inp=0.5)
    >>> query_scores(two).mean().to_dict()
    {'rank1': 0.5, 'rank5': 0.5, 'rank10': 1.0, 'mAP': 0.65, 'mAP_trapezoid': 0.6, 'mINP': 0.5}
    """
    needed = [*KEYS, "first_match", *MEANS]
    if missing := [column for column in needed if column not in per_query]:
        raise StudyError(
            f"The per-query table has no column {', '.join(missing)}; it has "
            f"{', '.join(map(str, per_query.columns))}. Give Ranking.per_query, or a run's."
        )
    per_query = per_query.reset_index(drop=True)
    valid = per_query[per_query["valid"].astype(bool)]
    if not len(valid):
        raise StudyError(
            f"None of the {len(per_query)} queries is valid: no query has a true match in the "
            "gallery, so there is nothing to draw from."
        )
    first = valid["first_match"].to_numpy(dtype=float)
    scores = {f"rank{k}": (first <= k).astype(float) for k in ranks}
    scores |= {name: valid[column].to_numpy(dtype=float) for column, name in MEANS.items()}
    return pd.DataFrame(scores, index=valid.index)


def intervals(
    evaluations: Mapping[str, pd.DataFrame],
    by: str = "pid",
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
    ranks: Sequence[int] = (1, 5, 10),
) -> pd.DataFrame:
    """Scores of some evaluations of the same queries, with confidence intervals.

    Args:
        evaluations: name -> per-query table, see :class:`reidlab.metrics.scores.Ranking`.
        by: what is drawn: ``pid``, people with all their queries, or ``query``, single queries.
        confidence: of the intervals, between 0 and 1.
        samples: redrawn sets.
        seed: of the drawing.
        ranks: the k of Rank-k.

    Returns:
        One row for each evaluation and score: evaluation, score, value, low, high, in percent.

    Raises:
        StudyError: the evaluations are of different queries, or an argument is malformed.

    >>> sure = pd.DataFrame({"query": [0, 1], "pid": [3, 4], "camid": 1, "valid": True})
    >>> sure = sure.assign(first_match=1, ap=[1.0, 0.5], ap_trapezoid=0.5, inp=0.25)
    >>> print(intervals({"ours": sure}, ranks=[1]).to_string(index=False))
    evaluation         score  value   low  high
          ours         rank1  100.0 100.0 100.0
          ours           mAP   75.0  50.0 100.0
          ours mAP_trapezoid   50.0  50.0  50.0
          ours          mINP   25.0  25.0  25.0
    """
    scores, groups = _together(evaluations, by, ranks)
    redrawn = redrawn_means(scores.to_numpy(), groups, samples, seed)
    low, high = 100 * percentiles(redrawn, confidence)
    table = scores.columns.to_frame(index=False, name=["evaluation", "score"])
    return table.assign(value=100 * scores.mean().to_numpy(), low=low, high=high)


def differences(
    evaluations: Mapping[str, pd.DataFrame],
    reference: str | Mapping[str, str],
    by: str = "pid",
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
    ranks: Sequence[int] = (1, 5, 10),
) -> pd.DataFrame:
    """What separates evaluations from a reference, on the same queries: a paired bootstrap.

    Args:
        evaluations: name -> per-query table, the reference's included.
        reference: the name of what all others are compared with, or name -> its own reference.
        by: see :func:`intervals`.
        confidence: see :func:`intervals`.
        samples: see :func:`intervals`.
        seed: see :func:`intervals`.
        ranks: see :func:`intervals`.

    Returns:
        One row for each pair and score: evaluation, reference, score, difference, low, high (in
        points, evaluation minus reference), better and worse (how many queries score higher or
        lower than with the reference), and clear: whether the interval leaves out 0.

    Raises:
        StudyError: see :func:`intervals`; or a reference is not among the evaluations.

    >>> sure = pd.DataFrame({"query": [0, 1], "pid": [3, 4], "camid": 1, "valid": True})
    >>> sure = sure.assign(first_match=1, ap=0.5, ap_trapezoid=0.5, inp=0.25)
    >>> both = {"ours": sure.assign(ap=[1.0, 0.75]), "theirs": sure}
    >>> found = differences(both, "theirs", ranks=[]).set_index("score")
    >>> [float(found.loc["mAP", c]) for c in ("difference", "low", "high", "better", "worse")]
    [37.5, 25.0, 50.0, 2.0, 0.0]
    """
    if isinstance(reference, str):
        pairs = {name: reference for name in evaluations if name != reference}
    else:
        pairs = dict(reference)
    if unknown := sorted({*pairs, *pairs.values(), *_names(reference)} - set(evaluations)):
        raise StudyError(
            f"There is no evaluation {', '.join(map(repr, unknown))} to compare; there are "
            f"{', '.join(evaluations)}."
        )
    if not pairs:
        raise StudyError(f"There is nothing to compare with {reference}: give other evaluations.")
    scores, groups = _together(evaluations, by, ranks)
    apart = pd.concat({n: scores[n] - scores[other] for n, other in pairs.items()}, axis=1)
    low, high = 100 * percentiles(
        redrawn_means(apart.to_numpy(), groups, samples, seed), confidence
    )
    table = apart.columns.to_frame(index=False, name=["evaluation", "score"])
    table.insert(1, "reference", table["evaluation"].map(pairs))
    return table.assign(
        difference=100 * apart.mean().to_numpy(),
        low=low,
        high=high,
        better=(apart > 0).sum().to_numpy(),
        worse=(apart < 0).sum().to_numpy(),
        clear=(low > 0) | (high < 0),
    )


@dataclass(frozen=True)
class Difference:
    """What separates a second run from a first, query by query.

    Attributes:
        per_query: query, pid, camid, first and second (AP in [0, 1]) and difference, one row for
            each query that is valid.
        mean: of the differences: mAP of the second minus mAP of the first.
        low: lower end of the confidence interval of that mean.
        high: its upper end.
        confidence: of the interval.
    """

    per_query: pd.DataFrame
    mean: float
    low: float
    high: float
    confidence: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    by: str = "query",
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Difference of two runs' average precision, with a bootstrap confidence interval.

    As :func:`differences` of one score, which also keeps the differences themselves.

    Args:
        first: per-query scores of a run, see :class:`reidlab.metrics.scores.Ranking`.
        second: those of another run on the same data set.
        by: what is drawn: ``query``, or ``pid`` to draw people with all their queries, which are
            not independent of each other.
        confidence: of the interval, between 0 and 1.
        samples: redrawn sets.
        seed: of the drawing.

    Raises:
        StudyError: the runs answered different queries.

    >>> easy = pd.DataFrame({"query": [0, 1], "pid": [5, 6], "camid": 1, "valid": True})
    >>> better = paired_difference(easy.assign(ap=[0.5, 0.25]), easy.assign(ap=[1.0, 0.75]))
    >>> better.mean, better.low, better.high, better.is_clear
    (0.5, 0.5, 0.5, True)
    """
    require_same_queries({"the first run": first, "the second": second})
    valid = first["valid"].to_numpy(dtype=bool)
    table = first.loc[valid, ["query", "pid", "camid"]].reset_index(drop=True)
    table["first"] = first.loc[valid, "ap"].to_numpy()
    table["second"] = second.loc[valid, "ap"].to_numpy()
    table["difference"] = table["second"] - table["first"]
    means = redrawn_means(table["difference"].to_numpy(), table[by].to_numpy(), samples, seed)
    low, high = percentiles(means, confidence)
    mean = float(table["difference"].mean())
    return Difference(table, mean, float(low), float(high), confidence)


def redrawn_means(
    values: np.ndarray, groups: np.ndarray, samples: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Means of redrawn sets of queries; whole groups are drawn, as many as there are.

    The mean of a set in which group i was drawn w_i times is Σ w_i s_i / Σ w_i n_i, with s_i the
    sum of its values and n_i their number: one product of counts and sums for all sets.

    Args:
        values: (Q,) or (Q, M), one column for each score; all columns are redrawn alike.
        groups: (Q,) to which group a query belongs: its pid, or its own number.
        samples: redrawn sets S.
        seed: of the drawing; the same seed draws the same groups for any values.

    Returns:
        (S,) or (S, M).

    Raises:
        StudyError: no samples are asked for.

    >>> redrawn_means(np.array([1.0, 1.0, 4.0]), np.array([7, 7, 9]), samples=4)
    array([4., 2., 1., 1.])
    """
    values = np.asarray(values, dtype=float)
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    if samples < 1:
        raise StudyError(f"samples is {samples}; at least one set must be drawn")
    columns = values.reshape(len(values), -1).T
    sums = np.stack([*(np.bincount(group, column) for column in columns), sizes], axis=1)
    rng = np.random.default_rng(seed)
    means = np.empty((samples, len(columns)))
    # All samples at once would need samples × groups counts.
    at_a_time = max(1, COUNTS // len(sizes))
    for first in range(0, samples, at_a_time):
        into = means[first : first + at_a_time]
        drawn = rng.integers(len(sizes), size=(len(into), len(sizes)))
        drawn += len(sizes) * np.arange(len(into))[:, None]
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        redrawn = counts.astype(float) @ sums
        into[:] = redrawn[:, :-1] / redrawn[:, -1:]
    return means.reshape(samples, *values.shape[1:])


def percentiles(redrawn: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """The middle of redrawn means: its lower and upper ends, (2,) or (2, M).

    Raises:
        StudyError: the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise StudyError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95")
    return np.quantile(redrawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def require_same_queries(evaluations: Mapping[str, pd.DataFrame]) -> None:
    """See that evaluations can be paired, query by query.

    Raises:
        StudyError: two of them are of different queries, or do not count the same ones.
    """
    (name, first), *others = evaluations.items()
    for other, table in others:
        if len(first) == len(table) and all(
            np.array_equal(first[key].to_numpy(), table[key].to_numpy()) for key in KEYS
        ):
            continue
        raise StudyError(
            f"{name} and {other} answered different queries ({len(first)} and {len(table)}): "
            "compare runs that were evaluated on the same data set."
        )


def _together(
    evaluations: Mapping[str, pd.DataFrame], by: str, ranks: Sequence[int]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores (Q, evaluations × scores) of all valid queries, and what group each belongs to."""
    if not evaluations:
        raise StudyError("There is no evaluation: give at least one per-query table.")
    if by not in ("pid", "query"):
        raise StudyError(f"by is {by!r}; it must be 'pid' (draw people) or 'query'")
    scores = {name: query_scores(table, ranks) for name, table in evaluations.items()}
    require_same_queries(evaluations)
    together = pd.concat(scores, axis=1)
    first = next(iter(evaluations.values()))
    groups = first[by].to_numpy()[together.index]
    if len(np.unique(groups)) < 2:
        raise StudyError(
            f"All {len(groups)} valid queries have the same {by}: drawn again they are always "
            "the same, which tells nothing. A bootstrap needs two people, or by='query' and two "
            "queries."
        )
    return together, groups


def _names(reference: str | Mapping[str, str]) -> set[str]:
    return {reference} if isinstance(reference, str) else set()
