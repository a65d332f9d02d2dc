"""Profiles: what a study trains and which notebooks it executes, read from ``config/*.yaml``."""

import dataclasses
import difflib
import graphlib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError

#: The notebook that is executed once per run, with the run's settings as parameters.
TRAINING = "03-training"

#: What one job may ask of a machine or a cluster's scheduler, and the defaults.
RESOURCES = {"threads": 1, "mem_mb": 4000, "runtime": 60, "gpu": 0}


@dataclass(frozen=True)
class Notebook:
    """One analysis notebook of a profile.

    Attributes:
        needs: names of the runs that it reads, families as their members.
        parameters: values in place of its defaults; ``profile`` is always given.
    """

    needs: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """One checked profile.

    Attributes:
        name: the YAML file's name without ending.
        description: one sentence for people.
        datasets: names for :func:`reidlab.data.load`; prepared before anything is trained.
        runs: by name, every field of ``TrainConfig``; sources come before what starts from them.
        families: runs that are repeated with several seeds: name -> names of its members, which
            are in ``runs`` under ``<name>-s<seed>``.
        notebooks: by name, in reading order; :data:`TRAINING` is executed for each run instead.
        cell_timeout: seconds that one notebook cell may take.
        resources: of one job, see :data:`RESOURCES`.
    """

    name: str
    description: str
    datasets: list[str]
    runs: dict[str, dict[str, Any]]
    families: dict[str, list[str]]
    notebooks: dict[str, Notebook]
    cell_timeout: int
    resources: dict[str, int]

    @property
    def single(self) -> list[str]:
        """The runs that belong to no family."""
        members = {member for family in self.families.values() for member in family}
        return [name for name in self.runs if name not in members]

    def members(self, name: str) -> list[str]:
        """The runs behind a name: a family's members, or the run itself."""
        return self.families.get(name, [name])

    @property
    def results(self) -> Path:
        """Folder of everything that this profile makes."""
        return paths.results(self.name)

    @property
    def is_public(self) -> bool:
        """Whether all of its images are generated, so that anybody may see them."""
        return all(name.startswith("synthetic-") for name in self.datasets)

    def to_json(self) -> str:
        """As text, for another process: :meth:`from_json` reads it without checking again."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """The profile that :meth:`to_json` wrote."""
        fields = json.loads(text)
        fields["notebooks"] = {name: Notebook(**own) for name, own in fields["notebooks"].items()}
        return cls(**fields)

    def source(self, run: str) -> str | None:
        """The run of this profile that ``run`` starts from, if there is one."""
        return _source(self.runs[run])


def profile_names(folder: Path = paths.CONFIG) -> list[str]:
    """The profiles that exist."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


def load_profile(name: str, folder: Path = paths.CONFIG) -> Profile:
    """Read and check a profile.

    Args:
        name: of the YAML file, without ending.
        folder: where the YAML files are.

    Raises:
        StudyError: no such profile; a key, field, dataset, run or notebook setting that does not
            exist or has the wrong type; runs that start from each other in a circle. The message
            names file and key.
    """
    if name not in (known := profile_names(folder)):
        raise StudyError(f"There is no profile {name!r}.{_close(name, known)}")
    reader = _Reader(folder / f"{name}.yaml")
    top = reader.mapping("", reader.content, _KEYS)
    datasets = reader.names("datasets", top.get("datasets", []), _dataset_names())
    runs, families = reader.runs(top.get("defaults") or {}, top.get("runs") or {}, datasets)
    return Profile(
        name=name,
        description=reader.typed("description", top.get("description", ""), str),
        datasets=datasets,
        runs=runs,
        families=families,
        notebooks=reader.notebooks(top.get("notebooks") or {}, runs, families),
        cell_timeout=reader.typed("cell_timeout", top.get("cell_timeout", 1800), int),
        resources=reader.resources(top.get("resources") or {}),
    )


_KEYS = ["description", "datasets", "defaults", "runs", "notebooks", "cell_timeout", "resources"]


class _Reader:
    """Reads one YAML file; every complaint names the file and the key."""

    def __init__(self, file: Path):
        import yaml

        self.file = file
        try:
            self.content = yaml.load(file.read_text(), _unique_keys_loader())
        except yaml.YAMLError as error:
            raise StudyError(f"config/{file.name} is not valid YAML: {error}") from error

    def fail(self, key: str, what: str) -> typing.NoReturn:
        raise StudyError(f"config/{self.file.name}, {key or 'top level'}: {what}")

    def mapping(self, key: str, value: Any, known: list[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            self.fail(key, f"expected a mapping with names as keys, found {value!r}.")
        for name in value if known is not None else ():
            if name not in known:
                self.fail(f"{key}.{name}".strip("."), f"unknown key.{_close(name, known)}")
        return value

    def names(self, key: str, value: Any, known: list[str]) -> list[str]:
        if not isinstance(value, list):
            self.fail(key, f"expected a list, found {value!r}.")
        for name in value:
            if name not in known:
                self.fail(key, f"there is no {name!r}.{_close(str(name), known)}")
        return value

    def typed(self, key: str, value: Any, kind: type) -> Any:
        if typing.get_origin(kind) is list:
            (inner,) = typing.get_args(kind)
            return [self.typed(key, each, inner) for each in self.typed(key, value, list)]
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            hint = ""
            if kind is float and isinstance(value, str):
                hint = " YAML reads 3e-4 as text: write 0.0003 or 3.0e-4."
            self.fail(key, f"expected {kind.__name__}, found {value!r}.{hint}")
        return value

    def runs(
        self, defaults: Any, runs: Any, datasets: list[str]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
        """All runs with all settings, and which of them are repeats of one another."""
        from reidlab.training.loop import TrainConfig

        kinds = typing.get_type_hints(TrainConfig)
        shared = self._fields("defaults", defaults, kinds)
        written = self._written(runs, kinds)
        own = self._inherited(written)  # what others are like comes first: so do its errors
        seeds = {name: own[name].pop("seeds") for name in written if "seeds" in own[name]}
        families = {name: [_member(name, seed) for seed in seeds[name]] for name in seeds}
        merged = {}
        for name, settings in own.items():
            key = f"runs.{name}"
            for member, change in self._members(key, shared | settings, seeds).items():
                if member in merged or (member != name and member in own):
                    self.fail(key, f"with its seeds it makes a run {member!r}, which exists.")
                try:
                    merged[member] = dataclasses.asdict(TrainConfig(**shared | settings | change))
                except ReidlabError as error:
                    self.fail(key, str(error))
                self.names(f"{key}.dataset", [merged[member]["dataset"]], datasets)
        merged = {run: merged[run] for name in written for run in families.get(name, [name])}
        return self._ordered(merged), families

    def _written(self, runs: Any, kinds: dict[str, type]) -> dict[str, dict[str, Any]]:
        """Each run's own settings, of the right types; ``seeds`` and ``like`` among them."""
        written = {}
        kinds = kinds | {"seeds": list[int], "like": str, "preset": str}
        for name, own in self.mapping("runs", runs).items():
            given = self._fields(f"runs.{name}", own or {}, kinds)
            if "preset" in given:
                given = self._preset(f"runs.{name}", given.pop("preset")) | given
            written[name] = given
            seeds = given.get("seeds", [0])
            if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
                self.fail(
                    f"runs.{name}.seeds",
                    f"expected one or more different numbers from 0 up, found {seeds}.",
                )
            if "seed" in given and "seeds" in given:
                self.fail(f"runs.{name}", "seed and seeds exclude each other: give one.")
        return written

    def _preset(self, key: str, name: str) -> dict[str, Any]:
        """What a recipe of :data:`training.loop.PRESETS` says; it leaves data and seed open."""
        from reidlab.training.loop import PRESETS

        self.names(f"{key}.preset", [name], list(PRESETS))
        recipe = dataclasses.asdict(PRESETS[name])
        return {key: recipe[key] for key in recipe if key not in ("dataset", "init", "seed")}

    def _inherited(self, written: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Each run's settings on top of those of the run that it is ``like``; that comes first."""
        graph = {}
        for name, own in written.items():
            graph[name] = [own["like"]] if "like" in own else []
            self.names(f"runs.{name}.like", graph[name], list(written))
        full = {}
        for name in self._sorted(graph, "are like each other"):
            own = dict(written[name])
            base = dict(full[own.pop("like")]) if "like" in own else {}
            if "seed" in own or "seeds" in own:  # whichever of the two the other run has
                base = {key: base[key] for key in base if key not in ("seed", "seeds")}
            full[name] = base | own
        return full

    def _members(
        self, key: str, settings: dict[str, Any], seeds: dict[str, list[int]]
    ) -> dict[str, dict[str, Any]]:
        """The runs that one entry stands for, each with what it changes.

        What starts from a family starts from its member of the same seed.
        """
        name = key.removeprefix("runs.")
        word, _, source = settings.get("init", "").partition(":")
        if word != "run" or source not in seeds:
            source = None
        if name not in seeds:
            if source:
                first = _member(source, seeds[source][0])
                self.fail(
                    f"{key}.init",
                    f"{source!r} is trained with several seeds: start from one of its runs, "
                    f"such as run:{first}, or give this one the same seeds.",
                )
            return {name: {}}
        members = {}
        for seed in seeds[name]:
            members[_member(name, seed)] = change = {"seed": seed}
            if source and seed not in seeds[source]:
                self.fail(
                    f"{key}.init",
                    f"there is no {source!r} with seed {seed} to start from. It has the seeds "
                    f"{', '.join(map(str, seeds[source]))}.",
                )
            if source:
                change["init"] = f"run:{_member(source, seed)}"
        return members

    def _fields(self, key: str, value: Any, kinds: dict[str, type]) -> dict[str, Any]:
        given = self.mapping(key, value, list(kinds))
        return {name: self.typed(f"{key}.{name}", given[name], kinds[name]) for name in given}

    def _ordered(self, runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Sources first; otherwise as written."""
        graph = {}
        for name, config in runs.items():
            source = _source(config)
            graph[name] = [source] if source else []
            self.names(f"runs.{name}.init", graph[name], list(runs))
        return {name: runs[name] for name in self._sorted(graph, "start from each other")}

    def _sorted(self, graph: dict[str, list[str]], what: str) -> list[str]:
        try:
            return list(graphlib.TopologicalSorter(graph).static_order())
        except graphlib.CycleError as error:
            circle = " <- ".join(error.args[1])
            self.fail("runs", f"these {what} in a circle: {circle}.")

    def notebooks(
        self, value: Any, runs: dict[str, Any], families: dict[str, list[str]]
    ) -> dict[str, Notebook]:
        """Of ``needs``, ``all`` is every run that is not repeated with seeds."""
        notebooks = {}
        repeated = {member for members in families.values() for member in members}
        single = [name for name in runs if name not in repeated]
        for name, own in self.mapping("notebooks", value).items():
            key = f"notebooks.{name}"
            if name == TRAINING:
                self.fail(key, "this notebook is executed once for every run; list runs instead.")
            given = self.mapping(key, own or {}, ["needs", "parameters"])
            needs = given.get("needs", [])
            if needs == "all":
                needs = single
            self.names(f"{key}.needs", needs, [*runs, *families])
            notebooks[name] = Notebook(
                needs=[run for each in needs for run in families.get(each, [each])],
                parameters=self.mapping(f"{key}.parameters", given.get("parameters") or {}),
            )
        return notebooks

    def resources(self, value: Any) -> dict[str, int]:
        given = self.mapping("resources", value, list(RESOURCES))
        return RESOURCES | {
            name: self.typed(f"resources.{name}", given[name], int) for name in given
        }


def _member(family: str, seed: int) -> str:
    """Name of a family's run with a seed."""
    return f"{family}-s{seed}"


def _source(config: dict[str, Any]) -> str | None:
    is_run = config["init"].startswith("run:")
    return config["init"].removeprefix("run:") if is_run else None


def _dataset_names() -> list[str]:
    from reidlab import data

    return data.names()


def _close(name: str, known: list[str]) -> str:
    """Hint for a name that does not exist."""
    close = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'none'}."


def _unique_keys_loader() -> type:
    """PyYAML's safe loader, which alone would let the last of two equal keys win in silence."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    mark = f"line {node.start_mark.line + 1}"
                    raise yaml.YAMLError(f"{key!r} stands twice in the mapping of {mark}")
            return super().construct_mapping(node, deep)

    return Loader
