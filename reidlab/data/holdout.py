"""Whole identities held out of a training set, to choose a recipe on without the test set."""

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


def _renumbered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)
