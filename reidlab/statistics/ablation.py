"""Recipes side by side, each over several seeds: what changes from one to the next, and what for.

A *row* is a recipe: the runs of a family, which differ in their seeds alone. Its difference to the
row before it is tested against two kinds of luck: that of the training (other seeds) and that of
the test (other people to be searched for).
"""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from reidlab.common.errors import StudyError
from reidlab.recipe.config import TrainConfig
from reidlab.runs.folder import Run
from reidlab.statistics.compare import paired_difference
from reidlab.statistics.seeds import estimate, holm, seed_difference

SCORES = ("rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP")

#: Settings that still matter where nothing is trained any more.
OF_EVALUATION = ("dataset", "height", "width", "distance", "flip_test", "init")

GAIN, LOSS, NOISE, ONE_SEED = "gain", "loss", "within noise", "one seed"

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


def shared_settings(runs: Sequence[Run]) -> dict[str, Any]:
    """The settings of a family's runs, without the seed and its trace in ``init``.

    Raises:
        StudyError: there is no run, or they differ in more than the seed.
    """
    if not runs:
        raise StudyError("A row needs at least one run.")
    configs = []
    for run in runs:
        # A setting younger than the run has its default there: new settings start out neutral.
        config = dataclasses.asdict(TrainConfig()) | run.config
        seed = config.pop("seed")
        if config["init"].startswith("run:"):
            config["init"] = config["init"].removesuffix(f"-s{seed}")
        configs.append(config)
    for run, config in zip(runs, configs):
        differs = [name for name in config if config[name] != configs[0][name]]
        if differs:
            raise StudyError(
                f"{run.name} and {runs[0].name} differ in {', '.join(differs)}: the runs of one "
                "row may differ in their seed alone."
            )
    return configs[0]


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Settings of ``after`` that ``before`` has otherwise, with their new values.

    A recipe of 0 epochs evaluates what another one trained: what it would train with is no change.

    >>> changes({"epochs": 5, "erase": 0.0, "lr": 1.0}, {"epochs": 5, "erase": 0.5, "lr": 1.0})
    {'erase': 0.5}
    """
    found = {name: after[name] for name in after if after[name] != before.get(name)}
    if after["epochs"] == 0:
        found = {name: found[name] for name in found if name in OF_EVALUATION}
    return found


def in_words(changed: dict[str, Any]) -> str:
    """Changed settings as a reader says them.

    >>> in_words({"erase": 0.5}), in_words({"label_smoothing": 0.0, "lr": 0.1})
    ('random erasing, probability 0.5', 'without label smoothing; lr = 0.1')
    >>> in_words({"init": "none"})
    'without initial weights'
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


def score_table(rows: dict[str, Sequence[Run]]) -> pd.DataFrame:
    """Mean and standard deviation of every score, a row a recipe.

    Args:
        rows: the name of each recipe with its runs.

    Returns:
        row, model, dataset, size, epochs, seeds (their number), and for each of
        :data:`SCORES` the mean in percent and ``<score>_std``, NaN for a single seed.

    Raises:
        StudyError: see :func:`shared_settings`.
    """
    table = []
    for name, runs in rows.items():
        config = shared_settings(runs)
        row = {"row": name, "model": config["model"], "dataset": config["dataset"]}
        row["size"] = f"{config['height']}x{config['width']}"
        row |= {"epochs": config["epochs"], "seeds": len(runs)}
        for score in SCORES:
            found = estimate([run.metrics[score] for run in runs])
            row |= {score: found.mean, f"{score}_std": found.std}
        table.append(row)
    return pd.DataFrame(table)


def ablation_table(
    rows: dict[str, Sequence[Run]],
    against: dict[str, str] | None = None,
    score: str = "mAP",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Recipes with what each changes against another, and whether it is more than noise.

    Args:
        rows: the name of each recipe with its runs; the seeds are the same in both recipes of a
            comparison.
        against: the recipe that each is compared with; one that is missing here is compared with
            nothing. Default: each with the row above it.
        score: which one is compared.
        confidence: of both intervals.

    Returns:
        :func:`score_table`, and: ``against``; ``change`` in words; ``difference`` in points, with
        ``low`` and ``high`` over the seeds (:func:`seeds.seed_difference`), its ``p``, and
        ``p_holm``, that for all comparisons of this table together; ``verdict``: by the interval
        over the seeds, ``gain``, ``loss``, ``within noise``, or ``one seed``; ``query_low`` and
        ``query_high``, the bootstrap interval of the same difference over the people searched for
        (:func:`statistics.compare.paired_difference`, of AP averaged over the seeds; mAP only).

    Raises:
        StudyError: seeds differ within a comparison, or ``against`` names no row.
    """
    if against is None:
        against = {after: before for before, after in pairwise(rows)}
    if unknown := sorted({*against, *against.values()} - set(rows)):
        raise StudyError(
            f"against: there is no row {', '.join(unknown)}. Rows: {', '.join(rows)}."
        )
    compared = []
    for name, runs in rows.items():
        row = {"against": "", "change": "", "verdict": ""}
        row |= dict.fromkeys(("difference", "low", "high", "p", "query_low", "query_high"), np.nan)
        if other := against.get(name):
            row |= {"against": other} | _comparison(rows[other], runs, score, confidence)
        compared.append(row)
    extra = pd.DataFrame(compared)
    extra["p_holm"] = holm(extra["p"])
    return pd.concat([score_table(rows), extra], axis="columns")


def _comparison(
    first: Sequence[Run], second: Sequence[Run], score: str, confidence: float
) -> dict[str, Any]:
    first, second = _by_seed(first), _by_seed(second)
    if [*first] != [*second]:
        raise StudyError(
            f"{first.popitem()[1].name} and {second.popitem()[1].name} belong to recipes that "
            "were trained with different seeds. Give both the same `seeds` in the profile."
        )
    before, after = (shared_settings([*runs.values()]) for runs in (first, second))
    found = seed_difference(
        *([run.metrics[score] for run in runs.values()] for runs in (first, second)), confidence
    )
    verdicts = {None: ONE_SEED, False: NOISE, True: GAIN if found.mean > 0 else LOSS}
    changed = changes(before, after)
    if after["epochs"] == 0:
        changed.pop("init", None)
    row = {"change": in_words(changed), "verdict": verdicts[found.is_clear]}
    row |= {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}
    if score == "mAP" and before["dataset"] == after["dataset"]:
        queries = (_mean_ap([*runs.values()]) for runs in (first, second))
        luck = paired_difference(*queries, by="pid", confidence=confidence)
        row |= {"query_low": 100 * luck.low, "query_high": 100 * luck.high}
    return row


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    return {run.config["seed"]: run for run in sorted(runs, key=lambda run: run.config["seed"])}


def _mean_ap(runs: Sequence[Run]) -> pd.DataFrame:
    """Per-query scores with each query's AP averaged over the seeds."""
    ap = np.mean([run.per_query["ap"].to_numpy() for run in runs], axis=0)
    return runs[0].per_query.assign(ap=ap)
