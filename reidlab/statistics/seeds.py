"""How sure a number is that training gives: the same recipe, trained again with other seeds.

A seed draws the initial weights, the order of the images and their augmentation. Two trainings
that differ in nothing else differ in their scores, and a trick has to be worth more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reidlab.common.errors import ReidlabError


@dataclass(frozen=True)
class Estimate:
    """A score over several seeds.

    Attributes:
        mean: of the scores.
        std: their sample standard deviation, with n - 1; NaN for a single score.
        count: n, the number of seeds.
    """

    mean: float
    std: float
    count: int

    def __str__(self) -> str:
        """``mean ± std``; of a single seed the score alone.

        >>> str(estimate([70.0, 72.0])), str(estimate([70.0]))
        ('71.0 ± 1.4', '70.0')
        """
        return spread(self.mean, self.std)


def spread(mean: float, std: float) -> str:
    """``mean ± std``, of a single seed the score alone.

    Args:
        mean: of the scores, NaN where there is none.
        std: their standard deviation, NaN where there is none.

    >>> spread(71.0, 1.41), spread(70.0, float("nan")), spread(float("nan"), float("nan"))
    ('71.0 ± 1.4', '70.0', '–')
    """
    if np.isnan(mean):
        return "–"
    return f"{mean:.1f}" + ("" if np.isnan(std) else f" ± {std:.1f}")


def interval(low: float, high: float) -> str:
    """Two ends of a difference in points, as text; a dash where there is no interval (NaN).

    >>> interval(-0.52, 4.5), interval(float("nan"), float("nan"))
    ('-0.5 to +4.5', '–')
    """
    return "–" if np.isnan(low) else f"{low:+.1f} to {high:+.1f}"


def estimate(scores: Sequence[float]) -> Estimate:
    """Mean and standard deviation of a score over seeds.

    Raises:
        ReidlabError: there is no score.

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, std=1.0, count=3)
    """
    values = np.asarray(scores, dtype=float)
    if not len(values):
        raise ReidlabError("There is no score to average: expected one for each seed.")
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), std, len(values))


@dataclass(frozen=True)
class SeedDifference:
    """What a second recipe gains over a first, seed by seed.

    Attributes:
        mean: of the differences, second minus first.
        low: lower end of the confidence interval of that mean; NaN for a single seed.
        high: its upper end.
        p: of the two-sided t test of no difference; NaN for a single seed.
        count: pairs of runs, n.
        confidence: of the interval.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int
    confidence: float

    @property
    def is_clear(self) -> bool | None:
        """Whether the interval leaves out 0; None where there is no interval."""
        return None if np.isnan(self.low) else bool(self.low > 0 or self.high < 0)


def seed_difference(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> SeedDifference:
    """Mean difference of two recipes that were trained with the same seeds, with its interval.

    With the differences d_i of n pairs, their mean d and standard deviation s,

        d ± t · s / √n

    where t is the quantile of Student's distribution with n - 1 degrees of freedom (Student,
    Biometrika 1908). It takes the differences as drawn from a normal distribution, which few
    seeds cannot confirm. With three pairs t is 4.3: such an interval is wide, and honest.

    Args:
        first: scores of the first recipe, one a seed.
        second: those of the second, the seeds in the same order.
        confidence: of the interval, between 0 and 1.

    Raises:
        ReidlabError: not as many scores on both sides, or none.

    >>> gain = seed_difference([50.0, 52.0, 51.0], [53.0, 54.0, 55.0])
    >>> gain.mean, round(gain.low, 3), round(gain.high, 3), gain.is_clear
    (3.0, 0.516, 5.484, True)
    """
    if len(first) != len(second):
        raise ReidlabError(
            f"{len(first)} scores against {len(second)}: each run needs its partner of the same "
            "seed. Give both recipes the same seeds."
        )
    difference = estimate(np.subtract(second, first))
    mean, std, count = difference.mean, difference.std, difference.count
    if count == 1:
        return SeedDifference(mean, np.nan, np.nan, np.nan, 1, confidence)
    error = std / np.sqrt(count)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    p = float(mean == 0)  # where all pairs differ by the same: by nothing, or without any doubt
    if error:
        p = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
    return SeedDifference(mean, float(mean - reach), float(mean + reach), p, count, confidence)


def holm(p: Sequence[float]) -> np.ndarray:
    """P values of several tests, raised so that the smallest is not a winner by their number.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 1979: of m values in ascending order the k-th is multiplied by m - k + 1, and none
    may be below the one before it. Where those below 0.05 are believed, the chance that one or
    more of the believed is none is at most 0.05.

    Args:
        p: of the tests; NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * values[order]))
    return adjusted
