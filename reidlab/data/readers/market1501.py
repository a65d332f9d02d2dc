"""Market-1501 (Zheng et al., ICCV 2015) and every set in its layout.

Layout: ``bounding_box_train/``, ``query/`` and ``bounding_box_test/`` (the gallery), each full of
``<pid>_c<camera>s<sequence>_<frame>_<box>.jpg``. In the gallery pid 0 marks distractors, which
stay in it as wrong answers, and pid -1 junk (bad boxes of somebody), which is left out.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.readers.layouts import NOT_IMAGES, Layout, find
from reidlab.data.table import (
    JUNK_PID,
    RESTORE,
    Dataset,
    check_counts,
    fingerprint,
    make_table,
    split_counts,
)

DATASETS = {
    "market1501": "Market-1501, official archive or folder (research use only)",
    "cuhk03-market-layout": "CUHK03 detected crops in Market-1501's layout, split of our own",
    "market-layout": "any folder or zip in Market-1501's layout",
}

SPLIT_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAME = re.compile(r"(?P<pid>-1|\d+)_c(?P<camera>\d+)(?!\d).*\.(jpg|jpeg|png)", re.IGNORECASE)

#: Published contents. CUHK03's are those of the set described in the study's data notes: the
#: 14,097 detected crops under a 767/700 split of its own, not comparable with published results.
PUBLISHED = {
    "market1501": {
        "train images": 12_936,
        "train identities": 751,
        "query images": 3_368,
        "query identities": 750,
        "gallery images": 15_913,
        "gallery distractors": 2_798,
    },
    "cuhk03-market-layout": {
        "train images": 7_355,
        "train identities": 767,
        "query images": 1_400,
        "query identities": 700,
        "gallery images": 5_342,
        "gallery distractors": 0,
    },
}

#: Names under which each set is looked for below the data root, as folder and then as zip.
USUAL_NAMES = {
    "market1501": ["Market-1501-v15.09.15", "Market-1501", "market1501"],
    "cuhk03-market-layout": ["cuhk03-detected-market-layout"],
    "market-layout": [],
}


def has_layout(folder: Path) -> bool:
    """Whether a folder holds the three split folders."""
    return all((folder / sub).is_dir() for sub in SPLIT_FOLDERS.values())


LAYOUT = Layout(
    title="Market-1501's layout",
    wanted=", ".join(SPLIT_FOLDERS.values()),
    fits=has_layout,
)


def load(name: str, root: Path) -> Dataset:
    """Read one of :data:`DATASETS`; see :func:`load_market_layout`."""
    return load_market_layout(name, root)


def load_market_layout(name: str, root: Path, images_are_public: bool = False) -> Dataset:
    """Read a set in Market-1501's layout and check it.

    Args:
        name: ``market1501`` or ``cuhk03-market-layout`` (published counts are checked), or any
            other name for a set without published counts.
        root: the set's folder or zip, or a folder that holds either under its usual name.
        images_are_public: see :class:`Dataset`.

    Raises:
        DataError: not found, a file name outside the pattern, counts other than the published
            ones, or an empty split.
    """
    folder = locate(name, root)
    return read_layout(name, folder, PUBLISHED.get(name, {}), images_are_public=images_are_public)


def read_layout(
    name: str,
    folder: Path,
    published: dict[str, int],
    note: str = "",
    images_are_public: bool = False,
) -> Dataset:
    """Read the three split folders of a set, whichever it is.

    Args:
        name: of the dataset.
        folder: holds the split folders.
        published: counts that it must have, by the names of
            :func:`reidlab.data.table.split_counts`.
        note: see :class:`Dataset`.
        images_are_public: see :class:`Dataset`.

    Raises:
        DataError: as :func:`load_market_layout`.
    """
    tables = {split: _read_split(folder / sub) for split, sub in SPLIT_FOLDERS.items()}
    gallery = tables["gallery"]
    tables["gallery"] = gallery[gallery.pid != JUNK_PID].reset_index(drop=True)
    for split, frame in tables.items():
        if frame.empty:
            raise DataError(
                f"{folder / SPLIT_FOLDERS[split]} holds no image of the {split} split. "
                "Expected names like 0002_c1s1_000451_03.jpg."
            )
    dataset = Dataset(
        name=name,
        **tables,
        images_are_public=images_are_public,
        fingerprint=fingerprint(tables),
        note=note,
    )
    remedy = f'{RESTORE} Or load the folder as "market-layout" if it is meant to differ.'
    check_counts(name, folder, split_counts(dataset), published, remedy)
    return dataset


def read_junk(name: str, root: Path) -> pd.DataFrame:
    """The gallery's junk images (pid -1), which ranking leaves out; for looking at."""
    return junk_of(locate(name, root))


def junk_of(folder: Path) -> pd.DataFrame:
    """The junk images of a folder with the three split folders."""
    frame = _read_split(folder / SPLIT_FOLDERS["gallery"])
    return frame[frame.pid == JUNK_PID].reset_index(drop=True)


def locate(name: str, root: Path) -> Path:
    """The folder with the three split folders, unpacking an archive when need be."""
    return find(name, root, USUAL_NAMES.get(name, []), LAYOUT)


def _read_split(folder: Path) -> pd.DataFrame:
    rows = []
    for file in folder.iterdir():
        if file.name in NOT_IMAGES:
            continue
        match = NAME.fullmatch(file.name)
        if match is None:
            raise DataError(
                f"{file} is not named like 0002_c1s1_000451_03.jpg (pid, camera, frame). "
                "Rename it, or take it out of the folder."
            )
        rows.append((str(file), int(match["pid"]), int(match["camera"])))
    return make_table(rows)
