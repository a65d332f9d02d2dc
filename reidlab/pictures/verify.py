"""Do two pictures show one person? A verdict, with the error rates that it was calibrated for."""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reidlab import data
from reidlab.common import paths
from reidlab.common.errors import DataError, StudyError
from reidlab.data.readers.files import printable
from reidlab.data.table import Dataset
from reidlab.metrics.ranks import FeatureSet
from reidlab.pictures import network as networks
from reidlab.pictures.look import REASONS, look_at, look_at_each
from reidlab.pictures.network import Network
from reidlab.verification.decisions import PeopleFeatures, distance_between, measure
from reidlab.verification.pairs import count_pairs
from reidlab.verification.rates import EER, rates_at
from reidlab.verification.thresholds import SEEN, UNKNOWN, UNSEEN, Decision, Elsewhere, Thresholds

log = logging.getLogger(__name__)

SAME, DIFFERENT, TROUBLE = 0, 1, 2  # exit statuses, as those of diff and grep


def verify(
    a: Path, b: Path, network: Network, thresholds: Thresholds, fmr: float | str = 0.01
) -> Decision:
    """A verdict on two pictures, of one person each.

    Args:
        a: as people have them, see :mod:`reidlab.pictures.look`.
        b: the other one.
        network: makes the features.
        thresholds: of this network.
        fmr: wanted false match rate, one that the thresholds were chosen for; or ``"EER"``.

    Raises:
        DataError: a picture that cannot be read, or twice the same.
        ReidlabError: no threshold for that rate.
    """
    thresholds.point(fmr)  # a mistake in it comes before any work
    one, two = look_at_each([a, b], network)
    if one.content == two.content:
        raise DataError(
            f"{printable(str(a))} and {printable(str(b))} are the same picture, byte for byte: "
            "that says nothing about the network. Name two pictures."
        )
    features = torch.from_numpy(np.stack([one.feature, two.feature]))
    return thresholds.decision(distance_between(features, thresholds.distance), fmr)


def thresholds_of(network: Network, dataset: str | None = None) -> Thresholds:
    """The thresholds of a network: those that it comes with, or those of a data set.

    Args:
        network: whose.
        dataset: on whose people they are chosen, and measured; kept in the cache. None takes
            those of the run's own calibration, or those that are shipped.

    Raises:
        StudyError: it comes with none; what :meth:`Thresholds.read` raises.
        DataError: see :func:`reidlab.data.load`.
    """
    again = "choose some with --on DATASET"
    if dataset is None:
        if network.thresholds is None or not network.thresholds.is_file():
            raise StudyError(
                f"No thresholds are known for {network.name}: {again}, a data set of your own "
                f"cameras best of all (docs/data.md), or {network.dataset or 'synthetic-a'}."
            )
        return Thresholds.read(network.thresholds, network.weights, again)
    found = data.load(dataset)
    file = paths.cache() / "thresholds" / f"{network.key}-{dataset}-{found.fingerprint}.json"
    if not file.is_file():
        log.info("thresholds of %s are chosen on %s, once", network.name, dataset)
        choose(network, found).write(file)
    return Thresholds.read(file, network.weights, f"delete it and {again}")


def choose(network: Network, dataset: Dataset) -> Thresholds:
    """Thresholds on a data set's training people, measured on its test people."""
    dataset.train_labels()  # raises, with the remedy, where there is nobody
    sets = people_of(network, dataset, ("train", "query", "gallery"))
    parts = measure(PeopleFeatures(*sets, _has_learned(network, dataset.name)))
    provenance = {"network": network.name, "dataset_fingerprint": dataset.fingerprint}
    return Thresholds(network.weights, dataset.name, **parts, provenance=provenance)


def tried_on(thresholds: Thresholds, network: Network, dataset: Dataset) -> Elsewhere:
    """What thresholds do to the test people of another data set."""
    query, gallery = people_of(network, dataset, ("query", "gallery"))
    counts = count_pairs(query, gallery, thresholds.distance)
    names = [point["point"] for point in thresholds.points]
    rates = rates_at(counts, np.array([point["threshold"] for point in thresholds.points]))
    return {
        "dataset": dataset.name,
        "pairs": {"genuine": counts.num_genuine, "impostor": counts.num_impostor},
        "rates": {name: pair for name, *pair in zip(names, *np.round(rates, 6).tolist())},
    }


def people_of(network: Network, dataset: Dataset, splits: Sequence[str]) -> list[FeatureSet]:
    """Features of a data set's people (nobody's images left out), read as one's own pictures."""
    frames = [getattr(dataset, split) for split in splits]
    frames = [frame[frame.pid > 0].reset_index(drop=True) for frame in frames]
    files = [Path(file) for file in pd.concat(frames).path]
    pictures, left_out = look_at(files, network)
    for file, reason in left_out.items():
        raise DataError(f"{file} of {dataset.name}: {REASONS[reason]}.")
    features = torch.from_numpy(np.stack([pictures[file].feature for file in files]))
    parts = features.split([len(frame) for frame in frames])
    return [FeatureSet.of(part, frame) for part, frame in zip(parts, frames)]


def _has_learned(network: Network, dataset: str) -> str:
    """Whether a network learned the training people of a data set."""
    learnt = network.learnt()
    if learnt is None:
        return UNKNOWN
    if dataset in learnt:
        return SEEN
    elsewhere = any(name.partition(":")[0] in ("reid", "run") for name in learnt)
    return UNKNOWN if elsewhere else UNSEEN


def ship(
    chosen_on: str = "synthetic-a", others: Sequence[str] = ("synthetic-b", "market1501")
) -> Path:
    """Measure the shipped weight, and put its thresholds beside it.

    Args:
        chosen_on: the data set of its thresholds, whose people it has not seen.
        others: on which they are tried as well; of each, numbers alone are kept.
    """
    network = networks.find_network()
    thresholds = choose(network, data.load(chosen_on))
    elsewhere = [tried_on(thresholds, network, data.load(name)) for name in others]
    assert network.thresholds is not None
    dataclasses.replace(thresholds, elsewhere=elsewhere).write(network.thresholds)
    return network.thresholds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m reidlab verify`` takes."""
    parser.epilog = "Exit status: 0 the same person, 1 different people, 2 no verdict."
    parser.add_argument("a", type=Path, help="a picture of one person, cut out")
    parser.add_argument("b", type=Path, help="the other one")
    networks.add_arguments(parser)
    parser.add_argument(
        "--on",
        metavar="DATASET",
        help="choose thresholds on its people, once; default: those of the run or shipped weight",
    )
    parser.add_argument(
        "--fmr",
        type=_rate,
        default=0.01,
        help="share of pairs of different people that may pass for one: 0.1, 0.01, 0.001, 0.0001, "
        "or EER, where both mistakes are equally frequent; default: 0.01",
    )


def _rate(text: str) -> float | str:
    return EER if text.upper() == EER else float(text)


def run(given: argparse.Namespace) -> int:
    """The command; returns the exit status."""
    network = networks.find_network(given.network, given.model, given.height, given.width)
    decision = verify(given.a, given.b, network, thresholds_of(network, given.on), given.fmr)
    sys.stdout.write(f"{decision}\nNetwork: {network.name}.\n")
    return SAME if decision.same else DIFFERENT
