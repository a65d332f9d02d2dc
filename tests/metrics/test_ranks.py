"""Counting and the first k, on blocks with few or many equal distances."""

import numpy as np
import pytest
import torch

from reidlab.metrics import ranks


@pytest.mark.parametrize("levels", [1, 4, 1000, 10**6])  # from all distances equal to few
@pytest.mark.parametrize("threads", [1, 3])
def test_both_ways_of_counting_give_the_same_ranks(levels, threads):
    rng = np.random.default_rng(levels)
    distmat = rng.integers(0, levels, (90, 400)).astype(np.float32)
    distmat[rng.random(distmat.shape) < 0.02] = np.inf  # removed images, no true matches
    is_match = (rng.random(distmat.shape) < rng.choice([0, 0.03, 0.5], (90, 1))) & (distmat < 1e9)
    block = ranks.Block(0, torch.from_numpy(distmat), *np.nonzero(is_match))
    matches = is_match.sum(1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        by_row, at_once = (f(block, matches) for f in (ranks._count_by_row, ranks._count_at_once))
        found = ranks.match_ranks(block)
    finally:
        torch.set_num_threads(before)
    places = np.argsort(np.argsort(distmat, axis=1, kind="stable"), axis=1)
    for i, expected in enumerate(places):
        expected = np.sort(expected[is_match[i]])
        assert np.sort(by_row[block.rows == i]).tolist() == expected.tolist()
        assert np.sort(at_once[block.rows == i]).tolist() == expected.tolist()
        assert found[i, : len(expected)].tolist() == (expected + 1).tolist()
        assert np.isinf(found[i, len(expected) :]).all()


@pytest.mark.parametrize("levels", [1, 4, 50, 10**6])
@pytest.mark.parametrize("k", [1, 7, 59, 60])
def test_the_smallest_of_a_row_are_settled_by_position(levels, k):
    rng = np.random.default_rng(levels)
    distmat = rng.integers(0, levels, (30, 60)).astype(np.float32)
    distmat[rng.random(distmat.shape) < 0.1] = np.inf
    values, positions = ranks.smallest(torch.from_numpy(distmat), k)
    expected = np.argsort(distmat, axis=1, kind="stable")[:, :k]
    assert positions.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(distmat, expected, 1).tolist()
