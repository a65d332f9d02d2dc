"""Training on pairs: what is drawn, what is minimised, and that something is learnt."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reidlab.common.errors import DataError, ReidlabError
from reidlab.data.batches import normalise
from reidlab.models import build
from reidlab.training.optimisers import make_optimizer, make_scheduler
from reidlab.training.pairs import RECIPES, PairObjective, Pairs, PairSampler, PairSettings


def people(count: int, seed: int = 0, images: int = 2) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """People of a colour each, above and below, seen by two cameras: images, pids, camids."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(30, 226, (count, 2, 1, 3))
    shown = np.repeat(colours, 2 * images, 0).repeat(30, 1).reshape(-1, 60, 1, 3)
    noisy = shown + rng.normal(0, 8, (len(shown), 60, 40, 3))
    pixels = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)
    pids = np.repeat(np.arange(100, 100 + count), 2 * images)
    return pixels, pids, np.tile(np.repeat([1, 2], images), count)


SETTINGS = PairSettings(people=5, negatives=(1.0, 3.0))


def sampler(count: int = 12, **changes) -> PairSampler:
    _, pids, camids = people(count)
    return PairSampler(pids, camids, dataclasses.replace(SETTINGS, **changes))


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


def test_the_ratio_grows_and_the_last_epochs_are_hard():
    """Counted in every epoch: 1:1 up to 1:3, then hard negatives, as many as positives."""
    objective = PairObjective(build("idla", height=60, width=40), sampler(hard_epochs=2), epochs=5)
    objective.hard = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    ratios = []
    for epoch in range(1, 6):
        batches = list(objective.batches(epoch, np.random.default_rng(epoch)))
        ratios.append(sum(len(pairs.rows) for pairs in batches) / (5 * len(batches)) - 1)
    assert ratios == [1, 2, 3, 1, 1]


def test_loss_is_the_cross_entropy_of_the_two_outputs():
    torch.manual_seed(0)
    images, *_ = people(12)
    objective = PairObjective(build("idla", height=60, width=40), sampler(), epochs=1)
    pairs = next(objective.batches(1, np.random.default_rng(0)))
    batch = objective.load(images, pairs, np.random.default_rng(0))
    logits, loss = objective.step(batch, pairs)
    outputs = []
    objective.model.fc2.register_forward_hook(lambda *call: outputs.append(call[2]))
    one_by_one = [
        objective.model(batch[:5][row][None], batch[5:][column][None])
        for row, column in zip(pairs.rows, pairs.columns)
    ]
    torch.testing.assert_close(logits, torch.cat(one_by_one))
    labels = (pairs.rows != pairs.columns).long()  # output 0 is "same"
    torch.testing.assert_close(loss, nn.functional.cross_entropy(torch.cat(outputs), labels))


def test_images_are_shifted_and_mirrored_as_the_settings_say():
    """The place of one bright pixel tells the shift; both sides of a person are mirrored alike."""
    images = torch.zeros(2, 3, 60, 40, dtype=torch.uint8)
    images[:, :, 30, 10] = 255
    many = torch.zeros(400, dtype=torch.long)
    pairs = Pairs(many, many + 1, many, many)
    objective = PairObjective(build("idla", height=60, width=40), sampler(), epochs=1)
    batch = objective.load(images, pairs, np.random.default_rng(0))
    brightest = batch[:, 0].flatten(1).argmax(1)
    rows, columns = brightest // 40, brightest % 40
    assert set((rows - 30).tolist()) == {-3, -2, -1, 0, 1, 2, 3}  # 5 % of 60
    mirrored = columns > 20
    assert set((columns[~mirrored] - 10).tolist()) == {-2, -1, 0, 1, 2}  # 5 % of 40
    assert set((columns[mirrored] - 29).tolist()) == {-2, -1, 0, 1, 2}
    assert 150 < int(mirrored[:400].sum()) < 250
    assert torch.equal(mirrored[:400], mirrored[400:])


def test_mining_finds_the_most_alike():
    torch.manual_seed(1)
    images, *_ = people(7, images=1)
    objective = PairObjective(
        build("idla", height=60, width=40), sampler_of_one(7, among=6), epochs=1
    )
    found = objective.mine(images, np.random.default_rng(0))
    model = objective.model.eval()
    with torch.no_grad():
        for person, alike in found:
            scores = [
                -math.inf
                if other == person
                else float(model(*(normalise(images[[i]]) for i in (2 * person, 2 * other + 1))))
                for other in range(7)
            ]
            assert alike == int(np.argmax(scores))


def sampler_of_one(count: int, **changes) -> PairSampler:
    """One image a camera: what is drawn is known."""
    _, pids, camids = people(count, images=1)
    return PairSampler(pids, camids, dataclasses.replace(SETTINGS, **changes))


def train(name: str, recipe: dict, epochs: int, count: int) -> tuple[PairObjective, Tensor]:
    """The loop, as short as it goes."""
    images, pids, camids = people(count)
    known = {field.name for field in dataclasses.fields(PairSettings)}
    settings = PairSettings(**{key: value for key, value in recipe.items() if key in known})
    torch.manual_seed(0)
    model = build(name, height=60, width=40)
    objective = PairObjective(model, PairSampler(pids, camids, settings), epochs)
    config = SimpleNamespace(**{"warmup_epochs": 0, "momentum": 0.9} | recipe, epochs=epochs)
    optimizer = make_optimizer(config, model, nn.ModuleList())
    scheduler = make_scheduler(config, optimizer, objective.sampler.steps)
    for epoch in range(1, epochs + 1):
        rng = np.random.default_rng(epoch)
        for pairs in objective.batches(epoch, rng):
            _, loss = objective.step(objective.load(images, pairs, rng), pairs)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
        objective.after_epoch(images, epoch, rng)
    return objective, images


@pytest.mark.parametrize("name", ["idla_bn", "fpnn_bn"])
def test_a_short_training_tells_people_apart(name):
    """Of 10 people who were not trained on most are found first; chance finds one."""
    objective, _ = train(name, RECIPES["modern"] | {"people": 10}, epochs=8, count=40)
    model = objective.model.eval()
    images, *_ = people(10, seed=9, images=1)
    with torch.no_grad():
        codes = model.encode(normalise(images[::2]), 0), model.encode(normalise(images[1::2]), 1)
        nearest = [int(model.compare(one, codes[1]).argmax()) for one in codes[0].split(1)]
    assert sum(found == person for person, found in enumerate(nearest)) >= 6


def test_retraining_moves_the_last_layer_only():
    recipe = RECIPES["idla-paper"] | {"people": 5, "lr": 0.05, "hard_epochs": 1}
    before, _ = train("idla", recipe | {"hard_epochs": 0}, epochs=1, count=10)
    first = copy.deepcopy(before.model.state_dict())
    after, _ = train("idla", recipe | {"negatives": (2.0, 2.0)}, epochs=2, count=10)
    changed = {
        name
        for name, value in after.model.state_dict().items()
        if not torch.equal(value, first[name])
    }
    assert changed == {"fc2.weight", "fc2.bias"}
    assert after.hard is not None and (after.hard[:, 0] != after.hard[:, 1]).all()


def test_bad_input_is_named():
    _, pids, camids = people(6)
    with pytest.raises(DataError, match="1 of 6 training people, the first being pid 100"):
        PairSampler(pids[1:], np.where(pids == 100, 1, camids)[1:], SETTINGS)
    with pytest.raises(DataError, match="1 of 6 training people"):  # a single image
        PairSampler(pids[3:], camids[3:], SETTINGS)
    with pytest.raises(DataError, match="people=7: a batch of pairs takes 2 people or more"):
        PairSampler(pids, camids, dataclasses.replace(SETTINGS, people=7))
    with pytest.raises(ReidlabError, match="IDLA has no such layer; its layers are conv1"):
        PairObjective(build("idla", height=60, width=40), sampler(retrain="fc9"), epochs=1)
