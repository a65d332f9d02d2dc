"""Rows of partitions: means by hand, what is missing, and which published numbers stand beside."""

import statistics

import pandas as pd
import pytest

from reidlab.statistics.partitions import PROTOCOLS, partition_table, published_on
from reidlab.statistics.published import load_published
from tests.statistics.test_seeds import run


def test_rows_are_means_over_the_partitions_that_are_there():
    runs = {f"p{n}": [run(f"p{n}", gain, accuracy=90.0 + n)] for n, gain in ((0, 0.0), (1, 0.2))}
    runs["cold"] = [run("cold", epochs=0, init="imagenet")]
    runs["cold"][0].metrics["rank1_single_shot"] = 12.5
    sets = {
        "viper": {"IDLA": ["p0", "p1", "p2"], "none yet": ["p3"]},
        "ilids": {"as is": ["cold"]},
    }
    table = partition_table(sets, runs).set_index(["dataset", "network"])
    assert [*table.index] == [("viper", "IDLA"), ("ilids", "as is")]
    idla, cold = table.itertuples(index=False)
    rank1 = [runs[name][0].metrics["rank1"] for name in ("p0", "p1")]
    assert (idla.partitions, idla.planned, idla.train_accuracy) == (2, 3, 90.5)
    assert idla.rank1 == pytest.approx(statistics.mean(rank1))
    assert idla.rank1_std == pytest.approx(statistics.stdev(rank1)) and idla.rank1_std > 5
    assert (cold.rank1, cold.epochs) == (12.5, 0), "single shot, as the set's papers count"
    assert pd.isna(cold.rank1_std) and pd.isna(cold.train_accuracy)
    assert partition_table(sets, {}).empty


def test_published_numbers_of_one_protocol_only():
    rows = published_on([*PROTOCOLS, "cuhk01-486-3", "synthetic-a"], load_published())
    numbers = {name: dict(zip(some.network, some.rank1)) for name, some in rows.groupby("dataset")}
    assert numbers == {
        "viper": {"IDLA": 34.81, "MCP-CNN": 47.8, "OSNet x1.0 (paper)": 68.0},
        "cuhk01-100": {"FPNN": 27.87, "IDLA": 65.0},
        "cuhk01-486": {"IDLA": 47.53, "MCP-CNN": 53.7},
        "cuhk01-486-3": {"IDLA": 47.53, "MCP-CNN": 53.7},
        "grid": {"OSNet x1.0 (paper)": 38.2},
        "prid2011": {"MCP-CNN": 22.0},
        "ilids": {"MCP-CNN": 60.4},
        "cuhk03-classic-labeled": {"FPNN": 20.65, "IDLA": 54.74},
        "cuhk03-classic-detected": {"FPNN": 19.89, "IDLA": 44.96},
    }
