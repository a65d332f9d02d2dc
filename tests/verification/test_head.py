"""The head that compares: its symmetry, its pairs, its training."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reidlab.common.errors import ReidlabError
from reidlab.metrics.scores import FeatureSet
from reidlab.verification.head import (
    PairHead,
    PairHeadConfig,
    _Batches,
    distances,
    fit_pair_head,
    scores,
)
from reidlab.verification.pairs import count_values, sample_pairs
from reidlab.verification.rates import equal_error_rate

QUICK = PairHeadConfig(steps=200, batch_size=64, val_every=50, lr=1e-3)


def people(seed, count=24, noise=1.0):
    """Images whose last 8 of 16 values tell the person; the first 8 are loud noise."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, count + 1), 6)
    centres = rng.normal(size=(count, 8)).repeat(6, axis=0)
    features = np.concatenate(
        [3 * rng.normal(size=centres.shape), centres + 0.3 * rng.normal(size=centres.shape)], 1
    )
    camids = torch.arange(3).repeat(2 * count)
    return FeatureSet(torch.from_numpy(features).float(), torch.from_numpy(pids), camids)


def test_head_is_the_layers_on_difference_and_product_and_symmetric():
    torch.manual_seed(0)
    head, a, b = PairHead(5, 3), torch.randn(7, 5), torch.randn(7, 5)
    first, last = head.layers[0], head.layers[2]
    for i in range(7):
        x, y = (side[i] / side[i].norm() * 5**0.5 for side in (a, b))
        pair = torch.cat([(x - y).abs(), x * y])
        hidden = (first.weight @ pair + first.bias).clamp(min=0)
        assert head(a, b)[i].item() == pytest.approx(
            (last.weight @ hidden + last.bias).item(), abs=1e-5
        )
    assert torch.equal(head(a, b), head(b, a))
    assert torch.allclose(head(a, b), head(9 * a, b / 7), atol=1e-5)


def test_distances_of_the_whole_gallery_are_those_of_its_pairs(monkeypatch):
    monkeypatch.setattr("reidlab.verification.head.PAIRS", 4)
    torch.manual_seed(0)
    head, query, gallery = (
        PairHead(16),
        people(0).subset(torch.arange(3)),
        people(1).subset(torch.arange(10)),
    )
    blocks = [*distances(head, query, gallery)]
    assert [block.shape for block in blocks] == [(1, 10)] * 3
    for i in range(3):
        for j in range(10):
            pair = (side.features[[k]] for side, k in ((query, i), (gallery, j)))
            assert blocks[i][0, j].item() == pytest.approx(-head(*pair).item(), abs=1e-5)


def test_head_refuses_features_of_another_network():
    with pytest.raises(ReidlabError, match=r"\(4, 6\).*this head compares two of shape \(N, 5\)"):
        PairHead(5)(torch.zeros(4, 6), torch.zeros(4, 6))
    with pytest.raises(ReidlabError, match=r"\(4, 5\) and \(3, 5\)"):
        PairHead(5)(torch.zeros(4, 5), torch.zeros(3, 5))


def test_batches_are_balanced_over_kinds_and_cameras():
    training = people(0)
    # A camera pair with a hundredth of the images is drawn as often as the others.
    training.camids[training.pids > 2] = training.camids[training.pids > 2].clamp(max=1)
    batches = _Batches(training, PairHeadConfig(batch_size=600), np.random.default_rng(0))
    for _ in range(3):
        a, b, target = batches.draw()
        place = {tuple(f.tolist()): i for i, f in enumerate(training.features)}
        one, two = ([place[tuple(f.tolist())] for f in side] for side in (a, b))
        same = training.pids[one] == training.pids[two]
        assert torch.equal(same.float(), target)
        assert (training.camids[one] != training.camids[two]).all()
        assert 0.45 < target.mean() < 0.55
        cameras = torch.stack([training.camids[one], training.camids[two]], 1).sort(1).values
        for kind in (same, ~same):
            _, counts = cameras[kind].unique(dim=0, return_counts=True)
            share = counts / counts.sum()
            assert len(counts) == 3 and (share - 1 / 3).abs().max() < 0.12


def test_hard_impostors_are_nearer_than_random_ones():
    def nearness(hard):
        config = PairHeadConfig(batch_size=2000, hard=hard)
        a, b, target = _Batches(people(0), config, np.random.default_rng(0)).draw()
        return F.cosine_similarity(a, b)[target == 0].mean()

    assert nearness(1.0) > nearness(0.0) + 0.1


def test_head_learns_which_values_tell_the_person():
    """On people it never saw, where the plain distance drowns in the loud values."""
    trained = fit_pair_head(people(0, 60), QUICK)
    test = people(1)
    pairs = sample_pairs(test)
    learned = scores(trained.head, test, test, pairs)
    a, b = test.features[pairs.first], test.features[pairs.second]
    plain = 1 - F.cosine_similarity(a, b).numpy()
    genuine = pairs.genuine.numpy()
    eers = [equal_error_rate(count_values(d[genuine], d[~genuine]))[0] for d in (learned, plain)]
    assert eers[0] < 0.5 * eers[1]


def test_training_is_the_same_twice_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = fit_pair_head(people(0), QUICK), fit_pair_head(people(0), QUICK)
    assert torch.equal(before, torch.get_rng_state())
    assert one.history == two.history
    assert all(torch.equal(p, q) for p, q in zip(one.head.parameters(), two.head.parameters()))
    other = fit_pair_head(people(0), PairHeadConfig(steps=200, batch_size=64, seed=1))
    assert not torch.equal(one.head.layers[0].weight, other.head.layers[0].weight)


def test_kept_weights_are_those_of_the_best_look():
    """On noise, the loss on held-out people soon rises: training ends, and goes back."""
    rng = np.random.default_rng(0)
    noise = people(0)._replace(features=torch.from_numpy(rng.normal(size=(144, 16))).float())
    config = PairHeadConfig(steps=3000, batch_size=64, val_every=20, patience=3, lr=1e-2)
    trained = fit_pair_head(noise, config)
    losses = [row["val_loss"] for row in trained.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 150
    assert len(trained.held_out) == 5 and set(trained.held_out) <= set(range(1, 25))
    held = FeatureSet(*(c[np.isin(noise.pids, trained.held_out)] for c in noise))
    pairs = sample_pairs(held)
    logits = -torch.from_numpy(scores(trained.head, held, held, pairs))
    kinds = [F.softplus(-logits[pairs.genuine]).mean(), F.softplus(logits[~pairs.genuine]).mean()]
    assert float(sum(kinds) / 2) == pytest.approx(losses[best], abs=1e-5)


def test_too_few_people_and_bad_features_are_named():
    few = people(0, 3)
    with pytest.raises(ReidlabError, match="3 training identities: at least 4"):
        fit_pair_head(few)
    bad = people(0)
    bad.features[7, 2] = torch.inf
    with pytest.raises(ReidlabError, match=r"infinite.*row 7"):
        fit_pair_head(bad)
    one_camera = people(0)
    with pytest.raises(ReidlabError, match="no genuine pair across cameras"):
        fit_pair_head(one_camera._replace(camids=torch.ones_like(one_camera.camids)))
