"""Which of two runs is better, and how sure is that? Paired over the queries of both."""

from dataclasses import dataclass

import pandas as pd

from reidlab.statistics.bootstrap import percentiles, redrawn_means, require_same_queries


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

    The interval is the percentile bootstrap (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 13): queries are drawn again with replacement, and the middle
    ``confidence`` of the means of the redrawn sets is kept. Pairing matters: both runs answer the
    same queries, so a query that is hard for both cancels out.

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
