"""PRID 2011 (Hirzer et al., SCIA 2011), single shot: two cameras above a street.

Layout: ``single_shot/cam_a/person_0001.png`` to 0385 and ``cam_b`` to 0749. The first 200 are in
both cameras; a higher number means different people in a and b.

100 of the 200 train. The other 100 of camera a are the probes, among the 649 of camera b who do
not train: 549 of them are nobody whom anyone looks for (pid 0). The people that only camera a has
are left out. ``prid2011-0`` to ``-9`` are partitions of our own, as published results draw theirs.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.data.readers.files import read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.readers.partitions import divide, drawn
from reidlab.data.table import DISTRACTOR_PID, Dataset, check_counts
from reidlab.recipe.names import split

NAME = re.compile(r"person_(?P<person>\d{4})\.png", re.IGNORECASE)
IN_BOTH, TRAINED = 200, 100
CAMERAS = {"images of camera a": 385, "images of camera b": 749}
COUNTS = {"identities": 200, "train images": 200, "query images": 100}
COUNTS |= {"gallery images": 649, "gallery distractors": 549, "cameras": 2}

LAYOUT = Layout(
    title="PRID 2011's layout",
    wanted="single_shot/cam_a, single_shot/cam_b",
    fits=lambda folder: all(
        (folder / "single_shot" / camera).is_dir() for camera in ("cam_a", "cam_b")
    ),
)


def load(name: str, root: Path) -> Dataset:
    """Read one partition of PRID 2011.

    Args:
        name: ``prid2011``, or ``prid2011-0`` to ``prid2011-9``.
        root: its folder or zip, or a folder that holds either.

    Raises:
        DataError: not found, a name outside the pattern, or counts other than the published ones.
    """
    folder = locate(name, root)
    rows = []
    for camid, camera in enumerate(("cam_a", "cam_b"), 1):
        for file, known in read_names(folder / "single_shot" / camera, NAME, "person_0001.png"):
            person = int(known["person"])
            pid = person if person <= IN_BOTH else DISTRACTOR_PID
            rows.append((file, pid, camid, camid == 1, camid == 2))
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "probe", "gallery"])
    found = {
        f"images of camera {'ab'[camid - 1]}": (images.camid == camid).sum() for camid in (1, 2)
    }
    check_counts(name, folder, found, CAMERAS)
    images = images[(images.pid != DISTRACTOR_PID) | images.gallery]
    number = split(name)[1]
    train = drawn(range(1, IN_BOTH + 1), TRAINED, "prid2011", number)
    note = f"Partition {number}, drawn here; camera a is the probe, b the gallery."
    return divide(name, folder, images, train, COUNTS, note)


def locate(name: str, root: Path) -> Path:
    """The folder that holds ``single_shot``, unpacking an archive when need be."""
    return find(name, root, ["prid_2011", "prid2011", "PRID2011"], LAYOUT)
