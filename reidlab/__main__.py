"""The study from a terminal: ``python -m reidlab VERB``, also installed as ``reidlab``."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator

from reidlab.common.errors import ReidlabError
from reidlab.recipe.study import PlannedRun, Study, load, study_names

Command = Callable[[argparse.Namespace], int | None]


def _plan(given: argparse.Namespace) -> None:
    """Print what a study trains and executes, every run expanded; without a name, the studies."""
    if given.profile is None:
        for name in study_names():
            _say(f"{name:12} {load(name).description}")
        return
    study = load(given.profile)
    importlib.import_module("reidlab.study.notebooks").check_notebooks(study)
    count = sum(len(run.seeds) for run in study.runs.values())
    _say(f"{study.name}: {study.description}")
    _say(f"{len(study.runs)} runs, {count} trainings; data: {', '.join(study.datasets)}")
    for run in study.runs.values():
        _say("\n".join(_described(run)))
    for notebook in study.notebooks.values():
        _say(f"notebook {notebook.name}: needs {', '.join(notebook.needs) or 'no run'}")


def _described(run: PlannedRun) -> Iterator[str]:
    yield f"run {run.name}   ({run.where})"
    seeds = ", ".join(map(str, run.seeds))
    yield f"    like {run.like}; from {run.start}; seeds {seeds}"
    if run.changes:
        yield "    " + ", ".join(f"{name}={value!r}" for name, value in run.changes.items())


def _data(given: argparse.Namespace) -> None:
    """Prepare the data of a study, all of it or one set: unpack or draw it, check its counts."""
    steps, study = _steps(given)
    for name in [given.name] if given.name else study.datasets:
        steps.prepare_data(study, name)


def _run(given: argparse.Namespace) -> None:
    """Train a run, with all its seeds or one, and what it starts from."""
    steps, study = _steps(given)
    planned = study[given.name]
    if given.seed is not None and given.seed not in planned.seeds:
        seeds = ", ".join(map(str, planned.seeds))
        raise ReidlabError(f"run {given.name!r} has no seed {given.seed}. It has: {seeds}.")
    for seed in planned.seeds if given.seed is None else [given.seed]:
        steps.train(study, given.name, seed)


def _notebook(given: argparse.Namespace) -> None:
    """Execute a notebook of a study; runs that it needs are trained before it."""
    steps, study = _steps(given)
    if given.name in study.notebooks:
        for run in study.notebooks[given.name].needs:
            for seed in study[run].seeds:
                steps.train(study, run, seed)
    steps.execute(study, given.name)


def _study(given: argparse.Namespace) -> int:
    """Make a whole study: data, runs, notebooks, results."""
    steps, study = _steps(given)
    return steps.make(study, given.cores, given.snakemake)


def _report(given: argparse.Namespace) -> None:
    """Write the page of a study's results."""
    steps, study = _steps(given)
    steps.report(study)


def _refresh(_: argparse.Namespace) -> None:
    """Re-execute the source notebooks in place, to renew their saved outputs."""
    importlib.import_module("reidlab.study.steps").refresh_notebooks()


def _readme(_: argparse.Namespace) -> None:
    """Write the tables of README.md anew from results/."""
    importlib.import_module("reidlab.study.readme").write()


def _steps(given: argparse.Namespace) -> tuple[object, Study]:
    """The study, and the module that carries it out, which takes torch's seconds to import."""
    study = load(given.profile)  # so that a mistake in it is told at once
    return importlib.import_module("reidlab.study.steps"), study


def _elsewhere(module: str) -> tuple[Callable, Command]:
    """A verb whose arguments and work are those of a module of the package."""

    def add(parser: argparse.ArgumentParser) -> None:
        importlib.import_module(module).add_arguments(parser)

    return add, lambda given: importlib.import_module(module).run(given)


def _profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", help="name of a study: a file of studies/ without its ending")


def _arguments(verb: str) -> Callable[[argparse.ArgumentParser], None]:
    def add(parser: argparse.ArgumentParser) -> None:
        if verb == "plan":
            parser.add_argument("profile", nargs="?", help="name of a study; default: list them")
            return
        _profile(parser)
        if verb == "data":
            parser.add_argument("name", nargs="?", help="of one data set")
        if verb in ("run", "notebook"):
            parser.add_argument("name", help=f"of the {verb}")
        if verb == "run":
            parser.add_argument("--seed", type=int, help="this seed only")
        if verb == "study":
            parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
            parser.add_argument("snakemake", nargs="*", help="after --: options for Snakemake")

    return add


def _none(_: argparse.ArgumentParser) -> None:
    pass


#: Verb -> what adds its arguments, what does its work.
VERBS: dict[str, tuple[Callable, Command]] = {
    "plan": (_arguments("plan"), _plan),
    "data": (_arguments("data"), _data),
    "run": (_arguments("run"), _run),
    "notebook": (_arguments("notebook"), _notebook),
    "study": (_arguments("study"), _study),
    "report": (_arguments("report"), _report),
    "rescore": _elsewhere("reidlab.evaluation.rescore"),
    "export": _elsewhere("reidlab.evaluation.export"),
    "refresh": (_none, _refresh),
    "readme": (_none, _readme),
}

HELP = {
    "rescore": "Score a finished run in another way: another distance, normalised, re-ranked.",
    "export": "Write a run's network as an ONNX file, checked against PyTorch.",
}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="reidlab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (add, work) in VERBS.items():
        about = HELP.get(verb) or work.__doc__
        sub = verbs.add_parser(verb, help=about.rstrip("."), description=about)
        if arguments[:1] == [verb]:  # the others' modules need not be imported
            add(sub)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("reidlab").setLevel(logging.INFO)
    try:
        return VERBS[given.verb][1](given) or 0
    except ReidlabError as error:
        sys.stderr.write(f"\nError: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command goes on after the last epoch.\n")
        return 130
    except BrokenPipeError:  # `reidlab plan NAME | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
