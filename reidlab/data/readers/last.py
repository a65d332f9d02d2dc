"""LaST (Shu et al., "Large-Scale Spatio-Temporal Person Re-identification", TCSVT 2022).

People in films: scenes, not cameras. As in the authors' code every image has a camid of its own,
so that nothing is filtered; a query and its answers may come from one shot.

Layout: ``train/<person>/``, ``val/query/``, ``val/gallery/<person>/``, ``test/query/`` and
``test/gallery/<person>/``, full of ``<pid>_<anything>.jpg``. ``last`` is tested on the test split,
``last-val`` on the validation split of 100 queries.
"""

import re
from pathlib import Path

from reidlab.common.errors import DataError
from reidlab.data.readers.files import IMAGE, NUMBER, read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.table import (
    DISTRACTOR_PID,
    Dataset,
    check_counts,
    fingerprint,
    make_table,
    number_images,
    split_counts,
)

NAME = re.compile(rf"(?P<pid>{NUMBER})_.*{IMAGE}", re.I | re.A)
EXAMPLE = "000001_<anything>.jpg (pid first)"
NOTE = (
    "LaST has no cameras: nothing is removed from a query's list, and an answer may come from the "
    "query's own shot."
)

#: Of the authors' repository. Each test set has its own query and gallery.
TRAIN = {"train images": 71_248, "train identities": 5_000}
PUBLISHED = {
    "last": {
        **TRAIN,
        "query images": 10_176,
        "query identities": 5_805,
        "gallery images": 125_353,
        "gallery identities": 5_806,
    },
    "last-val": {
        **TRAIN,
        "query images": 100,
        "query identities": 56,
        "gallery images": 21_279,
        "gallery identities": 56,
    },
}

USUAL_NAMES = ["LaST", "last", "LaST/last", "last/last"]


def load(name: str, root: Path) -> Dataset:
    """Read LaST and check its counts.

    Args:
        name: ``last`` (test split) or ``last-val`` (validation split).
        root: its folder or zip, or a folder that holds either under a usual name.

    Raises:
        DataError: not found, an empty split, a file name outside the pattern, or counts other
            than the published ones.
    """
    folder = locate(name, root)
    test = folder / ("val" if name == "last-val" else "test")
    places = {"train": folder / "train", "query": test / "query", "gallery": test / "gallery"}
    tables = {split: make_table(_read(place, split != "query")) for split, place in places.items()}
    if any((frame.pid == DISTRACTOR_PID).any() for frame in tables.values()):
        # Here 0 is a person like any other, while 0 marks distractors in a Dataset.
        tables = {split: frame.assign(pid=frame.pid + 1) for split, frame in tables.items()}
    tables = number_images(tables)
    dataset = Dataset(
        name, **tables, fingerprint=fingerprint(tables), has_cameras=False, note=NOTE
    )
    check_counts(name, folder, split_counts(dataset), PUBLISHED[name])
    return dataset


def locate(name: str, root: Path) -> Path:
    """The folder with train, val and test, unpacking an archive when need be."""
    test = "val" if name == "last-val" else "test"
    inside = ["train", f"{test}/query", f"{test}/gallery"]
    layout = Layout(
        title="LaST's layout",
        wanted=", ".join(inside),
        fits=lambda folder: all((folder / sub).is_dir() for sub in inside),
    )
    return find(name, root, USUAL_NAMES, layout)


def _read(folder: Path, by_person: bool) -> list[tuple[str, int, int]]:
    """Rows of a folder of images, or of a folder of people's folders; camid is set later."""
    images = read_names(folder, NAME, EXAMPLE, by_person)
    rows = [(file, int(match["pid"]), 0) for file, match in images]
    if not rows:
        within = "no image in a person's folder" if by_person else "no image"
        raise DataError(f"{folder} holds {within}. Unpack the official archive afresh.")
    return rows
