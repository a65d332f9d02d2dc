"""Some pairs across cameras, where a measure is too slow for all of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.distances import known_distance
from reidlab.metrics.scores import FeatureSet
from reidlab.verification.pairs import CrossCameraPairs


class PairSample(NamedTuple):
    """Some pairs across cameras.

    Attributes:
        first: (N,) int64 positions in the first set.
        second: (N,) int64 positions in the second.
        genuine: (N,) bool, whether they show one person.
    """

    first: Tensor
    second: Tensor
    genuine: Tensor


def sample_pairs(
    first: FeatureSet,
    second: FeatureSet | None = None,
    impostors: int = 1_000_000,
    seed: int = 0,
) -> PairSample:
    """All genuine pairs across cameras, and impostor pairs: all, or a random sample.

    Args:
        first: see :class:`reidlab.verification.pairs.CrossCameraPairs`; distractors are left out.
        second: likewise.
        impostors: how many to draw, with replacement, each as likely as any other; where there
            are no more than that, each is taken once.
        seed: of the drawing.

    Raises:
        ReidlabError: no genuine or no impostor pair across cameras.
    """
    totals = CrossCameraPairs(first, second)  # checks all
    alone, second = second is None, first if second is None else second
    drawing = totals.num_impostor > impostors
    kinds: list[list[np.ndarray]] = [[], []]
    pids, camids = (labels.cpu().numpy() for labels in (second.pids, second.camids))
    own_pids, own_camids = (labels.cpu().numpy() for labels in (first.pids, first.camids))
    rows = max(1, 2**22 // len(pids))
    for start in range(0, len(own_pids), rows):
        here = slice(start, start + rows)
        known = (own_pids[here, None] > DISTRACTOR_PID) & (pids > DISTRACTOR_PID)
        known &= own_camids[here, None] != camids
        if alone:
            known = np.triu(known, start + 1)
        same = own_pids[here, None] == pids
        wanted = [known & same] if drawing else [known & same, known & ~same]
        for kind, mask in zip(kinds, wanted):
            kind.append(np.argwhere(mask) + np.array([start, 0]))
    genuine = np.concatenate(kinds[0])
    if drawing:
        rng = np.random.default_rng(seed)
        others = _draw_impostors((own_pids, own_camids), (pids, camids), impostors, rng)
    else:
        others = np.concatenate(kinds[1])
    both = torch.from_numpy(np.concatenate([genuine, others]).astype(np.int64))
    return PairSample(both[:, 0], both[:, 1], torch.arange(len(both)) < len(genuine))


def _draw_impostors(
    one: tuple[np.ndarray, np.ndarray],
    two: tuple[np.ndarray, np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Positions (count, 2) of impostor pairs; those that are none are drawn again."""
    found = [np.empty((0, 2), np.int64)]
    missing = count
    while missing:
        i, j = rng.integers(len(one[0]), size=count), rng.integers(len(two[0]), size=count)
        fits = (one[0][i] != two[0][j]) & (one[1][i] != two[1][j])
        fits &= (one[0][i] > DISTRACTOR_PID) & (two[0][j] > DISTRACTOR_PID)
        found.append(np.stack([i[fits], j[fits]], 1)[:missing])
        missing -= len(found[-1])
    return np.concatenate(found)


@torch.inference_mode()
def sampled_distances(
    first: FeatureSet, second: FeatureSet, pairs: PairSample, distance: str = "euclidean"
) -> np.ndarray:
    """Distances of sampled pairs, (N,) float32, as :func:`pairs.count_pairs` has them.

    Args:
        first: the set that ``pairs.first`` numbers.
        second: the set that ``pairs.second`` numbers.
        pairs: of :func:`sample_pairs`.
        distance: a name in :data:`reidlab.metrics.distances.DISTANCES`.
    """
    prepare, to_distance = known_distance(distance)
    out = torch.empty(len(pairs.first), dtype=torch.float32)
    order = pairs.first.argsort(stable=True)
    numbers, counts = pairs.first[order].unique_consecutive(return_counts=True)
    # One image with all its partners at a time.
    for number, here in zip(numbers.tolist(), order.split(counts.tolist())):
        block_distance = prepare(second.features[pairs.second[here]])
        values = to_distance(block_distance(first.features[number : number + 1]))
        out[here] = values[0].float().clamp(min=0)
    return out.numpy()
