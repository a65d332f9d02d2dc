"""A finished run, ranked in another way: another distance, normalised features, re-ranking.

A run is scored once, by the distance of its profile. Its features do not depend on that: they are
computed once, and can then be ranked in any :class:`Way`. One way, by hand:

    python -m reidlab rescore market1501 market-msmt17 cosine --rerank --against cosine
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

from reidlab import data
from reidlab.common.errors import ReidlabError
from reidlab.evaluation.features import of_run
from reidlab.metrics.rerank import rerank
from reidlab.metrics.scores import FeatureSet, Ranking, evaluate
from reidlab.recipe.names import minkowski_order
from reidlab.runs.folder import Run
from reidlab.statistics import bootstrap


@dataclass(frozen=True)
class Way:
    """How features become a ranking.

    Attributes:
        distance: see :func:`reidlab.recipe.names.minkowski_order`.
        normalised: scale every feature to length 1 first (L2 normalisation).
        reranked: re-rank by k-reciprocal neighbours, from that distance.
        k1: of the re-ranking, as the two below, see :func:`reidlab.metrics.rerank.rerank`.

    >>> Way("cityblock", normalised=True).name
    'cityblock, normalised'
    """

    distance: str = "euclidean"
    normalised: bool = False
    reranked: bool = False
    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    @property
    def name(self) -> str:
        """In words, for a table."""
        said = [self.distance, "normalised" * self.normalised, "re-ranked" * self.reranked]
        return ", ".join(filter(None, said))

    def command(
        self,
        profile: str,
        run: str,
        by: str = "pid",
        against: str | None = None,
        queries: int | None = None,
    ) -> str:
        """The command that prints this way's scores of a run.

        Args:
            profile: of the run.
            run: its name.
            by: what the bootstrap draws, see :func:`reidlab.statistics.bootstrap.intervals`.
            against: a distance whose ranking, and nothing else, it is compared with.
            queries: so many of them, see :meth:`RunFeatures.fewer`; default all.
        """
        words = ["python", "-m", "reidlab", "rescore", profile, run, self.distance]
        words += ["--normalise"] * self.normalised
        if self.reranked:
            words.append("--rerank")
            for field in ("k1", "k2", "lambda_value"):
                if getattr(self, field) != getattr(Way, field):
                    words += [f"--{field.replace('_', '-')}", str(getattr(self, field))]
        if by != "pid":
            words += ["--by", by]
        if against is not None:
            words += ["--against", against]
        if queries is not None:
            words += ["--queries", str(queries)]
        return shlex.join(words)


class RunFeatures(NamedTuple):
    """The features of a run's test set.

    Attributes:
        query: of the queries.
        gallery: of the gallery.
        same_camera_rule: whether the cameras of the images are known.
    """

    query: FeatureSet
    gallery: FeatureSet
    same_camera_rule: bool = True

    def fewer(self, queries: int) -> "RunFeatures":
        """The same with so many queries, taken evenly from all of them; the whole gallery."""
        count = len(self.query.pids)
        kept = torch.linspace(0, count - 1, min(queries, count)).round().long()
        return self._replace(query=self.query.subset(kept))


def run_features(run: Run) -> RunFeatures:
    """Features of a finished run's query and gallery images, as its own evaluation had them.

    Args:
        run: with its weights, see :func:`reidlab.study.network`.

    Raises:
        DataError: the run's data set is not there.
        WeightsError: the run's weights are not.
    """
    dataset = data.load(run.config["dataset"])
    query, gallery = (of_run(run, frame) for frame in (dataset.query, dataset.gallery))
    return RunFeatures(query, gallery, dataset.has_cameras)


def rank(features: RunFeatures, way: Way) -> Ranking:
    """Rank the gallery for every query in some way.

    Raises:
        ReidlabError: there is no such distance, or a parameter of the re-ranking does not fit.
    """
    minkowski_order(way.distance)
    sets = features.query, features.gallery
    if way.normalised:
        sets = tuple(s._replace(features=F.normalize(s.features, dim=1)) for s in sets)
    source = way.distance
    if way.reranked:
        source = rerank(*sets, way.k1, way.k2, way.lambda_value, way.distance)
    return evaluate(*sets, source, same_camera_rule=features.same_camera_rule)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m reidlab rescore`` takes."""
    parser.add_argument("profile")
    parser.add_argument("run", help="a run of the profile; trained if its weights are not here")
    parser.add_argument("distance", help="such as euclidean, cosine or minkowski:4")
    parser.add_argument("--normalise", action="store_true", help="scale features to length 1")
    parser.add_argument("--rerank", action="store_true", help="by k-reciprocal neighbours")
    parser.add_argument("--k1", type=int, default=Way.k1)
    parser.add_argument("--k2", type=int, default=Way.k2)
    parser.add_argument("--lambda-value", type=float, default=Way.lambda_value)
    parser.add_argument("--by", default="pid", help="what the bootstrap draws: pid or query")
    parser.add_argument("--against", help="a distance: the paired difference to its scores")
    parser.add_argument("--queries", type=int, help="so many of them, evenly; default all")


def run(given: argparse.Namespace, network: Callable[[str, str], Run]) -> None:
    """Print the scores of a run in one way, with 95 % intervals.

    Args:
        given: see :func:`add_arguments`.
        network: finds a run of a profile, with its weights.

    Raises:
        ReidlabError: an argument is malformed; or see :func:`reidlab.study.network`.
    """
    settings = given.k1, given.k2, given.lambda_value
    way = Way(given.distance, given.normalise, given.rerank, *settings)
    other = None if given.against is None else Way(given.against)
    _check(way, other, given.queries)  # before minutes go into features
    features = run_features(network(given.profile, given.run))
    if given.queries:
        features = features.fewer(given.queries)
    ranking = rank(features, way)
    title = f"{given.run}, {way.name}, {ranking.num_valid} queries, percent"
    tables = {title: bootstrap.intervals({way.name: ranking.per_query}, by=given.by)}
    if other:
        both = {way.name: ranking.per_query, other.name: rank(features, other).per_query}
        apart = bootstrap.differences(both, other.name, by=given.by)
        tables[f"minus {other.name}, points"] = apart.drop(columns=["reference", "clear"])
    for title, table in tables.items():
        shown = table.drop(columns="evaluation").set_index("score").round(2)
        sys.stdout.write(f"{title}\n{shown.to_string()}\n")


def _check(way: Way, other: Way | None, queries: int | None) -> None:
    for one in filter(None, (way, other)):
        minkowski_order(one.distance)
    if other and other.name == way.name:
        raise ReidlabError(
            f"--against {other.name}: that is the way itself; name another distance"
        )
    if queries is not None and queries < 1:
        raise ReidlabError(f"--queries {queries}: at least one is needed")
