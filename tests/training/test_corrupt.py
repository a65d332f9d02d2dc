"""Corruptions as augmentation."""

import dataclasses

import numpy as np
import pytest
import torch

from reidlab.common.errors import ReidlabError
from reidlab.data.batches import erase, flip_and_crop, normalise, take
from reidlab.data.corruptions import corrupt_some
from reidlab.data.store import decode
from reidlab.recipe.config import TrainConfig
from reidlab.training import loop

TINY = TrainConfig(
    dataset="market-layout",
    height=32,
    width=16,
    batch_size=4,
    pad=2,
    erase=0.5,
    corrupt="noise",
    corrupt_share=0.6,
    device="cpu",
    precision="float32",
)


def test_corrupted_first_and_then_augmented(market_layout, own_cache, tmp_path):
    training = loop._Training(TINY, tmp_path / "run", market_layout())
    images, index = decode(training.dataset.train, 32, 16), torch.tensor([3, 1, 7, 9, 2, 8])
    found = training._batch(images, index, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    noisy = corrupt_some(take(images, index), "noise", 0.6, rng)
    assert (noisy != take(images, index)).any()
    expected = erase(normalise(flip_and_crop(noisy, 0.5, 2, rng)), 0.5, rng)
    torch.testing.assert_close(found, expected)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ReidlabError, match=r"corrupt='nois' is not known. Did you mean noise\?"):
        dataclasses.replace(TINY, corrupt="nois")
    with pytest.raises(ReidlabError, match=r"corrupt_share=1.5: expected a share, 0 to 1"):
        dataclasses.replace(TINY, corrupt_share=1.5)
