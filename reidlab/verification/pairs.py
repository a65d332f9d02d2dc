"""Pairs of images across cameras, counted by their distance without ever holding them all.

Market-1501 has 54 million pairs of a query and a gallery image, its training set 84 million.
Their distances come in blocks and are counted, block by block, between thresholds that are
32-bit floats themselves: at those thresholds every count is exact, whatever the number of pairs.
Neighbouring thresholds differ by 1/8192 of their value at most.

A **genuine** pair shows one person in two cameras; an **impostor** pair two persons, in two
cameras too. Pairs within one camera are left out of both: there the background alone tells
much, and nobody needs a network for what a tracker does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidlab.common.errors import ReidlabError
from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.distances import distance_to, rows_at_a_time
from reidlab.metrics.ranks import FeatureSet, checked_features, checked_labels

# The bit patterns of floats from 0 up are in the floats' order. Without their last 10 bits they
# number the bins of a histogram, 2^13 to each doubling of the distance.
SHIFT = 10
INFINITE = 0x7F800000 >> SHIFT


@dataclass(frozen=True)
class PairCounts:
    """How many pairs are nearer than each threshold.

    Attributes:
        thresholds: (T,) float64, ascending; the first accepts no pair, the last accepts all.
        genuine: (T,) int64, genuine pairs with a distance below each.
        impostor: (T,) int64, impostor pairs with a distance below each.
    """

    thresholds: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    @property
    def num_genuine(self) -> int:
        """All genuine pairs."""
        return int(self.genuine[-1])

    @property
    def num_impostor(self) -> int:
        """All impostor pairs."""
        return int(self.impostor[-1])


@dataclass(frozen=True)
class IdentityCounts:
    """Pairs below a few thresholds, told apart by the persons they show.

    Attributes:
        thresholds: (T,) ascending.
        pids: (P,) the persons.
        genuine: (T, P) genuine pairs of each person with a distance below each threshold.
        impostor: (T, P, P) impostor pairs, by the persons of the two images.
        num_genuine: (P,) all genuine pairs.
        num_impostor: (P, P) all impostor pairs.
    """

    thresholds: np.ndarray
    pids: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray
    num_genuine: np.ndarray
    num_impostor: np.ndarray


class Block(NamedTuple):
    """Some pairs: consecutive images of the first set with some of the second.

    Attributes:
        row: number, in the first set, of the block's first image.
        column: number, in the second set, of the block's first image.
        distances: (B, C); infinite for two images that are no pair.
        genuine: (B, C) bool, pairs that show one person.
    """

    row: int
    column: int
    distances: Tensor
    genuine: Tensor


class CrossCameraPairs:
    """All pairs of images from different cameras, in blocks.

    Args:
        first: images of the pairs' one side, say the queries.
        second: those of the other side; None pairs the first set with itself, each two images
            once.
        distance: a name in :data:`reidlab.metrics.distances.DISTANCES`.
        distractors: take images of pid 0 as well, as nobody's: all their pairs are impostors.
            Without, and in any case for pid -1, they are left out.

    Raises:
        ReidlabError: features that are no numbers, labels that do not fit them, an unknown
            distance, or no genuine or no impostor pair across cameras.
    """

    def __init__(
        self,
        first: FeatureSet,
        second: FeatureSet | None = None,
        distance: str = "euclidean",
        distractors: bool = False,
    ):
        self.distance = distance
        self.alone = second is None
        other = first if second is None else second
        features = checked_features(first, other)
        least = DISTRACTOR_PID if distractors else DISTRACTOR_PID + 1
        self.first, self.second = (
            _known(images._replace(features=values), name, least)
            for images, values, name in zip((first, other), features, ("first", "second"))
        )
        self.num_genuine, self.num_impostor = self._totals()
        if not self.num_genuine or not self.num_impostor:
            raise ReidlabError(self._explain())

    def __iter__(self) -> Iterator[Block]:
        """The blocks in turn; a block's tensors may be changed, until the next is asked for."""
        first, second = self.first, self.second
        rows = rows_at_a_time(max(len(second.pids), 1))
        block_distance = None
        for row in range(0, len(first.pids), rows):
            here = slice(row, min(row + rows, len(first.pids)))
            # Of two images of one set the later one is the column: what is left of the block's
            # first image has been a row already.
            column = row if self.alone else 0
            if block_distance is None or self.alone:
                block_distance = distance_to(second.features[column:], self.distance)
            values = block_distance(first.features[here])
            same_pid = first.pids[here, None] == second.pids[column:]
            out = first.camids[here, None] == second.camids[column:]
            nobody = first.pids[here] == DISTRACTOR_PID
            if nobody.any():
                # Two distractors may show one person or two: nobody knows.
                out |= nobody[:, None] & same_pid
            if self.alone:
                out |= torch.ones_like(out).tril_()
            yield Block(row, column, values.masked_fill_(out, torch.inf), same_pid & ~out)

    def _totals(self) -> tuple[int, int]:
        """How many genuine and impostor pairs there are, from the labels alone."""
        pids, table, other = self._tables()
        across = int(table.sum()) * int(other.sum()) - int(table.sum(0) @ other.sum(0))
        same = table.sum(1) * other.sum(1) - (table * other).sum(1)
        known = pids != DISTRACTOR_PID
        genuine, unknown = int(same[known].sum()), int(same[~known].sum())
        impostor = across - genuine - unknown
        return (genuine // 2, impostor // 2) if self.alone else (genuine, impostor)

    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The persons (P,), and each set's images by person and camera: (P, C) int64."""
        sides = [(s.pids.cpu().numpy(), s.camids.cpu().numpy()) for s in (self.first, self.second)]
        pids = np.unique(np.concatenate([side[0] for side in sides]))
        camids = np.unique(np.concatenate([side[1] for side in sides]))
        tables = []
        for own_pids, own_camids in sides:
            table = np.zeros((len(pids), len(camids)), np.int64)
            places = np.searchsorted(pids, own_pids), np.searchsorted(camids, own_camids)
            np.add.at(table, places, 1)
            tables.append(table)
        return pids, *tables

    def _explain(self) -> str:
        """Why there are no pairs to count, and what to do about it."""
        pids, table, other = self._tables()
        people = int((pids != DISTRACTOR_PID).sum())
        cameras = int(((table + other).sum(0) > 0).sum())
        what = "genuine" if not self.num_genuine else "impostor"
        remedy = {
            "genuine": "it takes at least one person with images from two cameras; without "
            "cameras, number the images (Dataset.has_cameras)",
            "impostor": "it takes at least two persons, seen by different cameras",
        }[what]
        return (
            f"no {what} pair across cameras among {len(self.first.pids)} and "
            f"{len(self.second.pids)} images of {people} identities from {cameras} cameras: "
            f"{remedy}"
        )


def count_pairs(
    first: FeatureSet,
    second: FeatureSet | None = None,
    distance: str = "euclidean",
    distractors: bool = False,
) -> PairCounts:
    """Count all pairs across cameras by distance, exactly.

    Time is about that of the distances; memory is a few times that of one block of them, 32 MiB,
    whatever the number of pairs.

    Arguments and errors are those of :class:`CrossCameraPairs`.

    >>> people = FeatureSet(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([1, 1, 2]),
    ...     torch.tensor([1, 2, 2]))
    >>> counts = count_pairs(people)  # genuine: 1 apart; impostors: 5 apart; 4 is one camera
    >>> counts.num_genuine, counts.num_impostor, int(counts.genuine[counts.thresholds < 5][-1])
    (1, 1, 1)
    """
    pairs = CrossCameraPairs(first, second, distance, distractors)
    genuine = torch.zeros(INFINITE, dtype=torch.int64)
    total = torch.zeros(INFINITE, dtype=torch.int64)
    for block in pairs:
        # Rounding can leave a distance just below zero.
        values = block.distances.float().clamp_(min=0)
        genuine += _histogram(values[block.genuine])
        total += _histogram(values.flatten())
    return _from_histograms(genuine.numpy(), (total - genuine).numpy())


def count_values(genuine: np.ndarray, impostor: np.ndarray) -> PairCounts:
    """Count given distances in the same way, say those of a sample of pairs.

    Args:
        genuine: (M,) distances of genuine pairs, any finite numbers.
        impostor: (N,) those of impostor pairs.

    Raises:
        ReidlabError: there are none, or some are no finite numbers.
    """
    for values, name in ((genuine, "genuine"), (impostor, "impostor")):
        if not len(values) or not np.isfinite(values).all():
            raise ReidlabError(
                f"{name} has {len(values)} distances, {np.sum(~np.isfinite(values))} of them not "
                "finite: at least one is needed, and all must be numbers"
            )
    # Every value is a threshold of its own; above the last all are accepted.
    found = np.unique(np.concatenate([genuine, impostor])).astype(np.float64)
    thresholds = np.append(found, np.nextafter(found[-1], np.inf))
    below = (np.searchsorted(np.sort(v), thresholds, "left") for v in (genuine, impostor))
    return PairCounts(thresholds, *below)


def count_by_identity(
    thresholds: np.ndarray,
    first: FeatureSet,
    second: FeatureSet | None = None,
    distance: str = "euclidean",
) -> IdentityCounts:
    """Count the pairs below a few thresholds for each person, and each two persons.

    Args:
        thresholds: (T,) distances, ascending; memory is 8 · T · P² bytes for P persons.
        first: as in :class:`CrossCameraPairs`; distractors are left out.
        second: the other side; None pairs ``first`` with itself.
        distance: of a pair.

    Raises:
        ReidlabError: thresholds that are not ascending numbers.
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if not len(thresholds) or not (np.diff(thresholds) >= 0).all():
        raise ReidlabError(f"thresholds are {thresholds}: expected ascending numbers")
    pairs = CrossCameraPairs(first, second, distance)
    pids, table, other = pairs._tables()
    count = len(pids)
    rows, columns = (
        torch.from_numpy(np.searchsorted(pids, s.pids.cpu().numpy()))
        for s in (pairs.first, pairs.second)
    )
    levels = torch.from_numpy(thresholds)
    found = torch.zeros(len(levels) * count * count, dtype=torch.int64)
    for block in pairs:
        values = block.distances.float().clamp_(min=0)
        row, column = torch.nonzero(values < levels[-1], as_tuple=True)
        # The first threshold above the distance: the pair is below it and all later ones.
        level = torch.searchsorted(levels, values[row, column].double(), right=True)
        one, two = rows[row + block.row], columns[column + block.column]
        if pairs.alone:
            one, two = torch.minimum(one, two), torch.maximum(one, two)
        found += torch.bincount((level * count + one) * count + two, minlength=len(found))
    below = found.view(len(levels), count, count).numpy().cumsum(0)
    genuine = np.diagonal(below, axis1=1, axis2=2).copy()
    total = np.outer(table.sum(1), other.sum(1)) - table @ other.T
    if pairs.alone:  # each two images once, and each two persons in one order
        total = np.triu(total, 1) + np.diag(np.diag(total) // 2)
    num_genuine = np.diag(total).copy()
    off = ~np.eye(count, dtype=bool)
    return IdentityCounts(thresholds, pids, genuine, below * off, num_genuine, total * off)


def _histogram(values: Tensor) -> Tensor:
    """How many values fall into each bin, (INFINITE,); infinite ones into none."""
    keys = values.view(torch.int32) >> SHIFT
    return torch.bincount(keys, minlength=INFINITE + 1)[:INFINITE].cpu()


def _from_histograms(genuine: np.ndarray, impostor: np.ndarray) -> PairCounts:
    filled = np.flatnonzero(genuine + impostor).astype(np.int32)
    # Both edges of every filled bin: between them nothing changes.
    edges = np.union1d(filled, filled + 1)
    thresholds = (edges << SHIFT).view(np.float32).astype(np.float64)
    below = (np.append(0, np.cumsum(counts))[edges] for counts in (genuine, impostor))
    return PairCounts(thresholds, *below)


def _known(images: FeatureSet, name: str, least: int) -> FeatureSet:
    labels = map(torch.from_numpy, checked_labels(images, name, len(images.features)))
    images = FeatureSet(images.features, *labels)
    return images.subset(images.pids >= least)


# --- Some of the pairs, where a measure is too slow for all of them ----------------------------


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
        first: as in :class:`CrossCameraPairs`; distractors are left out.
        second: the other side; None pairs ``first`` with itself.
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
    """Distances of sampled pairs, (N,) float32, as :func:`count_pairs` has them.

    Args:
        first: the set that ``pairs.first`` numbers.
        second: the set that ``pairs.second`` numbers.
        pairs: of :func:`sample_pairs`.
        distance: a name in :data:`reidlab.metrics.distances.DISTANCES`.
    """
    out = torch.empty(len(pairs.first), dtype=torch.float32)
    order = pairs.first.argsort(stable=True)
    numbers, counts = pairs.first[order].unique_consecutive(return_counts=True)
    # One image with all its partners at a time.
    for number, here in zip(numbers.tolist(), order.split(counts.tolist())):
        partners = distance_to(second.features[pairs.second[here]], distance, ties=False)
        out[here] = partners(first.features[number : number + 1])[0].float().clamp(min=0)
    return out.numpy()
