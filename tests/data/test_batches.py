"""Samplers and augmentation against naive, image-by-image versions."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.batches import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    erase,
    flip_and_crop,
    hold_out,
    identity_batches,
    normalise,
    num_identity_batches,
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


def naive_num_batches(groups: list[int], num_ids: int) -> int:
    """Fill batch after batch with the identities that have most groups left."""
    left, batches = sorted(groups), 0
    while len(left) >= num_ids and left[-num_ids] > 0:
        left = sorted(count - (place >= len(left) - num_ids) for place, count in enumerate(left))
        batches += 1
    return batches


def check_epoch(labels: np.ndarray, indices: np.ndarray, p: int, k: int, seed: int) -> np.ndarray:
    """All that an epoch promises; returns how often each image was drawn."""
    batches = list(identity_batches(labels, indices, p, k, np.random.default_rng(seed)))
    counts = {pid: int((labels[indices] == pid).sum()) for pid in np.unique(labels[indices])}
    groups = {pid: max(count // k, 1) for pid, count in counts.items()}
    assert len(batches) == num_identity_batches(labels, indices, p, k)
    assert len(batches) == naive_num_batches(list(groups.values()), p)
    used = dict.fromkeys(counts, 0)
    drawn = np.zeros(len(labels), dtype=int)
    for batch in batches:
        rows = batch.numpy().reshape(p, k)
        pids = labels[rows]
        assert (pids == pids[:, :1]).all(), "the images of an identity are side by side"
        assert len(set(pids[:, 0])) == p
        for row, pid in zip(rows, pids[:, 0]):
            used[pid] += 1
            assert len(set(row)) == min(k, counts[pid]), "an image came again before its time"
        np.add.at(drawn, rows.ravel(), 1)
    assert set(np.flatnonzero(drawn)) <= set(indices)
    for pid, count in counts.items():
        assert used[pid] <= groups[pid]
        if count >= k:
            assert drawn[labels == pid].max() <= 1
    return drawn


@pytest.mark.parametrize("seed", range(40))
def test_identity_batches_of_random_sets(seed):
    rng = np.random.default_rng([1, seed])
    p, k = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    # Some identities with far more images than the rest: they have to be in every batch.
    counts = rng.integers(1, 12, rng.integers(p, 3 * p)) * np.where(rng.random() < 0.5, 1, 5)
    counts[: rng.integers(0, p)] += int(counts.sum())
    counts[0] = max(counts[0], k)  # with nobody of K images there is nothing but repeats
    labels = rng.permutation(np.repeat(rng.permutation(100)[: len(counts)], counts))
    kept = np.flatnonzero(rng.random(len(labels)) < 0.8)
    if len(set(labels[kept])) < p or np.bincount(labels[kept]).max() < k:
        kept = np.arange(len(labels))
    check_epoch(labels, kept, p, k, seed)


def test_identity_batches_of_a_balanced_set_show_every_image_once():
    labels = np.repeat(np.arange(8), 12)
    assert (check_epoch(labels, np.arange(96), 4, 4, seed=0) == 1).all()


def test_identity_batches_repeat_only_where_images_are_too_few():
    labels = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
    (batch,) = identity_batches(labels, np.arange(9), 3, 4, np.random.default_rng(0))
    shown = {int(labels[row[0]]): row.tolist() for row in batch.view(3, 4)}
    assert shown[0] == [0, 0, 0, 0]
    assert set(shown[1]) == {1, 2, 3}
    assert len(set(shown[2])) == 4


def test_identity_batches_are_deterministic_and_random():
    labels = np.repeat(np.arange(10), 9)

    def epoch(seed: int) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        return [batch.tolist() for batch in identity_batches(labels, np.arange(90), 3, 4, rng)]

    assert epoch(0) == epoch(0) != epoch(1)
    partners = {(batch[0] // 9, batch[4] // 9) for seed in range(200) for batch in epoch(seed)}
    assert len(partners) == 90, "any identity meets any other"
    assert {image for seed in range(50) for batch in epoch(seed) for image in batch} == set(
        range(90)
    ), "the images left out change from epoch to epoch"


@pytest.mark.parametrize(
    ("p", "k", "message"),
    [
        (1, 4, "num_ids=1: it must be at least 2"),
        (4, 1, "num_instances=1: it must be at least 2"),
        (6, 4, "num_ids=6: the training images show only 5 identities"),
        (4, 4, "num_instances=4: no identity has so many training images, the most are 3"),
    ],
)
def test_identity_batches_refuse_at_once(p, k, message):
    labels = np.repeat(np.arange(7), 3)
    with pytest.raises(DataError, match=message):  # before the first batch is asked for
        identity_batches(labels, np.arange(15), p, k, np.random.default_rng(0))


def test_identity_batches_of_market1501(real_data):
    labels = data.load("market1501", real_data).train_labels()
    every = np.arange(len(labels))
    drawn = check_epoch(labels, every, 16, 4, seed=0)
    counts = np.bincount(labels)
    groups = np.maximum(counts // 4, 1)
    # The groups of 4 fill the batches but for a rest of fewer than 16.
    assert num_identity_batches(labels, every, 16, 4) == groups.sum() // 16 == 185
    most = sum(min(count, 4 * group) for count, group in zip(counts, groups))
    assert most - 16 * 4 < (drawn > 0).sum() <= most
    learn, _ = hold_out(labels, 0.1, seed=0)
    check_epoch(labels, learn, 16, 4, seed=1)


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
