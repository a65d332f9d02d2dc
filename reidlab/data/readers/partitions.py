"""Who is for training and who for testing, in the small sets that come in several partitions.

Where a set's partitions are published and at hand they are read; else they are drawn here, once
and for all: people are ordered by the SHA-256 of set, split and pid, which no library's random
numbers can change, and the first ones train.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.table import Dataset, check_counts, fingerprint, make_table, split_counts


def drawn(people: Iterable[int], count: int, name: str, split: int) -> set[int]:
    """The people who train in a partition of our own.

    Args:
        people: pids.
        count: how many of them train.
        name: of the set.
        split: number of the partition.

    >>> sorted(drawn(range(1, 10), 4, "ilids", 0)), sorted(drawn(range(1, 10), 4, "ilids", 1))
    ([2, 4, 6, 8], [2, 3, 6, 8])
    """

    def key(pid: int) -> bytes:
        return hashlib.sha256(f"{name}-{split}:{pid}".encode()).digest()

    return set(sorted(people, key=key)[:count])


def published(
    name: str, folder: Path, root: Path, variable: str, fields: tuple[str, str], people: int
) -> list[set[int]]:
    """The people who train in each partition of a published .mat file.

    Args:
        name: of the file.
        folder: of the images; the file is looked for there and one folder up, too.
        root: the data root, likewise with its folder ``splits``.
        variable: a struct array, one entry a partition.
        fields: its lists of people to train on and to test on, counted from 1.
        people: of the set, who have to be in one of both.

    Raises:
        DataError: the file is absent, damaged, or does not fit the images.
    """
    import scipy.io

    places = list(dict.fromkeys([folder, folder.parent, root, root / "splits"]))
    file = next((place / name for place in places if (place / name).is_file()), None)
    if file is None:
        looked = ", ".join(map(str, places))
        raise DataError(
            f"{folder} is there, but its partitions are not: looked for {name} in {looked}. Put "
            "the published file there: results on other partitions do not compare."
        )
    try:
        entries = np.ravel(scipy.io.loadmat(file)[variable])
        partitions = [
            tuple(np.hstack(np.ravel(entry[field])).astype(int) for field in fields)
            for entry in entries
        ]
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(
            f"{file} cannot be read as partitions ({variable} of {', '.join(fields)}): "
            f"{type(error).__name__} {error}. Fetch it again."
        ) from error
    for number, (train, test) in enumerate(partitions):
        if sorted([*train, *test]) != list(range(1, people + 1)):
            raise DataError(
                f"{file} does not fit the images: partition {number} has {len(train)} people to "
                f"train on and {len(test)} to test on, numbered up to {max([*train, *test])}, and "
                f"the images show {people}, who belong into one of both each. Is it another set's?"
            )
    return [set(train.tolist()) for train, _ in partitions]


def divide(
    name: str,
    folder: Path,
    images: pd.DataFrame,
    train: set[int],
    counts: dict[str, int],
    note: str,
    single_shot: bool = False,
) -> Dataset:
    """The data set of one partition.

    Args:
        name: what it is loaded as.
        folder: where it was read.
        images: path, pid, camid, and two flags: whether an image is a ``probe``, and whether it is
            in the ``gallery`` (only of people who do not train).
        train: pids of those who do.
        counts: published ones, see :func:`reidlab.data.table.split_counts`; ``images`` are those
            of the whole set.
        note: see :class:`Dataset`.
        single_shot: see :class:`Dataset`.

    Raises:
        DataError: counts other than the published ones.
    """
    trains = images.pid.isin(train)
    parts = {"train": trains, "query": ~trains & images.probe, "gallery": ~trains & images.gallery}
    tables = {
        split: make_table(images.loc[part, ["path", "pid", "camid"]].itertuples(index=False))
        for split, part in parts.items()
    }
    hashed = fingerprint(tables, labels=True)
    dataset = Dataset(name, **tables, fingerprint=hashed, note=note, single_shot=single_shot)
    check_counts(name, folder, split_counts(dataset) | {"images": len(images)}, counts)
    return dataset
