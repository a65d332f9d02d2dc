"""A run's scores on corrupted images, measured once and kept in its folder.

``corrupted.csv`` holds Market-1501-C's protocol: the scores of each setting and repeat, and what
corruption of the query alone costs by kind, by severity, by camera and kind, and by person.
``corrupted-grid.csv`` holds every kind at every severity. Both are small and in git, so that a
clone without weights reads them; the first line says of which weights they are.
"""

import functools
import json
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from reidlab import data
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing, sha256
from reidlab.data.corrupted import VERSION
from reidlab.data.corruptions import SEVERITIES
from reidlab.data.holdout import some_people
from reidlab.evaluation import robustness
from reidlab.evaluation.features import distances, of_model
from reidlab.metrics.rerank import rerank
from reidlab.runs.folder import WEIGHTS, Run, load_model
from reidlab.statistics import seeds

log = logging.getLogger(__name__)

PROTOCOL, RERANKED, GRID = "corrupted.csv", "corrupted-reranked.csv", "corrupted-grid.csv"

#: What the losses of a corrupted query are grouped by, and what that is called.
GROUPS = {
    "kind": ["kind"],
    "severity": ["severity"],
    "camera and kind": ["camid", "kind"],
    "person": ["pid"],
}


def protocol(run: Run, repeats: int = 10, reranked: bool = False) -> pd.DataFrame:
    """Market-1501-C's protocol for a run: read, or measured where its weights are.

    Args:
        run: a finished run.
        repeats: draws of kind and severity for every image; a file of more is taken as well.
        reranked: rank by k-reciprocal neighbours, each repeat's queries and gallery by themselves.

    Returns:
        One row a group: ``by``, ``all`` or one of :data:`GROUPS`. Of ``all``: setting, seed (-1
        for clean), rank1, mAP, mINP in percent, searches. Of the others, for the setting
        ``query`` over all repeats: the columns of the group, the same scores, ``<score>_clean``
        of the same searches and ``<score>_loss``.

    Raises:
        StudyError: less than one repeat; it is not measured yet, and the run's weights are not
            here.
    """
    if repeats < 1:
        raise StudyError(f"repeats is {repeats}; expected one draw of corruptions at least")
    name = RERANKED if reranked else PROTOCOL
    return _kept(run, name, {"repeats": repeats}, lambda: _protocol(run, repeats, reranked))


def grid(run: Run, people: float = 0.1, severities: Sequence[int] = SEVERITIES) -> pd.DataFrame:
    """Every kind at every severity for a run, on a share of the people: read, or measured.

    Args:
        run: a finished run.
        people: share of them, see :func:`reidlab.data.holdout.some_people`.
        severities: a few of them, where all take too long.

    Returns:
        One row a cell: kind, severity (``clean`` and 0 for none), rank1, mAP, mINP, searches.

    Raises:
        StudyError: as :func:`protocol`.
    """
    asked = {"people": people, "severities": [*severities]}
    return _kept(run, GRID, asked, lambda: _grid(run, people, severities))


def comparison(
    rows: Mapping[str, Sequence[Run]],
    repeats: int = 10,
    score: str = "mAP",
    reranked: Collection[str] = (),
) -> pd.DataFrame:
    """Clean scores of recipes beside those on corrupted images, and what each changes.

    Args:
        rows: label -> the trainings of a recipe, one a seed. The first is what the others are
            held against, seed by seed.
        repeats: of :func:`protocol`.
        score: which one is compared, with query and gallery corrupted.
        reranked: labels of rows that are ranked by k-reciprocal neighbours.

    Returns:
        One row a recipe: label, run, seeds; repeats; train_accuracy, the final one in percent;
        ``<score>_<setting>`` for every setting, the mean over seeds and repeats,
        ``<score>_<setting>_std``, the standard deviation over the repeats, mean over the seeds,
        and ``_seeds``, over the seeds; ``difference`` from the first row in points with ``low``,
        ``high`` and ``p_holm`` (:func:`reidlab.statistics.seeds.seed_difference`), and the
        verdict.
    """
    table, each = [], {}
    for label, runs in rows.items():
        scores = [_scores(run, repeats, label in reranked) for run in runs]
        found = pd.concat(scores, keys=[run.seed for run in runs])
        each[label] = found
        row = {"label": label, "run": runs[0].name, "seeds": len(runs), "repeats": repeats}
        row["train_accuracy"] = found["train_accuracy"].mean()
        for (one, setting), part in found.groupby(["score", "setting"]):
            row[f"{one}_{setting}"] = part["mean"].mean()
            row[f"{one}_{setting}_std"] = part["std"].mean()
            row[f"{one}_{setting}_seeds"] = part["mean"].std()
        table.append(row)
    first = next(iter(rows))
    compared = [
        seeds.SeedDifference(*[math.nan] * 4, 0)
        if label == first
        else seeds.seed_difference(*_paired(each[first], found, score))
        for label, found in each.items()
    ]
    frame = pd.DataFrame(table)
    frame["difference"] = [one.mean for one in compared]
    frame["low"], frame["high"] = [one.low for one in compared], [one.high for one in compared]
    frame["p_holm"] = seeds.holm([one.p for one in compared])
    accuracy = frame["train_accuracy"]
    frame["verdict"] = [
        seeds.verdict(one.mean, p, one.count, [accuracy[0], own]) if number else ""
        for number, (one, p, own) in enumerate(zip(compared, frame["p_holm"], accuracy))
    ]
    return frame


def _scores(run: Run, repeats: int, reranked: bool) -> pd.DataFrame:
    """Of one training: score, setting, mean and std over the repeats, and its train_accuracy."""
    table = protocol(run, repeats, reranked)
    found = robustness.over_repeats(table[(table.by == "all") & (table.seed < repeats)])
    accuracy = seeds.training_of(run)["train_accuracy"]
    return found.assign(train_accuracy=accuracy.iloc[-1] if len(accuracy) else math.nan)


def _paired(first: pd.DataFrame, second: pd.DataFrame, score: str) -> list[pd.Series]:
    """Scores of both with query and gallery corrupted, of the seeds that both have."""
    means = [
        one[(one["score"] == score) & (one["setting"] == "both")].droplevel(1)["mean"]
        for one in (first, second)
    ]
    common = means[0].index.intersection(means[1].index)
    return [one[common] for one in means]


def is_measured(run: Run, reranked: bool = False) -> bool:
    """Whether a run's folder holds the protocol's scores of its own weights."""
    return _read(run, RERANKED if reranked else PROTOCOL, {}) is not None


def _kept(
    run: Run, name: str, asked: dict[str, Any], measure: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    table = _read(run, name, asked)
    if table is not None:
        return table
    if not run.has_weights:
        raise StudyError(
            f"{run.path / name} is missing or of other weights, and {WEIGHTS} is not here to "
            f"measure it. Train the run: python -m reidlab run PROFILE {run.name}, then: "
            f"python -m reidlab corrupt PROFILE {run.name}"
        )
    about = asked | {"weights": sha256(run.path / WEIGHTS), "pixels": VERSION}
    table = measure()
    with replacing(run.path / name) as scratch:
        text = table.to_csv(index=False, float_format="%.5g", lineterminator="\n")
        scratch.write_text(f"# {json.dumps(about)}\n{text}")
    return _read(run, name, asked, strict=True)


def _read(run: Run, name: str, asked: dict[str, Any], strict: bool = False) -> pd.DataFrame | None:
    """A file of this run's weights with what is asked for, repeats beyond that left out."""
    file = run.path / name
    if not file.is_file():
        return None
    first, _, _ = file.read_text().partition("\n")
    try:
        about: dict[str, Any] = json.loads(first.removeprefix("# "))
        weights, pixels = about["weights"], about["pixels"]
        table = pd.read_csv(file, comment="#")
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{file} is damaged ({error}). Delete it; it is measured again."
        ) from None
    known = run.provenance.get("sha256", {}).get(WEIGHTS, weights)
    fits = weights == known and pixels == VERSION
    fits = fits and about.get("repeats", 0) >= asked.get("repeats", 0)
    fits = fits and all(about[key] == value for key, value in asked.items() if key != "repeats")
    return table if fits or strict else None


def _protocol(run: Run, repeats: int, reranked: bool) -> pd.DataFrame:
    dataset = data.load(run.config["dataset"])
    features, distance = _made_by(run)
    if reranked:
        distance = functools.partial(rerank, distance=run.config["distance"])
    log.info("%s: %d repeats of corrupted query and gallery", run.name, repeats)
    searches = robustness.random_protocol(features, dataset, range(repeats), distance)
    parts = [robustness.scores(searches, ["setting", "seed"]).assign(by="all")]
    for by, columns in GROUPS.items():
        parts.append(robustness.losses(searches, columns).assign(by=by, setting="query"))
    table = pd.concat(parts, ignore_index=True)
    whole = {name: "Int64" for name in ("seed", "severity", "camid", "pid") if name in table}
    return table[["by", *table.columns.drop("by")]].astype(whole)


def _made_by(run: Run) -> tuple[robustness.Features, Callable[..., str | Iterator[Tensor]]]:
    """Features and distances as the run's own evaluation has them, the network loaded once."""
    model = load_model(run)
    return (
        lambda frame, corruption: of_model(model, frame, run.config, corruption),
        lambda query, gallery: distances(model, query, gallery, run.config["distance"]),
    )


def _grid(run: Run, people: float, severities: Sequence[int]) -> pd.DataFrame:
    dataset = some_people(data.load(run.config["dataset"]), people)
    features, distance = _made_by(run)
    clean = robustness.random_protocol(features, dataset, [], distance)
    cells = robustness.grid(features, dataset, severities=severities, distance=distance)
    return pd.concat(
        [robustness.scores(part, ["kind", "severity"]) for part in (clean, cells)],
        ignore_index=True,
    )
