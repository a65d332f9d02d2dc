"""Training on pairs: which pairs, and what is minimised.

A batch has P people, an image of each for either side of a pair, every one of them encoded once.
Its pairs are places in the P x P grid: the diagonal are the positives, and of the other places so
many are negatives as the recipe's ratio says. So 2 P encodings serve P (1 + ratio) pairs.

The papers' tricks are settings: a ratio that grows (FPNN's data balancing), translation and
reflection, dropout (of the networks), and hard negatives. These are mined from scores: for each
person a number of others are scored, and the one who looks most alike is kept. IDLA ends with
epochs on them that train its last layer alone; FPNN's bootstrapping goes on mining all along.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reidlab.common.errors import DataError, ReidlabError
from reidlab.data.batches import flip_and_crop, normalise, shuffled, take
from reidlab.models.pairwise import PairNetwork

#: Recipes of networks that look at two images. Of IDLA's, optimiser, rate, decay, schedule, ratio
#: and translation are known from code that re-implements it, and that it ends with hard negatives
#: for the last layer; of FPNN's the growing ratio and the mining. The rest is ours.
RECIPES: dict[str, dict] = {
    "idla-paper": {
        "people": 50,  # 150 pairs a step
        "negatives": (2.0, 2.0),
        "hard_epochs": 20,
        "retrain": "fc2",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.01,
        "weight_decay": 5e-4,
        "schedule": "inverse",
    },
    "fpnn-paper": {
        "people": 32,
        "negatives": (1.0, 5.0),
        "mine_every": 5,
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.01,
        "weight_decay": 5e-4,
        "schedule": "cosine",
    },
    "modern": {
        "people": 32,
        "negatives": (2.0, 5.0),
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "schedule": "onecycle",
    },
}


@dataclass(frozen=True)
class PairSettings:
    """What a training on pairs needs beside the common settings of a recipe.

    Attributes:
        people: P of a batch, at least 2.
        negatives: negatives a positive, in the first epoch and in the last one.
        ordered: the first image of a pair is the one of the lower camera, as where one camera is
            the probe and the other the gallery; else either comes first.
        translate: shift of an image, up to this share of its height and width.
        flip: probability that the images of a person are mirrored, those of both sides together.
        mine_every: epochs between looks for hard negatives, which half of the batches then are
            made of; 0 draws all negatives at random.
        hard_epochs: so many last epochs have hard negatives only, as many as positives.
        retrain: the layer of the network that those epochs train; "" trains all.
        among: people that are scored with each person to find a hard negative.
    """

    people: int = 32
    negatives: tuple[float, float] = (1.0, 1.0)
    ordered: bool = True
    translate: float = 0.05
    flip: float = 0.5
    mine_every: int = 0
    hard_epochs: int = 0
    retrain: str = ""
    among: int = 16


class Pairs(NamedTuple):
    """A batch by numbers: images, and places in the grid of both sides.

    Attributes:
        first: (P,) images of the first side.
        second: (P,) images of the second side, of the same people.
        rows: (n,) place in ``first`` of each pair.
        columns: (n,) place in ``second``.
    """

    first: Tensor
    second: Tensor
    rows: Tensor
    columns: Tensor

    @property
    def target(self) -> Tensor:
        """(n,) 1 for a positive, else 0."""
        return (self.rows == self.columns).float()


class PairSampler:
    """Draws batches of pairs.

    Args:
        pids: (N,) people of the training images.
        camids: (N,) their cameras.
        settings: see :class:`PairSettings`.

    Raises:
        DataError: people who are seen by one camera only, or fewer than a batch takes.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, settings: PairSettings) -> None:
        self.settings = settings
        self.people, person = np.unique(pids, return_inverse=True)
        self.positives: list[np.ndarray] = []  # of each person, (n, 2) images
        for number in range(len(self.people)):
            (own,) = np.nonzero(person == number)
            first, second = np.nonzero(camids[own][:, None] < camids[own])
            self.positives.append(np.stack([own[first], own[second]], 1))
        if alone := [pid for pid, found in zip(self.people, self.positives) if not len(found)]:
            raise DataError(
                f"{len(alone)} of {len(self.people)} training people, the first being pid "
                f"{alone[0]}, have no two images of different cameras: there is no positive pair "
                "of them. Leave them out of the training images."
            )
        if not 2 <= settings.people <= len(self.people):
            raise DataError(
                f"people={settings.people}: a batch of pairs takes 2 people or more, and the "
                f"training images show {len(self.people)}."
            )

    @property
    def steps(self) -> int:
        """Batches an epoch: each person is in one of them, but for an incomplete last batch."""
        return len(self.people) // self.settings.people

    def epoch(
        self, ratio: float, rng: np.random.Generator, hard: np.ndarray | None = None
    ) -> Iterator[Pairs]:
        """The batches of an epoch.

        Args:
            ratio: negatives a positive.
            rng: source of randomness.
            hard: (M, 2) people who look alike, places in ``people``: a batch is then made of such
                couples, and they are its first negatives.
        """
        size = self.settings.people
        if hard is None:
            for people in shuffled(np.arange(len(self.people)), size, rng):
                yield self._batch(people.numpy(), ratio, rng, np.empty((0, 2), int))
            return
        for _ in range(self.steps):
            couples = hard[rng.permutation(len(hard))[: size // 2]]
            rest = np.setdiff1d(np.arange(len(self.people)), couples)
            met = np.unique(couples)
            people = np.concatenate([met, rng.permutation(rest)[: size - len(met)]])
            places = np.argsort(people)[np.searchsorted(np.sort(people), couples)]
            yield self._batch(people, ratio, rng, places)

    def _batch(
        self, people: np.ndarray, ratio: float, rng: np.random.Generator, hard: np.ndarray
    ) -> Pairs:
        drawn = [own[rng.integers(len(own))] for own in (self.positives[one] for one in people)]
        images = np.stack(drawn)
        if not self.settings.ordered:
            swapped = rng.random(len(images)) < 0.5
            images[swapped] = images[swapped, ::-1]
        count, size = round(ratio * len(people)), len(people)
        # Off the diagonal, place k of the size · (size - 1): row k // (size - 1), and so on.
        known = hard[:, 0] * (size - 1) + hard[:, 1] - (hard[:, 1] > hard[:, 0])
        others = rng.permutation(size * (size - 1))
        places = np.concatenate([known, others[~np.isin(others, known)]])[:count]
        rows, columns = np.divmod(places, size - 1)
        columns = columns + (columns >= rows)
        diagonal = np.arange(size)
        parts = (
            *images.T,
            np.concatenate([diagonal, rows]),
            np.concatenate([diagonal, columns]),
        )
        return Pairs(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


class PairObjective:
    """What a training on pairs minimises, and the batches that it does so on.

        L = -(1/n) Σ [y log σ(z) + (1 - y) log(1 - σ(z))]

    with z the network's logit of a pair and y = 1 where both images show one person: the cross
    entropy of the papers' two outputs.

    Args:
        model: the network.
        sampler: of the training images.
        epochs: of the whole training.

    Raises:
        ReidlabError: the network has no layer to retrain of that name.
    """

    def __init__(self, model: PairNetwork, sampler: PairSampler, epochs: int) -> None:
        self.model, self.sampler, self.epochs = model, sampler, epochs
        self.settings = sampler.settings
        self.hard: np.ndarray | None = None  # (people, 2), since the latest mining
        if self.settings.retrain and not hasattr(model, self.settings.retrain):
            raise ReidlabError(
                f"retrain={self.settings.retrain!r}: {type(model).__name__} has no such layer; "
                f"its layers are {', '.join(name for name, _ in model.named_children())}."
            )

    def batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Pairs]:
        """The batches of an epoch, counted from 1."""
        settings = self.settings
        if epoch > self.epochs - settings.hard_epochs:
            yield from self.sampler.epoch(1.0, rng, self.hard)
            return
        start, end = settings.negatives
        grown = (epoch - 1) / max(1, self.epochs - settings.hard_epochs - 1)
        ratio = start + (end - start) * grown
        random, mined = self.sampler.epoch(ratio, rng), None
        if self.hard is not None:
            mined = self.sampler.epoch(ratio, rng, self.hard)
        for number, pairs in enumerate(random):
            yield pairs if mined is None or number % 2 else next(mined)

    def load(self, images: Tensor, pairs: Pairs, rng: np.random.Generator) -> Tensor:
        """Augmented, normalised images of a batch, (2 P, 3, H, W): all first sides, all second.

        Args:
            images: (N, 3, H, W) uint8, all training images.
            pairs: the batch.
            rng: source of randomness.
        """
        batch = take(images, torch.cat([pairs.first, pairs.second]))
        mirrored = torch.from_numpy(rng.random(len(pairs.first)) < self.settings.flip).repeat(2)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        pad = [round(self.settings.translate * side) for side in batch.shape[2:]]
        return normalise(flip_and_crop(batch, 0, pad, rng))

    def step(self, batch: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Logits and loss of a batch.

        Args:
            batch: of `load`, where the network is.
            pairs: the batch by numbers.

        Returns:
            (n,) logits and the loss.
        """
        first, second = batch.chunk(2)
        codes = self.model.encode(first, 0), self.model.encode(second, 1)
        rows, columns = (places.to(batch.device) for places in (pairs.rows, pairs.columns))
        logits = self.model.compare(codes[0][rows], codes[1][columns]).float()
        target = (rows == columns).float()
        return logits, F.binary_cross_entropy_with_logits(logits, target)

    def after_epoch(self, images: Tensor, epoch: int, rng: np.random.Generator) -> None:
        """Look for hard negatives where the recipe says so, and begin the epochs on them."""
        settings = self.settings
        begins = settings.hard_epochs and epoch == self.epochs - settings.hard_epochs
        if begins or (settings.mine_every and epoch % settings.mine_every == 0):
            self.hard = self.mine(images, rng)
        if begins and settings.retrain:
            self.model.requires_grad_(False)
            getattr(self.model, settings.retrain).requires_grad_(True)

    @torch.no_grad()
    def mine(self, images: Tensor, rng: np.random.Generator) -> np.ndarray:
        """For each person the one, of some drawn at random, whom the network takes for the same.

        Args:
            images: (N, 3, H, W) uint8, all training images.
            rng: source of randomness.

        Returns:
            (people, 2) places in the sampler's ``people``.
        """
        was_training = self.model.training
        self.model.eval()
        count = len(self.sampler.positives)
        drawn = np.stack([own[rng.integers(len(own))] for own in self.sampler.positives])
        codes = [
            torch.cat(
                [
                    self.model.encode(normalise(part), side)
                    for part in take(images, index).split(64)
                ]
            )
            for side, index in enumerate(torch.from_numpy(drawn.T.copy()))
        ]
        among = min(self.settings.among, count - 1)
        others = rng.permuted(np.tile(np.arange(1, count), (count, 1)), axis=1)[:, :among]
        others = (np.arange(count)[:, None] + others) % count
        best = [
            int(self.model.compare(codes[0][one : one + 1], codes[1][other]).argmax())
            for one, other in enumerate(torch.from_numpy(others))
        ]
        self.model.train(was_training)
        return np.stack([np.arange(count), others[np.arange(count), best]], 1)
