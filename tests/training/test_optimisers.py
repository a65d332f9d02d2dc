"""Optimisers and the warm-up, held against their formulas."""

import pytest
import torch
from torch import nn

from reidlab.models import Branch, Features
from reidlab.recipe.config import TrainConfig
from reidlab.training.objective import Objective
from reidlab.training.optimisers import make_optimizer, make_scheduler


class OneBranch(nn.Module):
    """Stands for a network: all that the objective asks of it are the sizes of its branches."""

    branches = (Branch(3, 3),)


def steps_of(config: TrainConfig, gradients: list[float], start: float = 1.0) -> list[float]:
    weight = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = make_optimizer(config, nn.ParameterList([weight]), nn.ParameterList())
    values = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        values.append(weight.item())
    return values


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.95])
def test_sgd_is_its_formula(momentum):
    config = TrainConfig(optimizer="sgd", momentum=momentum, lr=0.1, weight_decay=0.01)
    weight, speed, expected = 1.0, 0.0, []
    for gradient in (2.0, -1.0, 0.5):
        speed = momentum * speed + gradient + 0.01 * weight
        weight -= 0.1 * speed
        expected.append(weight)
    assert steps_of(config, [2.0, -1.0, 0.5]) == pytest.approx(expected)


def test_adam_is_its_formula_and_neither_amsgrad_nor_adamw():
    gradients = [2.0, -1.0, 0.5, 0.1]
    config = TrainConfig(optimizer="adam", lr=0.1, weight_decay=0.1)
    weight, mean, square, expected = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, 1):
        gradient += 0.1 * weight  # weight decay is part of the gradient
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        scaled = (square / (1 - 0.999**step)) ** 0.5
        weight -= 0.1 * mean / (1 - 0.9**step) / (scaled + 1e-8)
        expected.append(weight)
    assert steps_of(config, gradients) == pytest.approx(expected)
    other = TrainConfig(optimizer="adamw", lr=0.1, weight_decay=0.1)
    assert steps_of(other, gradients) != pytest.approx(expected, rel=1e-3)
    # AMSGrad keeps the largest square: that shows where gradients have been small for long.
    falling = [2.0, *[1e-3] * 3000]
    last = [
        steps_of(TrainConfig(optimizer=name, lr=0.1, weight_decay=0.0), falling)[-1]
        for name in ("adam", "amsgrad")
    ]
    assert last[0] != pytest.approx(last[1], rel=0.1)


@pytest.mark.parametrize("start", [0.1, 0.01, 1.0])
def test_warmup_rises_in_a_line_from_its_start(start):
    config = TrainConfig(
        schedule="step", milestones=[4], warmup_epochs=2, warmup_start=start, epochs=6, lr=0.5
    )
    optimizer = make_optimizer(config, nn.ParameterList([torch.ones(1)]), nn.ParameterList())
    scheduler = make_scheduler(config, optimizer, steps=5)
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    ramp = [0.5 * (start + (1 - start) * step / 10) for step in range(10)]
    assert rates == pytest.approx(ramp + [0.5] * 10 + [0.05] * 10)


def centre_step(center_lr: float) -> tuple[Objective, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An objective after one step of the centres, its centres before, the features and labels."""
    config = TrainConfig(center_weight=0.01, center_lr=center_lr)
    torch.manual_seed(0)
    objective = Objective(config, OneBranch(), classes=4)
    before = objective.centers[0].centers.detach().clone()
    features, labels = torch.randn(6, 3, requires_grad=True), torch.tensor([0, 0, 1, 2, 2, 2])
    _, loss = objective(Features(features, [features], [features]), labels)
    loss.backward()
    optimizer = objective.center_optimizer()
    if optimizer is not None:
        optimizer.step()
    return objective, before, features, labels


def test_centres_move_at_their_own_rate_whatever_the_weight():
    objective, before, features, labels = centre_step(0.25)
    expected = before.clone()
    for feature, label in zip(features.detach(), labels):
        expected[label] -= 0.25 * 2 * (before[label] - feature) / len(labels)
    torch.testing.assert_close(objective.centers[0].centers.detach(), expected)


def test_frozen_centres_stay_and_still_pull():
    """What the report's code did: the loss is there, but nobody moves the centres."""
    frozen, before, features, _ = centre_step(0.0)
    assert frozen.center_optimizer() is None
    assert torch.equal(frozen.centers[0].centers, before)
    assert frozen.centers[0].centers.grad is None
    moving, _, others, _ = centre_step(0.25)
    assert torch.equal(features.grad, others.grad)
    assert not torch.equal(moving.centers[0].centers, before)
