"""Recipes over several seeds: their scores, what each changes, and whether that is shown.

A seed draws the initial weights, the order of the images and their augmentation. Two trainings
that differ in nothing else differ in their scores, and a trick has to be worth more than that. A
*row* of a table is a recipe with its finished runs, one a seed. The difference of two rows is held
against two kinds of luck: that of the training (other seeds) and that of the test (other people to
be searched for); and it is called a gain or a loss by one rule, :func:`verdict`.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from reidlab.common.errors import ReidlabError, StudyError
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.init import Init
from reidlab.runs.folder import Run, read_part, source_folder
from reidlab.statistics.bootstrap import paired_difference

#: Recipes by name, each with its finished runs, one a seed.
Runs = Mapping[str, Sequence[Run]]

SCORES = ("rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP")

#: Settings that still matter where nothing is trained any more.
OF_EVALUATION = ("dataset", "height", "width", "distance", "flip_test", "init")

#: What :func:`verdict` asks for: training accuracy in percent, and seeds.
CONVERGED, LEAST_SEEDS = 95.0, 3

#: Columns of :func:`score_table` that a clock measured: no second run reproduces them.
CLOCK = ["minutes"]

GAIN, LOSS = "gain", "loss"
NOT_CONVERGED = "not shown: not converged"
FEW_SEEDS = "not shown: too few seeds"
NOISE = "not shown: within noise"

#: What a setting is called when a row sets it; where it returns to nothing, it is "without".
WORDS = {
    "warmup_epochs": "warm-up, epochs: {}",
    "erase": "random erasing, probability {}",
    "label_smoothing": "label smoothing, ε = {}",
    "triplet": "triplet loss, {} margin",
    "center_weight": "centre loss, β = {}",
    "ema": "averaged weights, decay {}",
    "flip_test": "mean with the mirror image's features",
    "flip": "mirrored images, probability {}",
    "pad": "padding, {} pixels",
    "init": "initial weights, {}",
}


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
    """``mean ± std``, of a single seed the score alone; a dash where there is no score (NaN).

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
    """

    mean: float
    low: float
    high: float
    p: float
    count: int

    @property
    def is_clear(self) -> bool | None:
        """Whether the interval leaves out 0; None where there is no interval."""
        return None if np.isnan(self.low) else bool(self.low > 0 or self.high < 0)


def seed_difference(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> SeedDifference:
    """Mean difference of two recipes that were trained with the same seeds, with its interval.

    The paired t interval d ± t · s / √n, with the differences' mean d and standard deviation s,
    and t the quantile of Student's distribution with n - 1 degrees of freedom (Student, Biometrika
    1908). It takes the differences as drawn from a normal distribution, which few seeds cannot
    confirm. With three pairs t is 4.3: such an interval is wide, and honest.

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
    mean, count = difference.mean, difference.count
    if count == 1:
        return SeedDifference(mean, np.nan, np.nan, np.nan, count)
    with warnings.catch_warnings():  # differences without any spread, see below
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_rel(second, first)
        low, high = map(float, test.confidence_interval(confidence))
    # Where all pairs differ by the same, they do by nothing or without any doubt.
    p = float(test.pvalue) if difference.std else float(mean == 0)
    return SeedDifference(mean, low, high, p, count)


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


def verdict(
    difference: float,
    p_holm: float,
    seeds: int,
    train_accuracies: Sequence[float],
    confidence: float = 0.95,
) -> str:
    """Whether a difference of two recipes is shown; if not, the first reason against it.

    A network that has not learned its training people yet tells how fast a recipe fits, not how
    well it generalises; one or two seeds tell nothing of their luck; and among many comparisons
    some look like more than luck.

    Args:
        difference: second recipe minus first.
        p_holm: of its test over the seeds, after :func:`holm` over the table.
        seeds: pairs of runs behind it.
        train_accuracies: the final training accuracy of both, in percent; NaN is unknown.
        confidence: 1 minus the share of tables that may hold an error of this kind.

    >>> verdict(2.0, 0.01, 3, [99.0, 97.0]), verdict(-2.0, 0.2, 3, [99.0, 97.0])
    ('gain', 'not shown: within noise')
    >>> verdict(-2.0, 0.01, 3, [99.0, 94.9]), verdict(2.0, float("nan"), 1, [99.0, 99.0])
    ('not shown: not converged', 'not shown: too few seeds')
    """
    if not np.min(train_accuracies) >= CONVERGED:  # NaN is not
        return NOT_CONVERGED
    if seeds < LEAST_SEEDS:
        return FEW_SEEDS
    if not p_holm < 1 - confidence:
        return NOISE
    return GAIN if difference > 0 else LOSS


def shared_settings(runs: Sequence[Run]) -> dict[str, Any]:
    """The settings of a recipe's runs, without the seed.

    Raises:
        StudyError: there is no run, or they differ in more than the seed.
    """
    if not runs:
        raise StudyError("A row needs at least one run.")
    configs = []
    for run in runs:
        # A setting younger than the run has its default there: new settings start out neutral.
        config = dataclasses.asdict(TrainConfig()) | run.config
        del config["seed"]
        configs.append(config)
    for run, config in zip(runs, configs):
        differs = [name for name in config if config[name] != configs[0][name]]
        if differs:
            raise StudyError(
                f"{run.name} (seed {run.seed}) and {runs[0].name} (seed {runs[0].seed}) differ in "
                f"{', '.join(differs)}: the runs of one row may differ in their seed alone."
            )
    return configs[0]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``after`` that ``before`` has otherwise, with their new values.

    A recipe of 0 epochs evaluates what another one trained: what it would train with is no change.

    >>> changes({"epochs": 5, "erase": 0.0, "lr": 1.0}, {"epochs": 5, "erase": 0.5, "lr": 1.0})
    {'erase': 0.5}
    """
    found = {name: after[name] for name in after if after[name] != before.get(name)}
    if after["epochs"] == 0:
        found = {name: found[name] for name in found if name in OF_EVALUATION}
    return found


def in_words(changed: Mapping[str, Any]) -> str:
    """Changed settings as a reader says them.

    >>> in_words({"erase": 0.5}), in_words({"label_smoothing": 0.0, "lr": 0.1})
    ('random erasing, probability 0.5', 'without label smoothing; lr = 0.1')
    >>> in_words({"sampler": "identities", "num_instances": 4})
    'batches of P identities with 4 images each'
    """
    changed, words = dict(changed), []
    if changed.get("sampler") == "identities":
        count = changed.pop("num_instances", "K")
        words.append(f"batches of P identities with {count} images each")
        del changed["sampler"]
    if changed.get("center_lr") == 0:
        words.append("centres never trained")
        del changed["center_lr"]
    if changed.get("optimizer") == "sgd" and "momentum" in changed:
        words.append(f"SGD with momentum {changed.pop('momentum')}")
        del changed["optimizer"]
    for name, value in changed.items():
        if name not in WORDS:
            words.append(f"{name} = {value}")
        elif value in (0, 0.0, False, "none"):
            words.append(f"without {WORDS[name].partition(',')[0]}")
        else:
            words.append(WORDS[name].format(value))
    return "; ".join(words)


def training_of(run: Run) -> pd.DataFrame:
    """The epochs behind a run's weights: its own history, or that of the run that it evaluates.

    Empty where nobody here has trained them, or where that run's folder is not beside this one.
    """
    folder, config = run.path, run.config
    while not config["epochs"] and (source := Init.parse(config["init"]).run):
        folder = source_folder(folder, source, run.seed)
        if not (folder / "config.json").is_file():
            return run.history
        config = read_part(folder / "config.json")
    return run.history if folder == run.path else read_part(folder / "history.csv")


def score_table(runs: Runs) -> pd.DataFrame:
    """The table of runs: what was trained, from what, how long, how far, and how well it ranks.

    Args:
        runs: the rows.

    Returns:
        One row a recipe: row, model, dataset, size, epochs, seeds (their number); for each of
        :data:`SCORES` the mean in percent and ``<score>_std``, NaN for a single seed; init;
        flip_test, whether the mirror image was used at test; train_accuracy, the final one of
        :func:`training_of` in percent, mean over the seeds, NaN where nobody here has trained;
        and minutes, which the training took, mean over the seeds: 0 for an evaluation alone.

    Raises:
        StudyError: see :func:`shared_settings`.
    """
    table = []
    for name, some in runs.items():
        config = shared_settings(some)
        row = {"row": name, "model": config["model"], "dataset": config["dataset"]}
        row["size"] = f"{config['height']}x{config['width']}"
        row |= {"epochs": config["epochs"], "seeds": len(some)}
        for score in SCORES:
            found = estimate([run.metrics[score] for run in some])
            row |= {score: found.mean, f"{score}_std": found.std}
        row |= {"init": config["init"], "flip_test": config["flip_test"]}
        histories = [training_of(run) for run in some]
        final = [each["train_accuracy"].iloc[-1] if len(each) else np.nan for each in histories]
        row["train_accuracy"] = float(np.mean(final))
        row["minutes"] = np.mean([run.history["train_seconds"].sum() / 60 for run in some])
        table.append(row)
    return pd.DataFrame(table)


def readable(table: pd.DataFrame, *first: str) -> pd.DataFrame:
    """A table of runs for the eye: ± over the seeds, intervals and verdicts where it has them.

    Args:
        table: of :func:`score_table` or :func:`ablation_table`.
        first: columns that come first and name the lines.
    """
    text = table[[*first, "size", "init", "epochs", "seeds"]].copy()
    text["mirror image"] = table["flip_test"].map({True: "yes", False: "no"})
    text["minutes"] = table["minutes"].map("{:.1f}".format)
    text["training accuracy"] = [spread(value, np.nan) for value in table["train_accuracy"]]
    for score, name in (("rank1", "Rank-1"), ("mAP", "mAP"), ("mINP", "mINP")):
        text[name] = [*map(spread, table[score], table[f"{score}_std"])]
    if "difference" in table:
        gains = table["difference"]
        text["difference"] = ["–" if np.isnan(gain) else f"{gain:+.1f}" for gain in gains]
        text["over the seeds"] = [*map(interval, table["low"], table["high"])]
        text["over the people"] = [*map(interval, table["query_low"], table["query_high"])]
        text["verdict"] = table["verdict"]
    return text.set_index([*first])


def ablation_table(
    runs: Runs,
    against: Mapping[str, str] | None = None,
    score: str = "mAP",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Recipes with what each changes against another, and whether it is more than noise.

    Args:
        runs: the rows; the seeds are the same in both recipes of a comparison.
        against: the recipe that each is compared with; one that is missing here is compared with
            nothing. Default: each with the row above it.
        score: which one is compared.
        confidence: of both intervals, and of the verdict.

    Returns:
        :func:`score_table`, and: ``against``; ``change`` in words; :func:`verdict`;
        ``difference`` in points, with ``low`` and ``high`` over the seeds
        (:func:`seed_difference`) and its ``p``; ``query_low`` and ``query_high``, the bootstrap
        interval of the same difference over the people searched for
        (:func:`reidlab.statistics.bootstrap.paired_difference`, of AP averaged over the seeds;
        mAP only); ``p_holm``, p for all comparisons of this table together.

    Raises:
        StudyError: seeds differ within a comparison, or ``against`` names no row.
    """
    if against is None:
        against = {after: before for before, after in pairwise(runs)}
    if unknown := sorted({*against, *against.values()} - set(runs)):
        raise StudyError(
            f"against: there is no row {', '.join(unknown)}. Rows: {', '.join(runs)}."
        )
    table, compared = score_table(runs), []
    for name, some in runs.items():
        row = {"against": "", "change": "", "verdict": ""}
        row |= dict.fromkeys(("difference", "low", "high", "p", "query_low", "query_high"), np.nan)
        if other := against.get(name):
            row |= {"against": other} | _comparison(runs[other], some, score, confidence)
        compared.append(row)
    table = pd.concat([table, pd.DataFrame(compared)], axis="columns")
    table["p_holm"] = holm(table["p"])
    accuracy = table.set_index("row")["train_accuracy"]
    table["verdict"] = [
        verdict(
            row.difference,
            row.p_holm,
            row.seeds,
            [row.train_accuracy, accuracy[row.against]],
            confidence,
        )
        if row.against
        else ""
        for row in table.itertuples()
    ]
    return table


def _comparison(
    first: Sequence[Run], second: Sequence[Run], score: str, confidence: float
) -> dict[str, Any]:
    first, second = (sorted(runs, key=lambda run: run.config["seed"]) for runs in (first, second))
    if [run.config["seed"] for run in first] != [run.config["seed"] for run in second]:
        raise StudyError(
            f"{first[-1].name} and {second[-1].name} were trained with different seeds. Give both "
            "the same `seeds` in the study."
        )
    before, after = shared_settings(first), shared_settings(second)
    found = seed_difference(
        *([run.metrics[score] for run in runs] for runs in (first, second)), confidence
    )
    changed = changes(before, after)
    if after["epochs"] == 0:
        changed.pop("init", None)
    row = {"change": in_words(changed), "difference": found.mean}
    row |= {"low": found.low, "high": found.high, "p": found.p}
    if score == "mAP" and before["dataset"] == after["dataset"]:
        luck = paired_difference(_mean_ap(first), _mean_ap(second), "pid", confidence)
        row |= {"query_low": 100 * luck.low, "query_high": 100 * luck.high}
    return row


def _mean_ap(runs: Sequence[Run]) -> pd.DataFrame:
    """Per-query scores with each query's AP averaged over the seeds."""
    ap = np.mean([run.per_query["ap"].to_numpy() for run in runs], axis=0)
    return runs[0].per_query.assign(ap=ap)
