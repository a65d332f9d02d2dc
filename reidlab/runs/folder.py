"""A run folder: everything that a table or figure needs to know about one training.

``config.json`` what was asked · ``history.csv`` one row an epoch · ``metrics.json`` the final
evaluation · ``per_query.parquet`` the same, query by query · ``provenance.json`` how it came about
· ``model.safetensors`` the network. ``metrics.json`` is written last: where it stands, the run
is complete.
"""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.metrics.scores import Ranking
from reidlab.models import build
from reidlab.models.weights import SHIPPED, load_weights, sha256

LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "pillow")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: its folder; the folder's name is the run's name.
        config: the fields of its ``TrainConfig``.
        history: one row an epoch: epoch, lr, train_loss, train_accuracy, val_loss, val_accuracy,
            rank1, mAP (accuracies in percent), train_seconds, eval_seconds. Empty for a run of
            0 epochs.
        metrics: rank1, rank5, rank10, mAP, mAP_trapezoid, mINP in percent, num_valid, and cmc, a
            list of fractions.
        per_query: one row a query, see :class:`reidlab.metrics.scores.Ranking`.
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
        """The folder's name."""
        return self.path.name


def is_complete(folder: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return (folder / "metrics.json").is_file()


def load_run(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        StudyError: the folder holds none.
    """
    folder = Path(folder)
    if not is_complete(folder):
        raise StudyError(
            f"{folder} holds no finished run (no metrics.json). Train it: `make study`, or fit() "
            "with this folder, which resumes a run that was interrupted."
        )
    return Run(
        path=folder,
        config=read_json(folder / "config.json"),
        history=pd.read_csv(folder / "history.csv"),
        metrics=read_json(folder / "metrics.json"),
        per_query=pd.read_parquet(folder / "per_query.parquet"),
        provenance=read_json(folder / "provenance.json"),
    )


def load_model(run: Run) -> nn.Module:
    """The run's network with its weights, in evaluation mode."""
    model = build(run.config["model"])
    load_weights(model, run.path / "model.safetensors")
    return model.eval()


def save_evaluation(folder: Path, ranking: Ranking) -> None:
    """Write the final evaluation; this completes the run."""
    scratch = folder / "per_query.parquet.part"
    ranking.per_query.to_parquet(scratch, index=False)
    os.replace(scratch, folder / "per_query.parquet")
    curves = {"cmc": ranking.cmc, "cmc_single_shot": ranking.single_shot}
    metrics = ranking.summary() | {
        name: [round(float(value), 6) for value in curve]
        for name, curve in curves.items()
        if curve is not None
    }
    write_json(folder / "metrics.json", metrics)


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
    shutil.copyfile(run.path / "model.safetensors", target)
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


def environment(device: str) -> dict[str, Any]:
    """What a number depends on besides its configuration: code, libraries, machine."""
    return {
        "commit": git_commit(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "device": device,
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
    }


def git_commit() -> str:
    """Commit of the checkout, marked ``+changes`` when tracked source files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = _git("status", "--porcelain", "--untracked-files=no", "--", "reidlab")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit[:12]}+changes" if dirty else commit[:12]


def hardware() -> str:
    """Name of the GPU, else of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one."""
    scratch = file.with_name(file.name + ".part")
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(scratch, file)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(file.read_text())


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
