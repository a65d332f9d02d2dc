"""Running the study: the runs of a profile, its notebooks, and the commands that make the graph.

A notebook asks for finished runs with :func:`ensure_runs` and leaves tables and figures with
:class:`Results`. The Snakefile calls ``python -m reidlab.study.steps``, one command for each rule.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError
from reidlab.recipe.names import GENERATED
from reidlab.study.notebooks import parameters_of, run_notebook
from reidlab.study.profiles import TRAINING, Notebook, Profile, load_profile, profile_names
from reidlab.study.results import Results, write_report
from reidlab.study.sources import code_hash, imported_by

if TYPE_CHECKING:  # torch takes seconds to import, and half of the commands do without it
    from reidlab.runs.folder import Run

log = logging.getLogger("reidlab.study.steps")  # also when it runs as __main__

#: What a run comes down to; the history also holds times, which differ each time.
RUN_FILES = ("metrics.json", "model.safetensors")

__all__ = [
    "TRAINING",
    "Notebook",
    "Profile",
    "Results",
    "check_notebooks",
    "ensure_families",
    "ensure_runs",
    "load_profile",
    "parameters_of",
    "profile_names",
    "require_data",
    "run_configs",
    "run_folder",
    "run_notebook",
]


def run_folder(profile: str, name: str) -> Path:
    """Folder of a run: ``results/<profile>/runs/<name>``."""
    return paths.results(profile) / "runs" / name


def run_configs(profile: str) -> dict[str, dict[str, Any]]:
    """Every run of a profile with all fields of its ``TrainConfig``, sources first.

    Raises:
        StudyError: see :func:`reidlab.study.profiles.load_profile`.
    """
    return load_profile(profile).runs


def ensure_runs(
    profile: str, names: list[str] | None = None, weights: bool = False
) -> "list[Run]":
    """Finished runs of a profile; those that are missing are trained here and now.

    Under ``make study`` nothing is missing: there the graph has trained them before.

    Args:
        profile: its name.
        names: which runs, in this order; a family stands for its members. Default: all runs that
            are not repeated with several seeds.
        weights: whether the networks themselves are needed. They are not in git, so a fresh
            clone has the scores of the committed runs but has to train for the weights.

    Raises:
        StudyError: an unknown profile or run, or a run folder that was made with other settings
            than the profile asks for now.
        DataError: data that the runs need are missing.
    """
    checked = load_profile(profile)
    wanted = checked.single if names is None else _runs(checked, names)
    return [_ensure(checked, name, weights) for name in wanted]


def ensure_families(profile: str, names: list[str]) -> "dict[str, list[Run]]":
    """Finished runs by family, as :func:`ensure_runs`: one for each seed, in the seeds' order.

    Args:
        profile: its name.
        names: of families; a run that is not repeated is a family of one.

    Raises:
        StudyError: see :func:`ensure_runs`.
    """
    checked = load_profile(profile)
    return {
        name: [_ensure(checked, run, weights=False) for run in _runs(checked, [name])]
        for name in names
    }


def _runs(profile: Profile, names: list[str]) -> list[str]:
    """Names of runs, with the members of families in their place."""
    for name in names:
        if name not in profile.runs and name not in profile.families:
            raise _no_run(profile, name)
    return [run for name in names for run in profile.members(name)]


def _no_run(profile: Profile, name: str) -> StudyError:
    known = ", ".join([*profile.single, *profile.families])
    return StudyError(f"Profile {profile.name} has no run {name!r}. It has: {known}.")


def _ensure(profile: Profile, name: str, weights: bool) -> "Run":
    from reidlab.runs.folder import is_complete
    from reidlab.training.loop import TrainConfig, fit

    folder = run_folder(profile.name, name)
    if weights and is_complete(folder) and not (folder / "model.safetensors").is_file():
        log.info("%s: its weights are not here, training them again", name)
        (folder / "metrics.json").unlink()
    if not is_complete(folder) and (source := profile.source(name)):
        _ensure(profile, source, weights=True)
    return fit(TrainConfig(**profile.runs[name]), folder)


def check_notebooks(profile: Profile) -> None:
    """Hold a profile against its notebooks.

    Raises:
        StudyError: a notebook that does not exist, is refused, or lacks a parameter that the
            profile sets.
    """
    steps = {name: set(step.parameters) for name, step in profile.notebooks.items()}
    for config in profile.runs.values():
        steps[TRAINING] = {"run", *config}
    for name, given in steps.items():
        known = parameters_of(_source_notebook(name))
        if missing := sorted({"profile", *given} - set(known)):
            raise StudyError(
                f"{name}.ipynb has no parameter {', '.join(missing)}, which profile "
                f"{profile.name} sets. It has: {', '.join(known)}."
            )


def require_data(profile: Profile) -> None:
    """See that the real data and weight files of a profile are there.

    Raises:
        StudyError: ``REIDLAB_DATA`` is not set, or a weight file is missing below it.
        DataError: a dataset is missing below it.
    """
    from reidlab import data

    real = [name for name in profile.datasets if name not in GENERATED]
    inits = [config["init"].partition(":") for config in profile.runs.values()]
    files = sorted({file for word, _, file in inits if file and word != "run"})
    below = [file for file in files if "$DATA" in file]
    needs = ", ".join(real + below)
    root = paths.data_root()
    remedy = f"make study PROFILE={profile.name} DATA=/folder/with/Market-1501-v15.09.15.zip"
    if needs and root is None:
        raise StudyError(f"Profile {profile.name} needs {needs}. Say where they are: {remedy}")
    if needs and not root.exists():
        raise StudyError(
            f"Profile {profile.name} needs {needs}; looked in {root}, which does not exist. "
            f"Say where they are: {remedy}"
        )
    for name in real:
        data.locate(name, root)
    for file in files:
        # A relative name starts where the notebook runs.
        path = paths.NOTEBOOKS / file.replace("$DATA", str(root))
        if not path.is_file():
            other = f", or name another folder: {remedy}" if file in below else ""
            raise StudyError(
                f"Profile {profile.name} starts from the checkpoint {path}, which is missing. "
                f"Put it there, or take its run out of config/{profile.name}.yaml{other}."
            )


def _source_notebook(name: str) -> Path:
    return paths.NOTEBOOKS / f"{name}.ipynb"


def _run(profile: Profile, name: str, output: Path, parameters: dict[str, Any]) -> None:
    source, timeout = _source_notebook(name), profile.cell_timeout
    run_notebook(source, output, parameters, timeout, pictures=profile.is_public)


def _executed(profile: Profile, *name: str) -> Path:
    return profile.results.joinpath("notebooks", *name[:-1], f"{name[-1]}.ipynb")


# Commands: one for each rule of the Snakefile, each usable by hand.


def prepare_data(profile: Profile, name: str) -> None:
    """Load a dataset once, which unpacks or generates it and checks its counts."""
    from reidlab import data

    log.info("data %s", name)
    dataset = data.load(name)
    counts = ", ".join(f"{split} {len(frame):,}" for split, frame in dataset.splits().items())
    log.info("%s: %s images", name, counts)
    _mark(profile, f"data/{name}", dataset.fingerprint)


def train_run(profile: Profile, name: str) -> None:
    """Execute the training notebook for one run; the run folder and the notebook are the result.

    The runs of a family are trained one after the other, from the same code but without a
    notebook each: there are many of them, and the notebooks that read them put them side by side.

    A finished run that rests on the same settings, code and initial weights is not trained
    again, and an interrupted one goes on; then only the notebook is new. Anything else in the
    run's folder makes room: results are regenerated, never edited. A run that this one starts
    from is trained before it, if its weights are not there.
    """
    if name in profile.families:
        for member in profile.families[name]:
            train_run(profile, member)
        return
    if name not in profile.runs:
        raise _no_run(profile, name)
    source = profile.source(name)
    if source and not (run_folder(profile.name, source) / "model.safetensors").is_file():
        train_run(profile, source)
    config, folder = profile.runs[name], run_folder(profile.name, name)
    make_room(folder, config, _rests_on(profile, name))
    log.info("run %s: %s", name, _summary(config))
    if name in profile.single:
        parameters = {"profile": profile.name, "run": name, **config}
        _run(profile, TRAINING, _executed(profile, TRAINING, name), parameters)
        if not (folder / "metrics.json").is_file():
            raise StudyError(f"{TRAINING}.ipynb left no finished run in {folder}.")
    else:
        _train(config, folder)
    _mark(profile, f"run/{name}", *map(_sha256, (folder / file for file in RUN_FILES)))


def _train(config: dict[str, Any], folder: Path) -> None:
    """Train without a notebook, in the folder where a notebook would."""
    from reidlab.training.loop import TrainConfig, fit

    with contextlib.chdir(paths.NOTEBOOKS):  # where a relative name of a checkpoint starts
        run = fit(TrainConfig(**config), folder)
    log.info("%s: Rank-1 %.1f, mAP %.1f", run.name, run.metrics["rank1"], run.metrics["mAP"])


def _rests_on(profile: Profile, name: str) -> dict[str, str]:
    """Hashes of what a training's numbers follow from, besides its settings and data."""
    rests_on = {"code": code_hash(imported_by(paths.ROOT / "reidlab" / "train.py"))}
    if source := profile.source(name):
        weights = [run_folder(profile.name, source) / "model.safetensors"]
    elif profile.runs[name]["init"] == "synthetic":
        weights = sorted((paths.ROOT / "reidlab").rglob("*.safetensors"))
    else:
        weights = []
    for file in weights:
        rests_on[file.name] = _sha256(file)
    return rests_on


def make_room(folder: Path, config: dict[str, Any], rests_on: dict[str, str]) -> None:
    """Set a run aside that rests on something else, and note what the next one rests on.

    A run without a note was made by hand with fit(): its settings are all that can be compared.
    """
    note, why = folder / ".rests-on.json", None
    if changed := _changed(folder, config):
        why = f"the profile sets another {', '.join(changed)}"
    elif note.is_file() and json.loads(note.read_text()) != rests_on:
        why = "code or initial weights have changed"
    elif (folder / "metrics.json").is_file() and not (folder / "model.safetensors").is_file():
        why = "its weights are not here"  # they are not in git
    if why:
        aside = folder.parents[1] / ".replaced" / folder.name
        log.info("%s: %s, starting afresh; the old run is in %s", folder.name, why, aside)
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(rests_on, indent=2) + "\n")


def _changed(folder: Path, config: dict[str, Any]) -> list[str]:
    """Settings in which a run folder differs from what is asked for."""
    file = folder / "config.json"
    if not file.is_file() or json.loads(file.read_text()) == config:
        return []
    from reidlab.training.loop import TrainConfig, changed_settings

    return sorted(changed_settings(TrainConfig(**config), folder))


def _summary(config: dict[str, Any]) -> str:
    """A run's settings in a line."""
    count = config["epochs"]
    work = f"{count} epoch{'s' * (count > 1)}" if count else "evaluation only"
    size = f"{config['height']}x{config['width']}"
    return f"{config['model']} on {config['dataset']} at {size}, init {config['init']}, {work}"


def execute(profile: Profile, name: str) -> None:
    """Execute one analysis notebook."""
    if name not in profile.notebooks:
        raise StudyError(
            f"Profile {profile.name} has no notebook {name!r}. "
            f"It has: {', '.join(profile.notebooks) or 'none'}."
        )
    log.info("notebook %s", name)
    parameters = {"profile": profile.name, **profile.notebooks[name].parameters}
    output = _executed(profile, name)
    _run(profile, name, output, parameters)
    _mark(profile, f"notebook/{name}", _sha256(output))


def report(profile: Profile) -> None:
    """Write the page that shows every score, figure and table."""
    from reidlab.runs.folder import load_run, runs_table

    # Families have their own tables, with means over their seeds.
    runs = [load_run(run_folder(profile.name, name)) for name in profile.single]
    page = write_report(profile.name, profile.description, runs_table(runs))
    log.info("results: %s", page)
    _mark(profile, "report", _sha256(page))


def _mark(profile: Profile, name: str, *content: str) -> None:
    """Tell the graph that a step is done; the content says with what result."""
    mark = profile.results / ".done" / name
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("\n".join(content) + "\n")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def refresh_notebooks() -> None:
    """Re-execute the source notebooks in place, with their defaults, to renew saved outputs."""
    for source in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb")):
        log.info("%s", source.name)
        run_notebook(source, source, timeout=600)


def _checked(name: str) -> Profile:
    """The profile; a job of the graph gets the one that the Snakefile has checked.

    Checking imports torch, and would take longer than the rest of the command.
    """
    plan = os.environ.get("REIDLAB_PLAN")
    profile = Profile.from_json(plan) if plan else None
    return profile if profile and profile.name == name else load_profile(name)


def main(arguments: list[str] | None = None) -> int:
    """Command line of the study; returns the exit status."""
    commands = {"data": prepare_data, "run": train_run, "notebook": execute}
    parser = argparse.ArgumentParser(prog="python -m reidlab.study.steps", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("profiles", help="list the profiles")
    verbs.add_parser("refresh", help="re-execute the source notebooks in place")
    for verb, text in (("check", "check a profile, its notebooks and data"), ("report", "page")):
        verbs.add_parser(verb, help=text).add_argument("profile")
    for verb, command in commands.items():
        sub = verbs.add_parser(verb, help=(command.__doc__ or "").splitlines()[0])
        sub.add_argument("profile")
        sub.add_argument("name")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("reidlab").setLevel(logging.INFO)
    try:
        if given.verb == "profiles":
            for name in profile_names():
                sys.stdout.write(f"{name:12} {load_profile(name).description}\n")
        elif given.verb == "refresh":
            refresh_notebooks()
        elif given.verb == "check":
            check_notebooks(profile := load_profile(given.profile))
            require_data(profile)
        elif given.verb == "report":
            report(_checked(given.profile))
        else:
            commands[given.verb](_checked(given.profile), given.name)
    except ReidlabError as error:
        sys.stderr.write(f"\nError: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command goes on after the last epoch.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
