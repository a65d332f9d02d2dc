"""What a training minimises: identity classifiers, and the sum of the recipe's losses.

    L = L_ID + L_triplet + β·L_centre

with L_ID on the classifiers' scores (label-smoothed), the other two on the features themselves
and only where the recipe asks for them (Luo et al., "Bag of Tricks", CVPRW 2019, Eq. 5). A
network with several branches has a classifier for each; every loss is their mean.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reidlab.data.batches import identity_batches, num_identity_batches, shuffled
from reidlab.losses import (
    BatchHardTriplet,
    CenterLoss,
    ImprovedTriplet,
    LabelSmoothedCrossEntropy,
)
from reidlab.models import Features, make_heads
from reidlab.recipe.config import TrainConfig

log = logging.getLogger(__name__)


class Step(NamedTuple):
    """What a batch comes to: the loss, and how many of its decisions were right."""

    loss: Tensor
    correct: Tensor
    count: int


class Objective(nn.Module):
    """Classifiers and losses of a training; they are no part of the network that is kept.

    An objective says which images make a batch (:meth:`batches`) and what a batch costs
    (:meth:`step`); the training loop knows no more of it.

    Args:
        config: the recipe.
        model: the network, for the sizes of its branches.
        classes: training identities.

    Attributes:
        heads: one classifier a branch.
        centers: one centre loss a branch, where the recipe asks for it.
    """

    def __init__(self, config: TrainConfig, model: nn.Module, classes: int):
        super().__init__()
        self.heads = make_heads(model, classes)
        self.identity = LabelSmoothedCrossEntropy(config.label_smoothing)
        self.triplet = {
            "none": lambda: None,
            "hinge": lambda: BatchHardTriplet(config.margin),
            "soft": lambda: BatchHardTriplet(None),
            "improved": ImprovedTriplet,
        }[config.triplet]()
        self.center_weight, self.center_lr = config.center_weight, config.center_lr
        branches = model.branches if config.center_weight else []
        self.centers = nn.ModuleList(CenterLoss(classes, b.metric_dim) for b in branches)
        self.centers.requires_grad_(config.center_lr > 0)
        self.config = config

    @property
    def flip(self) -> float:
        """Probability that an image of a batch is mirrored before :meth:`step` sees it."""
        return self.config.flip

    def begin(self, model: nn.Module, epoch: int) -> None:
        """Before an epoch: nothing changes here."""

    def after_epoch(self, model: nn.Module, *_) -> None:
        """After an epoch: nothing is looked for here."""

    def batches(
        self, labels: np.ndarray, index: np.ndarray, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        """An epoch's batches, (B,) indices of training images each.

        Args:
            labels: (N,) class indices of the training images.
            index: those of the images that are trained on.
            rng: draws their order.
        """
        size, instances = self.config.batch_size, self.config.num_instances
        if self.config.sampler == "identities":
            return identity_batches(labels, index, size // instances, instances, rng)
        return shuffled(index, size, rng)

    def steps(self, labels: np.ndarray, index: np.ndarray) -> int:
        """How many batches an epoch of :meth:`batches` has."""
        config = self.config
        if config.sampler != "identities" or not config.epochs:
            return max(1, len(index) // config.batch_size)
        counts = np.unique(labels[index], return_counts=True)[1]
        if short := int((counts < config.num_instances).sum()):
            log.info(
                "%d of %d identities have fewer than %d images; a batch repeats theirs",
                *(short, len(counts), config.num_instances),
            )
        ids = config.batch_size // config.num_instances
        return num_identity_batches(labels, index, ids, config.num_instances)

    def step(self, network: nn.Module, images: Tensor, labels: Tensor) -> Step:
        """Loss and hits of a batch.

        Args:
            network: the one that is trained, perhaps compiled.
            images: (B, 3, H, W), augmented and normalised.
            labels: (B,) class indices.
        """
        logits, loss = self(network(images), labels)
        return Step(loss, (logits.argmax(1) == labels).sum(), len(labels))

    def forward(self, features: Features, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the first branch's classifier, (N, classes), and the loss.

        Args:
            features: of a batch.
            labels: (N,) class indices.
        """
        logits = [head(feature) for head, feature in zip(self.heads, features.id)]
        loss = _mean(self.identity(scores, labels) for scores in logits)
        if self.training and self.triplet is not None:
            loss = loss + _mean(self.triplet(feature, labels) for feature in features.metric)
        if self.training and self.centers:
            centers = (
                center(feature, labels) for center, feature in zip(self.centers, features.metric)
            )
            loss = loss + self.center_weight * _mean(centers)
        return logits[0], loss

    def center_optimizer(self) -> torch.optim.Optimizer | None:
        """The centres' own optimiser; None where there are no centres, or frozen ones.

        The loss reaches the centres weighted with β. Bag of Tricks divides that out again before
        the step; dividing the rate is the same.
        """
        if not self.centers or not self.center_lr:
            return None
        return torch.optim.SGD(self.centers.parameters(), lr=self.center_lr / self.center_weight)


def _mean(losses: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
