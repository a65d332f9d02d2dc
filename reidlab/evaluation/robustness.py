"""How a network fares with corrupted images: Market-1501-C's protocol, and kind by kind.

Chen, Wang and Zheng, "Benchmarks for Corruption Invariant Person Re-identification" (NeurIPS
2021 Datasets and Benchmarks): every test image gets one of the 20 kinds and one of the 5
severities, drawn uniformly; the evaluation is repeated with other draws. It is no mean over 100
fixed sets as in ImageNet-C. Where their code draws without a seed, a repeat here is a seed.

All results are of one shape, a row for each search, so that every table is a `scores` of some
rows by some columns.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from reidlab.data.corruptions import KINDS, SEVERITIES, Corruption
from reidlab.data.table import Dataset
from reidlab.metrics.scores import FeatureSet, evaluate

#: What is corrupted: nothing, query and gallery ("corruption eval."), or one of them.
SETTINGS = ("clean", "both", "query", "gallery")

#: The features of a table's images, of a network: corrupted where there is a corruption.
Features = Callable[[pd.DataFrame, Corruption | None], FeatureSet]

#: Distances of a query set to a gallery, (Q, G).
Distances = Callable[[FeatureSet, FeatureSet], Any]

SCORES = ["rank1", "mAP", "mINP"]


def random_protocol(
    features: Features,
    dataset: Dataset,
    seeds: Iterable[int] = range(10),
    distance: str | Distances = "euclidean",
) -> pd.DataFrame:
    """Market-1501-C's evaluation, one repeat for each seed.

    The three corrupted settings of a repeat share its draws, so a repeat costs the features of
    query and gallery once.

    Args:
        features: of a run, ``functools.partial(features.of_run, run)``.
        dataset: whose query and gallery are searched.
        seeds: of the repeats.
        distance: see :func:`reidlab.metrics.scores.evaluate`, or what makes it of query and
            gallery, such as :func:`reidlab.metrics.rerank.rerank`.

    Returns:
        One row a search: setting, seed (-1 for clean), query (its position), pid, camid; kind and
        severity of the query image (``clean`` and 0 where it is); first_match, ap, inp. Searches
        without a true match in the gallery are left out.
    """
    frames = (dataset.query, dataset.gallery)
    clean = [features(frame, None) for frame in frames]
    searches = [_searches(*clean, dataset, distance, setting="clean", seed=-1)]
    for seed in seeds:
        corruption = Corruption(seed=seed)
        query, gallery = (features(frame, corruption) for frame in frames)
        drawn = corruption.drawn(dataset.query.path)
        for setting, pair, what in (
            ("both", (query, gallery), drawn),
            ("query", (query, clean[1]), drawn),
            ("gallery", (clean[0], gallery), None),
        ):
            searches.append(_searches(*pair, dataset, distance, what, setting=setting, seed=seed))
    return pd.concat(searches, ignore_index=True)


def grid(
    features: Features,
    dataset: Dataset,
    kinds: Sequence[str] = tuple(KINDS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    distance: str | Distances = "euclidean",
) -> pd.DataFrame:
    """Query and gallery all of one kind and severity, for every pair of them.

    A cell costs the features of query and gallery; see :func:`reidlab.data.holdout.some_people`
    for a smaller set.

    Returns:
        Rows as of `random_protocol`, setting ``both``.
    """
    searches = []
    for kind in kinds:
        for severity in severities:
            corruption = Corruption(kind, severity, seed)
            pair = [features(frame, corruption) for frame in (dataset.query, dataset.gallery)]
            what = corruption.drawn(dataset.query.path)
            searches.append(_searches(*pair, dataset, distance, what, setting="both", seed=seed))
    return pd.concat(searches, ignore_index=True)


def scores(searches: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Rank-1, mAP and mINP in percent, and the number of searches, of each group.

    Args:
        searches: rows as of `random_protocol`.
        by: columns, e.g. ``["setting", "seed"]``, ``["kind", "severity"]``, ``"camid"``.

    >>> searches = pd.DataFrame(
    ...     {"camid": [1, 1, 2], "first_match": [1, 3, 1], "ap": [1, 0.5, 1], "inp": [1, 0.5, 1]}
    ... )
    >>> scores(searches, "camid").to_dict("records")[0]
    {'camid': 1, 'rank1': 50.0, 'mAP': 75.0, 'mINP': 75.0, 'searches': 2}
    """
    rows = searches.assign(
        rank1=100.0 * (searches.first_match == 1), mAP=100 * searches.ap, mINP=100 * searches.inp
    )
    groups = rows.groupby(by, sort=False)
    return groups[SCORES].mean().assign(searches=groups.size()).reset_index()


def over_repeats(repeats: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the repeats (n - 1) of each setting's scores.

    Args:
        repeats: :func:`scores` by ``["setting", "seed"]``.

    Returns:
        One row for each setting and score: setting, score, mean, std (NaN of one repeat), repeats.
    """
    each = repeats.melt(["setting", "seed"], SCORES, "score")
    groups = each.groupby(["setting", "score"], sort=False).value
    return groups.agg(mean="mean", std="std", repeats="size").reset_index()


def rank_correlation(
    first: Sequence[float], second: Sequence[float], samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's rank correlation of two scores over networks, with its 95 % interval.

    The interval is the bootstrap's, networks drawn again; drawn sets of equal values tell nothing
    and are left out.

    Returns:
        The correlation and its interval's ends; NaN of fewer than five networks.
    """
    if len(first) < 5:
        return (math.nan,) * 3
    values, rng = np.array([first, second], dtype=float), np.random.default_rng(seed)
    drawn = rng.integers(len(first), size=(samples, len(first)))
    found = [
        stats.spearmanr(*values[:, chosen]).statistic
        for chosen in drawn
        if (np.ptp(values[:, chosen], axis=1) > 0).all()
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(stats.spearmanr(*values).statistic), float(low), float(high)


def losses(searches: pd.DataFrame, by: str | list[str], setting: str = "query") -> pd.DataFrame:
    """What corruption costs the searches of each group, beside the same searches clean.

    ``["camid", "kind"]`` tells which kinds break which cameras, ``"pid"`` which people stay
    findable.

    Args:
        searches: of `random_protocol`.
        by: columns that describe the query image.
        setting: ``query`` charges a loss to the query image alone; or ``both``, ``gallery``.

    Returns:
        One row a group: of each score its clean value (``rank1_clean``), its corrupted one
        (``rank1``) and the loss (``rank1_loss``), in percent; searches.
    """
    clean = searches[searches.setting == "clean"].set_index("query")
    hurt = searches[searches.setting == setting]
    same = hurt.drop(columns=["first_match", "ap", "inp"]).join(
        clean[["first_match", "ap", "inp"]], on="query"
    )
    by = [by] if isinstance(by, str) else by
    table = scores(hurt, by).merge(
        scores(same, by).drop(columns="searches"), on=by, suffixes=("", "_clean")
    )
    return table.assign(
        **{f"{score}_loss": table[f"{score}_clean"] - table[score] for score in SCORES}
    )


def _searches(
    query: FeatureSet,
    gallery: FeatureSet,
    dataset: Dataset,
    distance: str | Distances,
    drawn: pd.DataFrame | None = None,
    **columns: str | int,
) -> pd.DataFrame:
    """One ranking as rows."""
    source = distance(query, gallery) if callable(distance) else distance
    ranking = evaluate(query, gallery, source, same_camera_rule=dataset.has_cameras)
    rows = ranking.per_query[["query", "pid", "camid", "first_match", "ap", "inp"]]
    what = {"kind": "clean", "severity": 0} if drawn is None else dict(drawn)
    return rows.assign(**columns, **what)[ranking.per_query.valid.to_numpy(bool)]
