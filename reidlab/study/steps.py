"""The steps of a study: data, runs, notebooks, the page of results.

A notebook asks for finished runs with :func:`runs` or :func:`network` and leaves tables and
figures with :class:`Results`. The Snakefile calls ``python -m reidlab``, a command for each rule.
"""

import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from reidlab import data
from reidlab.common import paths
from reidlab.common.errors import DataError, StudyError
from reidlab.common.files import sha256, write_json
from reidlab.common.lifeline import anchor
from reidlab.common.locks import alone
from reidlab.common.progress import is_batch
from reidlab.recipe import names
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.study import DEFAULTS, Study, load
from reidlab.runs.folder import (
    WEIGHTS,
    Run,
    is_complete,
    load_run,
    runs_table,
    seed_folder,
    why_not_current,
)
from reidlab.study.notebooks import check_notebooks, run_notebook, source_notebook
from reidlab.study.results import write_report
from reidlab.study.sources import code_hash, imported_by
from reidlab.training.loop import fit

log = logging.getLogger(__name__)

#: What a run comes down to; the history also holds times, which differ each time.
RUN_FILES = ("metrics.json", WEIGHTS)


def run_folder(profile: str, name: str, seed: int = 0) -> Path:
    """Folder of a training: ``results/<profile>/runs/<name>/seed-<seed>``."""
    return seed_folder(paths.results(profile) / "runs", name, seed)


def runs(profile: str, names: list[str]) -> dict[str, list[Run]]:
    """Finished runs by name, one training a seed, in the seeds' order.

    Under ``make study`` nothing is missing: there the graph has trained them before. Somebody who
    reads is told what is missing; only the smoke study's, which take seconds, are trained here
    and now, as are those of a notebook alone that the command line executes.

    Args:
        profile: the name of a study.
        names: of its runs.

    Raises:
        StudyError: an unknown profile or run; runs that are missing and not trained here; a folder
            that holds a run of other settings.
        DataError: data that the runs need are missing.
    """
    study = load(profile)
    planned = {name: study[name] for name in names}
    missing = [
        f"{name} (seed {seed})"
        for name, run in planned.items()
        for seed in run.seeds
        if not is_complete(run_folder(profile, name, seed))
    ]
    if missing and (study.keep or not _trains_here(study)):
        raise StudyError(
            f"Not trained yet: {', '.join(missing)}. Train them, which takes its time: "
            f"python -m reidlab run {profile} NAME; all of them: make study PROFILE={profile}. "
            f"Or restore what was deleted: git restore {study.results / 'runs'}."
        )
    return {
        name: [_finished(study, name, seed) for seed in run.seeds] for name, run in planned.items()
    }


def finished(profile: str, names: Iterable[str]) -> dict[str, list[Run]]:
    """Those trainings of runs that are finished, by run; runs without any are left out.

    For tables that show the rows that are there. Only what takes minutes is trained first.

    Raises:
        StudyError: an unknown profile or run; a folder that holds a run of other settings.
    """
    study, names = load(profile), [*names]
    if not study.keep:
        return runs(profile, names)
    return {
        name: some
        for name in names
        if (
            some := [
                _finished(study, name, seed)
                for seed in study[name].seeds
                if is_complete(run_folder(profile, name, seed))
            ]
        )
    }


def whole(profile: str, rows: Mapping[str, str]) -> tuple[dict[str, list[Run]], int]:
    """Rows of a table whose trainings are all finished, and how many trainings the others lack.

    Args:
        profile: the name of a study.
        rows: label -> run.

    Returns:
        Label -> trainings in the seeds' order, without the rows that lack some; and the number
        of trainings that are missing.

    Raises:
        StudyError: see :func:`finished`.
    """
    study, there = load(profile), finished(profile, dict.fromkeys(rows.values()))
    lacks = {name: len(study[name].seeds) - len(there.get(name, [])) for name in rows.values()}
    shown = {label: there[name] for label, name in rows.items() if not lacks[name]}
    return shown, sum(lacks.values())


def network(profile: str, name: str, seed: int | None = None) -> Run:
    """The training of a run's first seed, or of another, with its weights.

    Git keeps few of them: a fresh clone has the scores of the committed runs, and may lack the
    network. A batch execution then trains it; somebody who reads is told.

    Raises:
        StudyError: see :func:`runs`; the weights are missing.
    """
    study = load(profile)
    seed = study[name].seeds[0] if seed is None else seed
    return _finished(study, name, seed, weights=True)


def _finished(study: Study, name: str, seed: int, weights: bool = False) -> Run:
    folder = run_folder(study.name, name, seed)
    if not is_complete(folder) or (weights and not (folder / WEIGHTS).is_file()):
        if _trains_here(study):
            return train(study, name, seed, weights=True)
        raise StudyError(
            f"The network of run {name}, seed {seed}, is not here: git does not keep "
            f"{folder / WEIGHTS}. Train it: python -m reidlab run {study.name} {name} --weights. "
            f"What was found with it stands in {study.results / 'notebooks'}."
        )
    if why := why_not_current(folder, study[name].of_seed(seed)):
        raise StudyError(
            f"{folder} holds a run of {why}, compared with what studies/{study.name}.py asks for. "
            f"Train it: python -m reidlab run {study.name} {name}."
        )
    return load_run(folder)


def _trains_here(study: Study) -> bool:
    return is_batch() or study.name == DEFAULTS


def train(study: Study, name: str, seed: int, weights: bool = False) -> Run:
    """Train a run with one seed; what it starts from is trained before it, if need be.

    A finished run that rests on the same settings, images, code and initial weights is not
    trained again, and an interrupted one goes on. Anything else in the folder makes room: results
    are regenerated, never edited.

    Args:
        study: that the run belongs to.
        name: of the run.
        seed: one of its seeds.
        weights: whether the weights are needed, and not only the scores.
    """
    planned, folder = study[name], run_folder(study.name, name, seed)
    config = planned.of_seed(seed)
    if (source := planned.start.run) and not (study.keep and is_complete(folder)):
        train(study, source, study.source_seed(name, seed), weights=True)
    rests_on = _rests_on(study, name, seed)
    _make_room(folder, config, rests_on, needs_weights=weights or not study.keep)
    if not is_complete(folder):
        log.info("run %s, seed %d: %s", name, seed, _summary(config))
        write_json(folder / RESTS_ON, rests_on)
    run = fit(config, folder)
    scores = run.metrics["rank1"], run.metrics["mAP"]
    log.info("%s, seed %d: Rank-1 %.1f, mAP %.1f", name, seed, *scores)
    _mark(
        study,
        f"run/{name}/{seed}",
        *(sha256(folder / file) for file in RUN_FILES if (folder / file).is_file()),
    )
    return run


def train_all(
    study: Study, names: Iterable[str], seed: int | None = None, weights: bool = False
) -> None:
    """Train runs with all their seeds, or with one.

    Args:
        study: that they belong to.
        names: of the runs.
        seed: one of their seeds; None for all.
        weights: train again where only the scores are here.

    Raises:
        StudyError: no such run or seed.
    """
    for name in names:
        seeds = study[name].seeds
        if seed is not None and seed not in seeds:
            known = ", ".join(map(str, seeds))
            raise StudyError(f"run {name!r} has no seed {seed}. It has: {known}.")
        for each in seeds if seed is None else [seed]:
            train(study, name, each, weights)


RESTS_ON = ".rests-on.json"


def _rests_on(study: Study, name: str, seed: int) -> dict[str, str]:
    """Hashes of what a training's numbers follow from, besides its settings and data."""
    start = study[name].start
    rests_on = {}
    if not study.keep:
        rests_on["code"] = code_hash(imported_by(paths.ROOT / "reidlab/training/loop.py"))
    if start.run:
        source = run_folder(study.name, start.run, study.source_seed(name, seed)) / WEIGHTS
        if source.is_file():
            rests_on["start"] = sha256(source)
    elif start.kind == "synthetic":
        for file in sorted((paths.ROOT / "reidlab" / "weights").glob("*.safetensors")):
            rests_on[file.name] = sha256(file)
    return rests_on


def _make_room(
    folder: Path, config: TrainConfig, rests_on: dict[str, str], needs_weights: bool
) -> None:
    """Set a run aside that rests on something else.

    A run without a note was made by hand with fit(), or comes with a clone: its settings and
    images are all that can be compared.
    """
    note = folder / RESTS_ON
    why = why_not_current(folder, config, _fingerprint(config.dataset))
    if not why and note.is_file():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
            differs = any(before.get(key, value) != value for key, value in rests_on.items())
        except (ValueError, AttributeError):  # cut or damaged: nobody knows
            differs = True
        if differs:
            why = "other code or initial weights"
    if not why and needs_weights and is_complete(folder) and not (folder / WEIGHTS).is_file():
        why = "which only the scores are here"
    if why:
        aside = folder.parents[2] / ".replaced" / folder.parent.name / folder.name
        log.info("%s is of %s: starting afresh; the old run is in %s", folder, why, aside)
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)


def _fingerprint(dataset: str) -> str | None:
    try:
        return data.fingerprint_here(dataset, paths.data_root())
    except DataError:  # not here: results that came with the clone count
        return None


def _summary(config: TrainConfig) -> str:
    """A run's settings in a line."""
    count = config.epochs
    work = f"{count} epoch{'s' * (count > 1)}" if count else "evaluation only"
    size = f"{config.height}x{config.width}"
    return f"{config.model} on {config.dataset} at {size}, init {config.init}, {work}"


def require_data(study: Study) -> None:
    """See that the real data and weight files of a study are there.

    Raises:
        StudyError: ``REIDLAB_DATA`` is not set, or a weight file is missing below it.
        DataError: a data set is missing below it.
    """
    real = [name for name in study.datasets if name not in names.GENERATED]
    starts = dict.fromkeys(run.start for run in study.runs.values())
    files = [start for start in starts if start.name and not start.run]
    below = [start.name for start in files if "$DATA" in start.name]
    needs, root = ", ".join(real + below), paths.data_root()
    remedy = f"make study PROFILE={study.name} DATA=/folder/with/Market-1501-v15.09.15.zip"
    if needs and (root is None or not root.exists()):
        looked = f"; looked in {root}, which does not exist" if root else ""
        raise StudyError(
            f"Profile {study.name} needs {needs}{looked}. Say where they are: {remedy}"
        )
    for name in real:
        data.locate(name, root)
    for start in files:
        # A relative name starts where the notebooks are.
        path = paths.NOTEBOOKS / start.file(root)
        if not path.is_file():
            raise StudyError(
                f"Profile {study.name} starts from the checkpoint {path}, which is missing. "
                f"Put it there, take its run out of studies/{study.name}.py, or name another "
                f"folder: {remedy}."
            )


def prepare_data(study: Study, name: str) -> None:
    """Load a data set once, which unpacks or generates it and checks its counts."""
    log.info("data %s", name)
    dataset = data.load(name)
    counts = ", ".join(f"{split} {len(frame):,}" for split, frame in dataset.splits().items())
    log.info("%s: %s images", name, counts)
    _mark(study, f"data/{name}", dataset.fingerprint)


def execute(study: Study, name: str) -> None:
    """Execute a notebook of a study.

    Raises:
        StudyError: the study has no such notebook, or a cell failed.
    """
    study.notebook_of(name)
    log.info("notebook %s", name)
    output = study.results / "notebooks" / f"{name}.ipynb"
    parameters = study.parameters(name)
    pictures = study.may_be_shown
    run_notebook(source_notebook(name), output, parameters, study.cell_timeout, pictures=pictures)
    _mark(study, f"notebook/{name}", sha256(output))


def report(study: Study) -> None:
    """Write the page that shows every score, figure and table."""
    # Runs with several seeds have their own tables, with means over them.
    single = [name for name, run in study.runs.items() if len(run.seeds) == 1]
    finished = [run_folder(study.name, name, study[name].seeds[0]) for name in single]
    table = runs_table([load_run(folder) for folder in finished if is_complete(folder)])
    page = write_report(study.name, study.description, table)
    log.info("results: %s", page)
    _mark(study, "report", sha256(page))


def make(study: Study, cores: int, more: list[str] | None = None) -> int:
    """Carry out a whole study with Snakemake; returns its exit status.

    Args:
        study: which.
        cores: how many to use.
        more: further options for Snakemake.

    Raises:
        StudyError: mistakes, missing data, or the study is being made already.
    """
    check_notebooks(study)
    study.results.mkdir(parents=True, exist_ok=True)
    # Snakemake's own lock outlives a process that was killed; this one does not.
    with alone(study.results, f"make study PROFILE={study.name}"):
        command = [sys.executable, "-m", "snakemake", "--nolock", "--rerun-incomplete"]
        command += ["--cores", str(cores), "--resources", "gpu=1"]
        command += ["--quiet", "host", "reason", "rules", "--config", f"profile={study.name}"]
        command += more or []
        return subprocess.run(
            command, cwd=paths.ROOT, env={**os.environ, **anchor()}, preexec_fn=_end_with_parent
        ).returncode


def _end_with_parent() -> None:
    """Between fork and exec: Snakemake is not ours, and cannot watch as its jobs do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _mark(study: Study, name: str, *content: str) -> None:
    """Tell the graph that a step is done; the content says with what result."""
    mark = study.results / ".done" / name
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("\n".join(content) + "\n")


def refresh_notebooks(names: Iterable[str] = ()) -> None:
    """Re-execute source notebooks in place, with their defaults, to renew saved outputs.

    Args:
        names: of notebooks; none stands for all.

    Raises:
        StudyError: no such notebook, or a cell failed.
    """
    every = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    for source in [source_notebook(name) for name in names] or every:
        log.info("%s", source.name)
        run_notebook(source, source, timeout=600)
