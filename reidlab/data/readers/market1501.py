"""Market-1501 (Zheng et al., ICCV 2015) and every set in its layout, generated people's too.

Layout: ``bounding_box_train/``, ``query/`` and ``bounding_box_test/`` (the gallery), each full of
``<pid>_c<camera>s<sequence>_<frame>_<box>.jpg``. In the gallery pid 0 marks distractors, which
stay in it as wrong answers, and pid -1 junk (bad boxes of somebody), which is left out. People
are counted from 1.

``market1501`` is the official set, whose published counts are checked; ``market1501-twentieth``
the same with a twentieth of those who are searched for, for what cannot score 53 million pairs;
``market-layout`` any folder or zip in this layout.
"""

import dataclasses
import logging
import re
from pathlib import Path

import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.holdout import some_people
from reidlab.data.readers.files import IMAGE, NUMBER, read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.table import (
    DISTRACTOR_PID,
    JUNK_PID,
    RESTORE,
    Dataset,
    check_counts,
    fingerprint,
    make_table,
    split_counts,
)

log = logging.getLogger(__name__)

SPLIT_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAME = re.compile(rf"(?P<pid>-1|{NUMBER})_c(?P<camera>{NUMBER}).*{IMAGE}", re.I | re.A)
EXAMPLE = "0002_c1s1_000451_03.jpg (pid, camera, frame)"

PUBLISHED = {
    "market1501": {
        "train images": 12_936,
        "train identities": 751,
        "query images": 3_368,
        "query identities": 750,
        "gallery images": 15_913,
        "gallery distractors": 2_798,
    },
}

#: What has a share of the official set's test people, and the same share of its distractors.
SHARES = {"market1501-twentieth": 0.05}

#: Names under which a set is looked for below the data root, as folder and then as zip.
USUAL_NAMES = {"market1501": ["Market-1501-v15.09.15", "Market-1501", "market1501"]}
USUAL_NAMES |= dict.fromkeys(SHARES, USUAL_NAMES["market1501"])


def has_layout(folder: Path) -> bool:
    """Whether a folder holds the three split folders."""
    return all((folder / sub).is_dir() for sub in SPLIT_FOLDERS.values())


LAYOUT = Layout(
    title="Market-1501's layout",
    wanted=", ".join(SPLIT_FOLDERS.values()),
    fits=has_layout,
)


def load(name: str, root: Path) -> Dataset:
    """Read a set in Market-1501's layout and check it.

    Args:
        name: ``market1501`` (published counts are checked), one of :data:`SHARES`, or any other
            name for a set without published counts.
        root: the set's folder or zip, or a folder that holds either under its usual name.

    Raises:
        DataError: not found, or as :func:`read_layout`.
    """
    if name in SHARES:
        some = some_people(load("market1501", root), SHARES[name])
        note = f"{SHARES[name]:.0%} of those who are searched for, and of the distractors."
        hashed = fingerprint(some.splits())
        return dataclasses.replace(some, name=name, fingerprint=hashed, note=note)
    return read_layout(name, locate(name, root), PUBLISHED.get(name, {}))


def read_layout(name: str, folder: Path, published: dict[str, int], note: str = "") -> Dataset:
    """Read the three split folders of a set, whichever it is.

    Args:
        name: of the dataset.
        folder: holds the split folders.
        published: counts that it must have, by the names of
            :func:`reidlab.data.table.split_counts`.
        note: see :class:`Dataset`.

    Raises:
        DataError: a file name outside the pattern, a person numbered 0 or -1 outside the gallery,
            counts other than the published ones, or an empty split.
    """
    tables = {split: _read_split(folder / sub) for split, sub in SPLIT_FOLDERS.items()}
    gallery = tables["gallery"]
    tables["gallery"] = gallery[gallery.pid != JUNK_PID].reset_index(drop=True)
    for split, frame in tables.items():
        if frame.empty:
            raise DataError(
                f"{folder / SPLIT_FOLDERS[split]} holds no image of the {split} split. "
                f"Expected names like {EXAMPLE}."
            )
        strange = frame[frame.pid <= DISTRACTOR_PID] if split != "gallery" else frame[:0]
        if len(strange):
            raise DataError(
                f"{strange.path.iloc[0]} has pid {strange.pid.iloc[0]}, as {len(strange)} of "
                f"{len(frame)} images of the {split} split. In this layout 0 marks distractors "
                "and -1 junk, in the gallery only. Number people from 1 on, in all three folders; "
                "take distractors and junk out of this one."
            )
    if both := set(tables["train"].pid) & set(tables["query"].pid):
        seen = (
            f"{len(both)} of {tables['query'].pid.nunique()} people who are searched for are "
            "trained on, too: scores say nothing about strangers."
        )
        log.warning("%s: %s", folder, seen)
        note = f"{note} {seen}".strip()
    dataset = Dataset(name, **tables, fingerprint=fingerprint(tables), note=note)
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
    return make_table(
        (file, int(match["pid"]), int(match["camera"]))
        for file, match in read_names(folder, NAME, EXAMPLE)
    )
