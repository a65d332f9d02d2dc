"""Pairs across cameras, counted in blocks, against loops over every two images."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from reidlab.common.errors import ReidlabError
from reidlab.metrics import distances
from reidlab.metrics.scores import FeatureSet
from reidlab.verification import pairs


def images(seed=0, count=60, people=6, cameras=3, lowest=0, dims=5):
    rng = np.random.default_rng(seed)
    pids = rng.integers(lowest, people + 1, count)
    features = rng.normal(size=(count, dims)) + pids[:, None] / 3
    return FeatureSet(
        torch.from_numpy(features).float(),
        torch.from_numpy(pids),
        torch.from_numpy(rng.integers(1, cameras + 1, count)),
    )


def naive(first, second=None, distance="euclidean", distractors=False):
    """[(distance, pid, pid)] of genuine and of impostor pairs, by the definition."""
    alone, second = second is None, first if second is None else second
    name, extra = ("minkowski", {"p": 3}) if distance == "minkowski" else (distance, {})
    matrix = cdist(first.features.double(), second.features.double(), name, **extra)
    genuine, impostor = [], []
    for i, (pid, camid) in enumerate(zip(first.pids.tolist(), first.camids.tolist())):
        for j, (other, camera) in enumerate(zip(second.pids.tolist(), second.camids.tolist())):
            if (alone and j <= i) or camid == camera or min(pid, other) < 0:
                continue
            if 0 in (pid, other) and (not distractors or pid == other):
                continue
            (genuine if pid == other else impostor).append((matrix[i, j], pid, other))
    return genuine, impostor


def values(listed):
    return np.array([distance for distance, _, _ in listed])


@pytest.fixture(params=[False, True], ids=["two sets", "one set"])
def sets(request, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 500)  # so that there are several blocks
    monkeypatch.setattr(distances, "MIN_ROWS", 17)
    first = images(1, 60, lowest=-1)
    return (first,) if request.param else (first, images(2, 90, lowest=-1))


@pytest.mark.parametrize("distance", distances.DISTANCES)
@pytest.mark.parametrize("distractors", [False, True])
def test_counts_are_those_of_a_loop(sets, distance, distractors):
    counts = pairs.count_pairs(*sets, distance=distance, distractors=distractors)
    expected = naive(*sets, distance=distance, distractors=distractors)
    assert (counts.num_genuine, counts.num_impostor) == tuple(map(len, expected))
    for below, listed in zip((counts.genuine, counts.impostor), expected):
        # Float32 distances may fall on the other side of a threshold that they almost equal.
        slack, shown = 1e-5, slice(None, None, 37)
        low, high = (
            np.array([(values(listed) < t + e).sum() for t in counts.thresholds[shown]])
            for e in (-slack, slack)
        )
        assert (low <= below[shown]).all() and (below[shown] <= high).all()


def test_counts_at_the_thresholds_are_exact():
    """Against the very same float32 distances no count is off, ties at a threshold included."""
    line = torch.tensor([[0.0], [0.25], [0.5], [1.0], [1.0], [3.0]])
    sets = FeatureSet(line, torch.tensor([1, 1, 2, 2, 3, 3]), torch.arange(6))
    counts = pairs.count_pairs(sets)
    genuine, impostor = naive(sets)
    for below, listed in ((counts.genuine, genuine), (counts.impostor, impostor)):
        assert below.tolist() == [(values(listed) < t).sum() for t in counts.thresholds]
    assert counts.thresholds[0] == 0
    for distance in (0.25, 0.5, 0.75, 1.0, 2.0, 3.0):
        after = np.searchsorted(counts.thresholds, distance, "right")
        low, high = counts.thresholds[after - 1 : after + 1]
        assert low <= distance < high <= low * (1 + 2**-13)


def test_block_totals_are_the_totals_of_the_labels(sets):
    found = pairs.CrossCameraPairs(*sets, distractors=True)
    genuine = sum(int(block.genuine.sum()) for block in found)
    finite = sum(int(block.distances.isfinite().sum()) for block in found)
    assert (genuine, finite - genuine) == (found.num_genuine, found.num_impostor)


def test_identity_counts_are_those_of_a_loop(sets):
    cuts = np.array([0.9, 1.4, 1.4, 2.2])
    counts = pairs.count_by_identity(cuts, *sets)
    genuine, impostor = naive(*sets)
    place = {pid: i for i, pid in enumerate(counts.pids.tolist())}
    expected = np.zeros_like(counts.impostor)
    totals = np.zeros_like(counts.num_impostor)
    for distance, pid, other in impostor:
        one, two = place[pid], place[other]
        if len(sets) == 1:
            one, two = min(one, two), max(one, two)
        totals[one, two] += 1
        expected[:, one, two] += distance < cuts
    assert (counts.impostor == expected).all() and (counts.num_impostor == totals).all()
    own = np.zeros_like(counts.genuine)
    for distance, pid, _ in genuine:
        own[:, place[pid]] += distance < cuts
    assert (counts.genuine == own).all()
    assert counts.num_genuine.sum() == len(genuine)


def test_given_values_are_counted_at_each_of_them():
    counts = pairs.count_values(np.array([0.1, 0.4, -1.0]), np.array([0.4, 0.9]))
    assert counts.thresholds[:-1].tolist() == [-1.0, 0.1, 0.4, 0.9]
    assert counts.genuine.tolist() == [0, 1, 2, 3, 3]
    assert counts.impostor.tolist() == [0, 0, 0, 1, 2]


def test_pixels_of_a_tie_do_not_pass_below_zero():
    same = torch.ones(4, 3) * 0.1
    sets = FeatureSet(same, torch.tensor([1, 1, 2, 2]), torch.tensor([1, 2, 1, 2]))
    counts = pairs.count_pairs(sets, distance="cosine")
    assert counts.num_genuine == 2 and counts.num_impostor == 2


@pytest.mark.parametrize(
    ("pids", "camids", "message"),
    [
        ([1, 1, 2, 2], [1, 1, 2, 2], r"no genuine pair.*4 images of 2 identities from 2 cameras"),
        ([1, 1, 1, 1], [1, 2, 1, 2], r"no impostor pair.*1 identities.*two persons"),
        ([0, 0, -1, 0], [1, 2, 1, 2], r"no genuine pair.*among 0 and 0 images of 0 identities"),
    ],
)
def test_no_pairs_is_an_error_that_counts(pids, camids, message):
    sets = FeatureSet(torch.randn(4, 3), torch.tensor(pids), torch.tensor(camids))
    with pytest.raises(ReidlabError, match=message):
        pairs.count_pairs(sets)


def test_bad_features_and_labels_are_named():
    good = images()
    bad = good._replace(features=good.features.clone())
    bad.features[3, 1] = torch.nan
    with pytest.raises(ReidlabError, match=r"NaN.*row 3"):
        pairs.count_pairs(bad)
    with pytest.raises(ReidlabError, match=r"second\.camids has shape \(59,\).*60 images"):
        pairs.count_pairs(good, good._replace(camids=good.camids[1:]))
    with pytest.raises(ReidlabError, match="'euclid'; known are euclidean"):
        pairs.count_pairs(good, distance="euclid")
    with pytest.raises(ReidlabError, match="ascending"):
        pairs.count_by_identity(np.array([2.0, 1.0]), good)
    with pytest.raises(ReidlabError, match="genuine has 2 distances, 1 of them not finite"):
        pairs.count_values(np.array([1.0, np.nan]), np.array([1.0]))


@pytest.mark.parametrize("alone", [True, False])
def test_sampled_pairs_are_all_genuine_ones_and_real_impostors(alone):
    sets = (images(1, 70, lowest=-1),) if alone else (images(1, 70), images(2, 90, lowest=-1))
    first, second = sets[0], sets[-1]
    genuine, impostor = naive(*sets)

    def listed(found, kind):
        return [(i, j) for i, j, g in zip(*(column.tolist() for column in found)) if g == kind]

    whole = pairs.sample_pairs(*sets)
    drawn = pairs.sample_pairs(*sets, impostors=len(impostor) // 2, seed=4)
    assert len(listed(whole, True)) == len(listed(drawn, True)) == len(genuine)
    assert len(set(listed(whole, False))) == len(listed(whole, False)) == len(impostor)
    assert len(listed(drawn, False)) == len(impostor) // 2
    for i, j in listed(drawn, False):
        assert first.camids[i] != second.camids[j] and first.pids[i] != second.pids[j]
        assert first.pids[i] > 0 and second.pids[j] > 0
    if not alone:
        assert set(listed(drawn, False)) <= set(listed(whole, False))
    again = pairs.sample_pairs(*sets, impostors=len(impostor) // 2, seed=4)
    assert all(torch.equal(one, other) for one, other in zip(drawn, again))


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "correlation", "cityblock"])
def test_sampled_distances_are_those_of_the_pairs(distance):
    first, second = images(1, 40), images(2, 60)
    sample = pairs.sample_pairs(first, second, impostors=100)
    found = pairs.sampled_distances(first, second, sample, distance)
    matrix = cdist(first.features.double(), second.features.double(), distance)
    assert np.allclose(found, matrix[sample.first, sample.second], atol=1e-5)
