"""A study in Python: what is trained, from what and with which seeds, and which notebooks read it.

A study is a file of ``studies/``, and its name is the file's:

    from reidlab.recipe import Study

    study = Study("What one wants to know, in a sentence.")
    study.run("a-none", "fast", dataset="synthetic-a", seeds=[0, 1, 2])
    study.run("a-to-b", "a-none", dataset="synthetic-b", start="a-none")
    study.notebook("05-comparison", runs=["a-none", "a-to-b"])

Loops take the place of repetition. ``python -m reidlab plan NAME`` prints every run, expanded, so
that a name can be found by searching. A mistake is one error that names file and line.
"""

import dataclasses
import json
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError
from reidlab.recipe import names
from reidlab.recipe.config import RECIPES, TrainConfig, unknown
from reidlab.recipe.init import WORDS, Init, lineage

#: What may be the name of a study, a run, a table or a figure: it becomes a file's name, a word of
#: a command and a part of an address.
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
#: A figure's name holds a run's, so that of a run or profile is no longer than this.
LONGEST = 80
A_NAME = f"lower-case words joined by hyphens, {LONGEST} letters at most: my-run-2"

#: The notebook that trains: executed for a run, it has that run's settings as parameters.
TRAINING = "03-training"
#: The study whose parameters the source notebooks hold as their defaults.
DEFAULTS = "smoke"


@dataclass(frozen=True)
class PlannedRun:
    """A recipe, a start and seeds: one training for each seed.

    Attributes:
        name: of the run.
        config: its settings, with the first of its seeds.
        seeds: one or more.
        like: the name of the recipe or run that it was made from.
        base: the settings of that.
        where: file and line of the study.
    """

    name: str
    config: TrainConfig
    seeds: tuple[int, ...]
    like: str
    base: TrainConfig
    where: str

    @property
    def start(self) -> Init:
        """What it starts from."""
        return Init.parse(self.config.init)

    def of_seed(self, seed: int) -> TrainConfig:
        """Its settings with one of its seeds."""
        return dataclasses.replace(self.config, seed=seed)

    @property
    def changes(self) -> dict[str, Any]:
        """The settings, besides start and seeds, in which it differs from what it is like."""
        mine, theirs = dataclasses.asdict(self.config), dataclasses.asdict(self.base)
        return {key: mine[key] for key in mine if mine[key] != theirs[key] and key not in OPEN}


#: Settings that a recipe leaves open.
OPEN = ("init", "seed")


@dataclass(frozen=True)
class PlannedNotebook:
    """A notebook of a study.

    Attributes:
        name: of the notebook, such as ``05-comparison``.
        parameters: values in place of its defaults.
        needs: the runs that its parameters name.
        where: file and line of the study.
    """

    name: str
    parameters: dict[str, Any]
    needs: tuple[str, ...]
    where: str


class Study:
    """What is trained and which notebooks are executed.

    Args:
        description: what the study asks, in a sentence.
        keep: whether finished runs stay when the training code has changed. Right where a run
            takes hours: which code it comes from stands in its ``provenance.json``.
        cell_timeout: seconds that one notebook cell may take.
        threads: of one job, as the three below: what it may ask of a machine or a cluster.
        mem_mb: memory.
        runtime: minutes.
        gpu: graphics processors.

    Attributes:
        name: of the study's file; ``load`` sets it.
        runs: by name, in the order of the file: what a run starts from comes before it.
        notebooks: in the order of the file.
    """

    def __init__(
        self,
        description: str,
        *,
        keep: bool = False,
        cell_timeout: int = 1800,
        threads: int = 1,
        mem_mb: int = 4000,
        runtime: int = 60,
        gpu: int = 0,
    ):
        self.name = ""
        self.description, self.keep, self.cell_timeout = description, keep, cell_timeout
        self.resources = dict(threads=threads, mem_mb=mem_mb, runtime=runtime, gpu=gpu)
        for what, value in {**self.resources, "cell_timeout": cell_timeout}.items():
            least = int(what != "gpu")
            if type(value) is not int or value < least:
                _fail(_where(), f"{what}={value!r}: expected a whole number from {least} on.")
        self.runs: dict[str, PlannedRun] = {}
        self.notebooks: dict[str, PlannedNotebook] = {}

    def run(
        self,
        name: str,
        like: "str | TrainConfig | PlannedRun" = "report",
        *,
        start: "str | PlannedRun | None" = None,
        seeds: Sequence[int] | None = None,
        **changes: Any,
    ) -> PlannedRun:
        """Train a recipe, once for each seed.

        Args:
            name: lower-case words joined by hyphens.
            like: a recipe of :data:`reidlab.recipe.config.RECIPES`, its name, or an earlier run,
                whose start and seeds are then taken over, too.
            start: words of :class:`reidlab.recipe.init.Init`, or an earlier run: each seed starts
                from that run's training of the same seed, or from the only one it has.
            seeds: default 0.
            changes: other settings of :class:`TrainConfig` than those of ``like``.

        Raises:
            StudyError: a name, setting, seed or start that does not exist or does not fit.
        """
        where = _where()
        if not isinstance(name, str) or not is_name(name):
            _fail(where, f"run {name!r}: expected {A_NAME}.")
        if name in self.runs:
            _fail(where, f"run {name!r} exists already: {self.runs[name].where}.")
        like_name, base = self._like(where, name, like)
        before = self.runs.get(like_name)
        if seeds is None:
            seeds = before.seeds if before else [0]
        for field, instead in (("init", "start=…"), ("seed", "seeds=[…]")):
            if field in changes:
                _fail(where, f"run {name!r}: say {instead} instead of {field}=….")
        if extra := [field for field in changes if field not in _FIELDS]:
            _fail(where, f"run {name!r}: " + unknown("setting ", extra[0], _FIELDS))
        if (
            isinstance(seeds, str)
            or not isinstance(seeds, Sequence | range)
            or not seeds
            or len(set(seeds)) < len(seeds)
        ):
            _fail(where, f"run {name!r}: seeds={seeds!r}: expected different numbers: [0, 1, 2].")
        init = base.init if start is None else self._start(where, name, start)
        try:
            configs = [
                dataclasses.replace(base, **changes, init=init, seed=seed) for seed in seeds
            ]
        except ReidlabError as error:
            _fail(where, f"run {name!r}: {error}")
        planned = PlannedRun(name, configs[0], tuple(seeds), like_name, base, where)
        self._check_start(planned)
        self.runs[name] = planned
        return planned

    def notebook(self, name: str, **parameters: Any) -> None:
        """Execute a notebook; the runs that its parameters name are trained before it.

        Args:
            name: of a notebook of ``notebooks/``.
            parameters: values in place of its defaults; ``profile`` is always given.

        Raises:
            StudyError: the notebook is there twice, or a value is no plain literal.
        """
        where = _where()
        if not re.fullmatch(r"[0-9]{2}-[a-z0-9-]+", str(name)):
            _fail(where, f"notebook {name!r}: expected a name such as 05-comparison.")
        if name in self.notebooks:
            _fail(where, f"notebook {name!r} exists already: {self.notebooks[name].where}.")
        plain = {key: _plain(where, f"{name}, {key}", value) for key, value in parameters.items()}
        needs = dict.fromkeys(word for word in _words(plain) if word in self.runs)
        if name == TRAINING and len(needs) != 1:
            _fail(where, f"notebook {name!r}: {unknown('run ', plain.get('run'), self.runs)}")
        self.notebooks[name] = PlannedNotebook(name, plain, tuple(needs), where)

    def parameters(self, notebook: str, run: str | None = None) -> dict[str, Any]:
        """What a notebook is executed with: the training notebook has its run's settings, too.

        Args:
            notebook: of this study.
            run: whose settings, instead of those of the run that the study names.
        """
        planned = self.notebooks[notebook]
        settings = {}
        if notebook == TRAINING:
            settings = dataclasses.asdict(self[run or planned.needs[0]].config)
        own = {"run": run} if run else {}
        return {"profile": self.name, **settings, **planned.parameters, **own}

    @property
    def datasets(self) -> list[str]:
        """Every data set that a run or a notebook names, in order."""
        said = [run.config.dataset for run in self.runs.values()]
        said += [word for one in self.notebooks.values() for word in _words(one.parameters)]
        return [*dict.fromkeys(word for word in said if names.reader(word))]

    @property
    def may_be_shown(self) -> bool:
        """Whether pictures of all its data sets may be published."""
        return all(map(names.may_be_shown, self.datasets))

    @property
    def results(self) -> Path:
        """Folder of everything that the study makes."""
        return paths.results(self.name)

    def __getitem__(self, run: str) -> PlannedRun:
        """A run by its name.

        Raises:
            StudyError: there is no such run.
        """
        if run not in self.runs:
            raise StudyError(unknown(f"profile {self.name}: run ", run, self.runs))
        return self.runs[run]

    def notebook_of(self, name: str) -> PlannedNotebook:
        """A notebook by its name.

        Raises:
            StudyError: the study has no such notebook.
        """
        if name not in self.notebooks:
            raise StudyError(unknown(f"profile {self.name}: notebook ", name, self.notebooks))
        return self.notebooks[name]

    def source_seed(self, run: str, seed: int) -> int:
        """Which seed of the run that it starts from a training of ``run`` starts from."""
        return source_seed(self[self[run].start.run].seeds, seed)

    def lineage(self, run: str) -> list[str]:
        """The names of a run and of all that it descends from, itself first."""
        chain = lineage(
            dataclasses.asdict(self[run].config),
            lambda name: dataclasses.asdict(self[name].config),
        )
        return [run, *filter(None, (Init.parse(config["init"]).run for config in chain))]

    def _like(self, where: str, name: str, like: Any) -> tuple[str, TrainConfig]:
        if isinstance(like, PlannedRun):
            like = like.name
        if isinstance(like, TrainConfig):
            return "a recipe of this study", dataclasses.replace(like, init="none", seed=0)
        if like in self.runs:
            return like, self.runs[like].config
        if like in RECIPES:
            return like, RECIPES[like]
        _fail(where, f"run {name!r}: " + unknown("like ", like, [*self.runs, *RECIPES]))

    def _start(self, where: str, name: str, start: Any) -> str:
        if isinstance(start, PlannedRun):
            start = f"run:{start.name}"
        if start in self.runs:
            return f"run:{start}"
        try:
            source = Init.parse(start).run
        except ReidlabError:
            _fail(where, f"run {name!r}: " + unknown("start ", start, [*WORDS, *self.runs]))
        if source and source not in self.runs:
            _fail(
                where, f"run {name!r}: " + unknown("no run before it: start ", source, self.runs)
            )
        return str(start)

    def _check_start(self, run: PlannedRun) -> None:
        model, start = run.config.model, run.start
        if start.kind == "synthetic" and not names.has_shipped_weight(model):
            _fail(
                run.where,
                f"run {run.name!r}: no weight for {model} is shipped; start='synthetic' is for "
                f"{', '.join(filter(names.has_shipped_weight, names.MODELS))}.",
            )
        if not start.run:
            return
        source = self.runs[start.run]
        if not names.takes_weights_of(model, source.config.model):
            _fail(
                run.where,
                f"run {run.name!r}: {model} cannot start from {source.name!r}, whose network is "
                f"{source.config.model}.",
            )
        for seed in run.seeds:
            if len(source.seeds) > 1 and seed not in source.seeds:
                _fail(
                    run.where,
                    f"run {run.name!r}: {source.name!r} has the seeds "
                    f"{', '.join(map(str, source.seeds))}, and not {seed}.",
                )


_FIELDS = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in OPEN]


def source_seed(seeds: Sequence[int], seed: int) -> int:
    """Which of a run's seeds another run of some seed starts from: its own, or the only one."""
    return seed if seed in seeds else seeds[0]


def is_name(name: str) -> bool:
    """Whether a run or a profile may be called so."""
    return NAME.fullmatch(name) is not None and len(name) <= LONGEST


def study_names(folder: Path = paths.STUDIES) -> list[str]:
    """The studies that exist."""
    return sorted(file.stem for file in folder.glob("*.py") if is_name(file.stem))


def load(name: str, folder: Path = paths.STUDIES) -> Study:
    """Read and check a study.

    Args:
        name: of its file, without ending.
        folder: where the files are.

    Raises:
        StudyError: no such file, or a mistake in it; the message names file and line.
    """
    file = folder / f"{name}.py"
    if name not in (known := study_names(folder)):
        if is_name(name) or file.parent != folder or not file.is_file():
            raise StudyError(unknown("profile ", name, known))
        raise StudyError(f"studies/{file.name}: a profile's name is {A_NAME}. Rename the file.")
    found = [one for one in _execute(file).values() if isinstance(one, Study)]
    if len({id(one) for one in found}) != 1:
        raise StudyError(
            f"studies/{file.name} makes {len(found)} studies; expected one, under the name study."
        )
    found[0].name = name
    return found[0]


def _execute(file: Path) -> dict[str, Any]:
    """The names that a study's file defines."""
    space = {"__name__": f"studies.{file.stem}", "__file__": str(file)}
    try:
        code: CodeType = compile(file.read_bytes(), str(file), "exec")
        exec(code, space)
    except StudyError:
        raise
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if getattr(error, "lineno", None) else _line(error, file)
        if b"\0" in file.read_bytes():
            error = "it is no text in UTF-8, as UTF-16 is not. Save it as UTF-8."
        raise StudyError(f"studies/{file.name}{line}: {error}") from None
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        raise StudyError(f"studies/{file.name}{_line(error, file)}: {message}") from error
    return space


def _line(error: BaseException, file: Path) -> str:
    """The line of a file that an error passed through last."""
    lines = [
        step.lineno
        for step in traceback.extract_tb(error.__traceback__)
        if step.filename == str(file)
    ]
    return f", line {lines[-1]}" if lines else ""


def _where() -> str:
    """File and line of the study that called into this module."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"studies/{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"


def _fail(where: str, what: str) -> NoReturn:
    raise StudyError(f"{where}: {what}")


def _plain(where: str, name: str, value: Any) -> Any:
    """A parameter's value without runs in it, which stand for their names."""
    if isinstance(value, PlannedRun):
        return value.name
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(where, name, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(where, name, each) for each in value]
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and json.loads(json.dumps(value)) == value:
        return value
    _fail(
        where,
        f"notebook {name} = {value!r}: a parameter is text, a number, True, False, None, or a "
        "list or dictionary of these.",
    )


def _words(value: Any) -> Iterator[str]:
    """Every text within a parameter's value."""
    if isinstance(value, str):
        yield value.removeprefix("run:")
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _words(each)
