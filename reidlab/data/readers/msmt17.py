"""MSMT17 (Wei et al., CVPR 2018), version 1 and version 2, whose faces are blurred.

Layout: two folders of images and four lists beside them. Version 1 has ``train/`` and ``test/``,
version 2 ``mask_train_v2/`` and ``mask_test_v2/``. A line of ``list_train.txt``, ``list_val.txt``
(both of the train folder), ``list_query.txt`` or ``list_gallery.txt`` (both of the test folder)
reads ``0000/0000_000_01_0303morning_0008_0.jpg 0``: path below that folder, and pid. The third
number of the file's name is the camera, 1 to 15.

The lists count people from 0 in training, and again from 0 in testing. Here 0 marks distractors
and every person has a number of their own: training pids are the listed ones plus 1, and test pids
go on after them.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.readers.files import IMAGE, NUMBER
from reidlab.data.readers.layouts import Layout, find, places
from reidlab.data.table import Dataset, check_counts, fingerprint, make_table, split_counts

#: Name -> the lists to train on. torchreid takes the first one alone unless told otherwise.
TRAINED_ON = {
    "msmt17": "list_train and list_val, as most papers do",
    "msmt17-list-train": "list_train alone, as torchreid does",
}

LISTS = {"train": ["list_train.txt", "list_val.txt"]}
LISTS |= {split: [f"list_{split}.txt"] for split in ("query", "gallery")}
IMAGE_FOLDERS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}
CAMERA = re.compile(rf"\d+_\d+_(?P<camera>{NUMBER})_.*{IMAGE}", re.I | re.A)
PID = re.compile(NUMBER, re.A)

#: Of Wei et al. (CVPR 2018): both training lists together, and the test set. How the 32,621
#: images are shared between list_train and list_val is not checked: no source at hand says so.
PUBLISHED = {
    "train images": 32_621,
    "train identities": 1_041,
    "query images": 11_659,
    "gallery images": 82_161,
    "gallery identities": 3_060,
    "identities": 4_101,
    "cameras": 15,
}

USUAL_NAMES = {
    version: [f"MSMT17_{version}", f"msmt17/MSMT17_{version}", f"MSMT17/MSMT17_{version}"]
    for version in IMAGE_FOLDERS
}


def load(name: str, root: Path) -> Dataset:
    """Read MSMT17 by its lists and check its counts.

    Args:
        name: of :data:`TRAINED_ON`.
        root: the folder or zip of one version, or a folder that holds either under its usual
            name.

    Raises:
        DataError: not found, both versions found, a list that is missing, malformed or names an
            image that is not there, or counts other than the published ones.
    """
    folder = locate(name, root)
    version = _version(folder)
    train, test = IMAGE_FOLDERS[version]
    lists = {
        file: _read(folder, file, train if split == "train" else test)
        for split, files in LISTS.items()
        for file in files
    }
    tables = {
        split: make_table(row for file in files for row in lists[file])
        for split, files in LISTS.items()
    }
    tables = _own_numbers(tables)
    check_counts(name, folder, split_counts(Dataset(name, **tables)), PUBLISHED)
    if name == "msmt17-list-train":
        listed = {path for path, *_ in lists["list_train.txt"]}
        frame = tables["train"]
        tables["train"] = frame[frame.path.isin(listed)].reset_index(drop=True)
    faces = "faces as they are" if version == "V1" else "faces blurred"
    note = f"MSMT17 {version} ({faces}); trained on {TRAINED_ON[name]}."
    return Dataset(name, **tables, fingerprint=fingerprint(tables), note=note)


def locate(name: str, root: Path) -> Path:
    """The folder with the lists, unpacking an archive when need be.

    Raises:
        DataError: not found, or both versions found: their results differ, so one must be chosen.
    """
    there = [
        next((place for place in list(places(root, usual))[1:] if place.exists()), None)
        for usual in USUAL_NAMES.values()
    ]
    if all(there) and not _has_layout(Path(root)):
        raise DataError(
            f"{name}: both versions are there, {there[0]} and {there[1]}, and results on them "
            "differ (version 2 has blurred faces). Name the folder of one of them: make study "
            f"DATA={there[0]}, or keep only one below {root}."
        )
    usual = [*USUAL_NAMES["V1"], *USUAL_NAMES["V2"], "MSMT17", "msmt17"]
    return find(name, root, usual, LAYOUT)


def _version(folder: Path) -> str | None:
    for version, images in IMAGE_FOLDERS.items():
        if all((folder / sub).is_dir() for sub in images):
            return version
    return None


def _has_layout(folder: Path) -> bool:
    """One list will do, so that a missing one is named instead of nothing being found."""
    return _version(folder) is not None and any(folder.glob("list_*.txt"))


LAYOUT = Layout(
    title="MSMT17's layout",
    wanted="list_train.txt, list_val.txt, list_query.txt, list_gallery.txt, and train and test "
    "(version 1) or mask_train_v2 and mask_test_v2 (version 2)",
    fits=_has_layout,
)


def _read(folder: Path, file: str, images: str) -> list[tuple[str, int, int]]:
    """The (path, pid, camid) rows of one list; its people counted from 0, as it stands."""
    source = folder / file
    if not source.is_file():
        raise DataError(
            f"{source} is missing. All four lists ({LAYOUT.wanted.partition(', and')[0]}) belong "
            "beside the folders of images: unpack the official archive afresh."
        )
    rows, missing = [], []
    for number, line in enumerate(source.read_text("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        path, _, pid = line.strip().replace("\t", " ").replace("\\", "/").rpartition(" ")
        match = CAMERA.fullmatch(path.rpartition("/")[2])
        if match is None or not PID.fullmatch(pid):
            raise DataError(
                f"{source}, line {number}: found {line.strip()[:100]!r}, expected a path and a "
                "pid, like 0000/0000_000_01_0303morning_0008_0.jpg 0. Restore the list from the "
                "official archive."
            )
        image = folder / images / path.strip()
        if not image.is_file():
            missing.append((number, image))
        rows.append((str(image), int(pid), int(match["camera"])))
    if missing:
        number, image = missing[0]
        raise DataError(
            f"{source} names {len(missing):,} of {len(rows):,} images that are not there, the "
            f"first in line {number}: {image}. Unpack the official archive afresh."
        )
    if not rows:
        raise DataError(f"{source} is empty. Restore it from the official archive.")
    return rows


def _own_numbers(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """People counted from 1, those of the test set after those of the training set."""
    offset = int(tables["train"].pid.max()) + 1
    return {
        split: frame.assign(pid=frame.pid + 1 + (0 if split == "train" else offset))
        for split, frame in tables.items()
    }
