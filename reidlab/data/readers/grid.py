"""GRID (Loy, Xiang, Gong, CVPR 2009): 250 people of an underground station, and 775 passers-by.

Layout: ``underground_reid/probe`` and ``gallery``, with names like
``0001_1_25008_169_19_94_259.jpeg``: person, camera, and more. Of each person there is one image in
either folder; ``0000`` in the gallery are other people, who stay in it as wrong answers.

125 people train, and 125 probes are looked for among 900 images. The authors' ten partitions
(``features_and_partitions.mat``) are not at hand: ``grid-0`` to ``grid-9`` are drawn here.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.data.readers.files import read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.readers.partitions import divide, drawn
from reidlab.data.table import DISTRACTOR_PID, Dataset
from reidlab.recipe.names import split

NAME = re.compile(r"(?P<person>\d{4})_(?P<camera>\d+)_.*\.jpe?g", re.IGNORECASE)
TRAINED = 125
COUNTS = {"images": 1_275, "identities": 250, "train images": 250, "query images": 125}
COUNTS |= {"gallery images": 900, "gallery distractors": 775}

LAYOUT = Layout(
    title="GRID's layout",
    wanted="probe, gallery",
    fits=lambda folder: all((folder / part).is_dir() for part in ("probe", "gallery")),
)


def load(name: str, root: Path) -> Dataset:
    """Read one partition of GRID.

    Args:
        name: ``grid``, or ``grid-0`` to ``grid-9``.
        root: its folder or zip, or a folder that holds either.

    Raises:
        DataError: not found, a name outside the pattern, or counts other than the published ones.
    """
    folder = locate(name, root)
    rows = [
        (file, int(known["person"]), int(known["camera"]), part == "probe", part == "gallery")
        for part in ("probe", "gallery")
        for file, known in read_names(folder / part, NAME, "0001_1_25008_169_19_94_259.jpeg")
    ]
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "probe", "gallery"])
    people = images.pid[images.pid != DISTRACTOR_PID].unique().tolist()
    number = split(name)[1]
    train = drawn(people, TRAINED, "grid", number)
    note = f"Partition {number}, drawn here: the authors' own partitions are not at hand."
    return divide(name, folder, images, train, COUNTS, note)


def locate(name: str, root: Path) -> Path:
    """The folder with probe and gallery, unpacking an archive when need be."""
    return find(name, root, ["underground_reid", "grid/underground_reid", "GRID", "grid"], LAYOUT)
