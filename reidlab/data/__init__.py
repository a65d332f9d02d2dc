"""Where images come from: ``load(name, root)`` gives any dataset of the study."""

from pathlib import Path
from types import ModuleType

import pandas as pd

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.data.readers import (
    cuhk01,
    cuhk03,
    dukemtmc,
    folder,
    grid,
    ilids,
    last,
    market1501,
    msmt17,
    prid2011,
    viper,
)
from reidlab.data.table import Dataset, make_table
from reidlab.recipe.names import SPLITS, split

#: Each of them has DATASETS (name -> description), load(name, root) and locate(name, root).
READERS = [market1501, dukemtmc, cuhk03, msmt17, last, folder]
READERS += [viper, cuhk01, grid, prid2011, ilids]

#: The sets of photographs, which need files of the user's: name -> description.
REAL = {name: what for reader in READERS for name, what in reader.DATASETS.items()}
#: Those that come in several splits, also with the number of one.
NUMBERED = {
    f"{name}-{number}": f"{REAL[name]}, split {number}"
    for name, count in SPLITS.items()
    for number in range(count)
}
REAL |= NUMBERED


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
    return next(one for one in READERS if split(name)[0] in one.DATASETS)


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
        known = [each for each in names() if each not in NUMBERED]
        numbered = ", ".join(f"{name} -0 to -{count - 1}" for name, count in SPLITS.items())
        raise DataError(
            f"no dataset is called {name!r}. Known: {', '.join(known)}; also with the number of a "
            f"split: {numbered}."
        )
    # Generated sets live in the cache, never among somebody's archives.
    return generate(CONFIGS[name], paths.cache() / "synthetic" / name)


__all__ = ["READERS", "REAL", "Dataset", "load", "locate", "names", "read_junk"]
