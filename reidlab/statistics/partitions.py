"""Networks on data sets that come in partitions: mean ± std over them, beside published numbers.

A partition draws other people to train on and to test on; the score of one says little. A *row*
is a network under one recipe on one set, with the runs of its partitions.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reidlab.recipe.names import split
from reidlab.runs.folder import Run
from reidlab.statistics.seeds import training_of

#: Our sets as ``results/published.csv`` calls them: data set, and how the protocol begins.
PROTOCOLS = {
    "viper": ("VIPeR", "316 test"),
    "cuhk01-486": ("CUHK01", "486 test"),
    "cuhk01-100": ("CUHK01", "100 test"),
    "grid": ("GRID", "125 queries"),
    "prid2011": ("PRID2011", "single shot"),
    "ilids": ("i-LIDS", "single shot"),
    "cuhk03-classic-labeled": ("CUHK03 labeled", "classic"),
    "cuhk03-classic-detected": ("CUHK03 detected", "classic"),
}

#: Columns of :func:`partition_table`.
COLUMNS = ["dataset", "network", "partitions", "planned", "epochs", "train_accuracy"]
COLUMNS += ["rank1", "rank1_std", "mAP"]


def rank1_of(run: Run) -> float:
    """Rank-1 as published results of its set count it: single shot, where it was measured."""
    return run.metrics.get("rank1_single_shot", run.metrics["rank1"])


def partition_table(
    sets: Mapping[str, Mapping[str, Sequence[str]]], families: Mapping[str, Sequence[Run]]
) -> pd.DataFrame:
    """Every row of every set of which a run is finished.

    Args:
        sets: data set -> label of a row -> names of its runs, one or more a partition.
        families: finished runs by name; those that are missing are counted.

    Returns:
        Columns :data:`COLUMNS`: how many runs are there and how many are planned; epochs; mean
        training accuracy of the last epoch (NaN: nothing was trained), Rank-1 and mAP in percent;
        the sample standard deviation of Rank-1 over the runs, NaN for one.
    """
    rows = []
    for dataset, networks in sets.items():
        for label, names in networks.items():
            runs = [run for name in names for run in families.get(name, [])]
            if not runs:
                continue
            rank1 = [rank1_of(run) for run in runs]
            trained = [run for run in runs if len(run.history)]
            learned = [training_of(run)["train_accuracy"].iloc[-1] for run in trained]
            rows.append(
                {"dataset": dataset, "network": label, "partitions": len(runs)}
                | {"planned": len(names), "epochs": runs[0].config["epochs"]}
                | {"train_accuracy": np.mean(learned) if learned else np.nan}
                | {"rank1": np.mean(rank1)}
                | {"rank1_std": np.std(rank1, ddof=1) if len(rank1) > 1 else np.nan}
                | {"mAP": np.mean([run.metrics["mAP"] for run in runs])}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def published_on(sets: Sequence[str], published: pd.DataFrame) -> pd.DataFrame:
    """Published Rank-1 on our sets, by the same protocol.

    Args:
        sets: names of ours, with or without the number of a partition.
        published: of :func:`reidlab.statistics.published.load_published`.

    Returns:
        Columns dataset (ours), network, rank1, evidence.
    """
    rows = []
    for dataset in sets:
        theirs, protocol = PROTOCOLS.get(split(dataset)[0], ("", ""))
        of_set = published[published["dataset"] == theirs]
        of_set = of_set[of_set["protocol"].str.startswith(protocol)]
        rows += [
            {"dataset": dataset, "network": row.system, "rank1": row.rank1}
            | {"evidence": row.evidence}
            for row in of_set.itertuples()
        ]
    return pd.DataFrame(rows, columns=["dataset", "network", "rank1", "evidence"])
