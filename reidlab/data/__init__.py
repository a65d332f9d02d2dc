"""Where images come from: ``load(name, root)`` gives any dataset of the study."""

import functools
from pathlib import Path
from types import ModuleType

import pandas as pd

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.data.readers import cuhk03, dukemtmc, folder, last, market1501, msmt17
from reidlab.data.table import Dataset, make_table

#: Each of them has DATASETS (name -> description), load(name, root) and locate(name, root).
READERS = [market1501, dukemtmc, cuhk03, msmt17, last, folder]

#: The sets of photographs, which need files of the user's: name -> description.
REAL = {name: what for reader in READERS for name, what in reader.DATASETS.items()}
REAL |= cuhk03.NUMBERED


def names() -> list[str]:
    """Every name that :func:`load` knows."""
    from pedestrians import CONFIGS

    return [*REAL, *CONFIGS]


def load(name: str, root: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Args:
        name: one of :func:`names`.
        root: for real sets the folder or archive (default: ``REIDLAB_DATA``). Generated sets live
            in the cache whatever it says.

    Raises:
        DataError: an unknown name, or data that are absent or not what they should be.
    """
    place = _folder(name, root)
    if name in REAL:
        return _reader(name).load(name, place)
    return market1501.load_market_layout(name, place, images_are_public=True)


@functools.cache
def fingerprint_here(name: str, root: Path | None) -> str | None:
    """Fingerprint of a data set that is on this machine; None where nothing is there yet.

    Raises:
        DataError: what is there is not what it should be.
    """
    if name in REAL:
        return load(name, root).fingerprint if root else None
    drawn = (paths.cache() / "synthetic" / name / "config.json").is_file()
    return load(name).fingerprint if drawn else None


def locate(name: str, root: str | Path | None = None) -> Path:
    """Where a dataset's files are, unpacked when need be, without reading them.

    Raises:
        DataError: an unknown name, or nothing there.
    """
    place = _folder(name, root)
    return _reader(name).locate(name, place) if name in REAL else place


def read_junk(name: str, root: str | Path | None = None) -> pd.DataFrame:
    """The junk images (pid -1) of a set, columns as in :class:`Dataset`; most sets have none."""
    place = _folder(name, root)
    reader = _reader(name) if name in REAL else market1501
    return reader.read_junk(name, place) if hasattr(reader, "read_junk") else make_table([])


def _reader(name: str) -> ModuleType:
    return next((one for one in READERS if name in one.DATASETS), cuhk03)


def _folder(name: str, root: str | Path | None) -> Path:
    if name in REAL:
        chosen = Path(root) if root is not None else paths.data_root()
        if chosen is None:
            raise DataError(
                f"{name} needs its files: give root=, or set REIDLAB_DATA (make study DATA=...) "
                "to the folder that holds the official archive."
            )
        return chosen
    from pedestrians import CONFIGS, generate

    if name not in CONFIGS:
        known = [each for each in names() if each not in cuhk03.NUMBERED]
        raise DataError(
            f"no dataset is called {name!r}. Known: {', '.join(known)}; cuhk03-classic-labeled "
            f"and -detected also with -0 to -{cuhk03.SPLITS - 1}, the number of the split."
        )
    # Generated sets live in the cache, never among somebody's archives.
    return generate(CONFIGS[name], paths.cache() / "synthetic" / name)


__all__ = ["READERS", "REAL", "Dataset", "load", "locate", "names", "read_junk"]
