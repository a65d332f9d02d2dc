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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from reidlab import data
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing, sha256
from reidlab.data.corrupted import VERSION
from reidlab.data.corruptions import SEVERITIES
from reidlab.evaluation import robustness
from reidlab.evaluation.features import of_model
from reidlab.metrics.rerank import rerank
from reidlab.runs.folder import WEIGHTS, Run, load_model
from reidlab.statistics.seeds import training_of

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
        StudyError: it is not measured yet, and the run's weights are not here.
    """
    name = RERANKED if reranked else PROTOCOL
    return _kept(run, name, {"repeats": repeats}, lambda: _protocol(run, repeats, reranked))


def grid(run: Run, people: float = 0.1, severities: Sequence[int] = SEVERITIES) -> pd.DataFrame:
    """Every kind at every severity for a run, on a share of the people: read, or measured.

    Args:
        run: a finished run.
        people: share of them, see :func:`reidlab.evaluation.robustness.some_people`.
        severities: a few of them, where all take too long.

    Returns:
        One row a cell: kind, severity (``clean`` and 0 for none), rank1, mAP, mINP, searches.

    Raises:
        StudyError: as :func:`protocol`.
    """
    asked = {"people": people, "severities": [*severities]}
    return _kept(run, GRID, asked, lambda: _grid(run, people, severities))


def comparison(runs: Mapping[str, Run], repeats: int = 10) -> pd.DataFrame:
    """Clean scores of networks beside those on corrupted images.

    Args:
        runs: label -> a training.
        repeats: of :func:`protocol`.

    Returns:
        One row a network: label, run, dataset; repeats; train_accuracy, the final one in percent;
        ``<score>_<setting>`` for every setting, the mean over the repeats, and
        ``<score>_<setting>_std``.
    """
    rows = []
    for label, run in runs.items():
        table = protocol(run, repeats)
        table = table[(table.by == "all") & (table.seed < repeats)]
        each = training_of(run)["train_accuracy"]
        row = {"label": label, "run": run.name, "dataset": run.config["dataset"]}
        row |= {"repeats": repeats, "train_accuracy": each.iloc[-1] if len(each) else math.nan}
        for found in robustness.over_repeats(table).itertuples():
            row[f"{found.score}_{found.setting}"] = found.mean
            row[f"{found.score}_{found.setting}_std"] = found.std
        rows.append(row)
    return pd.DataFrame(rows)


def is_measured(run: Run) -> bool:
    """Whether a run's folder holds the protocol's scores of its own weights."""
    return _read(run, PROTOCOL, {}) is not None


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
    distance = run.config["distance"]
    source = functools.partial(rerank, distance=distance) if reranked else distance
    log.info("%s: %d repeats of corrupted query and gallery", run.name, repeats)
    searches = robustness.random_protocol(_features(run), dataset, range(repeats), source)
    parts = [robustness.scores(searches, ["setting", "seed"]).assign(by="all")]
    for by, columns in GROUPS.items():
        parts.append(robustness.losses(searches, columns).assign(by=by, setting="query"))
    table = pd.concat(parts, ignore_index=True)
    whole = {name: "Int64" for name in ("seed", "severity", "camid", "pid") if name in table}
    return table[["by", *table.columns.drop("by")]].astype(whole)


def _features(run: Run) -> robustness.Features:
    """As :func:`reidlab.evaluation.features.of_run`, with the network loaded once."""
    model = load_model(run)
    return lambda frame, corruption: of_model(model, frame, run.config, corruption)


def _grid(run: Run, people: float, severities: Sequence[int]) -> pd.DataFrame:
    dataset = robustness.some_people(data.load(run.config["dataset"]), people)
    features = _features(run)
    clean = robustness.random_protocol(features, dataset, [], run.config["distance"])
    cells = robustness.grid(
        features, dataset, severities=severities, distance=run.config["distance"]
    )
    return pd.concat(
        [robustness.scores(part, ["kind", "severity"]) for part in (clean, cells)],
        ignore_index=True,
    )
