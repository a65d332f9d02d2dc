"""Blocks of distances, and distances that were made elsewhere."""

import numpy as np
import pandas as pd
import pytest
import torch

from reidlab.distances import DISTANCES
from reidlab.errors import ReidlabError
from reidlab.metrics import evaluate, retrieve
from tests.test_metrics import pairwise, random_sets


@pytest.mark.parametrize("distance", list(DISTANCES))
def test_a_block_written_over_another_equals_a_fresh_one(distance):
    query, gallery = random_sets(seed=13)
    prepare, _ = DISTANCES[distance]
    fresh = prepare(gallery.features)(query.features)
    memory = torch.full_like(fresh, torch.nan)
    assert torch.equal(prepare(gallery.features)(query.features, memory), fresh)


def in_blocks(distmat, size=7):
    return (distmat[first : first + size] for first in range(0, len(distmat), size))


@pytest.mark.parametrize("make", [torch.tensor, np.array, in_blocks, list])
def test_ready_made_distances_equal_those_of_features(make):
    query, gallery = random_sets(seed=14)
    distmat = pairwise(query, gallery, "cityblock")
    if make is list:
        make = lambda matrix: list(torch.tensor(matrix).split(9))  # noqa: E731
    labels_only = [s._replace(features=None) for s in (query, gallery)]
    expected = evaluate(query, gallery, "cityblock")
    found = evaluate(*labels_only, make(distmat))
    pd.testing.assert_frame_equal(found.per_query, expected.per_query)
    indices, values = retrieve(*labels_only, 5, make(distmat), same_camera_rule=False)
    assert indices.tolist() == retrieve(query, gallery, 5, "cityblock", False)[0].tolist()
    np.testing.assert_allclose(values, np.take_along_axis(distmat, indices, 1), rtol=1e-6)


def test_ready_made_distances_are_left_as_they_were():
    query, gallery = random_sets(seed=15)
    distmat = torch.rand(len(query.pids), len(gallery.pids))
    for given in (distmat, distmat.double(), distmat.half()):
        before = given.clone()
        evaluate(query, gallery, given)
        assert torch.equal(given, before)


def with_nan(distmat):
    distmat[3, 5] = np.nan
    return distmat


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d.T, r"shape \(300, 40\) where floats of shape \(B, 300\)"),
        (lambda d: d[0], r"shape \(300,\)"),
        (lambda d: d.astype(int), "int64"),
        (lambda d: d[:39], "has 39 rows, but there are 40 queries"),
        (lambda d: [d[:30], d], "more than 40 rows, but there are 40 queries"),
        (lambda d: iter(()), "has 0 rows.*only once"),
        (with_nan, "NaN or infinite values in row 3"),
        (lambda d: 3, "distance is 3: give one of euclidean"),
    ],
)
def test_malformed_distances_are_named(make, message):
    query, gallery = random_sets(seed=16)
    distmat = np.random.default_rng(0).random((40, 300))
    for function in (evaluate, retrieve):
        with pytest.raises(ReidlabError, match=message):
            function(query, gallery, distance=make(distmat.copy()))
