"""Same person or not? The error rates of a threshold on the distance of two images.

Of two kinds of pairs across cameras, genuine and impostor (:mod:`verification.pairs`), a
threshold t makes two kinds of mistakes (ISO/IEC 19795-1, "Biometric performance testing and
reporting"):

    FMR(t)  = impostor pairs with d < t / impostor pairs     (false match rate)
    FNMR(t) = genuine pairs with d ≥ t / genuine pairs       (false non-match rate)

The threshold is chosen on some people and used on others. Whether it then keeps its promise is a
question of its own, which :func:`threshold_table` answers with both rates and their intervals.
"""

import numpy as np
import pandas as pd
import torch

from reidlab.common.errors import ReidlabError
from reidlab.metrics.scores import FeatureSet
from reidlab.verification.pairs import (
    IdentityCounts,
    PairCounts,
    count_by_identity,
    count_pairs,
    count_values,
)

#: False match rates at which users ask for a threshold.
RATES = (0.1, 0.01, 0.001, 0.0001)

#: Name of the operating point at which both rates are equal.
EER = "EER"

# Thresholds between which an equal error rate is interpolated, by their FMR in multiples of it.
AROUND_EER = (0.5, 0.75, 1.0, 4 / 3, 2.0)


def point_name(rate: float) -> str:
    """How a table calls the threshold for a false match rate: 0.001 is ``0.1 %``."""
    return f"{100 * rate:g} %"


def error_rates(counts: PairCounts) -> pd.DataFrame:
    """Both error rates at every threshold: the FMR-FNMR curve.

    Returns:
        threshold (ascending), fmr (rising from 0 to 1), fnmr (falling from 1 to 0). The ROC curve
        is 1 - fnmr over fmr, the DET curve fnmr over fmr.
    """
    return pd.DataFrame(
        {
            "threshold": counts.thresholds,
            "fmr": counts.impostor / counts.num_impostor,
            "fnmr": 1 - counts.genuine / counts.num_genuine,
        }
    )


def thinned(counts: PairCounts, points: int = 2000) -> pd.DataFrame:
    """:func:`error_rates` with at most so many rows, enough to draw.

    Half of them are spread evenly over the curve's rows, half over the logarithm of the FMR.
    """
    curve = error_rates(counts)
    if len(curve) <= points:
        return curve
    even = np.linspace(0, len(curve) - 1, points // 2).round().astype(int)
    rates = np.geomspace(1 / counts.num_impostor, 1, points - len(even))
    tail = np.searchsorted(curve.fmr.to_numpy(), rates)
    return curve.iloc[np.union1d(even, tail)].reset_index(drop=True)


def roc_area(counts: PairCounts) -> float:
    """Area under the ROC curve: the chance that a genuine pair is nearer than an impostor one.

    Pairs that share a bin of the histogram count half, as ties do.

    >>> from reidlab.verification.pairs import count_values
    >>> roc_area(count_values(np.array([1.0, 3.0]), np.array([2.0, 4.0])))
    0.75
    """
    curve = error_rates(counts)
    return float(np.trapezoid(1 - curve.fnmr, curve.fmr))


def equal_error_rate(counts: PairCounts) -> tuple[float, float]:
    """The rate at which FMR and FNMR meet, and its threshold.

    Both are step functions, which may pass each other without ever being equal: taken is the
    first threshold at which they are nearest, and there their mean.

    Returns:
        The rate in [0, 1], and the threshold.

    >>> from reidlab.verification.pairs import count_values
    >>> genuine, impostor = np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.5, 5.0, 7.0, 8.0])
    >>> equal_error_rate(count_values(genuine, impostor))  # above 3: one of four each
    (0.25, 5.0)
    """
    # In whole numbers, so that rounding decides nothing: |FMR - FNMR| times both totals.
    missed = counts.num_genuine - counts.genuine
    gap = np.abs(counts.impostor * counts.num_genuine - missed * counts.num_impostor)
    place = int(np.argmin(gap))
    fmr, fnmr = counts.impostor[place] / counts.num_impostor, missed[place] / counts.num_genuine
    return float(fmr + fnmr) / 2, float(counts.thresholds[place])


def threshold_at(counts: PairCounts, rate: float) -> float:
    """The largest threshold whose false match rate is not above ``rate``.

    NaN where there are fewer impostor pairs than 1 / rate: a single one would then break the
    promise, and none would not show that it is kept.

    Args:
        counts: of the people on whom the threshold is chosen.
        rate: false match rate, between 0 and 1.

    Raises:
        ReidlabError: a rate that is none.

    >>> from reidlab.verification.pairs import count_values
    >>> counts = count_values(np.array([1.0]), np.array([2.0, 3.0, 4.0, 5.0]))
    >>> threshold_at(counts, 0.5)  # accepts 2 and 3, but not 4
    4.0
    >>> threshold_at(counts, 0.1)
    nan
    """
    if not 0 < rate < 1:
        raise ReidlabError(f"false match rate {rate!r}: expected a number between 0 and 1")
    if counts.num_impostor * rate < 1 - 1e-9:
        return float("nan")
    allowed = np.floor(rate * counts.num_impostor + 1e-9)
    return float(counts.thresholds[np.searchsorted(counts.impostor, allowed, "right") - 1])


def rates_at(counts: PairCounts, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FMR and FNMR at given thresholds; exact at those of any :func:`count_pairs`.

    Args:
        counts: of the people on whom the thresholds are used.
        thresholds: (T,); NaN gives NaN.

    Returns:
        Two arrays (T,) in [0, 1].
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    # All histograms share their edges: a threshold of one is one of the other, or beyond its ends.
    place = np.searchsorted(counts.thresholds, thresholds, "left")
    place = place.clip(max=len(counts.thresholds) - 1)
    fmr = counts.impostor[place] / counts.num_impostor
    fnmr = 1 - counts.genuine[place] / counts.num_genuine
    missing = np.isnan(thresholds)
    return np.where(missing, np.nan, fmr), np.where(missing, np.nan, fnmr)


def operating_points(counts: PairCounts, rates: tuple[float, ...] = RATES) -> pd.DataFrame:
    """Thresholds for wanted false match rates, and for equal rates, chosen on some people.

    Returns:
        One row for each rate and one for the EER: point (its name), wanted_fmr (NaN for the EER),
        threshold (NaN where :func:`threshold_at` has none), fmr and fnmr on the same people.
    """
    rows = [(point_name(rate), rate, threshold_at(counts, rate)) for rate in rates]
    rows.append((EER, np.nan, equal_error_rate(counts)[1]))
    table = pd.DataFrame(rows, columns=["point", "wanted_fmr", "threshold"])
    table["fmr"], table["fnmr"] = rates_at(counts, table.threshold.to_numpy())
    return table


# --- Intervals -----------------------------------------------------------------------------


def redrawn_rates(
    counts: IdentityCounts, samples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """FMR and FNMR at each threshold when the persons are drawn again with replacement.

    The pairs of one person are not independent of each other, nor are two impostor pairs that
    share a person; so whole persons are drawn, with all their pairs (the subsets bootstrap of
    Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems", CVIU 93, 2004).
    A person drawn w times counts w times; a pair of two persons the product of both. Two copies
    of one person make no impostor pair.

    Args:
        counts: of :func:`reidlab.verification.pairs.count_by_identity`.
        samples: S redrawn sets.
        seed: of the drawing.

    Returns:
        Two arrays (S, T); NaN where a redrawn set has no pair of the kind.
    """
    rng = np.random.default_rng(seed)
    people = len(counts.pids)
    weights = rng.multinomial(people, np.full(people, 1 / people), samples).astype(np.float64)

    def weighed(table: np.ndarray) -> np.ndarray:  # (P, P) -> (S,)
        return ((weights @ table.astype(np.float64)) * weights).sum(1)

    with np.errstate(invalid="ignore", divide="ignore"):
        fmr = np.stack([weighed(t) for t in counts.impostor], 1)
        fmr /= weighed(counts.num_impostor)[:, None]
        fnmr = 1 - weights @ counts.genuine.T / (weights @ counts.num_genuine)[:, None]
    return fmr, fnmr


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The middle share of redrawn values, (S, ...) -> two (...): the percentile bootstrap."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
    return low, high


def eer_interval(
    query: FeatureSet,
    gallery: FeatureSet | None = None,
    distance: str = "euclidean",
    counts: PairCounts | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The equal error rate with its 95 % interval, persons being drawn again.

    In each redrawn set the two rates meet somewhere else; where, is interpolated between five
    thresholds around the meeting point of all.

    Args:
        query: one side of the pairs, see :class:`verification.pairs.CrossCameraPairs`.
        gallery: the other side; None pairs ``query`` with itself.
        distance: of a pair.
        counts: of the same pairs, if they have been counted already.
        samples: redrawn sets.
        seed: of the drawing.

    Returns:
        The rate, the lower and the upper end.
    """
    counts = count_pairs(query, gallery, distance) if counts is None else counts
    eer, middle = equal_error_rate(counts)
    targets = np.minimum(np.array(AROUND_EER) * max(eer, 1 / counts.num_impostor), 1)
    place = np.searchsorted(counts.impostor / counts.num_impostor, targets)
    around = counts.thresholds[place.clip(max=len(counts.thresholds) - 1)]
    cuts = np.unique(np.append(around, middle))
    by_person = count_by_identity(cuts, query, gallery, distance)
    fmr, fnmr = redrawn_rates(by_person, samples, seed)
    low, high = interval(np.array([_meeting(*pair) for pair in zip(fmr, fnmr)]))
    return eer, float(low), float(high)


def _meeting(fmr: np.ndarray, fnmr: np.ndarray) -> float:
    """Where two piecewise linear rates (T,) meet; beyond the ends, the nearer rates' mean."""
    gap = fmr - fnmr  # rises
    after = int(np.searchsorted(gap, 0))
    if after == 0 or after == len(gap):
        end = min(after, len(gap) - 1)
        return float(fmr[end] + fnmr[end]) / 2
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fmr[after - 1] + share * (fmr[after] - fmr[after - 1]))


def miss_difference(
    first: np.ndarray,
    second: np.ndarray,
    pids: np.ndarray,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How many more genuine pairs a second measure misses than a first, with a 95 % interval.

    Both measures decide on the same pairs, each with its own threshold. Persons are drawn again,
    with all their pairs; the thresholds stay.

    Args:
        first: (M,) bool, pairs that the first measure rejects.
        second: (M,) bool, those that the second rejects.
        pids: (M,) whom they show.
        samples: redrawn sets.
        seed: of the drawing.

    Returns:
        FNMR of the second minus that of the first, and the ends of its interval.
    """
    _, person = np.unique(pids, return_inverse=True)
    sizes = np.bincount(person)
    sums = np.bincount(person, second.astype(float) - first.astype(float))
    people, rng = len(sizes), np.random.default_rng(seed)
    weights = rng.multinomial(people, np.full(people, 1 / people), samples)
    low, high = interval(weights @ sums / (weights @ sizes))
    return float(sums.sum() / sizes.sum()), float(low), float(high)


def compare_measures(
    measures: dict[str, np.ndarray],
    genuine: np.ndarray,
    pids: np.ndarray,
    rates: tuple[float, ...] = RATES[:3],
    samples: int = 1000,
) -> pd.DataFrame:
    """Several measures on the same pairs, each with its own thresholds on these pairs.

    So the table says how well a measure can separate the pairs, whatever its scale.

    Args:
        measures: name -> (N,) distances, smaller for more alike; the first is what the others
            are compared with.
        genuine: (N,) bool, pairs that show one person.
        pids: (N,) person of each pair's first image.
        rates: false match rates at which to compare.
        samples: redrawn sets for the intervals.

    Returns:
        One row a measure and rate: measure, eer, wanted_fmr, threshold, fnmr, difference (to the
        first measure's fnmr), low, high. NaN for a rate with too few impostor pairs.
    """
    rows, base = [], {}
    for name, distances in measures.items():
        counts = count_values(distances[genuine], distances[~genuine])
        eer, _ = equal_error_rate(counts)
        for rate in rates:
            cut = threshold_at(counts, rate)
            row = {"measure": name, "eer": eer, "wanted_fmr": rate, "threshold": cut}
            if not np.isnan(cut):
                missed = distances[genuine] >= cut
                base.setdefault(rate, missed)
                change = miss_difference(base[rate], missed, pids[genuine], samples)
                row |= {"fnmr": missed.mean()} | dict(zip(("difference", "low", "high"), change))
            rows.append(row)
    columns = ["measure", "eer", "wanted_fmr", "threshold", "fnmr", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def carried_thresholds(
    calibration: dict[str, PairCounts],
    test: dict[str, PairCounts],
    rates: tuple[float, ...] = RATES[:3],
) -> pd.DataFrame:
    """Thresholds of several measures, each chosen on some people and used on others.

    Args:
        calibration: measure -> pairs of the people on whom its thresholds are chosen.
        test: the same measures on pairs of the people on whom they are used.
        rates: wanted false match rates.

    Returns:
        One row a measure and rate: measure, wanted_fmr, threshold, fmr and fnmr on the test
        people; rates are in [0, 1], NaN where there are too few pairs to choose on.
    """
    rows = []
    for measure, counts in calibration.items():
        points = operating_points(counts, rates)[: len(rates)]
        fmr, fnmr = rates_at(test[measure], points.threshold.to_numpy())
        kept = points[["wanted_fmr", "threshold"]].assign(fmr=fmr, fnmr=fnmr)
        kept.insert(0, "measure", measure)
        rows.append(kept)
    return pd.concat(rows, ignore_index=True)


def threshold_table(
    calibration: PairCounts,
    query: FeatureSet,
    gallery: FeatureSet | None = None,
    distance: str = "euclidean",
    rates: tuple[float, ...] = RATES,
    counts: PairCounts | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The table: thresholds that were chosen on some people, and what they do to others.

    Args:
        calibration: pairs of the people on whom the thresholds are chosen.
        query: images of the people on whom they are used.
        gallery: the other side of their pairs.
        distance: of all pairs.
        rates: wanted false match rates.
        counts: of the pairs of query and gallery, if they have been counted already.
        samples: redrawn sets for the intervals.
        seed: of the drawing.

    Returns:
        One row for each rate, and one for the EER of the calibration people: point, wanted_fmr,
        threshold, calibration_fmr, calibration_fnmr, fmr and fnmr on the test people, each with
        the ends of its 95 % interval (fmr_low, ...), and own_fnmr: the FNMR if the threshold had
        been chosen on the test people themselves, so that the wanted rate is met exactly. Rates
        are in [0, 1]; NaN where the calibration people have too few pairs for a threshold.
    """
    counts = count_pairs(query, gallery, distance) if counts is None else counts
    chosen = operating_points(calibration, rates)
    table = chosen.rename(columns={"fmr": "calibration_fmr", "fnmr": "calibration_fnmr"})
    table["fmr"], table["fnmr"] = rates_at(counts, table.threshold.to_numpy())
    columns = ["fmr_low", "fmr_high", "fnmr_low", "fnmr_high"]
    table[columns] = np.nan
    have = table.index[table.threshold.notna()]
    cuts = np.sort(table.threshold[have].to_numpy())
    redrawn = redrawn_rates(count_by_identity(cuts, query, gallery, distance), samples, seed)
    place = np.searchsorted(cuts, table.threshold[have])
    for name, values in zip(("fmr", "fnmr"), redrawn):
        low, high = interval(values)
        table.loc[have, f"{name}_low"], table.loc[have, f"{name}_high"] = low[place], high[place]
    table["own_fnmr"] = operating_points(counts, rates).fnmr.to_numpy()
    order = ["point", "wanted_fmr", "threshold", "calibration_fmr", "calibration_fnmr"]
    order += ["fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high", "own_fnmr"]
    return table[order]


def halves(images: FeatureSet, seed: int = 0) -> tuple[FeatureSet, FeatureSet]:
    """Two sets with half of the identities each; the same seed divides pids the same way.

    An identity goes to a half by a number that its pid alone determines, so that a query and a
    gallery set are divided alike.
    """
    pids = images.pids.cpu().numpy()
    unique = np.unique(pids)
    coins = {pid: np.random.default_rng([seed, pid + 1]).random() for pid in unique.tolist()}
    first = torch.tensor([coins[pid] < 0.5 for pid in pids.tolist()])
    return images.subset(first), images.subset(~first)
