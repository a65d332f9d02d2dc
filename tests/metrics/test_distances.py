"""Blocks of distances, and distances that were made elsewhere."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist

from reidlab.common.errors import ReidlabError
from reidlab.metrics import distances
from reidlab.metrics.distances import DISTANCES, distance_to, feature_blocks, known_distance
from reidlab.metrics.scores import evaluate, retrieve
from reidlab.recipe import names
from tests.metrics.test_scores import pairwise, random_sets


@pytest.mark.parametrize("distance", list(DISTANCES))
def test_a_block_written_over_another_equals_a_fresh_one(distance):
    query, gallery = random_sets(seed=13)
    prepare, _ = DISTANCES[distance]
    fresh = prepare(gallery.features)(query.features)
    memory = torch.full_like(fresh, torch.nan)
    assert torch.equal(prepare(gallery.features)(query.features, memory), fresh)


ORDERS = (0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 4.5, 7.3, 20, 100, np.inf)


@pytest.mark.parametrize("order", ORDERS)
def test_minkowski_of_any_order_equals_scipy(order):
    query, gallery = random_sets(seed=17, dim=37)
    expected = cdist(query.features.double(), gallery.features.double(), "minkowski", p=order)
    found = torch.cat(list(feature_blocks(query.features, gallery.features, f"minkowski:{order}")))
    np.testing.assert_allclose(found, expected, rtol=2e-4 if order < 1 else 1e-5)


@pytest.mark.parametrize("mean", [0, 100, 10_000])
def test_correlation_equals_scipy_whatever_the_mean(mean):
    query, gallery = random_sets(seed=19, dim=512, num_gallery=5000)
    q, g = query.features + mean, gallery.features + mean
    expected = cdist(q.double(), g.double(), "correlation")
    found = torch.cat(list(feature_blocks(q, g, "correlation")))
    # a number near 10,000 is itself known to 0.0005 alone
    np.testing.assert_allclose(found, expected, atol=2e-6 if mean < 1000 else 2e-4)


def test_minkowski_of_order_3_is_the_one_without_a_number():
    query, gallery = random_sets(seed=18)
    with_number, without = (
        evaluate(query, gallery, name).per_query for name in ("minkowski:3", "minkowski")
    )
    pd.testing.assert_frame_equal(with_number, without)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_minkowski_neither_vanishes_nor_overflows(scale):
    query, gallery = random_sets(seed=19)
    for order in (3, 8, 20):
        order_of, _ = known_distance(f"minkowski:{order}")
        expected = order_of(gallery.features)(query.features) * scale
        found = order_of(gallery.features * scale)(query.features * scale)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_minkowski_does_not_depend_on_the_block():
    query, gallery = random_sets(seed=20)
    block_distance = known_distance("minkowski")[0](gallery.features)
    together = block_distance(query.features)
    assert torch.equal(together[1:], block_distance(query.features[1:]))


EVERY = [*DISTANCES, "minkowski:1.5", "minkowski:7", "minkowski:inf"]


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("block", [1, 2000, 10**8])
def test_equal_images_are_at_equal_distances_wherever_they_stand(
    monkeypatch, distance, offset, block
):
    monkeypatch.setattr(distances, "BLOCK", block)
    monkeypatch.setattr(distances, "MIN_ROWS", 1)
    query, gallery = random_sets(seed=23, num_gallery=211, dim=37)
    features = gallery.features + offset
    features[5, 3] = 0.0
    where = torch.randperm(3 * 211, generator=torch.Generator().manual_seed(0))
    copies = torch.cat([features] * 3)
    copies[-206, 3] = -0.0  # of the last copy of image 5
    shuffled = torch.empty_like(copies)
    shuffled[where] = copies
    found = torch.cat([b.clone() for b in feature_blocks(query.features, shuffled, distance)])
    first, *others = found[:, where].split(211, dim=1)
    assert all(torch.equal(first, other) for other in others)
    assert first.unique().numel() > 1000


def test_only_equal_rows_are_taken_for_equal():
    features = torch.randint(0, 2, (500, 6), generator=torch.Generator().manual_seed(0)).float()
    again, first = distances._repeated(features)
    _, kind = features.unique(dim=0, return_inverse=True)
    expected = [(i, int((kind == kind[i]).nonzero()[0])) for i in range(500)]
    assert list(zip(again.tolist(), first.tolist())) == [p for p in expected if p[0] != p[1]]
    assert len(again) == 500 - 64


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "correlation"])
@pytest.mark.parametrize("offset", [3, 30, 1000, 10_000])
def test_a_large_common_offset_costs_no_digits(distance, offset):
    """Against float64 on the very same features: their own rounding is not what is tested."""
    query, gallery = random_sets(seed=25, dim=128, num_gallery=400)
    away = torch.randn(128, generator=torch.Generator().manual_seed(1)) * offset
    sets = [s._replace(features=s.features + away) for s in (query, gallery)]
    expected = pairwise(*sets, distance)
    found = distance_to(sets[1].features, distance)(sets[0].features)
    # A unit vector is known to 2**-24 of its length, and so is the least distance it can have.
    known = 1e-4 if distance == "euclidean" else 1e-4 + 2e-7 / np.sqrt(np.median(expected))
    np.testing.assert_allclose(found, expected, rtol=known)
    ranking = evaluate(*sets, distance)
    assert ranking.mAP == pytest.approx(evaluate(*sets, expected).mAP, abs=0.002)


@pytest.mark.parametrize("distance", ["cosine", "correlation"])
def test_angles_do_not_depend_on_the_length_of_features(distance):
    query, gallery = random_sets(seed=26, dim=64)
    expected = pairwise(query, gallery, distance)
    scales = 10.0 ** torch.arange(-25, 6).repeat(10)[:300, None]
    found = distance_to(gallery.features * scales, distance)(query.features * 1e-20)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_names_are_those_of_the_recipe():
    assert tuple(DISTANCES) == names.DISTANCES
    with pytest.raises(ReidlabError, match="known are"):
        known_distance("cosine:2")


def test_minkowski_of_features_that_are_all_zero():
    assert known_distance("minkowski")[0](torch.zeros(3, 5))(torch.zeros(2, 5)).eq(0).all()


@pytest.mark.parametrize("order", ["0", "-1", "0.05", "nan", "three", ""])
def test_an_order_that_makes_no_distance_is_named(order):
    query, gallery = random_sets(seed=21)
    with pytest.raises(ReidlabError, match=f"'minkowski:{order}'.*from 0.1 up, or inf"):
        evaluate(query, gallery, f"minkowski:{order}")


def test_a_distance_that_does_not_exist_is_named_with_those_that_do():
    query, gallery = random_sets(seed=22)
    with pytest.raises(ReidlabError, match=r"'hamming'; known are euclidean.*minkowski:p"):
        evaluate(query, gallery, "hamming")


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
