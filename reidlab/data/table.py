"""A dataset is three tables of images: train, query and gallery."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from reidlab.common.errors import DataError
from reidlab.recipe import names

COLUMNS = ["path", "pid", "camid"]
JUNK_PID = -1
DISTRACTOR_PID = 0


@dataclass(frozen=True)
class Dataset:
    """Images of one re-ID dataset, by split.

    Attributes:
        name: what it was loaded as.
        train: images to learn from; columns ``path`` (absolute, str), ``pid``, ``camid`` (int).
        query: the probes, same columns.
        gallery: what is searched, same columns; distractors (pid 0) stay, junk (pid -1) does not.
        fingerprint: hash over split, file name and size of every image; of generated people over
            what they are drawn from.
        has_cameras: False where nobody knows the camera of an image. Then every image has a
            ``camid`` of its own, and ranking goes without the same-camera rule:
            ``evaluate(..., same_camera_rule=dataset.has_cameras)``.
        note: what whoever reads the set's numbers has to know; a notebook can show it.
        single_shot: True where published numbers are single-gallery-shot CMC: an evaluation then
            has that curve, too (:mod:`reidlab.metrics.single_shot`).
    """

    name: str
    train: pd.DataFrame
    query: pd.DataFrame
    gallery: pd.DataFrame
    fingerprint: str = ""
    has_cameras: bool = True
    note: str = ""
    single_shot: bool = False

    @property
    def may_be_shown(self) -> bool:
        """Whether pictures of it may be kept and published, see `names.may_be_shown`."""
        return names.may_be_shown(self.name)

    def splits(self) -> dict[str, pd.DataFrame]:
        """The three tables by name, in the order in which they are used."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    def summary(self) -> pd.DataFrame:
        """One row a split: images, identities, cameras, and distractor images (pid 0).

        A set without cameras has 0 of them.
        """
        rows = []
        for split, frame in self.splits().items():
            known = frame[frame.pid > DISTRACTOR_PID]
            rows.append(
                {
                    "split": split,
                    "images": len(frame),
                    "identities": known.pid.nunique(),
                    "cameras": frame.camid.nunique() if self.has_cameras else 0,
                    "distractors": int((frame.pid == DISTRACTOR_PID).sum()),
                }
            )
        return pd.DataFrame(rows)

    def train_labels(self) -> np.ndarray:
        """Class index 0..C-1 of every training image, by sorted pid; shape (N,), int64.

        Raises:
            DataError: the set has no training images.
        """
        if self.train.empty:
            raise DataError(
                f"{self.name} has no images to train on, only query and gallery: it can be ranked "
                "with embed() and evaluate(). To train on it, add a train split."
            )
        _, labels = np.unique(self.train.pid.to_numpy(), return_inverse=True)
        return labels.astype(np.int64)


def make_table(rows: Iterable[tuple[str, int, int]]) -> pd.DataFrame:
    """A split's table from (path, pid, camid) rows, sorted by path so that runs agree."""
    frame = pd.DataFrame(sorted(rows), columns=COLUMNS)
    return frame.astype({"path": str, "pid": np.int64, "camid": np.int64})


def number_images(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Give every image a camid of its own, 1, 2, ... over all splits, where cameras are unknown.

    No two images then share a camera, so that no rule about cameras finds anything to remove.
    """
    numbered, first = {}, 1
    for split, frame in tables.items():
        camids = np.arange(first, first + len(frame), dtype=np.int64)
        numbered[split] = frame.assign(camid=camids)
        first += len(frame)
    return numbered


def fingerprint(
    splits: dict[str, pd.DataFrame],
    labels: bool = False,
    content: Mapping[str, object] | None = None,
) -> str:
    """Hash over split, file name and size of every image: the same on every machine.

    Args:
        splits: the tables.
        labels: hash pid and camid too, where file names do not hold them.
        content: path -> what stands for the image's content instead of its file's size.

    Raises:
        DataError: an empty file.
    """
    digest = hashlib.sha256()
    for split, frame in splits.items():
        for path, pid, camid in frame[COLUMNS].itertuples(index=False):
            size = os.stat(path).st_size if content is None else content[path]
            if not size:
                raise DataError(f"{path} is empty. Put the image in its place, or take it out.")
            label = f":{pid}:{camid}" if labels else ""
            digest.update(f"{split}/{os.path.basename(path)}:{size}{label}\n".encode())
    return digest.hexdigest()[:16]


def copies(query: pd.DataFrame, gallery: pd.DataFrame) -> int:
    """How many query images lie in the gallery, too, byte for byte."""
    by_size: dict[int, list[str]] = {}
    for path in gallery.path:
        by_size.setdefault(os.stat(path).st_size, []).append(path)
    sums = lru_cache(maxsize=None)(checksum)
    return sum(
        sums(path) in map(sums, by_size.get(os.stat(path).st_size, [])) for path in query.path
    )


def checksum(path: str) -> int:
    """CRC-32 of a file."""
    return zlib.crc32(Path(path).read_bytes())


#: What to do about a set that is not what was published.
RESTORE = "Images were lost or added: unpack the original archive afresh."


def check_counts(
    name: str,
    folder: Path,
    found: dict[str, int],
    published: dict[str, int],
    remedy: str = RESTORE,
) -> None:
    """Compare counts with the published ones.

    Args:
        name: of the dataset.
        folder: where it was read.
        found: counts, e.g. of :func:`split_counts`.
        published: those of them that are known, by the same names.
        remedy: what the message tells to do.

    Raises:
        DataError: at the first set of differences; the message names every pair of numbers.
    """
    wrong = [
        f"{what}: found {found[what]:,}, published {count:,}"
        for what, count in published.items()
        if found[what] != count
    ]
    if wrong:
        raise DataError(
            f"{name} at {folder} does not have the published contents: {'; '.join(wrong)}. "
            f"{remedy}"
        )


def split_counts(dataset: Dataset) -> dict[str, int]:
    """Images and identities of each split, distractors, and totals, as one flat dict.

    The totals are ``identities`` and ``cameras`` over all splits.
    """
    counts: dict[str, int] = {}
    for row in dataset.summary().itertuples():
        counts[f"{row.split} images"] = row.images
        counts[f"{row.split} identities"] = row.identities
    counts["gallery distractors"] = int((dataset.gallery.pid == DISTRACTOR_PID).sum())
    everything = pd.concat(dataset.splits().values())
    counts["identities"] = everything[everything.pid > DISTRACTOR_PID].pid.nunique()
    counts["cameras"] = everything.camid.nunique() if dataset.has_cameras else 0
    return counts
