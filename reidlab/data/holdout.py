"""Some of a set's people: held out to choose a recipe on, or a share of the test set."""

import dataclasses

import numpy as np
import pandas as pd

from reidlab.common.errors import ReidlabError
from reidlab.data.table import Dataset


def hold_out_identities(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """The training set alone, as a small dataset of its own.

    Of each held-out identity one image a camera, drawn at random, is a query, as in Market-1501;
    its other images are the gallery. The true query and gallery are not touched.

    Args:
        dataset: its ``train`` is divided.
        count: identities to hold out, among those that two cameras saw (in a set without
            cameras: that have two images).
        seed: the same seed holds out the same identities.

    Returns:
        A dataset with the other identities as ``train``.

    Raises:
        ReidlabError: fewer such identities than ``count``, or nothing would be left to learn.
    """
    train = dataset.train
    views = train.groupby("pid").camid.nunique()
    candidates = views.index[views > 1].to_numpy()
    if not 0 < count <= len(candidates) or count > len(views) - 2:
        raise ReidlabError(
            f"val_identities={count}: the training set of {dataset.name} has {len(views)} "
            f"identities, of which {len(candidates)} were seen by two cameras or more and can be "
            "held out, and at least 2 must be left to learn."
        )
    rng = np.random.default_rng(seed)
    held = train.pid.isin(rng.choice(candidates, count, replace=False))
    own = train[held]
    shuffled = own.iloc[rng.permutation(len(own))]
    query = shuffled.drop_duplicates(["pid", "camid"]).sort_index()
    gallery = own.drop(query.index)
    return dataclasses.replace(
        dataset,
        train=_renumbered(train[~held]),
        query=_renumbered(query),
        gallery=_renumbered(gallery),
    )


def some_people(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """A share of the people that are searched for, and of all others in the gallery.

    Every person keeps all images, so a search has its true matches, among fewer wrong ones.
    Scores are higher than on the whole set, and comparable with those of the same share and seed.

    Raises:
        ReidlabError: a share that is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise ReidlabError(f"share={share}: expected more than 0, and 1 at most.")
    rng = np.random.default_rng(seed)
    pids = np.unique(dataset.query.pid)
    kept = rng.choice(pids, max(1, round(share * len(pids))), replace=False)
    others = ~dataset.gallery.pid.isin(pids)
    own = dataset.gallery.pid.isin(kept) | (others & (rng.random(len(dataset.gallery)) < share))
    return dataclasses.replace(
        dataset,
        query=_renumbered(dataset.query[dataset.query.pid.isin(kept)]),
        gallery=_renumbered(dataset.gallery[own]),
    )


def _renumbered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)
