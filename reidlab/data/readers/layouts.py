"""Finding a dataset below a folder: by what it holds, under its usual names, as folder or zip."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reidlab.common.errors import DataError
from reidlab.data.readers.archive import unpack

OTHER_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".rar", ".7z")
DEPTH = 5  # folders around the set, inside an archive


@dataclass(frozen=True)
class Layout:
    """How a folder is recognised as a dataset.

    Attributes:
        title: of the layout, e.g. "Market-1501's layout".
        wanted: what such a folder holds, in words.
        fits: whether a folder is one.
        source: what to put there where nothing is found.
    """

    title: str
    wanted: str
    fits: Callable[[Path], bool]
    source: str = "the official archive"


def find(name: str, root: Path, usual: Iterable[str], layout: Layout) -> Path:
    """The folder that holds a dataset, unpacked when need be.

    Args:
        name: of the dataset.
        root: the set's folder or zip, or a folder that holds either under a usual name (as a
            folder perhaps in another one of the same name, as some programs unpack).
        usual: those names, without ``.zip``, in the order in which they are tried.
        layout: what the folder has to look like.

    Raises:
        DataError: nothing is found (the message lists where it looked), or a zip that holds
            something else.
    """
    candidates = list(places(root, usual))
    for candidate in candidates:
        for folder in (candidate, candidate / candidate.name):
            if folder.is_dir() and layout.fits(folder):
                return folder
        if candidate.is_file():
            return _inside_archive(candidate, layout)
    looked = ", ".join(str(candidate) for candidate in candidates)
    packed = next(_other_archives(candidates), None)
    hint = f" {packed} is there, but only zip is unpacked here: unpack it first." if packed else ""
    raise DataError(
        f"{name} was not found: looked for a folder with {layout.wanted}, or a zip of it, at "
        f"{looked}.{hint} Put {layout.source} there, or name its folder: "
        "make study DATA=/folder/of/the/archive"
    )


def places(root: Path, usual: Iterable[str]) -> Iterator[Path]:
    """Where a set may be: the root itself, then each usual name as folder and as zip."""
    yield Path(root)
    for name in usual:
        yield Path(root) / name
        yield Path(root) / f"{name}.zip"


def _other_archives(candidates: list[Path]) -> Iterator[Path]:
    for folder in candidates[1::2]:
        for suffix in OTHER_ARCHIVES:
            if (packed := folder.with_name(folder.name + suffix)).is_file():
                yield packed


def _inside_archive(archive: Path, layout: Layout) -> Path:
    unpacked = unpack(archive)
    folders = [unpacked]
    for _ in range(DEPTH + 1):
        for folder in folders:
            if layout.fits(folder):
                return folder
        inside = [path for folder in folders for path in sorted(folder.iterdir())]
        folders = [path for path in inside if path.is_dir()]
    held = sorted(path.name for path in unpacked.iterdir()) if unpacked.exists() else []
    inner = next((name for name in held if name.endswith(".zip")), None)
    hint = f"Unpack it, and name {inner} that is in it. " if inner else ""
    raise DataError(
        f"{archive} is not in {layout.title}: it holds {', '.join(held[:5]) or 'nothing'}, but "
        f"not {layout.wanted}. {hint}Give {layout.source}."
    )
