"""A dataset is three tables of images: train, query and gallery."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reidlab.errors import DataError

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
        images_are_public: True only for generated people. Photographs of real people may be
            looked at on one's own screen, but never in committed results.
        fingerprint: hash over split, file name and size of every image.
    """

    name: str
    train: pd.DataFrame
    query: pd.DataFrame
    gallery: pd.DataFrame
    images_are_public: bool = False
    fingerprint: str = ""

    def splits(self) -> dict[str, pd.DataFrame]:
        """The three tables by name, in the order in which they are used."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    def summary(self) -> pd.DataFrame:
        """One row a split: images, identities, cameras, and distractor images (pid 0)."""
        rows = []
        for split, frame in self.splits().items():
            known = frame[frame.pid > DISTRACTOR_PID]
            rows.append(
                {
                    "split": split,
                    "images": len(frame),
                    "identities": known.pid.nunique(),
                    "cameras": frame.camid.nunique(),
                    "distractors": int((frame.pid == DISTRACTOR_PID).sum()),
                }
            )
        return pd.DataFrame(rows)

    def train_labels(self) -> np.ndarray:
        """Class index 0..C-1 of every training image, by sorted pid; shape (N,), int64."""
        _, labels = np.unique(self.train.pid.to_numpy(), return_inverse=True)
        return labels.astype(np.int64)


def make_table(rows: Iterable[tuple[str, int, int]]) -> pd.DataFrame:
    """A split's table from (path, pid, camid) rows, sorted by path so that runs agree."""
    frame = pd.DataFrame(sorted(rows), columns=COLUMNS)
    return frame.astype({"path": str, "pid": np.int64, "camid": np.int64})


def fingerprint(splits: dict[str, pd.DataFrame]) -> str:
    """Hash over split, file name and size of every image: the same on every machine."""
    digest = hashlib.sha256()
    for split, frame in splits.items():
        for path in frame.path:
            file = Path(path)
            digest.update(f"{split}/{file.name}:{file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def check_counts(
    name: str, folder: Path, found: dict[str, int], published: dict[str, int]
) -> None:
    """Compare counts with the published ones.

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
            "Images were lost or added: unpack the original archive afresh, or load the folder "
            'as "market-layout" if it is meant to differ.'
        )


def split_counts(dataset: Dataset) -> dict[str, int]:
    """Images and identities of each split, and the distractors, as one flat dict."""
    counts: dict[str, int] = {}
    for row in dataset.summary().itertuples():
        counts[f"{row.split} images"] = row.images
        counts[f"{row.split} identities"] = row.identities
    counts["gallery distractors"] = int((dataset.gallery.pid == DISTRACTOR_PID).sum())
    return counts
