"""Reading ranked lists: what a network finds for each query, and where it fails.

:mod:`reidlab.metrics.scores` says how good a ranking is. These functions say what stands in it, as
tables that notebook 06 shows and draws.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reidlab.common.errors import ReidlabError
from reidlab.data.image import read_image
from reidlab.data.table import DISTRACTOR_PID
from reidlab.metrics.distances import distance_to
from reidlab.metrics.scores import FeatureSet, evaluate, retrieve

#: What may stand on a rank, in words.
MATCH = "match"
SAME_CAMERA = "impostor, query's camera"
OTHER_CAMERA = "impostor, another camera"
DISTRACTOR = "distractor"
VERDICTS = [MATCH, SAME_CAMERA, OTHER_CAMERA, DISTRACTOR]

BLOCK = 256  # queries whose distances to the whole gallery exist at a time


def verdicts(query_pid, query_camid, pid, camid) -> np.ndarray:
    """What an answer is: one of :data:`VERDICTS`. Arguments are arrays that broadcast.

    >>> verdicts(7, 1, np.array([7, 3, 3, 0]), np.array([2, 1, 2, 1])).tolist()
    ['match', "impostor, query's camera", 'impostor, another camera', 'distractor']
    """
    cases = [pid == query_pid, pid == DISTRACTOR_PID, camid == query_camid]
    return np.select(cases, [MATCH, DISTRACTOR, SAME_CAMERA], OTHER_CAMERA)


def answers(
    query: FeatureSet, gallery: FeatureSet, k: int = 10, distance: str = "euclidean"
) -> pd.DataFrame:
    """The first k answers of every query, one row an answer.

    Args:
        query: features of the queries.
        gallery: features of the gallery.
        k: answers per query.
        distance: as in :func:`reidlab.metrics.scores.evaluate`.

    Returns:
        Columns query, rank (from 1), gallery (position), pid, camid, distance, verdict.
    """
    indices, distances = retrieve(query, gallery, k, distance)
    rows, ranks = np.nonzero(indices >= 0)
    found = indices[rows, ranks]
    pid, camid = gallery.pids.numpy()[found], gallery.camids.numpy()[found]
    return pd.DataFrame(
        {
            "query": rows,
            "rank": ranks + 1,
            "gallery": found,
            "pid": pid,
            "camid": camid,
            "distance": distances[rows, ranks],
            "verdict": verdicts(query.pids.numpy()[rows], query.camids.numpy()[rows], pid, camid),
        }
    )


def triplets(query: FeatureSet, gallery: FeatureSet, distance: str = "euclidean") -> pd.DataFrame:
    """For every query its nearest true match and its nearest impostor.

    An impostor is another known person: distractors are left out. So is everything of the
    query's own person and camera, as in ranking.

    Returns:
        One row a query that has both: query, pid, camid, match, match_camid, match_distance,
        impostor, impostor_pid, impostor_camid, impostor_distance, margin (impostor's minus
        match's distance; below zero the network is fooled).
    """
    block_distance = distance_to(gallery.features, distance)
    pids, camids = gallery.pids, gallery.camids
    parts = []
    for start in range(0, len(query.pids), BLOCK):
        block = slice(start, start + BLOCK)
        values = block_distance(query.features[block])
        pid, camid = query.pids[block, None], query.camids[block, None]
        same = pids == pid
        match = values.masked_fill(~same | (camids == camid), torch.inf).min(1)
        impostor = values.masked_fill(same | (pids == DISTRACTOR_PID), torch.inf).min(1)
        parts.append((match.values, match.indices, impostor.values, impostor.indices))
    match_distance, match, impostor_distance, impostor = (
        torch.cat(column).numpy() for column in zip(*parts)
    )
    table = pd.DataFrame(
        {
            "query": np.arange(len(query.pids)),
            "pid": query.pids.numpy(),
            "camid": query.camids.numpy(),
            "match": match,
            "match_camid": camids.numpy()[match],
            "match_distance": match_distance,
            "impostor": impostor,
            "impostor_pid": pids.numpy()[impostor],
            "impostor_camid": camids.numpy()[impostor],
            "impostor_distance": impostor_distance,
            "margin": impostor_distance - match_distance,
        }
    )
    both = np.isfinite(match_distance) & np.isfinite(impostor_distance)
    return table[both].reset_index(drop=True)


def telling_triplets(table: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """Triplets worth a look: half of them where the network is only just right, half fooled.

    Just right: the smallest margins above zero. Fooled: the lowest margins, those where the
    impostor is much nearer than the match. One for each person; where there are too few of the
    one sort, the other sort fills up.

    Args:
        table: of :func:`triplets`.
        count: how many.

    Returns:
        At most ``count`` rows of ``table``, the right ones first.
    """
    ordered = table.sort_values(["margin", "query"])
    fooled = one_per_person(ordered[ordered.margin < 0])
    right = one_per_person(ordered[ordered.margin >= 0])
    right = right[~right.pid.isin(fooled.pid.head(count))]
    half = min(len(right), max(count - count // 2, count - len(fooled)))
    return pd.concat([right.head(half), fooled.head(count - half)], ignore_index=True)


def pictures(
    frame: pd.DataFrame, positions: Iterable[int], shown: bool = True
) -> dict[int, np.ndarray] | None:
    """Pictures of some rows of a split's table, for the figures of notebook 06.

    Args:
        frame: a table of :class:`reidlab.data.Dataset`.
        positions: rows of it.
        shown: whether they may be shown.

    Returns:
        (128, 64, 3) uint8 by position; None if they may not be shown.
    """
    if not shown:
        return None
    return {int(index): read_image(Path(frame.path[index]), 128, 64) for index in set(positions)}


def one_per_person(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of each pid: no person fills a figure alone."""
    return table.drop_duplicates("pid")


def worst(per_query: pd.DataFrame, count: int) -> list[int]:
    """Queries with the lowest average precision, one for each person, worst first."""
    valid = per_query[per_query.valid].sort_values(["ap", "query"])
    return one_per_person(valid).head(count)["query"].tolist()


def cross_section(per_query: pd.DataFrame, quantiles: tuple[float, ...]) -> list[int]:
    """Queries at quantiles of the average precision: 1 is the best, 0 the worst.

    Args:
        per_query: of a :class:`reidlab.metrics.scores.Ranking` or run.
        quantiles: in [0, 1], in the order wanted.

    Returns:
        One query for each quantile; of two that fall on one query, the second is left out.
    """
    valid = per_query[per_query.valid].sort_values(["ap", "query"])
    positions = [round(quantile * (len(valid) - 1)) for quantile in quantiles]
    return list(dict.fromkeys(int(valid["query"].iloc[position]) for position in positions))


def first_answers(query: FeatureSet, gallery: FeatureSet, found: pd.DataFrame) -> pd.DataFrame:
    """What stands on rank 1, beside what would stand there by chance.

    Chance draws one image from each query's list, that is, from the gallery without the query's
    own person in its own camera. An impostor from the query's camera that stands there more often
    than by chance means that the network recognises the place rather than the person.

    Args:
        query: features of the queries (only pids and camids are read).
        gallery: features of the gallery (the same).
        found: of :func:`answers`.

    Returns:
        One row a verdict: verdict, share, by_chance (percent of the queries with an answer).
    """
    first = found[found["rank"] == 1]
    share = first.verdict.value_counts(normalize=True).reindex(VERDICTS, fill_value=0.0)
    chance = np.zeros(len(VERDICTS))
    is_distractor = gallery.pids == DISTRACTOR_PID
    for index in first["query"]:
        same = gallery.pids == query.pids[index]
        here = gallery.camids == query.camids[index]
        known = ~same & ~is_distractor
        kinds = [same & ~here, known & here, known & ~here, is_distractor]  # as VERDICTS
        counts = torch.stack(kinds).sum(1).double()
        chance += (counts / counts.sum()).numpy()
    return pd.DataFrame(
        {
            "verdict": VERDICTS,
            "share": 100 * share.to_numpy(),
            "by_chance": 100 * chance / max(1, len(first)),
        }
    )


def camera_pairs(
    query: FeatureSet, gallery: FeatureSet, distance: str = "euclidean"
) -> pd.DataFrame:
    """How well each camera's queries are found in each other camera alone.

    As Zheng et al. (ICCV 2015) report it: for each pair of cameras the gallery holds only images
    of the second one, distractors included.

    Returns:
        One row a pair of different cameras: query_camera, gallery_camera, queries (those with a
        match there), rank1, mAP in percent (NaN without such queries).
    """
    rows = []
    for from_camera in query.camids.unique().tolist():
        for in_camera in gallery.camids.unique().tolist():
            if from_camera == in_camera:
                continue
            part = (
                query.subset(query.camids == from_camera),
                gallery.subset(gallery.camids == in_camera),
            )
            row = {"query_camera": from_camera, "gallery_camera": in_camera, "queries": 0}
            if torch.isin(part[0].pids, part[1].pids).any():
                ranking = evaluate(*part, distance=distance, max_rank=1)
                row["queries"] = ranking.num_valid
                row |= {"rank1": 100 * ranking.rank(1), "mAP": 100 * ranking.mAP}
            rows.append(row)
    columns = ["query_camera", "gallery_camera", "queries", "rank1", "mAP"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(columns[:2]).reset_index(drop=True)


def by_camera(per_query: pd.DataFrame) -> pd.DataFrame:
    """Scores of the queries of each camera: camid, queries, rank1, mAP (percent)."""
    valid = per_query[per_query.valid]
    table = valid.groupby("camid").agg(
        queries=("ap", "size"),
        rank1=("first_match", lambda first: 100 * float((first == 1).mean())),
        mAP=("ap", lambda ap: 100 * float(ap.mean())),
    )
    return table.reset_index()


def pair_distances(
    query: FeatureSet, gallery: FeatureSet, distance: str = "euclidean", most: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of true matches and of all other pairs.

    Args:
        query: features of the queries.
        gallery: features of the gallery, distractors included.
        distance: as in :func:`reidlab.metrics.scores.evaluate`.
        most: queries to take at most, evenly spread; each gives a distance to every gallery image.

    Returns:
        Two float32 arrays: distances between images of one person in different cameras, and
        between different people (or a distractor).
    """
    if most < 1:
        raise ReidlabError(f"most is {most}; at least one query is needed")
    chosen = torch.linspace(0, len(query.pids) - 1, min(most, len(query.pids))).round().long()
    block_distance = distance_to(gallery.features, distance)
    matches, others = [], []
    for index in chosen.split(BLOCK):
        values = block_distance(query.features[index])
        same = gallery.pids == query.pids[index, None]
        seen = gallery.camids == query.camids[index, None]
        matches.append(values[same & ~seen].numpy())
        others.append(values[~same].numpy())
    return np.concatenate(matches), np.concatenate(others)


def thresholds(
    matches: np.ndarray, others: np.ndarray, rates: tuple[float, ...] = (0.1, 0.01, 0.001)
) -> pd.DataFrame:
    """What a fixed threshold on the distance would accept.

    Args:
        matches: distances of true matches.
        others: distances of all other pairs.
        rates: shares of other pairs that one is ready to accept by mistake.

    Returns:
        One row a rate: false_accepts (percent), threshold, true_accepts (percent of the true
        matches that are nearer).

    >>> table = thresholds(np.array([1.0, 2.0, 9.0]), np.arange(1.0, 11.0), rates=(0.5,))
    >>> table.round(1).values.tolist()
    [[50.0, 5.5, 66.7]]
    """
    cut = np.quantile(others, rates)
    return pd.DataFrame(
        {
            "false_accepts": 100 * np.array(rates),
            "threshold": cut,
            "true_accepts": [100 * float(np.mean(matches < value)) for value in cut],
        }
    )
