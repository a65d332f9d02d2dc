"""Samplers and augmentation against naive, image-by-image versions."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from reidlab.data.batches import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    erase,
    flip_and_crop,
    hold_out,
    normalise,
    shuffled,
    take,
)


@pytest.fixture
def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 3, 12, 7), dtype=torch.uint8, generator=generator)


def test_hold_out_is_by_identity_and_keeps_one_to_learn_from():
    pids = np.repeat([5, 9, 2, 4], [10, 20, 1, 3])
    fit, val = hold_out(pids, 0.1, seed=3)
    assert sorted([*fit, *val]) == list(range(34))
    held = {pid: int((pids[val] == pid).sum()) for pid in (5, 9, 2, 4)}
    assert held == {5: 1, 9: 2, 2: 0, 4: 0}
    assert np.array_equal(hold_out(pids, 0.1, seed=3)[1], val)
    assert not np.array_equal(hold_out(pids, 0.1, seed=4)[1], val)
    assert set(pids[hold_out(pids, 0.99, seed=0)[0]]) == {5, 9, 2, 4}


def test_shuffled_visits_each_image_at_most_once_and_drops_the_rest():
    indices = np.arange(100, 123)
    batches = list(shuffled(indices, 5, np.random.default_rng(0)))
    assert [len(index) for index in batches] == [5, 5, 5, 5]
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == 20 and set(seen) <= set(indices)
    assert seen != sorted(seen)


def test_shuffled_set_smaller_than_a_batch_is_one_batch():
    (only,) = shuffled(np.arange(3), 16, np.random.default_rng(0))
    assert sorted(only.tolist()) == [0, 1, 2]


def test_take_and_normalise_equal_torchvision(batch):
    index = torch.tensor([4, 0])
    expected = tv.normalize(
        batch[index].float() / 255, mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD)
    )
    torch.testing.assert_close(normalise(take(batch, index)), expected, atol=1e-5, rtol=1e-5)


def test_flip_and_crop_equals_a_loop_over_images(batch):
    pad = 3
    got = flip_and_crop(batch, 0.5, pad, np.random.default_rng(11))
    rng = np.random.default_rng(11)  # the same draws, in the same order
    mirrored = rng.random(6) < 0.5
    tops, lefts = rng.integers(0, 2 * pad + 1, 6), rng.integers(0, 2 * pad + 1, 6)
    assert mirrored.any() and not mirrored.all()
    for image, out, mirror, top, left in zip(batch, got, mirrored, tops, lefts):
        canvas = torch.zeros(3, 12 + 2 * pad, 7 + 2 * pad, dtype=torch.uint8)
        canvas[:, pad : pad + 12, pad : pad + 7] = image
        crop = canvas[:, top : top + 12, left : left + 7]
        assert torch.equal(out, crop.flip(2) if mirror else crop)


def test_no_augmentation_is_the_identity(batch):
    assert torch.equal(flip_and_crop(batch, 0.0, 0, np.random.default_rng(0)), batch)
    assert torch.equal(flip_and_crop(batch, 1.0, 0, np.random.default_rng(0)), batch.flip(3))


def test_erase_rate_area_and_shape():
    images = torch.ones(2000, 1, 64, 32)
    erase(images, 0.5, np.random.default_rng(0))
    gone = (images == 0)[:, 0]
    touched = gone.flatten(1).any(1)
    assert 0.46 < touched.float().mean() < 0.54
    for mask in gone[touched][:200]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = len(rows), len(columns)
        assert mask.sum() == height * width, "one filled rectangle"
        assert 0.01 < height * width / (64 * 32) < 0.42
        assert 0.2 < height / width < 4
    assert erase(torch.ones(4, 1, 8, 8), 0.0, np.random.default_rng(0)).all()
