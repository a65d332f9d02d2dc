"""i-LIDS MCTS (Zheng, Gong, Xiang, BMVC 2009): 119 people of an airport, 2 to 8 images each.

Layout: ``Persons/0001001.jpg``: person and image. Nobody says which camera took an image. The
number of the image stands in for it, so that the rule of the same camera leaves out a probe
itself, and nothing else.

59 people train and 60 test, in ten partitions of our own, ``ilids-0`` to ``ilids-9``, as published
results draw theirs. Every image of theirs is a probe, against a gallery of one image a person;
``rank1_single_shot`` and its like are the mean over all galleries that could be drawn.
"""

import re
from pathlib import Path

import pandas as pd

from reidlab.data.readers.files import read_names
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.readers.partitions import divide, drawn
from reidlab.data.table import Dataset
from reidlab.recipe.names import split

NAME = re.compile(r"(?P<person>\d{4})(?P<image>\d{3})\.jpg", re.IGNORECASE)
TRAINED = 59
COUNTS = {"images": 476, "identities": 119, "train identities": 59, "query identities": 60}

LAYOUT = Layout(
    title="i-LIDS's layout", wanted="Persons", fits=lambda folder: (folder / "Persons").is_dir()
)


def load(name: str, root: Path) -> Dataset:
    """Read one partition of i-LIDS.

    Args:
        name: ``ilids``, or ``ilids-0`` to ``ilids-9``.
        root: its folder or zip, or a folder that holds either.

    Raises:
        DataError: not found, a name outside the pattern, or counts other than the published ones.
    """
    folder = locate(name, root)
    rows = [
        (file, int(known["person"]), int(known["image"]), True, True)
        for file, known in read_names(folder / "Persons", NAME, "0001001.jpg")
    ]
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "probe", "gallery"])
    number = split(name)[1]
    train = drawn(images.pid.unique().tolist(), TRAINED, "ilids", number)
    note = (
        f"Partition {number}, drawn here. Cameras are unknown: camid is the number of an image. "
        "Published numbers draw one gallery image of each person, as rank1_single_shot does."
    )
    return divide(name, folder, images, train, COUNTS, note, single_shot=True)


def locate(name: str, root: Path) -> Path:
    """The folder that holds ``Persons``, unpacking an archive when need be."""
    return find(name, root, ["i-LIDS_Pedestrian", "ilids", "iLIDS"], LAYOUT)
