"""What a training starts from, and the chain of runs that a run descends from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reidlab.common.errors import ReidlabError, WeightsError

WORDS = ("none", "imagenet", "imagenet:<file>", "reid:<file>", "synthetic", "run:<name>")


@dataclass(frozen=True)
class Init:
    """The start of a training, as a recipe's ``init`` says it.

    Attributes:
        kind: ``none`` (random weights), ``imagenet``, ``reid`` (a trained re-ID checkpoint),
            ``synthetic`` (the weight that is shipped) or ``run`` (another run of the study).
        name: the file of ``reid``, or of ``imagenet`` where one is given; the name of the run.
            ``$DATA`` at the start of a file's name stands for the data root.

    >>> Init.parse("run:a-none"), str(Init("imagenet"))
    (Init(kind='run', name='a-none'), 'imagenet')
    """

    kind: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "Init":
        """Read the words of a recipe, one of `WORDS`.

        Raises:
            WeightsError: another word, or one without the file or run that it needs.
        """
        kind, colon, name = str(text).partition(":")
        known = kind in ("none", "synthetic", "imagenet") and not colon
        if not known and not (kind in ("imagenet", "reid", "run") and name):
            raise WeightsError(f"init: {text!r} is not known; use one of {', '.join(WORDS)}")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def run(self) -> str | None:
        """The name of the run that it starts from; None for every other start."""
        return self.name if self.kind == "run" else None

    def file(self, data_root: Path | None) -> Path | None:
        """The weight file that it names; None where it names none.

        Raises:
            ReidlabError: its place is the data root, and nobody has said where that is.
        """
        if self.kind == "run" or not self.name:
            return None
        if "$DATA" in self.name and data_root is None:
            raise ReidlabError(
                f"init={str(self)!r} needs the data root: set REIDLAB_DATA, or make study DATA=..."
            )
        return Path(self.name.replace("$DATA", str(data_root)))


def lineage(
    config: Mapping[str, Any], config_of: Callable[[str], Mapping[str, Any] | None]
) -> list[Mapping[str, Any]]:
    """A run's settings and those of every run that it descends from, itself first.

    Args:
        config: the fields of its ``TrainConfig``.
        config_of: the settings of a run by its name; None where that run is not known, which
            ends the chain.

    >>> runs = {"a": {"init": "none"}, "b": {"init": "run:a"}}
    >>> lineage({"init": "run:b"}, runs.get)
    [{'init': 'run:b'}, {'init': 'run:a'}, {'init': 'none'}]
    """
    chain = [config]
    while (source := Init.parse(chain[-1]["init"]).run) and (before := config_of(source)):
        if before in chain:
            raise ReidlabError(f"these runs start from each other in a circle: run {source!r}.")
        chain.append(before)
    return chain
