"""VIPeR (Gray, Brennan, Tao, PETS 2007): 632 people, seen once by each of two cameras.

Layout: ``VIPeR/cam_a/000_45.bmp`` and ``cam_b/000_90.bmp``: person and angle. People are counted
from 1 in the order of their names, as the partitions count them: ``viper_partition_SCSP.mat``, of
which ``viper-0`` to ``viper-9`` are the first ten, 316 people to train on and 316 to test on.

Camera a is the probe and b the gallery, one image of each person.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.readers.files import read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.readers.partitions import divide, published
from reidlab.data.table import Dataset
from reidlab.recipe.names import split

PARTITIONS = "viper_partition_SCSP.mat"
NAME = re.compile(r"(?P<person>\d+)_\d+\.(bmp|png|jpg)", re.IGNORECASE)
COUNTS = {"images": 1_264, "identities": 632, "cameras": 2}
COUNTS |= {"train images": 632, "query images": 316, "gallery images": 316}

LAYOUT = Layout(
    title="VIPeR's layout",
    wanted="cam_a, cam_b",
    fits=lambda folder: all((folder / camera).is_dir() for camera in ("cam_a", "cam_b")),
)


def load(name: str, root: Path) -> Dataset:
    """Read one partition of VIPeR.

    Args:
        name: ``viper``, or ``viper-0`` to ``viper-9``.
        root: its folder or zip, or a folder that holds either.

    Raises:
        DataError: not found, a name outside the pattern, the two cameras show different people,
            partitions that are absent or do not fit, or counts other than the published ones.
    """
    folder = locate(name, root)
    views = [
        sorted(read_names(folder / camera, NAME, "000_45.bmp"), key=lambda image: image[0])
        for camera in ("cam_a", "cam_b")
    ]
    people = [[known["person"] for _, known in view] for view in views]
    if people[0] != people[1]:
        only = sorted(set(people[0]) ^ set(people[1]))[:3] or "a person twice"
        raise DataError(
            f"{folder}: cam_a and cam_b must show the same people, once each; found {only} in one "
            "of them only. Unpack the original archive afresh."
        )
    rows = [
        (file, pid, camid, camid == 1, camid == 2)
        for camid, view in enumerate(views, 1)
        for pid, (file, _) in enumerate(view, 1)
    ]
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "probe", "gallery"])
    fields = ("trnSet", "tstSet")
    partitions = published(PARTITIONS, folder, Path(root), "parti", fields, len(people[0]))
    number = split(name)[1]
    note = f"Partition {number} of {PARTITIONS}; camera a is the probe, b the gallery."
    return divide(name, folder, images, partitions[number], COUNTS, note)


def locate(name: str, root: Path) -> Path:
    """The folder with both cameras, unpacking an archive when need be."""
    return find(name, root, ["VIPeR", "viper/VIPeR", "viper"], LAYOUT)
