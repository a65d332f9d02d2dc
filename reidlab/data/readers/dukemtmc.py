"""DukeMTMC-reID (Ristani et al., ECCV workshops 2016; Zheng et al., ICCV 2017).

Market-1501's layout and protocol, 8 cameras, names like ``0001_c2_f0046182.jpg``. The authors
have withdrawn the data set: it is read where somebody has it, and never fetched.
"""

from pathlib import Path

import pandas as pd

from reidlab.data.readers import market1501
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.table import Dataset

NOTE = (
    "DukeMTMC-reID was withdrawn by its authors in 2019 and is no longer handed out. It is read "
    "here where somebody already has it, to stand beside numbers published before, and it is "
    "never fetched."
)

#: Of Zheng et al. (ICCV 2017). Its distractors have pids of their own, not 0. How many identities
#: the gallery holds with them is not checked: no source at hand counts them.
PUBLISHED = {
    "train images": 16_522,
    "train identities": 702,
    "query images": 2_228,
    "query identities": 702,
    "gallery images": 17_661,
    "cameras": 8,
}

USUAL_NAMES = ["DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmc-reid", "dukemtmc"]

LAYOUT = Layout(
    title=market1501.LAYOUT.title,
    wanted=market1501.LAYOUT.wanted,
    fits=market1501.has_layout,
    source="your own copy (the data set was withdrawn and cannot be had any more)",
)


def load(name: str, root: Path) -> Dataset:
    """Read DukeMTMC-reID and check its counts.

    Args:
        name: ``dukemtmc``.
        root: its folder or zip, or a folder that holds either under a usual name.

    Raises:
        DataError: as :func:`reidlab.data.readers.market1501.load`.
    """
    return market1501.read_layout(name, locate(name, root), PUBLISHED, note=NOTE)


def locate(name: str, root: Path) -> Path:
    """The folder with the three split folders."""
    return find(name, root, USUAL_NAMES, LAYOUT)


def read_junk(name: str, root: Path) -> pd.DataFrame:
    """Images of pid -1, columns as in :class:`Dataset`."""
    return market1501.junk_of(locate(name, root))
