"""Ranked lists: where the true matches of a query stand in them, and what stands first.

The rank of a true match is one plus the number of gallery images before it. Counting those is
much cheaper than sorting the list, since a query has few true matches. Before an image stand the
nearer ones and, at the same distance, those that come earlier in the gallery; so a result
depends neither on a sorting algorithm nor on the device.

Everything works on one block of distances at a time, on the device where the distances are. On a
CPU the rows of a block are counted one by one, by as many threads as torch uses; elsewhere all
at once. Both give the same ranks.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlab.common.errors import ReidlabError
from reidlab.metrics import distances as distances_module
from reidlab.metrics.distances import Distances, feature_blocks, ready_blocks

# A row with so many values a true match is sorted in the time in which all values are compared
# with each true match in turn; with more of them, comparing is quicker.
SORTED_PER_MATCH = 256
# Rows that a thread counts at a time: some milliseconds of work.
ROWS_PER_TASK = 32


class FeatureSet(NamedTuple):
    """The features of a query or gallery set, with what is known about each image.

    Attributes:
        features: (N, D) float32.
        pids: (N,) int64, identities; 0 marks distractors.
        camids: (N,) int64, cameras.
    """

    features: Tensor
    pids: Tensor
    camids: Tensor

    @classmethod
    def of(cls, features: Tensor, frame: pd.DataFrame) -> "FeatureSet":
        """Features (N, D) with the pids and camids of their table."""
        return cls(features, *(torch.tensor(frame[key].to_numpy()) for key in ("pid", "camid")))

    def subset(self, kept: Tensor) -> "FeatureSet":
        """Those images that a mask (N,) or positions (M,) choose."""
        return FeatureSet(*(column[kept.to(column.device)] for column in self))


class Block(NamedTuple):
    """Some consecutive queries.

    Attributes:
        first: The number of the first of them.
        distances: (B, G), images that the same-camera rule removes at infinity.
        rows: (n,) row of each true match of these queries, ascending.
        columns: (n,) its gallery position, ascending within a row.
    """

    first: int
    distances: Tensor
    rows: np.ndarray
    columns: np.ndarray


class Lists:
    """The lists of all queries under the protocol of Market-1501, a block at a time.

    Args:
        query: Features of the queries.
        gallery: Features of the gallery.
        distance: A name, or ready-made distances: then features are not looked at.
        same_camera_rule: Remove the gallery images of a query's identity and camera.

    Raises:
        ReidlabError: An argument is malformed.
    """

    def __init__(
        self,
        query: FeatureSet,
        gallery: FeatureSet,
        distance: str | Distances,
        same_camera_rule: bool,
    ):
        if isinstance(distance, str):
            qf, gf = checked_features(query, gallery)
            self.source = feature_blocks(qf, gf, distance)
            counts = len(qf), len(gf)
        else:
            counts = len(query.pids), len(gallery.pids)
            self.source = ready_blocks(distance, *counts)
        self.q_pids, self.q_camids = checked_labels(query, "query", counts[0])
        self.g_pids, self.g_camids = checked_labels(gallery, "gallery", counts[1])
        self.same_camera_rule = same_camera_rule
        # Gallery positions of one identity: a slice of `order`, ascending.
        self.order = np.argsort(self.g_pids, kind="stable")
        grouped = self.g_pids[self.order]
        self.start = np.searchsorted(grouped, self.q_pids, side="left")
        self.size = np.searchsorted(grouped, self.q_pids, side="right") - self.start

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.q_pids)

    def same_pid(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gallery images of each query's identity, for the queries first to stop.

        Returns:
            Query, counted from `first`; gallery position; whether it is a true match (else the
            same-camera rule removes it).
        """
        size = self.size[first:stop]
        rows = np.repeat(np.arange(stop - first), size)
        columns = self.order[np.repeat(self.start[first:stop], size) + _places(size)]
        if not self.same_camera_rule:
            return rows, columns, np.ones(len(rows), dtype=bool)
        return rows, columns, self.g_camids[columns] != self.q_camids[first + rows]

    def blocks(self) -> Iterator[Block]:
        """The blocks in turn. A block's distances may be changed, until the next one is asked."""
        first = 0
        for distances in self.source:
            stop = first + len(distances)
            rows, columns, is_match = self.same_pid(first, stop)
            removed = _on(distances.device, rows[~is_match], columns[~is_match])
            distances[removed] = torch.inf
            yield Block(first, distances, rows[is_match], columns[is_match])
            first = stop

    def explain_no_match(self) -> str:
        """Why not a single query has a true match, and what to do about it."""
        rows, _, is_match = self.same_pid(0, len(self))
        removed = np.count_nonzero(~is_match)
        only_there = len(np.unique(rows[~is_match]))
        remedy = "check how pids and camids are read from the file names"
        if only_there:
            remedy = (
                "if the data has no cameras, pass same_camera_rule=False (photographs of your "
                f"own: no folders of cameras within those of people); else {remedy}"
            )
        return (
            f"none of the {len(self)} queries has a true match in the gallery of "
            f"{len(self.g_pids)} images: the pids of {len(self) - only_there} queries are "
            f"absent from it, those of {only_there} are there in the query's own camera only "
            f"(the same-camera rule removed {removed} images). Query camids: "
            f"{_listed(self.q_camids)}; gallery camids: {_listed(self.g_camids)}. "
            f"Remedy: {remedy}"
        )


def require_matches(query: FeatureSet, gallery: FeatureSet, same_camera_rule: bool) -> None:
    """Find out before anything is trained that nothing could be evaluated.

    Args:
        query: The query set; its features are not looked at.
        gallery: The gallery set; neither are its features.
        same_camera_rule: Remove the gallery images of a query's identity and camera.

    Raises:
        ReidlabError: Not a single query has a true match; or labels are malformed.
    """
    lists = Lists(query, gallery, [], same_camera_rule)
    if not lists.same_pid(0, len(lists))[2].any():
        raise ReidlabError(lists.explain_no_match())


# --- Ranks ---------------------------------------------------------------------------------


def match_ranks(block: Block) -> np.ndarray:
    """Ranks of the true matches of each query of a block.

    Returns:
        (B, M) float64, from 1 and ascending, with M the most matches of a query; a row with
        fewer ends in infinity.

    >>> distances = torch.tensor([[3.0, 1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    >>> match_ranks(Block(0, distances, np.array([0, 0, 1]), np.array([0, 3, 2])))
    array([[ 2.,  4.],
           [ 3., inf]])
    """
    matches = np.bincount(block.rows, minlength=len(block.distances))
    ranks = np.full((len(matches), matches.max()), np.inf)
    if len(block.rows):
        count = _count_by_row if block.distances.device.type == "cpu" else _count_at_once
        ranks[block.rows, _places(matches)] = count(block, matches) + 1
        ranks.sort(axis=1)
    return ranks


def _count_by_row(block: Block, matches: np.ndarray) -> np.ndarray:
    """(n,) images before each true match, in each row in any order: the way of the CPU."""
    distances = block.distances.numpy()
    stop = np.cumsum(matches)
    before = np.empty(len(block.rows), dtype=np.int64)

    def count(first: int) -> None:
        scratch = np.empty(distances.shape[1], dtype=bool)
        for i in range(first, min(first + ROWS_PER_TASK, len(distances))):
            if not matches[i]:
                continue
            here = slice(stop[i] - matches[i], stop[i])
            before[here] = _count_in_row(distances[i], block.columns[here], scratch)

    tasks = range(0, len(distances), ROWS_PER_TASK)
    threads = min(torch.get_num_threads(), len(tasks))
    if threads == 1:
        for first in tasks:
            count(first)
    else:
        # Comparing lets other threads run.
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, tasks))
    return before


def _count_in_row(
    distances: np.ndarray, matches: np.ndarray, scratch: np.ndarray
) -> np.ndarray | list[int]:
    """Images before each true match of one query; `scratch` (G,) bool may be written over.

    What is farther than the farthest true match counts nowhere. With the features of a trained
    network that is most of the gallery, and the rest is soon sorted.
    """
    wanted = distances[matches]
    is_near = np.less_equal(distances, wanted.max(), out=scratch)
    if np.count_nonzero(is_near) < SORTED_PER_MATCH * len(matches):
        near = distances[is_near]
        ordered = np.sort(near)
        nearer = ordered.searchsorted(wanted)
        # Each match is itself among those that are not farther.
        if ordered.searchsorted(wanted, side="right").sum() == nearer.sum() + len(matches):
            return nearer
        # Among equal distances the gallery position counts.
        is_match = np.zeros(len(distances), dtype=bool)
        is_match[matches] = True
        return np.flatnonzero(is_match[is_near][np.argsort(near, kind="stable")])
    before = []
    for position, value in zip(matches.tolist(), wanted):
        np.less_equal(distances[:position], value, out=scratch[:position])
        np.less(distances[position:], value, out=scratch[position:])
        before.append(np.count_nonzero(scratch))
    return before


def _count_at_once(block: Block, matches: np.ndarray) -> np.ndarray:
    """(n,) images before each true match: the way of a GPU, where all rows are sorted at once."""
    distances = block.distances
    places = _places(matches)
    rows, columns, places = _on(distances.device, block.rows, block.columns, places)
    values = distances[rows, columns]
    wanted = values.new_full((len(distances), int(matches.max())), torch.inf)
    wanted[rows, places] = values
    ordered = distances.sort(dim=1).values
    nearer = torch.searchsorted(ordered, wanted)[rows, places]
    not_farther = torch.searchsorted(ordered, wanted, right=True)[rows, places]
    # Among equal distances, a match's own being one of them, the gallery position counts.
    positions = torch.arange(distances.shape[1], device=distances.device)
    at_a_time = distances_module.rows_at_a_time(distances.shape[1])
    for tied in (not_farther - nearer > 1).nonzero().flatten().split(at_a_time):
        equal = distances[rows[tied]] == values[tied, None]
        nearer[tied] += (equal & (positions < columns[tied, None])).sum(1)
    return nearer.cpu().numpy()


def smallest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest values of each row, ascending, equal ones by position.

    Args:
        distances: (B, G), without NaN.
        k: at most G.

    Returns:
        Values and positions, both (B, k).

    >>> smallest(torch.tensor([[3.0, 1.0, 2.0, 1.0, 1.0]]), 2)
    (tensor([[1., 1.]]), tensor([[1, 3]]))
    """
    # One more than wanted tells where equal values reach beyond the k-th: which of them `topk`
    # takes is not defined.
    values, positions = distances.topk(min(k + 1, distances.shape[1]), largest=False)
    cut = values[:, k - 1 : k]
    positions = positions[:, :k]
    open_rows = (values[:, k:] == cut).flatten().nonzero().flatten()
    for rows in open_rows.split(distances_module.rows_at_a_time(distances.shape[1])):
        some = distances[rows]
        nearer, equal = some < cut[rows], some == cut[rows]
        wanted = k - nearer.sum(1, keepdim=True)
        taken = nearer | (equal & (equal.cumsum(1) <= wanted))
        positions[rows] = taken.nonzero()[:, 1].view(-1, k)
    positions = positions.sort(dim=1).values
    values, order = distances.gather(1, positions).sort(dim=1, stable=True)
    return values, positions.gather(1, order)


# --- Checks --------------------------------------------------------------------------------


def checked_features(query: FeatureSet, gallery: FeatureSet) -> tuple[Tensor, Tensor]:
    """The features of both sets, or an error that names what is wrong with them."""
    qf, gf = (_checked(s.features, name) for s, name in ((query, "query"), (gallery, "gallery")))
    if qf.shape[1] != gf.shape[1]:
        raise ReidlabError(
            f"query.features have {qf.shape[1]} dimensions, gallery.features {gf.shape[1]}: "
            "both must come from the same network"
        )
    return qf, gf


def _checked(features: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(features)
    dense = values.layout == torch.strided
    if values.ndim != 2 or not values.is_floating_point() or not dense:
        raise ReidlabError(
            f"{name}.features must be dense floats of shape (N, D), not {values.dtype} of shape "
            f"{tuple(values.shape)}{'' if dense else ', sparse: use to_dense()'}"
        )
    if values.numel() == 0:
        raise ReidlabError(f"{name} is empty: its features have shape {tuple(values.shape)}")
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()  # half precision would order by rounding
    # A row's norm is not finite if one of its values is not; no mask of (N, D) is needed. Nor is
    # it if the squares are too large, which would turn distances into NaN.
    bad = torch.nonzero(~torch.isfinite(torch.linalg.vector_norm(values, dim=1))).flatten()
    if len(bad):
        raise ReidlabError(
            f"{name}.features holds NaN, infinite or far too large values in {len(bad)} of "
            f"{len(values)} rows, the first being row {int(bad[0])}: check the network's weights "
            "and the images"
        )
    return values


def checked_labels(images: FeatureSet, name: str, count: int) -> list[np.ndarray]:
    """Pids and camids as int64 arrays (count,), or an error that names what is wrong with them."""
    if count == 0:
        raise ReidlabError(f"{name} is empty: it has no pids")
    labels = []
    for field in ("pids", "camids"):
        label = getattr(images, field)
        label = label.cpu().numpy() if isinstance(label, Tensor) else np.asarray(label)
        if label.shape != (count,):
            raise ReidlabError(
                f"{name}.{field} has shape {label.shape}, but there are {count} images: one is "
                "needed for each"
            )
        if label.dtype.kind not in "biuf":
            raise ReidlabError(
                f"{name}.{field} holds {label[0]!r} in row 0: identities and cameras are whole "
                "numbers; number them"
            )
        with np.errstate(invalid="ignore"):  # NaN, which is told below
            whole = label.astype(np.int64)
        if (wrong := np.flatnonzero(whole != label)).size:
            raise ReidlabError(
                f"{name}.{field} holds {label[wrong[0]]} in row {wrong[0]}: identities and "
                "cameras are whole numbers; number them"
            )
        labels.append(whole)
    return labels


def _listed(camids: np.ndarray, most: int = 20) -> str:
    distinct = np.unique(camids)
    more = f", … ({len(distinct)} in all)" if len(distinct) > most else ""
    return ", ".join(map(str, distinct[:most])) + more


def _places(sizes: np.ndarray) -> np.ndarray:
    """0, 1, … for each group in turn: sizes 2 and 3 give 0, 1, 0, 1, 2."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _on(device: torch.device, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array).to(device) for array in arrays)
