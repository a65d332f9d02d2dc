"""A head that learns to compare: fully connected layers on a pair of features, one output.

The seed report's future work. The head sees both features at once and says how likely they are
one person's; the distance, by comparison, has nothing to learn. The network below stays as it is.

Both images are to count alike, so the head sees only what does not change when they trade
places: the absolute difference and the product of the two features, value by value.
"""

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.common.errors import ReidlabError
from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.scores import FeatureSet
from reidlab.verification.pairs import CrossCameraPairs, PairSample, sample_pairs

log = logging.getLogger(__name__)

# Pairs scored at a time: their two features of 512 floats then take 32 MiB.
PAIRS = 8192


class PairHead(nn.Module):
    """Scores pairs of features: ``head(a, b) -> (N,)`` logits, above 0 for one person.

    x = [|â - b̂|, â ∘ b̂] with â the feature scaled to length √D, then a hidden layer with ReLU, and
    a layer with one output. ``head(a, b) == head(b, a)``.

    Args:
        dim: D, length of a feature.
        hidden: size of the hidden layer.
    """

    def __init__(self, dim: int, hidden: int = 64):
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, D), (N, D) -> (N,)."""
        if a.shape != b.shape or a.shape[1:] != (self.dim,):
            raise ReidlabError(
                f"features of shape {tuple(a.shape)} and {tuple(b.shape)}: this head compares two "
                f"of shape (N, {self.dim})"
            )
        # Length √D: a single value is then about 1, whatever the network's scale.
        a, b = (F.normalize(side, dim=1) * self.dim**0.5 for side in (a, b))
        return self.layers(torch.cat([(a - b).abs(), a * b], dim=1)).squeeze(1)


@torch.inference_mode()
def scores(head: PairHead, first: FeatureSet, second: FeatureSet, pairs: PairSample) -> np.ndarray:
    """The head's distance of sampled pairs, (N,) float32: minus its logit, any number."""
    head.eval()
    parts = [
        -head(first.features[i].float(), second.features[j].float())
        for i, j in zip(pairs.first.split(PAIRS), pairs.second.split(PAIRS))
    ]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def distances(head: PairHead, query: FeatureSet, gallery: FeatureSet) -> Iterator[Tensor]:
    """The head's distances of all queries to the whole gallery, minus its logits.

    Yields:
        (1, G) float32, query by query: :func:`reidlab.metrics.scores.evaluate` takes them.
    """
    head.eval()
    others = gallery.features.float()
    for one in query.features.float().split(1):
        parts = [-head(one.expand_as(part), part) for part in others.split(PAIRS)]
        yield torch.cat(parts)[None]


@dataclass(frozen=True)
class PairHeadConfig:
    """How a head is trained.

    Attributes:
        hidden: size of the hidden layer.
        steps: at most.
        batch_size: pairs a step, half of them genuine.
        lr: of AdamW.
        weight_decay: of AdamW.
        hard: share of the impostor pairs that are the nearest of several drawn ones.
        among: of how many.
        val_share: training identities held out for early stopping.
        val_every: steps between looks at them.
        patience: looks without a better loss after which training ends.
        seed: of weights, batches and the division of identities.
    """

    hidden: int = 64
    steps: int = 1500
    batch_size: int = 512
    lr: float = 3e-4
    weight_decay: float = 1e-2
    hard: float = 0.5
    among: int = 8
    val_share: float = 0.2
    val_every: int = 100
    patience: int = 4
    seed: int = 0


class TrainedHead(NamedTuple):
    """What training leaves.

    Attributes:
        head: with the weights of its best look at the held-out identities.
        history: one dict a look: step, train_loss, val_loss.
        held_out: pids that it was not trained on.
    """

    head: PairHead
    history: list[dict[str, float]]
    held_out: np.ndarray


def fit_pair_head(images: FeatureSet, config: PairHeadConfig | None = None) -> TrainedHead:
    """Train a head on the features of training people; deterministic, on the CPU.

    Batches are balanced: as many genuine as impostor pairs, and both kinds from the same pairs of
    cameras, each of which is as likely as any other. So neither the kinds' frequency nor the
    cameras tell anything.

    Args:
        images: features of the training people.
        config: default is ``PairHeadConfig()``.

    Raises:
        ReidlabError: no cross-camera pairs, features that are no numbers, or too few identities
            to hold some out.
    """
    config = PairHeadConfig() if config is None else config
    CrossCameraPairs(images)  # raises where there is nothing to learn from
    rng = np.random.default_rng(config.seed)
    kept, held, held_out = _divide(images, config.val_share, rng)
    validation = sample_pairs(held, None, 20_000, config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = PairHead(images.features.shape[1], config.hidden)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    batches = _Batches(kept, config, rng)
    best, history, losses = (np.inf, copy.deepcopy(head.state_dict()), 0), [], []
    for step in range(1, config.steps + 1):
        a, b, target = batches.draw()
        head.train()
        loss = F.binary_cross_entropy_with_logits(head(a, b), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step % config.val_every == 0 or step == config.steps:
            val_loss = _balanced_loss(scores(head, held, held, validation), validation.genuine)
            train_loss = float(torch.stack(losses).mean())
            history.append({"step": step, "train_loss": train_loss, "val_loss": val_loss})
            losses = []
            if val_loss < best[0]:
                best = val_loss, copy.deepcopy(head.state_dict()), step
            elif step - best[2] >= config.patience * config.val_every:
                break
    head.load_state_dict(best[1])
    log.info("pair head: best validation loss %.3f after %d steps", best[0], best[2])
    return TrainedHead(head.eval(), history, held_out)


def _divide(
    images: FeatureSet, share: float, rng: np.random.Generator
) -> tuple[FeatureSet, FeatureSet, np.ndarray]:
    """Images to learn from and to validate on, with no person in both."""
    pids = images.pids.cpu().numpy()
    people = np.unique(pids[pids > DISTRACTOR_PID])
    count = max(2, round(share * len(people)))
    if len(people) - count < 2:
        raise ReidlabError(
            f"{len(people)} training identities: at least 4 are needed, 2 to learn from and 2 to "
            "stop by"
        )
    held_out = np.sort(rng.choice(people, count, replace=False))
    held = torch.from_numpy(np.isin(pids, held_out))
    learn = torch.from_numpy(np.isin(pids, people)) & ~held
    images = FeatureSet(*(column.cpu() for column in images))
    return images.subset(learn), images.subset(held), held_out


def _balanced_loss(distance: np.ndarray, genuine: Tensor) -> float:
    """Cross entropy with both kinds of pairs weighing the same."""
    logit = -torch.from_numpy(distance)
    loss = F.binary_cross_entropy_with_logits(logit, genuine.float(), reduction="none")
    return float((loss[genuine].mean() + loss[~genuine].mean()) / 2)


class _Batches:
    """Draws batches of pairs that are balanced over kinds and pairs of cameras."""

    def __init__(self, images: FeatureSet, config: PairHeadConfig, rng: np.random.Generator):
        self.features = images.features.float()
        self.unit = F.normalize(self.features, dim=1)
        self.config, self.rng = config, rng
        self.pids, camids = images.pids.numpy(), images.camids.numpy()
        sample = sample_pairs(images, None, impostors=0)
        pairs = torch.stack([sample.first, sample.second], 1).numpy()
        # Each pair with its lower camera first, grouped by its two cameras.
        swap = camids[pairs[:, 0]] > camids[pairs[:, 1]]
        pairs[swap] = pairs[swap][:, ::-1]
        cameras = camids[pairs]
        self.cameras, group = np.unique(cameras, axis=0, return_inverse=True)
        order = np.argsort(group.reshape(-1), kind="stable")
        self.genuine, sizes = pairs[order], np.bincount(group.reshape(-1))
        self.start, self.size = np.cumsum(sizes) - sizes, sizes
        # Images of each camera.
        self.known = np.unique(camids)
        self.by_camera = np.argsort(camids, kind="stable")
        counts = np.array([(camids == camera).sum() for camera in self.known])
        self.first_of, self.count_of = np.cumsum(counts) - counts, counts

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, D) twice, and whether they are one person's, (B,) float."""
        half = self.config.batch_size // 2
        group = self.rng.integers(len(self.size), size=half)
        genuine = self.genuine[self.start[group] + self.rng.integers(self.size[group])]
        group = self.rng.integers(len(self.size), size=half)
        impostor = self._impostors(group)
        both = torch.from_numpy(np.concatenate([genuine, impostor]))
        target = (torch.arange(len(both)) < len(genuine)).float()
        return self.features[both[:, 0]], self.features[both[:, 1]], target

    def _impostors(self, group: np.ndarray) -> np.ndarray:
        """Pairs (n, 2) of two persons from given pairs of cameras, some of them hard ones."""
        config, count = self.config, len(group)
        one, two = self.cameras[group].T
        left = self._of(one, 1)[:, 0]
        right = self._of(two, config.among)
        wrong = self.pids[left][:, None] == self.pids[right]
        nearness = torch.einsum("nd,nkd->nk", self.unit[left], self.unit[right]).numpy()
        nearness[wrong] = -2  # below every cosine
        hard = self.rng.random(count) < config.hard
        pick = np.where(hard, nearness.argmax(1), (~wrong).argmax(1))
        fits = ~wrong[np.arange(count), pick]
        return np.stack([left, right[np.arange(count), pick]], 1)[fits]

    def _of(self, cameras: np.ndarray, count: int) -> np.ndarray:
        """Random images of given cameras, (n, count)."""
        place = np.searchsorted(self.known, cameras)
        offset = self.rng.integers(self.count_of[place][:, None], size=(len(cameras), count))
        return self.by_camera[self.first_of[place][:, None] + offset]
