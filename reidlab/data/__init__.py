"""Where images come from: ``load(name, root)`` gives any dataset of the study."""

import dataclasses
import functools
import hashlib
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd

from reidlab.common import once, paths
from reidlab.common.errors import DataError
from reidlab.common.locks import alone
from reidlab.common.progress import track
from reidlab.data.readers.files import require_utf8
from reidlab.data.table import Dataset, copies, make_table
from reidlab.recipe.names import DATASETS, GENERATED, SPLITS, reader


def load(name: str, root: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Args:
        name: one of :func:`names`.
        root: for real sets the folder or archive (default: ``REIDLAB_DATA``). Generated sets live
            in the cache whatever it says.

    Raises:
        DataError: an unknown name, or data that are absent or not what they should be.
    """
    dataset = _reader(name).load(name, _folder(name, root))
    if name in GENERATED:
        dataset = dataclasses.replace(dataset, fingerprint=_fingerprint(name))
    if not dataset.has_cameras and (same := copies(dataset.query, dataset.gallery)):
        note = (
            f"{same} of {len(dataset.query)} query images lie in the gallery, too, byte for byte: "
            "each finds itself, and without cameras nothing leaves it out."
        )
        dataset = dataclasses.replace(dataset, note=f"{dataset.note} {note}".strip())
    return dataset


@functools.cache
def fingerprint_here(name: str, root: Path | None) -> str | None:
    """Fingerprint of a data set that is on this machine; None where nothing is there.

    Generated people are on every machine: they are drawn when they are needed.

    Raises:
        DataError: what is there is not what it should be.
    """
    if name in GENERATED:
        return _fingerprint(name)  # wherever it is drawn
    return load(name, root).fingerprint if root else None


def _fingerprint(name: str) -> str:
    from pedestrians import CONFIGS, record

    return hashlib.sha256(record(CONFIGS[name]).encode()).hexdigest()[:16]


def locate(name: str, root: str | Path | None = None) -> Path:
    """Where a dataset's files are, unpacked when need be, without reading them.

    Raises:
        DataError: an unknown name, or nothing there.
    """
    return _reader(name).locate(name, _folder(name, root))


def read_junk(name: str, root: str | Path | None = None) -> pd.DataFrame:
    """The junk images (pid -1) of a set, columns as in :class:`Dataset`; most sets have none."""
    module, place = _reader(name), _folder(name, root)
    return module.read_junk(name, place) if hasattr(module, "read_junk") else make_table([])


def names() -> list[str]:
    """Every name that :func:`load` knows."""
    numbered = [f"{name}-{split}" for name, count in SPLITS.items() for split in range(count)]
    return [*DATASETS, *numbered, *GENERATED]


def _reader(name: str) -> ModuleType:
    module = reader(name)
    if module is None:
        numbered = ", ".join(f"{base}-0 to -{count - 1}" for base, count in SPLITS.items())
        raise DataError(
            f"no dataset is called {name!r}. Known: {', '.join([*DATASETS, *GENERATED])}; and by "
            f"the number of a split {numbered}."
        )
    return import_module(f"reidlab.data.readers.{module}")


def _folder(name: str, root: str | Path | None) -> Path:
    if name in GENERATED:
        return _generated(name)  # in the cache, never among somebody's archives
    chosen = Path(root) if root is not None else paths.data_root()
    if chosen is None:
        raise DataError(
            f"{name} needs its files: give root=, or set REIDLAB_DATA (make study DATA=...) "
            "to the folder that holds the official archive."
        )
    require_utf8(os.fspath(chosen))
    return chosen


def _generated(name: str) -> Path:
    from pedestrians import CONFIGS, generate, is_whole

    config, place = CONFIGS[name], paths.cache() / "synthetic" / name
    with once.place_named(place.parent):
        if not is_whole(config, place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with alone(place, f"drawing {name}", wait=True):
                once.sweep(place.parent)
                generate(config, place, progress=lambda jobs, n: track(jobs, f"draw {name}", n))
    return place


__all__ = ["Dataset", "load", "locate", "names", "read_junk"]
