"""Training on pairs: what is drawn, what is minimised, and that something is learnt."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reidlab.common.errors import DataError
from reidlab.data.batches import normalise
from reidlab.models import build
from reidlab.recipe import RECIPES, TrainConfig
from reidlab.training.optimisers import make_optimizer, make_scheduler
from reidlab.training.pairs import PairObjective, Pairs, PairSampler


def people(count: int, seed: int = 0, images: int = 2) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """People of a colour each, above and below, seen by two cameras: images, pids, camids."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(30, 226, (count, 2, 1, 3))
    shown = np.repeat(colours, 2 * images, 0).repeat(30, 1).reshape(-1, 60, 1, 3)
    noisy = shown + rng.normal(0, 8, (len(shown), 60, 40, 3))
    pixels = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)
    pids = np.repeat(np.arange(100, 100 + count), 2 * images)
    return pixels, pids, np.tile(np.repeat([1, 2], images), count)


CONFIG = dataclasses.replace(
    RECIPES["pairs-modern"], model="idla", height=60, width=40, batch_size=10, epochs=1
)


def sampler(count: int = 12, size: int = 5, ordered: bool = True) -> PairSampler:
    _, pids, camids = people(count)
    return PairSampler(pids, camids, size, ordered)


def objective_of(count: int = 12, images: int = 2, **changes) -> PairObjective:
    _, pids, camids = people(count, images=images)
    return PairObjective(dataclasses.replace(CONFIG, **changes), pids, camids)


@pytest.mark.parametrize("ordered", [True, False])
def test_pairs_are_what_they_say(ordered):
    _, pids, camids = people(12)
    drawn = list(sampler(ordered=ordered).epoch(2.0, np.random.default_rng(0)))
    assert len(drawn) == 2  # 12 people in batches of 5
    everyone = [pid for pairs in drawn for pid in pids[pairs.first]]
    assert len(set(everyone)) == 10  # nobody twice
    first = []
    for pairs in drawn:
        left, right = pairs.first[pairs.rows].numpy(), pairs.second[pairs.columns].numpy()
        same = pids[left] == pids[right]
        np.testing.assert_array_equal(same, pairs.target.numpy())
        assert same.sum() == 5 and (~same).sum() == 10
        assert len(set(zip(left.tolist(), right.tolist()))) == 15  # no pair twice
        assert (camids[left[same]] != camids[right[same]]).all()
        first += camids[left[same]].tolist()
    assert set(first) == ({1} if ordered else {1, 2})


def test_a_ratio_beyond_the_grid_takes_all_of_it():
    (pairs, *_) = sampler().epoch(9.0, np.random.default_rng(0))
    assert sorted(zip(pairs.rows.tolist(), pairs.columns.tolist())) == [
        (i, j) for i in range(5) for j in range(5)
    ]


def test_hard_couples_come_together_and_first():
    hard = np.array([[0, 7], [7, 3], [11, 0]])
    _, pids, _ = people(12)
    for pairs in sampler().epoch(1.0, np.random.default_rng(1), hard):
        left, right = (
            pids[images[places]] - 100
            for images, places in ((pairs.first, pairs.rows), (pairs.second, pairs.columns))
        )
        negatives = list(zip(left.tolist(), right.tolist()))[5:]
        assert len(negatives) == 5 and len(set(negatives)) == 5
        assert {tuple(one) for one in negatives[:2]} <= {tuple(one) for one in hard.tolist()}
        assert len(set((pids[pairs.first] - 100).tolist())) == 5


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("pairs", [3, 3, 3, 3, 3]),
        ("growing-pairs", [1, 1.6, 2, 2.4, 3]),  # 7.5 and 12.5 pairs, rounded to even
        ("hard-pairs", [3, 3, 3, 3, 1]),
    ],
)
def test_negatives_of_each_epoch(sampler, expected):
    """Counted: the recipe's number, up to it, or as many as positives in the last fifth."""
    objective = objective_of(sampler=sampler, num_instances=3, epochs=5)
    objective.hard = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    ratios = []
    for epoch in range(1, 6):
        batches = list(objective.batches(epoch, np.random.default_rng(epoch)))
        ratios.append(sum(len(pairs.rows) for pairs in batches) / (5 * len(batches)) - 1)
    assert ratios == pytest.approx(expected)


def test_loss_is_the_cross_entropy_of_the_two_outputs():
    torch.manual_seed(0)
    images, *_ = people(12)
    model, objective = build("idla", height=60, width=40), objective_of(flip=0.0)
    pairs = next(objective.batches(1, np.random.default_rng(0)))
    batch = normalise(images[pairs.images])
    step = objective.step(model, batch, pairs)
    outputs = []
    model.fc2.register_forward_hook(lambda *call: outputs.append(call[2]))
    logits = [
        model(batch[:5][row][None], batch[5:][column][None])
        for row, column in zip(pairs.rows, pairs.columns)
    ]
    labels = (pairs.rows != pairs.columns).long()  # output 0 is "same"
    right = nn.functional.cross_entropy(torch.cat(outputs), labels)
    torch.testing.assert_close(step.loss, right)
    hits = sum((logit > 0) == (label == 0) for logit, label in zip(torch.cat(logits), labels))
    assert (step.correct, step.count) == (hits, len(labels))


def test_both_sides_of_a_person_are_mirrored_alike():
    """The place of one bright pixel tells."""
    images = torch.zeros(800, 3, 60, 40)
    images[:, :, 30, 10] = 1.0
    seen = []

    class Network(nn.Module):
        def encode(self, images, view):
            seen.append(images[:, 0].flatten(1).argmax(1) % 40)
            return images[:, 0, 0, :1]

        def compare(self, first, second):
            return (first + second).sum(1)

    numbers = torch.arange(400)
    torch.manual_seed(0)
    objective_of(flip=0.5).step(Network(), images, Pairs(*[numbers] * 4))
    first, second = seen
    assert set(first.tolist()) == {10, 29} and torch.equal(first, second)
    assert 150 < int((first == 29).sum()) < 250


def test_mining_finds_the_most_alike():
    torch.manual_seed(1)
    images, *_ = people(7, images=1)  # one image a camera: what is drawn is known
    model = build("idla", height=60, width=40)
    found = objective_of(7, images=1).mine(model, images, np.random.default_rng(0))
    model.eval()
    with torch.no_grad():
        for person, alike in found:
            scores = [
                -math.inf
                if other == person
                else float(model(*(normalise(images[[i]]) for i in (2 * person, 2 * other + 1))))
                for other in range(7)
            ]
            assert alike == int(np.argmax(scores))


def train(config: TrainConfig, count: int) -> tuple[nn.Module, PairObjective]:
    """The loop, as short as it goes."""
    images, pids, camids = people(count)
    torch.manual_seed(0)
    model = build(config.model, height=60, width=40)
    objective = PairObjective(config, pids, camids)
    optimizer = make_optimizer(config, model, objective.heads)
    scheduler = make_scheduler(config, optimizer, objective.steps())
    for epoch in range(1, config.epochs + 1):
        rng = np.random.default_rng(epoch)
        objective.begin(model, epoch)
        for pairs in objective.batches(epoch, rng):
            loss = objective.step(model, normalise(images[pairs.images]), pairs).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
        objective.after_epoch(model, images, epoch, rng)
    return model, objective


@pytest.mark.parametrize("name", ["idla_bn", "fpnn_bn"])
def test_a_short_training_tells_people_apart(name):
    """Of 10 people who were not trained on most are found first; chance finds one."""
    modern = dataclasses.replace(RECIPES["pairs-modern"], model=name, batch_size=20, epochs=8)
    model, _ = train(modern, count=40)
    model.eval()
    images, *_ = people(10, seed=9, images=1)
    with torch.no_grad():
        codes = model.encode(normalise(images[::2]), 0), model.encode(normalise(images[1::2]), 1)
        nearest = [int(model.compare(one, codes[1]).argmax()) for one in codes[0].split(1)]
    assert sum(found == person for person, found in enumerate(nearest)) >= 6


def test_retraining_moves_the_last_layer_only():
    paper = dataclasses.replace(RECIPES["idla-paper"], batch_size=10, lr=0.05)
    before, _ = train(dataclasses.replace(paper, sampler="pairs", epochs=4), count=10)
    after, objective = train(dataclasses.replace(paper, epochs=5), count=10)
    first = before.state_dict()
    changed = {
        name for name, value in after.state_dict().items() if not torch.equal(value, first[name])
    }
    assert changed == {"fc2.weight", "fc2.bias"}
    assert (objective.hard[:, 0] != objective.hard[:, 1]).all()
    again = PairObjective(objective.config, *people(10)[1:])
    again.load_state_dict(objective.state_dict())
    np.testing.assert_array_equal(again.hard, objective.hard)


def test_bad_input_is_named():
    _, pids, camids = people(6)
    with pytest.raises(DataError, match="1 of 6 training people, the first being pid 100"):
        PairSampler(pids[1:], np.where(pids == 100, 1, camids)[1:], 5, True)
    with pytest.raises(DataError, match="1 of 6 training people"):  # a single image
        PairSampler(pids[3:], camids[3:], 5, True)
    with pytest.raises(DataError, match="batch_size=14: a batch of pairs shows half as many"):
        PairSampler(pids, camids, 7, True)
