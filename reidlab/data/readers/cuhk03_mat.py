"""What stands in CUHK03's .mat files: images, test sets, and the new protocol's lists.

``cuhk-03.mat`` is a MATLAB file of version 7.3, that is, HDF5. ``labeled`` and ``detected`` each
refer to five tables, one a pair of cameras, of people x 10 images: the first five from view 1, the
others from view 2, and empty where there are fewer. ``testsets`` refers to 20 lists of 100 rows,
each a pair of cameras and a person, counted from 1. HDF5 stores all of it transposed.
"""

import hashlib
import io
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from reidlab.common import once, paths
from reidlab.common.errors import DataError
from reidlab.common.progress import track
from reidlab.data.table import DISTRACTOR_PID

log = logging.getLogger(__name__)

IMAGES_PER_VIEW = 5
REMEDY = "It is truncated, damaged or not the official one: fetch it again."


@dataclass(frozen=True)
class Config:
    """A file of the new protocol.

    Attributes:
        names: (N,) file names ``<pair>_<person>_<view>_<number>.png``.
        pids: (N,) identities.
        splits: split -> positions in both, from 0.
    """

    names: list[str]
    pids: np.ndarray
    splits: dict[str, np.ndarray]


def unpack_images(mat: Path, kind: str) -> pd.DataFrame:
    """The images of one kind as PNG files in the cache, unpacked the first time.

    The folder's name holds a hash of the .mat file's path, size and time of change. Where files
    are missing later, all are unpacked again.

    Args:
        mat: ``cuhk-03.mat``.
        kind: ``labeled`` or ``detected``.

    Returns:
        One row an image: name, path, pair, person, view (1 or 2), crc (of its pixels).

    Raises:
        DataError: h5py is missing, the file is truncated or not CUHK03's, or the cache is full or
            closed.
    """
    status = mat.stat()
    key = f"{mat.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = paths.cache() / "cuhk03" / f"{kind}-{digest}"

    def index() -> pd.DataFrame:
        return pd.read_csv(target / "index.csv", dtype={"name": str})

    def whole() -> bool:
        try:
            return set(index()["name"]) <= {entry.name for entry in os.scandir(target)}
        except (OSError, ValueError, KeyError):  # not there, or cut
            return False

    once.make(target, whole, lambda scratch: _unpack(mat, kind, scratch))
    return index().assign(path=lambda frame: [str(target / name) for name in frame.name])


def _unpack(mat: Path, kind: str, folder: Path) -> None:
    folder.mkdir()
    log.info("unpacking the %s images of %s", kind, mat)
    rows = []
    for row, pixels in _images(mat, kind):
        rows.append(row | {"crc": zlib.crc32(pixels.tobytes())})
        content = io.BytesIO()  # a full disk is no error of the .mat file's
        Image.fromarray(pixels).save(content, "PNG")
        (folder / row["name"]).write_bytes(content.getvalue())
    if not rows:
        raise DataError(f"{mat} holds no {kind} image. {REMEDY}")
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)


def _images(mat: Path, kind: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every image of one kind: what is known about it, and its pixels (H, W, 3) uint8."""
    with _opened(mat) as file:
        for pair, cells in enumerate(_referred(file, mat, kind), 1):
            people = track(cells.T, f"unpack pair {pair}")  # (10, people) -> one row a person
            for person, row in enumerate(people, 1):
                for number, reference in enumerate(row, 1):
                    pixels = file[reference][()].T  # (3, W, H) -> (H, W, 3)
                    if pixels.ndim < 3:
                        continue  # an empty cell
                    view = 1 if number <= IMAGES_PER_VIEW else 2
                    name = f"{pair}_{person:03d}_{view}_{number:02d}.png"
                    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
                        raise DataError(
                            f"{mat}, {kind} image {name}: found {pixels.dtype} of shape "
                            f"{pixels.shape}, expected uint8 (height, width, 3). {REMEDY}"
                        )
                    known = {"name": name, "pair": pair, "person": person, "view": view}
                    yield known, np.ascontiguousarray(pixels)


def read_testset(mat: Path, split: int) -> pd.DataFrame:
    """The people of one classic test set.

    Args:
        mat: ``cuhk-03.mat``.
        split: 0 to 19.

    Returns:
        One row a person: pair and person, as in :func:`unpack_images`.

    Raises:
        DataError: as :func:`unpack_images`, or there is no such split.
    """
    with _opened(mat) as file:
        testsets = _referred(file, mat, "testsets")
    if split >= len(testsets):
        raise DataError(f"{mat} holds {len(testsets)} test sets, expected 20. {REMEDY}")
    return pd.DataFrame(testsets[split].T.astype(int), columns=["pair", "person"])


def _referred(file: Any, mat: Path, key: str) -> list[np.ndarray]:
    """The arrays that a cell array refers to, as they are stored."""
    if key not in file:
        raise DataError(
            f"{mat} has no {key!r}: it holds {', '.join(sorted(file)) or 'nothing'}. It is not "
            "CUHK03's cuhk-03.mat."
        )
    return [file[reference][()] for reference in np.ravel(file[key][()])]


@contextmanager
def _opened(mat: Path) -> Iterator[Any]:
    """An HDF5 file; whatever goes wrong in reading it is an error that names it."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{mat} is an HDF5 file, and h5py, which reads those, is not installed. Install it: "
            "make add PACKAGE=h5py"
        ) from error
    try:
        with h5py.File(mat, "r") as file:
            yield file
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        # h5py has no error class of its own, and a damaged file raises any of these.
        raise DataError(f"{mat} cannot be read ({error}). {REMEDY}") from error


def read_config(file: Path) -> Config:
    """A file of the new protocol, ``cuhk03_new_protocol_config_{labeled,detected}.mat``.

    Raises:
        DataError: the file is damaged, lacks a variable, or contradicts itself.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(file, variable_names=[*_INDICES.values(), "filelist", "labels"])
    except Exception as error:  # a damaged file raises nearly anything, zlib.error among it
        raise DataError(f"{file} cannot be read ({error}). {REMEDY}") from error
    if missing := {*_INDICES.values(), "filelist", "labels"} - set(content):
        raise DataError(f"{file} lacks {', '.join(sorted(missing))}. {REMEDY}")
    names = [str(np.ravel(cell)[0]) for cell in np.ravel(content["filelist"])]
    pids = np.ravel(content["labels"]).astype(np.int64)
    if (pids == DISTRACTOR_PID).any():
        pids += 1  # MATLAB counts from 1; in a Dataset 0 marks distractors
    splits = {
        split: np.ravel(content[key]).astype(np.int64) - 1 for split, key in _INDICES.items()
    }
    everything = np.concatenate(list(splits.values()))
    if len(pids) != len(names) or everything.min() < 0 or everything.max() >= len(names):
        raise DataError(
            f"{file} contradicts itself: {len(names):,} file names, {len(pids):,} labels, indices "
            f"from {everything.min() + 1:,} to {everything.max() + 1:,}. {REMEDY}"
        )
    return Config(names, pids, splits)


_INDICES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}
