"""A run folder: everything that a table or figure needs to know about one training.

``results/<profile>/runs/<run>/seed-<seed>/`` holds

    config.json         what was asked
    history.csv         one row an epoch
    metrics.json        the final evaluation; written last: where it stands, the run is complete
    per_query.parquet   the same, query by query
    provenance.json     how it came about, with hashes of the others
    model.safetensors   the network, which is not in git
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from reidlab.common.errors import StudyError
from reidlab.common.files import replacing, sha256, write_json
from reidlab.metrics.scores import Ranking
from reidlab.models import build, size_of
from reidlab.models.weights import SHIPPED, load_weights
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.init import lineage
from reidlab.recipe.study import source_seed

#: What provenance.json holds the hash of.
HASHED = ("history.csv", "per_query.parquet", "model.safetensors", "metrics.json")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Run:
    """One finished training of a run.

    Attributes:
        path: its folder.
        config: the fields of its ``TrainConfig``.
        history: one row an epoch: epoch, lr, train_loss, train_accuracy, val_loss, val_accuracy,
            rank1, mAP (accuracies in percent), train_seconds, eval_seconds. Empty for a run of
            0 epochs.
        metrics: rank1, rank5, rank10, mAP, mAP_trapezoid, mINP in percent, num_valid, and cmc, a
            list of fractions.
        per_query: one row a query: query, pid, camid, valid, num_matches, first_match, ap, inp;
            see :class:`reidlab.metrics.scores.Ranking`.
        provenance: commit, versions, device, seconds, dataset fingerprint.
    """

    path: Path
    config: dict[str, Any]
    history: pd.DataFrame
    metrics: dict[str, Any]
    per_query: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the run: all its seeds have it."""
        return self.path.parent.name if _SEED.fullmatch(self.path.name) else self.path.name

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.config["seed"]

    @property
    def has_weights(self) -> bool:
        """Whether the network is here, which git does not keep."""
        return (self.path / WEIGHTS).is_file()

    def lineage(self) -> list[Mapping[str, Any]]:
        """Its settings and those of every run that it descends from, as far as they are here."""

        def config_of(name: str) -> dict[str, Any] | None:
            file = source_folder(self.path, name, self.seed) / "config.json"
            return read_part(file) if file.is_file() else None

        return lineage(self.config, config_of)


_SEED = re.compile(r"seed-(\d+)")


def seed_folder(runs: Path, name: str, seed: int) -> Path:
    """The folder of one training below a folder of runs."""
    return runs / name / f"seed-{seed}"


def source_folder(folder: Path, source: str, seed: int) -> Path:
    """The training of another run that the one in ``folder`` starts from.

    It is the one of the same seed, or the only one there is; outside a study, where a folder is
    not named after a seed, the folder beside it.
    """
    if not _SEED.fullmatch(folder.name):
        return folder.with_name(source)
    runs = folder.parents[1]
    there = [_SEED.fullmatch(one.name) for one in (runs / source).glob("seed-*")]
    seeds = sorted(int(one[1]) for one in there if one)
    return seed_folder(runs, source, source_seed(seeds, seed) if len(seeds) == 1 else seed)


def is_complete(folder: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return (folder / "metrics.json").is_file()


def load_run(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        StudyError: the folder holds none, or files that are damaged or not of one training.
    """
    folder = Path(folder)
    if not is_complete(folder):
        raise StudyError(
            f"{folder} holds no finished run (no metrics.json). Train it: `make study`, or fit() "
            "with this folder, which resumes a run that was interrupted."
        )
    provenance = read_part(folder / "provenance.json")
    for name, known in provenance.get("sha256", {}).items():
        file = folder / name
        if name == WEIGHTS and not file.exists():
            continue
        if not file.exists() or (name != WEIGHTS and sha256(file) != known):
            raise _damaged(file, "is not what the training has written")
    return Run(
        path=folder,
        config=read_part(folder / "config.json"),
        history=read_part(folder / "history.csv"),
        metrics=read_part(folder / "metrics.json"),
        per_query=read_part(folder / "per_query.parquet"),
        provenance=provenance,
    )


def read_part(file: Path) -> Any:
    """One file of a run folder: settings as a dictionary, tables as frames.

    Raises:
        StudyError: it is missing or damaged.
    """
    readers = {".csv": pd.read_csv, ".parquet": _read_per_query}
    reader = readers.get(file.suffix, _read_settings)
    try:
        return reader(file)
    except FileNotFoundError as error:
        raise _damaged(file, "is missing") from error
    except (OSError, ValueError, KeyError) as error:  # pyarrow's and pandas' are among them
        raise _damaged(file, f"cannot be read ({type(error).__name__}: {error})") from error


def _read_settings(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} where settings are expected")
    return found


def _damaged(file: Path, what: str) -> StudyError:
    return StudyError(
        f"{file} {what}: a full disk, a crash or a copy from elsewhere may be the cause. Restore "
        f"it (git restore {file.parent}), or delete the folder {file.parent} and train the run "
        "again: make study."
    )


def load_model(run: Run) -> nn.Module:
    """The run's network with its weights, in evaluation mode.

    Raises:
        StudyError: the weights are not here, or not those that the run was evaluated with.
        WeightsError: they do not fit.
    """
    file = run.path / WEIGHTS
    known = run.provenance.get("sha256", {}).get(WEIGHTS)
    if not file.exists():
        raise StudyError(
            f"{file} is not here: git does not keep it. Train the run again, with --weights: "
            f"python -m reidlab run PROFILE {run.name} --weights."
        )
    if known and sha256(file) != known:
        raise _damaged(file, "belongs to another training")
    model = build(run.config["model"], **size_of(run.config))
    load_weights(model, file)
    return model.eval()


def why_not_current(
    folder: Path, config: TrainConfig, fingerprint: str | None = None
) -> str | None:
    """Why a run folder is not the training of some settings on some data; None where it is.

    An empty folder is nobody else's: it can be filled.

    Args:
        folder: the run folder, finished or not.
        config: the settings that are asked for.
        fingerprint: of the data that are here; None where there are none to compare with, as
            after a clone, where results count that others have made.
    """
    if not (folder / "config.json").is_file():
        return None
    found = read_part(folder / "config.json")
    # A field younger than the run has its default there: new fields start out neutral.
    found = dataclasses.asdict(TrainConfig()) | found
    asked = dataclasses.asdict(config)
    if changed := sorted(key for key in asked | found if asked.get(key) != found.get(key)):
        return f"other settings ({', '.join(changed)} differ)"
    if fingerprint and (folder / "provenance.json").is_file():
        seen = read_part(folder / "provenance.json").get("dataset_fingerprint")
        if seen and seen != fingerprint:
            return f"other images ({config.dataset} had fingerprint {seen}, now {fingerprint})"
    return None


def finish(
    folder: Path, history: pd.DataFrame, ranking: Ranking, provenance: Mapping[str, Any]
) -> None:
    """Write the results of a training; the metrics come last and make the run complete."""
    with replacing(folder / "history.csv") as scratch:
        history.to_csv(scratch, index=False)
    with replacing(folder / "per_query.parquet") as scratch:
        _write_per_query(ranking.per_query, scratch)
    curves = {"cmc": ranking.cmc, "cmc_single_shot": ranking.single_shot}
    metrics = ranking.summary() | {
        name: [round(float(value), 6) for value in curve]
        for name, curve in curves.items()
        if curve is not None
    }
    (folder / "metrics.json").unlink(missing_ok=True)
    write_json(folder / "metrics.part.json", metrics)
    files = {name: folder / name for name in HASHED[:-1]} | {
        "metrics.json": folder / "metrics.part.json"
    }
    hashes = {name: sha256(file) for name, file in files.items() if file.exists()}
    write_json(folder / "provenance.json", {**provenance, "sha256": hashes})
    (folder / "metrics.part.json").rename(folder / "metrics.json")


def _write_per_query(per_query: pd.DataFrame, file: Path) -> None:
    """In small numbers; what follows from others is left out (:func:`_read_per_query`)."""
    found = per_query.valid.to_numpy(bool)
    last = np.zeros(len(per_query))
    last[found] = per_query.num_matches[found] / per_query.inp[found]
    numbers = {
        "pid": per_query.pid,
        "camid": per_query.camid,
        "num_matches": per_query.num_matches,
        "first_match": per_query.first_match.fillna(0),
        "last_match": last.round(),
    }
    table = pd.DataFrame({name: column.astype(np.int32) for name, column in numbers.items()})
    table["ap"] = per_query.ap
    table.to_parquet(
        file,
        index=False,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table if name != "ap"],
        column_encoding={"ap": "BYTE_STREAM_SPLIT"},  # a fifth smaller
    )


def _read_per_query(file: Path) -> pd.DataFrame:
    table = pd.read_parquet(file)
    if "last_match" not in table:  # of an earlier version, which wrote everything
        return table
    valid = table.num_matches > 0
    return pd.DataFrame(
        {
            "query": np.arange(len(table)),
            "pid": table.pid.astype(np.int64),
            "camid": table.camid.astype(np.int64),
            "valid": valid,
            "num_matches": table.num_matches.astype(np.int64),
            "first_match": table.first_match.astype("Int64").where(valid),
            "ap": table.ap.astype(np.float64),
            "inp": (table.num_matches / table.last_match).where(valid),
        }
    )


def ship(run: Run, name: str) -> Path:
    """Put a run's network where ``init="synthetic"`` looks for it, with a note of its origin.

    Args:
        run: a finished run, trained on generated people only.
        name: the network's name in ``reidlab.recipe.names.MODELS``.

    Returns:
        The weight file; the note, JSON with the file's sha256, stands beside it.
    """
    target = SHIPPED / f"{name}_synthetic.safetensors"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(run.path / WEIGHTS, target)
    scores = {key: value for key, value in run.metrics.items() if key != "cmc"}
    note = {
        "sha256": sha256(target),
        "licence": "MIT, as the project: no photograph was used",
        "config": run.config,
        "metrics": scores,
        "provenance": run.provenance,
    }
    write_json(target.with_suffix(".json"), note)
    return target


def runs_table(runs: list[Run]) -> pd.DataFrame:
    """One row a run: what was trained on what, from what, and how well it ranks (percent)."""
    columns = ["dataset", "model", "init", "height", "width", "epochs", "distance", "seed"]
    scores = ["rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP", "num_valid"]
    rows = [
        {"run": run.name}
        | {column: run.config[column] for column in columns}
        | {score: run.metrics[score] for score in scores}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=["run", *columns, *scores])
