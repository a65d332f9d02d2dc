"""The report's table: forms, published rows beside them, transfer."""

import math
import statistics

import pytest

from reidlab.common.errors import StudyError
from reidlab.models.baseline import report_counts
from reidlab.statistics.published import load_published
from reidlab.statistics.replication import (
    PAPERS,
    REPORT,
    forms,
    gap_table,
    network_table,
    parameters,
    report_rows,
    transfer_table,
)
from tests.statistics.test_ablation import family

NETWORKS = {
    "OSNet x0.25": [["osnet-m", "osnet-report-m"], ["osnet-s", "osnet-report-s"]],
    "ResNet50": [["resnet-m", "resnet-report-m"]],
}
MODELS = {
    "osnet": ("osnet_x0_25_bnneck", "osnet_x0_25_d1000"),
    "resnet": ("resnet50", "resnet50_report"),
}
DATASETS = {"m": "market1501", "s": "synthetic-a"}


def families():
    found = {}
    for name in forms(NETWORKS):
        model = MODELS[name.split("-")[0]]["report" in name]
        found[name] = family(name, model=model, dataset=DATASETS[name[-1]])
    moved = {"model": "osnet_x0_25_bnneck", "init": "run:osnet-m", "dataset": "synthetic-a"}
    found["direct"] = family("direct", epochs=0, **moved)
    found["tuned"] = family("tuned", 0.2, epochs=4, **moved)
    return found


def test_every_network_stands_in_both_forms_data_set_by_data_set():
    table = network_table(NETWORKS, families())
    assert table["dataset"].tolist() == ["market1501"] * 4 + ["synthetic-a"] * 2
    assert table["form"].tolist() == [PAPERS, REPORT] * 3
    assert (
        table["network"].tolist() == ["OSNet x0.25"] * 2 + ["ResNet50"] * 2 + ["OSNet x0.25"] * 2
    )
    counted = report_counts().set_index("model")["network"]
    found = table.set_index("model")["params"]
    assert found["resnet50_report"] == counted["resnet50_report"]
    assert found["osnet_x0_25_d1000"].unique() == counted["osnet_x0_25_d1000"]


def test_parameters_are_those_of_the_network_alone():
    assert parameters("mobilenet_v3_large") == 2_973_872


def test_reports_own_numbers_stand_beside_its_data_sets_only():
    rows = report_rows(network_table(NETWORKS, families()), load_published())
    found = rows.set_index("network")[["rank1", "mAP", "epochs"]].T.to_dict("list")
    # table I of the report
    assert found == {"OSNet x0.25": [77.3, 56.3, 120], "ResNet50": [89.4, 75.5, 120]}
    assert set(rows["dataset"]) == {"market1501"}


def test_report_has_numbers_for_duke_and_for_validation_split_of_last():
    networks = {"OSNet x0.25": [["duke", "duke-report"], ["last", "last-report"]]}
    found = {
        name: family(name, model="osnet_x0_25_bnneck", dataset=dataset)
        for pair, dataset in zip(networks["OSNet x0.25"], ("dukemtmc", "last-val"))
        for name in pair
    }
    rows = report_rows(network_table(networks, found), load_published()).set_index("dataset")
    assert rows.loc["dukemtmc", ["rank1", "mAP"]].tolist() == [69.9, 50.8]
    assert rows.loc["last-val", ["rank1", "mAP"]].tolist() == [23.0, 4.3]


def test_gap_to_the_report_is_that_of_its_osnet():
    runs = families()
    steps = {"once": "osnet-m", "as the report": "osnet-report-m"}
    table = gap_table(steps, runs, load_published())
    assert table["step"].tolist() == [*steps] and table["row"].tolist() == [*steps.values()]
    mean = sum(run.metrics["mAP"] for run in runs["osnet-m"]) / 3
    assert table["mAP_gap"][0] == pytest.approx(mean - 56.3)
    assert table["rank1_gap"].tolist() == pytest.approx([*(table["rank1"] - 77.3)])
    with pytest.raises(StudyError, match=r"no OSNet x0\.25 on synthetic-a"):
        gap_table({"elsewhere": "osnet-s"}, runs, load_published())


def test_transfer_is_told_from_fine_tuning_and_from_home():
    runs = families()
    (row,) = transfer_table(NETWORKS, ["direct", "tuned"], runs).to_dict("records")
    assert (row["network"], row["form"]) == ("OSNet x0.25", PAPERS)
    assert (row["source"], row["target"]) == ("market1501", "synthetic-a")
    assert (row["direct"], row["fine_tuned"], row["at_home"]) == ("direct", "tuned", "osnet-s")
    assert (row["direct_epochs"], row["fine_tuned_epochs"], row["at_home_epochs"]) == (0, 4, 10)
    for way, name in (("direct", "direct"), ("fine_tuned", "tuned"), ("at_home", "osnet-s")):
        mean = sum(run.metrics["mAP"] for run in runs[name]) / 3
        assert row[f"{way}_mAP"] == pytest.approx(mean)
        spread = statistics.stdev(run.metrics["mAP"] for run in runs[name])
        assert row[f"{way}_mAP_std"] == pytest.approx(spread)


def test_transfer_without_a_way_leaves_it_empty():
    networks = {"OSNet x0.25": NETWORKS["OSNet x0.25"][:1]}
    (row,) = transfer_table(networks, ["direct"], families()).to_dict("records")
    assert row["at_home"] == row["fine_tuned"] == ""
    assert math.isnan(row["at_home_mAP"]) and math.isnan(row["fine_tuned_rank1"])


def test_bad_input_is_named():
    with pytest.raises(StudyError, match=r"networks\['OSNet'\] holds \['a'\]: expected pairs"):
        forms({"OSNet": [["a"]]})
    with pytest.raises(StudyError, match="tuned starts from 'run:osnet-m', which is none"):
        transfer_table({"ResNet50": NETWORKS["ResNet50"]}, ["tuned"], families())
