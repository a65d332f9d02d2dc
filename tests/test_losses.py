"""Losses against naive loops over images, torchreid, and what the papers say."""

import math

import pytest
import torch
from torch import Tensor, nn
from torchreid.reid.losses import TripletLoss

from reidlab import losses
from reidlab.common.errors import ReidlabError
from reidlab.losses import (
    BatchHardTriplet,
    CenterLoss,
    ImprovedTriplet,
    LabelSmoothedCrossEntropy,
)
from reidlab.models import Branch, Features
from reidlab.recipe.config import TrainConfig
from reidlab.training.objective import Objective


def batch(seed: int = 0, p: int = 4, k: int = 3, dim: int = 5) -> tuple[Tensor, Tensor]:
    """Features near enough to each other that some hinges are open and some are not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(p).repeat_interleave(k)[torch.randperm(p * k, generator=generator)]
    features = torch.randn(p * k, dim, generator=generator, dtype=torch.float64)
    features = (features + 0.6 * labels[:, None]).requires_grad_()
    return features, labels


def numeric_gradient(function, x: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences, entry by entry."""
    gradient = torch.zeros_like(x)
    with torch.no_grad():
        for place in range(x.numel()):
            values = []
            for sign in (1, -1):
                moved = x.clone()
                moved.view(-1)[place] += sign * step
                values.append(float(function(moved)))
            gradient.view(-1)[place] = (values[0] - values[1]) / (2 * step)
    return gradient


# --- label smoothing ---------------------------------------------------------------------------


def naive_smoothed(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    rows = []
    for scores, label in zip(logits.tolist(), labels.tolist()):
        total = math.log(sum(math.exp(score) for score in scores))
        for c, score in enumerate(scores):
            target = (1 - smoothing) * (c == label) + smoothing / len(scores)
            rows.append(-target * (score - total))
    return sum(rows) / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_equals_a_loop(smoothing):
    logits, labels = batch(dim=7)
    loss = LabelSmoothedCrossEntropy(smoothing)(logits, labels)
    assert loss.item() == pytest.approx(naive_smoothed(logits, labels, smoothing), rel=1e-6)
    loss.backward()  # softmax - target, over N
    target = (1 - smoothing) * nn.functional.one_hot(labels, 7) + smoothing / 7
    expected = (logits.detach().softmax(1) - target) / len(labels)
    torch.testing.assert_close(logits.grad, expected, atol=1e-7, rtol=1e-5)


def test_label_smoothing_out_of_range():
    with pytest.raises(ReidlabError, match=r"smoothing=1: it must lie in \[0, 1\)"):
        LabelSmoothedCrossEntropy(1)


# --- triplet -----------------------------------------------------------------------------------


def naive_triplet(features: Tensor, labels: Tensor, margin: float | None) -> float:
    points, losses = features.tolist(), []
    for i, anchor in enumerate(points):
        positives = [
            math.dist(anchor, other)
            for j, other in enumerate(points)
            if j != i and labels[j] == labels[i]
        ]
        negatives = [
            math.dist(anchor, other) for j, other in enumerate(points) if labels[j] != labels[i]
        ]
        excess = max(positives) - min(negatives)
        losses.append(
            math.log(1 + math.exp(excess)) if margin is None else max(0.0, margin + excess)
        )
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.3, 2.0, None])
@pytest.mark.parametrize("seed", range(2))
def test_triplet_equals_a_loop_in_value_and_gradient(margin, seed):
    features, labels = batch(seed)
    loss = BatchHardTriplet(margin)(features, labels)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(naive_triplet(features, labels, margin), rel=1e-12)
    loss.backward()
    expected = numeric_gradient(
        lambda x: naive_triplet(x, labels, margin), features.detach().clone()
    )
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(features.grad, expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_triplet_equals_torchreid(seed):
    features, labels = batch(seed, p=16, k=4, dim=64)
    mine = BatchHardTriplet(0.3)(features, labels)
    (gradient,) = torch.autograd.grad(mine, features)
    theirs = TripletLoss(margin=0.3)(features, labels)
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(
        gradient, torch.autograd.grad(theirs, features)[0], atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("margin", [0.3, None])
def test_triplet_of_equal_features(margin):
    """A collapsed network: the loss is at its plateau, and the gradient a number."""
    features = torch.ones(6, 4, requires_grad=True)
    loss = BatchHardTriplet(margin)(features, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2) if margin is None else margin)
    assert torch.equal(features.grad, torch.zeros(6, 4))


def test_triplet_of_a_repeated_image():
    """An identity of one image, drawn twice: distance zero to its positive, finite gradient."""
    features = torch.tensor([[0.0], [0.0], [0.1], [0.3]], requires_grad=True)
    loss = BatchHardTriplet(0.3)(features, torch.tensor([5, 5, 6, 6]))
    loss.backward()
    assert loss.item() == pytest.approx((0.2 + 0.2 + 0.4 + 0.2) / 4)
    # Anchors 0 and 1 push 2 away, 2 pulls 3 and pushes one of 0 and 1, 3 pulls 2 and pushes it.
    assert features.grad.sum().item() == pytest.approx(0, abs=1e-7)
    assert features.grad[3].item() == pytest.approx((1 - 1 + 1) / 4)


def test_triplet_is_exact_where_features_are_large_and_near():
    """The expansion ‖a‖² + ‖b‖² - 2ab would lose these distances to rounding in float32."""
    features = torch.tensor([[1000.0], [1000.001], [1000.003], [1000.004]])
    labels = torch.tensor([0, 0, 1, 1])
    exact = naive_triplet(features.double(), labels, 0.3)
    assert BatchHardTriplet(0.3)(features, labels).item() == pytest.approx(exact, rel=1e-6)


def test_losses_under_autocast_are_float32():
    features, labels = batch(p=4, k=4, dim=32)
    half = features.detach().bfloat16()
    centre = CenterLoss(4, 32)
    for loss in (BatchHardTriplet(0.3), BatchHardTriplet(None), centre):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(half, labels)
        assert value.dtype == torch.float32
        assert torch.equal(value, loss(half.float(), labels))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, 3, 3, 3], "4 images of 1 identity: there are no negatives"),
        ([0, 0, 1, 2], "a single image of the identities 1, 2: they have no positive"),
        (range(8), "identities 0, 1, 2, 3, 4 and 3 more: they have no positive"),
    ],
)
def test_triplet_of_a_batch_without_triplets(labels, message):
    labels = torch.tensor(list(labels))
    with pytest.raises(ReidlabError, match=message):
        BatchHardTriplet()(torch.rand(len(labels), 3), labels)


def test_triplet_without_triplets_is_no_number_where_asking_would_wait(monkeypatch):
    monkeypatch.setattr(losses, "_on_host", lambda labels: False)  # as on an accelerator
    features, labels = batch()
    assert not BatchHardTriplet()(features, labels).isnan()
    for bad in (torch.zeros(12, dtype=int), torch.tensor([*range(2)] * 5 + [2, 3])):
        assert BatchHardTriplet()(features, bad).isnan()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_triplet_on_a_gpu():
    features, labels = batch()
    expected = BatchHardTriplet()(features, labels)
    loss = BatchHardTriplet().cuda()
    assert loss(features.cuda(), labels.cuda()).item() == pytest.approx(expected.item())
    assert loss(features.cuda(), torch.zeros(12, device="cuda")).isnan()


@pytest.mark.parametrize("margin", [0, -0.3, math.nan])
def test_triplet_margin_out_of_range(margin):
    with pytest.raises(ReidlabError, match="must be positive; margin=None is the soft margin"):
        BatchHardTriplet(margin)


# --- centres -----------------------------------------------------------------------------------


def naive_centre(features: Tensor, labels: Tensor, centers: Tensor) -> float:
    total = 0.0
    for feature, label in zip(features.tolist(), labels.tolist()):
        total += math.dist(feature, centers[label].tolist()) ** 2
    return total / len(labels)


def test_centre_loss_equals_a_loop_in_value_and_gradient():
    features, labels = batch(p=5)
    loss = CenterLoss(7, 5).double()  # two identities are not in the batch
    value = loss(features, labels)
    centers = loss.centers.detach().clone()
    assert value.item() == pytest.approx(naive_centre(features, labels, centers), rel=1e-12)
    value.backward()
    expected = numeric_gradient(
        lambda x: naive_centre(x, labels, centers), features.detach().clone()
    )
    torch.testing.assert_close(features.grad, expected, atol=1e-7, rtol=1e-6)
    expected = numeric_gradient(lambda x: naive_centre(features, labels, x), centers)
    torch.testing.assert_close(loss.centers.grad, expected, atol=1e-7, rtol=1e-6)
    assert not loss.centers.grad[5:].any()


class NeckAndHead(nn.Module):
    """What an objective asks of a network: a branch, and its classifier."""

    branches = (Branch(5, 5),)

    def make_head(self, branch: int, classes: int) -> nn.Module:
        return nn.Linear(5, classes, bias=False)


@pytest.mark.parametrize("triplet", ["hinge", "soft"])
def test_combined_loss_equals_loops_in_value_and_gradient(triplet):
    """L = L_ID + L_triplet + β·L_centre; the ID loss behind the neck, the others before it."""
    config = TrainConfig(
        sampler="identities",
        triplet=triplet,
        margin=0.7,
        center_weight=0.3,
        label_smoothing=0.1,
        erase=0.0,
    )
    torch.manual_seed(0)
    objective = Objective(config, NeckAndHead(), classes=4).double()
    before, labels = batch()
    before = before.detach().requires_grad_()
    behind = (2 * before.detach() - 1).requires_grad_()
    logits, loss = objective(Features(behind, [behind], [before]), labels)
    (weight,) = (head.weight.detach() for head in objective.heads)
    centers = objective.centers[0].centers.detach()
    torch.testing.assert_close(logits, behind @ weight.T)

    def naive(behind: Tensor, before: Tensor) -> float:
        margin = 0.7 if triplet == "hinge" else None
        return (
            naive_smoothed(behind @ weight.T, labels, 0.1)
            + naive_triplet(before, labels, margin)
            + 0.3 * naive_centre(before, labels, centers)
        )

    loss.backward()
    one, other = behind.detach().clone(), before.detach().clone()
    assert loss.item() == pytest.approx(naive(one, other), rel=1e-6)
    for found, function, x in (
        (behind.grad, lambda x: naive(x, other), one),
        (before.grad, lambda x: naive(one, x), other),
    ):
        expected = numeric_gradient(function, x)
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    objective.eval()  # a validation loss is the ID loss alone
    _, loss = objective(Features(behind, [behind], [before]), labels)
    assert loss.item() == pytest.approx(naive_smoothed(one @ weight.T, labels, 0.1), rel=1e-6)


class TwoBranches(nn.Module):
    """A network whose classifiers and metric losses see features of different sizes."""

    branches = (Branch(3, 5), Branch(4, 2))


def test_classifiers_and_centres_have_the_sizes_of_their_branches():
    config = TrainConfig(
        sampler="identities", triplet="soft", center_weight=0.3, label_smoothing=0.0
    )
    objective = Objective(config, TwoBranches(), classes=6)
    assert [head.weight.shape for head in objective.heads] == [(6, 3), (6, 4)]
    assert [center.centers.shape for center in objective.centers] == [(6, 5), (6, 2)]
    torch.manual_seed(0)
    ids, metrics = [torch.randn(8, 3), torch.randn(8, 4)], [torch.randn(8, 5), torch.randn(8, 2)]
    labels = torch.arange(4).repeat_interleave(2)
    _, loss = objective(Features(torch.cat(ids, 1), ids, metrics), labels)
    parts = [
        naive_smoothed(head(x), labels, 0.0)
        + naive_triplet(y, labels, None)
        + 0.3 * naive_centre(y, labels, center.centers)
        for head, center, x, y in zip(objective.heads, objective.centers, ids, metrics)
    ]
    assert loss.item() == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_centre_optimiser_equals_dividing_the_gradient_by_the_weight():
    """The docstring's rate 0.5 / β against the strong baseline's division before the step."""
    features, labels = batch(p=5)
    beta, moved = 0.0005, []
    for divide in (True, False):
        torch.manual_seed(0)
        loss = CenterLoss(5, 5).double()
        rate = 0.5 if divide else 0.5 / beta
        optimizer = torch.optim.SGD(loss.parameters(), lr=rate)
        for _ in range(3):
            optimizer.zero_grad()
            (beta * loss(features, labels)).backward()
            if divide:
                loss.centers.grad *= 1 / beta
            optimizer.step()
        moved.append(loss.centers.detach())
    torch.testing.assert_close(*moved, atol=1e-12, rtol=1e-12)
    assert naive_centre(features, labels, moved[0]) < naive_centre(features, labels, moved[0] * 0)


def test_centre_loss_refuses_what_does_not_fit():
    with pytest.raises(ReidlabError, match="num_classes=0, dim=4: both must be at least 1"):
        CenterLoss(0, 4)
    with pytest.raises(ReidlabError, match="features have 3 dimensions, the centres 4"):
        CenterLoss(2, 4)(torch.rand(2, 3), torch.tensor([0, 1]))


# --- improved triplet loss ------------------------------------------------------------------


def improved_by_loop(features, labels, tau1, tau2, beta):
    """The mean over all triplets, one by one."""
    total, count = 0.0, 0
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if p == a or labels[p] != labels[a] or labels[n] == labels[a]:
                    continue
                near = sum((features[a] - features[p]) ** 2)
                far = sum((features[a] - features[n]) ** 2)
                total = total + max(near - far, tau1) + beta * max(near, tau2)
                count += 1
    return total / count


@pytest.mark.parametrize("settings", [(-1.0, 0.01, 0.002), (-6.0, 3.0, 0.5)])
def test_improved_triplet_and_its_gradient_by_loop(settings):
    generator = torch.Generator().manual_seed(31)
    labels = torch.tensor([4, 4, 4, 9, 9, 2, 7])
    features = torch.randn(7, 3, dtype=torch.double, generator=generator).requires_grad_()
    twin = features.detach().clone().requires_grad_()
    found = ImprovedTriplet(*settings)(features, labels)
    expected = improved_by_loop(twin, labels, *settings)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(features.grad, twin.grad)
    assert features.grad.abs().sum() > 0


def test_improved_triplet_rests_where_margins_are_kept():
    features = torch.tensor([[0.0], [0.05], [3.0], [3.05]], requires_grad=True)
    loss = ImprovedTriplet()(features, torch.tensor([1, 1, 2, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(-1 + 0.002 * 0.01)
    assert features.grad.abs().sum() == 0


def test_improved_triplet_refuses_what_it_cannot_use():
    with pytest.raises(ReidlabError, match=r"tau1=1.0, .*expected tau1 < 0"):
        ImprovedTriplet(tau1=1.0)
    with pytest.raises(ReidlabError, match=r"tau2=2\.0"):
        ImprovedTriplet(tau2=2.0)
    for labels in ([1, 1, 1], [1, 2, 3]):
        with pytest.raises(ReidlabError, match="triplet loss: the batch holds"):
            ImprovedTriplet()(torch.rand(3, 2), torch.tensor(labels))
