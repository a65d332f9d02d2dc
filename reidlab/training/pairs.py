"""Training on pairs: which pairs, and what is minimised.

A batch has P people, an image of each for either side of a pair, every one of them encoded once.
Its pairs are places in the P x P grid: the diagonal are the positives, and of the other places so
many are negatives as the recipe's ratio says. So 2 P encodings serve P (1 + ratio) pairs.

The recipe's sampler says which: ``pairs`` draws negatives at random; ``growing-pairs`` begins with
one for each positive and ends with the recipe's number, and half of its batches are made of people
who look alike (FPNN's data balancing and bootstrapping); ``hard-pairs`` ends with epochs on such
people only, which train the last layer alone (IDLA). They are found by scores: for each person
a number of others are scored, and the one who looks most alike is kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.common.errors import DataError
from reidlab.data.batches import normalise, shuffled, take
from reidlab.models.pairwise import PairNetwork
from reidlab.recipe.config import TrainConfig
from reidlab.training.objective import Step

#: People that are scored with each person to find a hard negative.
AMONG = 16
#: Epochs between looks for them with growing pairs.
MINE_EVERY = 5
#: Share of the epochs that are on hard pairs, the last ones.
HARD_SHARE = 1 / 5


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
    def images(self) -> Tensor:
        """(2 P,) all images of the first side, then all of the second."""
        return torch.cat([self.first, self.second])

    @property
    def target(self) -> Tensor:
        """(n,) 1 for a positive, else 0."""
        return (self.rows == self.columns).float()


class PairSampler:
    """Draws batches of pairs.

    Args:
        pids: (N,) people of the training images.
        camids: (N,) their cameras.
        size: people of a batch, P.
        ordered: the first image of a pair is the one of the lower camera, as where one camera is
            the probe and the other the gallery; else either comes first.

    Raises:
        DataError: people who are seen by one camera only, or fewer than a batch takes.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, size: int, ordered: bool) -> None:
        self.size, self.ordered = size, ordered
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
        if not 2 <= size <= len(self.people):
            raise DataError(
                f"batch_size={2 * size}: a batch of pairs shows half as many people, 2 or more, "
                f"and the training images show {len(self.people)}."
            )

    @property
    def steps(self) -> int:
        """Batches an epoch: each person is in one of them, but for an incomplete last batch."""
        return len(self.people) // self.size

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
        size = self.size
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
        if not self.ordered:
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


class PairObjective(nn.Module):
    """What a training on pairs minimises, and the batches that it does so on.

        L = -(1/n) Σ [y log σ(z) + (1 - y) log(1 - σ(z))]

    with z the network's logit of a pair and y = 1 where both images show one person: the cross
    entropy of the papers' two outputs. It has the methods of
    :class:`reidlab.training.objective.Objective`, and no classifier.

    Args:
        config: the recipe.
        pids: (N,) people of the training images.
        camids: (N,) their cameras; of two, the lower is the probe's.
    """

    flip = 0.0  # both sides of a person are mirrored together, in `step`
    center_optimizer = staticmethod(lambda: None)

    def __init__(self, config: TrainConfig, pids: np.ndarray, camids: np.ndarray) -> None:
        super().__init__()
        self.config, self.heads = config, nn.ModuleList()
        ordered = len(np.unique(camids)) == 2
        self.sampler = PairSampler(pids, camids, config.batch_size // 2, ordered)
        self.hard: np.ndarray | None = None  # (people, 2), since the latest mining

    def get_extra_state(self) -> Tensor:
        """The people who look alike, for a training that goes on later."""
        return torch.empty(0, 2) if self.hard is None else torch.from_numpy(self.hard)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up what :meth:`get_extra_state` gave."""
        self.hard = state.cpu().numpy() if len(state) else None

    def steps(self, *_) -> int:
        """How many batches an epoch has."""
        return self.sampler.steps

    def begin(self, model: PairNetwork, epoch: int) -> None:
        """In the epochs on hard negatives only the last layer learns."""
        if self._is_hard(epoch):
            model.requires_grad_(False)
            model.last_layer.requires_grad_(True)

    def batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Pairs]:
        """The batches of an epoch, counted from 1."""
        config = self.config
        if self._is_hard(epoch):
            yield from self.sampler.epoch(1.0, rng, self.hard)
            return
        ratio = config.num_instances
        if self._is_growing:
            ratio = 1 + (ratio - 1) * (epoch - 1) / max(1, config.epochs - 1)
        random, mined = self.sampler.epoch(ratio, rng), None
        if self.hard is not None:
            mined = self.sampler.epoch(ratio, rng, self.hard)
        for number, pairs in enumerate(random):
            yield pairs if mined is None or number % 2 else next(mined)

    def step(self, network: PairNetwork, images: Tensor, pairs: Pairs) -> Step:
        """Loss and hits of a batch.

        Args:
            network: the one that is trained.
            images: (2 P, 3, H, W) of ``pairs.images``, augmented but for mirroring, normalised.
            pairs: the batch by numbers.
        """
        first, second = images.chunk(2)
        mirrored = torch.rand(len(first), 1, 1, 1).to(images.device) < self.config.flip
        first, second = (torch.where(mirrored, one.flip(3), one) for one in (first, second))
        codes = network.encode(first, 0), network.encode(second, 1)
        rows, columns = (places.to(images.device) for places in (pairs.rows, pairs.columns))
        logits = network.compare(codes[0][rows], codes[1][columns]).float()
        target = (rows == columns).float()
        loss = F.binary_cross_entropy_with_logits(logits, target)
        return Step(loss, ((logits > 0) == target.bool()).sum(), len(target))

    def after_epoch(
        self, model: PairNetwork, images: Tensor, epoch: int, rng: np.random.Generator
    ) -> None:
        """Look for people who look alike, where the recipe says so."""
        begins = self._is_hard(epoch + 1) and not self._is_hard(epoch)
        if begins or (self._is_growing and epoch % MINE_EVERY == 0):
            self.hard = self.mine(model, images, rng)

    @property
    def _is_growing(self) -> bool:
        return self.config.sampler == "growing-pairs"

    def _is_hard(self, epoch: int) -> bool:
        is_last = epoch > round(self.config.epochs * (1 - HARD_SHARE))
        return self.config.sampler == "hard-pairs" and is_last

    @torch.no_grad()
    def mine(self, model: PairNetwork, images: Tensor, rng: np.random.Generator) -> np.ndarray:
        """For each person the one, of some drawn at random, whom the network takes for the same.

        Args:
            model: the network.
            images: (N, 3, H, W) uint8, all training images.
            rng: source of randomness.

        Returns:
            (people, 2) places in the sampler's ``people``.
        """
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        count = len(self.sampler.positives)
        drawn = np.stack([own[rng.integers(len(own))] for own in self.sampler.positives])
        codes = [
            torch.cat(
                [
                    model.encode(normalise(take(images, part.to(images.device)).to(device)), side)
                    for part in index.split(64)
                ]
            )
            for side, index in enumerate(torch.from_numpy(drawn.T.copy()))
        ]
        among = min(AMONG, count - 1)
        others = rng.permuted(np.tile(np.arange(1, count), (count, 1)), axis=1)[:, :among]
        others = (np.arange(count)[:, None] + others) % count
        best = [
            int(model.compare(codes[0][one : one + 1], codes[1][other]).argmax())
            for one, other in enumerate(torch.from_numpy(others))
        ]
        model.train(was_training)
        return np.stack([np.arange(count), others[np.arange(count), best]], 1)
