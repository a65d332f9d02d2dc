"""The study from a terminal: ``python -m reidlab VERB``, also installed as ``reidlab``."""

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from reidlab.common.errors import ReidlabError
from reidlab.common.lifeline import end_with_study
from reidlab.common.once import OF_THE_PLACE
from reidlab.recipe.study import PlannedRun, load, study_names

#: Verb -> what it does. Work and arguments are those of the functions below, or of a module.
VERBS = {
    "plan": "print what a study trains and executes, every run expanded; alone: list the studies",
    "data": "prepare the data of a study, or one set: unpack or draw it, check its counts",
    "own": "list your own photographs, a folder for each person, as the data set 'own'",
    "run": "train a run, with all its seeds or one, and what it starts from",
    "watch": "show a run's curves in the terminal while it trains, and the time that is left",
    "notebook": "execute a notebook of a study, with the runs that it needs",
    "study": "make a whole study: data, runs, notebooks, results",
    "report": "write the page of a study's results, and its site",
    "site": "make the pages of a study's results, to be read in a browser",
    "rescore": "score a run in another way: another distance, normalised, re-ranked",
    "corrupt": "score a run on corrupted images, as Market-1501-C does; kept in its folder",
    "export": "write a network as an ONNX file, checked against PyTorch",
    "search": "rank a folder of your own pictures for one or more of them: a sheet and a CSV",
    "verify": "say whether two of your own pictures show one person, and what that is worth",
    "photographs": "look for pictures of people in what git keeps; --staged: would commit",
    "refresh": "re-execute the source notebooks in place, to renew their saved outputs",
    "readme": "write the tables of README.md and docs/ anew from results/",
}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="reidlab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, about in VERBS.items():
        sub = verbs.add_parser(verb, help=about, description=f"{about[0].upper()}{about[1:]}.")
        if arguments[:1] == [verb]:  # the others' modules need not be imported
            _arguments(verb, sub)
    more: list[str] = []
    if arguments[:1] == ["study"] and "--" in arguments:
        cut = arguments.index("--")
        arguments, more = arguments[:cut], arguments[cut + 1 :]
    given = parser.parse_args(arguments)
    given.snakemake = more
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("reidlab").setLevel(logging.INFO)
    end_with_study()
    trouble = 2 if given.verb == "verify" else 1  # whose 1 says: different
    try:
        return _carry_out(given) or 0
    except ReidlabError as error:
        sys.stderr.write(f"\nError: {error}\n")
        return trouble
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command goes on after the last epoch.\n")
        return 130
    except BrokenPipeError:  # `reidlab plan NAME | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # full, closed or no folder; a file that is not there is a mistake
        if error.errno not in OF_THE_PLACE - {errno.ENOENT}:
            raise
        sys.stderr.write(
            f"\nError: {error.filename or 'a file'}: {error.strerror}. See that the disk has room "
            "and that its folder may be written to; then run the same command again.\n"
        )
        return trouble


def _arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    if verb in ("rescore", "export"):
        _module(f"evaluation.{verb}").add_arguments(parser)
    elif verb in ("search", "verify"):
        _module(f"pictures.{verb}").add_arguments(parser)
    elif verb == "watch":
        _module("study.watch").add_arguments(parser)
    elif verb == "own":
        parser.add_argument("folder", help="with a folder for each person")
        parser.add_argument("out", nargs="?", help="the list; default: own.csv beside the folder")
    elif verb == "refresh":
        parser.add_argument("names", nargs="*", help="of notebooks; without any: all")
    elif verb == "photographs":
        parser.add_argument("--staged", action="store_true", help="as a pre-commit hook does")
    elif verb != "readme":
        optional = "?" if verb == "plan" else None
        parser.add_argument("profile", nargs=optional, help="a file of studies/, without ending")
    if verb == "corrupt":
        parser.add_argument(
            "run", help="a run of the profile; trained if its weights are not here"
        )
        parser.add_argument("--seed", type=int, help="the training of this seed only")
        parser.add_argument("--repeats", type=int, default=10, help="draws for every image")
        parser.add_argument("--rerank", action="store_true", help="by k-reciprocal neighbours")
        parser.add_argument("--grid", action="store_true", help="every kind at every severity too")
        parser.add_argument("--people", type=float, default=0.1, help="share of them in the grid")
    if verb in ("data", "run", "notebook"):
        optional = "?" if verb == "data" else None
        parser.add_argument("name", nargs=optional, help="of one of the study's")
    if verb == "run":
        parser.add_argument("--seed", type=int, help="this seed only")
        parser.add_argument("--weights", action="store_true", help="also where scores are here")
    if verb == "study":
        parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
        parser.usage = "%(prog)s [-h] [--cores CORES] profile [-- OPTIONS FOR SNAKEMAKE]"


def _carry_out(given: argparse.Namespace) -> int | None:
    if given.verb == "plan":
        return _plan(given.profile)
    if given.verb == "own":
        return _say(_module("data.readers.own").make_csv(given.folder, given.out))
    if given.verb == "export":
        return _module("evaluation.export").run(given)
    if given.verb in ("search", "verify"):
        return _module(f"pictures.{given.verb}").run(given)
    if given.verb == "watch":
        return _module("study.watch").run(given)
    if given.verb == "photographs":
        count = _module("study.photographs").require_none(given.staged)
        return _say(f"{count} files: no photograph of a person")
    if given.verb == "readme":
        return _module("study.readme").write()
    study = load(given.profile) if "profile" in given else None  # mistakes in it come first
    steps = _module("study.steps")  # which takes torch's seconds
    if given.verb == "rescore":
        return _module("evaluation.rescore").run(given, steps.network)
    if given.verb == "corrupt":
        seeds = study[given.run].seeds if given.seed is None else [given.seed]
        for seed in seeds:
            _corrupt(given, steps.network(given.profile, given.run, seed))
        return None
    if given.verb == "refresh":
        return steps.refresh_notebooks(given.names)
    if given.verb == "study":
        return steps.make(study, given.cores, given.snakemake)
    if given.verb == "site":
        return _say(_module("study.site").make(study))
    if given.verb == "report":
        steps.report(study)
        return _say(_module("study.site").make(study))
    if given.verb == "data":
        for name in [given.name] if given.name else study.datasets:
            steps.prepare_data(study, name)
    if given.verb == "run":
        steps.train_all(study, [given.name], given.seed, given.weights)
    if given.verb == "notebook":
        steps.train_all(study, study.notebook_of(given.name).needs)
        steps.execute(study, given.name)
    return None


def _corrupt(given: argparse.Namespace, run: Any) -> None:
    runs = _module("evaluation.corrupted_runs")
    table = runs.protocol(run, given.repeats, given.rerank)
    kept = _module("evaluation.robustness").over_repeats(table[table.by == "all"])
    _say(kept.round(2).to_string(index=False))
    if given.grid:
        _say(runs.grid(run, given.people).round(1).to_string(index=False))


def _plan(profile: str | None) -> None:
    if profile is None:
        for name in study_names():
            _say(f"{name:12} {load(name).description}")
        return
    study = load(profile)
    _module("study.notebooks").check_notebooks(study)
    count = sum(len(run.seeds) for run in study.runs.values())
    _say(f"{study.name}: {study.description}")
    _say(f"{len(study.runs)} runs, {count} trainings; data: {', '.join(study.datasets)}")
    for run in study.runs.values():
        for line in _described(run):
            _say(line)
    for notebook in study.notebooks.values():
        _say(f"notebook {notebook.name}: needs {', '.join(notebook.needs) or 'no run'}")


def _described(run: PlannedRun) -> Iterator[str]:
    yield f"run {run.name}   ({run.where})"
    yield f"    like {run.like}; from {run.start}; seeds {', '.join(map(str, run.seeds))}"
    if run.changes:
        yield "    " + ", ".join(f"{name}={value!r}" for name, value in run.changes.items())


def _module(name: str) -> Any:
    return importlib.import_module(f"reidlab.{name}")


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
