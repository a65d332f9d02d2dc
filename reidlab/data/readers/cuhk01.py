"""CUHK01 (Li, Zhao, Wang, ACCV 2012): 971 people, seen twice by each of two cameras.

Layout: ``campus/0001001.png``: a person's four digits and an image's three, 1 and 2 from camera A,
3 and 4 from camera B. Two protocols are in use, and their results do not compare:

- ``cuhk01-486``: 485 people to train on and 486 to test on, ``-0`` to ``-9`` the ten partitions of
  ``cuhk01_partition_campus_salience.mat`` (Zhao, Ouyang, Wang, ICCV 2013).
- ``cuhk01-100``: 871 and 100 people, ``-0`` to ``-19`` twenty partitions of our own (published
  results draw their own, too).

Camera A's images are the probes. The gallery has one image of each person from camera B, drawn at
random in the papers; ``rank1_single_shot`` and its like are the mean over all draws. The other
scores rank both images of camera B.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.data.readers.files import read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.readers.partitions import divide, drawn, published
from reidlab.data.table import Dataset
from reidlab.recipe.names import split

PARTITIONS = "cuhk01_partition_campus_salience.mat"
NAME = re.compile(r"(?P<person>\d{4})(?P<image>\d{3})\.png", re.IGNORECASE)
COUNTS = {"images": 3_884, "identities": 971, "cameras": 2}
TESTED = {
    "cuhk01-486": {"train identities": 485, "query images": 972, "gallery images": 972},
    "cuhk01-100": {"train identities": 871, "query images": 200, "gallery images": 200},
}

LAYOUT = Layout(
    title="CUHK01's layout", wanted="campus", fits=lambda folder: (folder / "campus").is_dir()
)


def load(name: str, root: Path) -> Dataset:
    """Read one partition of CUHK01.

    Args:
        name: ``cuhk01-486`` or ``cuhk01-100``, with the number of a partition or without.
        root: its folder or zip, or a folder that holds either.

    Raises:
        DataError: not found, a name outside the pattern, partitions that are absent or do not fit,
            or counts other than the published ones.
    """
    protocol, number = split(name)
    folder = locate(name, root)
    rows = []
    for file, known in read_names(folder / "campus", NAME, "0001001.png"):
        camid = 1 if int(known["image"]) <= 2 else 2
        rows.append((file, int(known["person"]), camid, camid == 1, camid == 2))
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "probe", "gallery"])
    people = images.pid.nunique()
    if protocol == "cuhk01-486":
        fields = ("ptrn", "ptst")
        partitions = published(PARTITIONS, folder, Path(root), "partition", fields, people)
        train, source = partitions[number], PARTITIONS
    else:
        train = drawn(images.pid.unique().tolist(), people - 100, protocol, number)
        source = "our own"
    note = (
        f"Partition {number} of {source}. Published numbers draw one gallery image of each person "
        "from camera B, as rank1_single_shot and its like do; the other scores rank both."
    )
    counts = COUNTS | TESTED[protocol]
    return divide(name, folder, images, train, counts, note, single_shot=True)


def locate(name: str, root: Path) -> Path:
    """The folder that holds ``campus``, unpacking an archive when need be."""
    return find(name, root, ["CUHK01", "cuhk01"], LAYOUT)
