"""Published numbers: the file, what our runs are set beside, and the report's table again."""

import math
import statistics

import pandas as pd
import pytest

from reidlab.common.errors import DataError, StudyError
from reidlab.models.as_coded import report_counts
from reidlab.statistics import published as pub
from reidlab.statistics.published import (
    PAPERS,
    REPORT,
    forms,
    gap_table,
    load_published,
    network_table,
    parameters,
    report_rows,
    transfer_table,
)
from tests.statistics.test_seeds import family
from tests.statistics.test_seeds import run as seed_run


@pytest.fixture(scope="module")
def rows():
    return pub.load_published()


def one(rows, **wanted):
    """The one row with these values."""
    chosen = rows
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1, chosen
    return chosen.iloc[0]


# The file


def test_every_row_names_its_source_and_says_how_sure_it_is(rows):
    assert len(rows) > 40
    assert (rows.source.str.len() > 10).all()
    assert set(rows.kind) == set(pub.KINDS)
    assert set(rows.evidence) == set(pub.EVIDENCE)
    assert not rows.duplicated(
        ["system", "trained_on", "dataset", "protocol", "mAP", "rank1"]
    ).any()


@pytest.mark.parametrize(
    ("kind", "network", "init", "rank1", "mAP"),
    [
        ("paper", "osnet_x1_0", "none", 93.6, 81.0),
        ("paper", "osnet_x1_0", "imagenet", 94.8, 84.9),
        ("model zoo", "osnet_x1_0", "imagenet", 94.2, 82.6),
        ("model zoo", "osnet_x0_25", "imagenet", 91.2, 75.0),
        ("seed report", "osnet_x1_0", "none", 35.5, 18.6),
        ("seed report", "osnet_x1_0", "imagenet", 70.1, 44.2),
    ],
)
def test_numbers_known_by_heart(rows, kind, network, init, rank1, mAP):
    market = rows[(rows.trained_on == "Market-1501") & (rows.dataset == "Market-1501")]
    row = one(market, kind=kind, network=network, init=init)
    assert (row.rank1, row["mAP"]) == (rank1, mAP)


def test_what_was_not_checked_says_so(rows):
    recalled = rows[rows.evidence == "memory"]
    assert recalled.note.str.contains("recalled, not checked").all()
    assert not rows[rows.evidence == "read"].note.str.contains("recalled").any()


def test_gains_that_the_seed_report_swaps(rows):
    def rank1(system, dataset, ids):
        chosen = rows[rows.protocol.str.contains(f"{ids} test identities")]
        return one(chosen, system=system, dataset=dataset).rank1

    cuhk01 = rank1("IDLA", "CUHK01", 100) - rank1("FPNN", "CUHK01", 100)
    cuhk03 = rank1("IDLA", "CUHK03 labeled", 100) - rank1("FPNN", "CUHK03 labeled", 100)
    assert cuhk01 == pytest.approx(37.13)
    assert cuhk03 == pytest.approx(34.09)
    fair = rank1("MCP-CNN", "CUHK01", 486) - rank1("IDLA", "CUHK01", 486)
    assert fair == pytest.approx(6.17)


def broken_copy(tmp_path, column, value):
    frame = pd.read_csv(pub.FILE, keep_default_na=False, dtype=str)
    frame.loc[1, column] = value
    frame.to_csv(tmp_path / "published.csv", index=False)
    return tmp_path / "published.csv"


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("source", "", r"line 3 \(OSNet x1.0 \(paper\)\): source is empty"),
        ("kind", "rumour", "kind is 'rumour'; known: paper, model zoo"),
        ("evidence", "sure", "evidence is 'sure'; known: read, quoted, memory"),
        ("mAP", "849", "mAP is 849.0; expected percent"),
    ],
)
def test_a_bad_row_is_refused(tmp_path, column, value, complaint):
    with pytest.raises(DataError, match=complaint):
        pub.load_published(broken_copy(tmp_path, column, value))


def test_a_row_without_any_score_is_refused(tmp_path):
    file = broken_copy(tmp_path, "mAP", "")
    frame = pd.read_csv(file, keep_default_na=False, dtype=str)
    frame.loc[1, "rank1"] = ""
    frame.to_csv(file, index=False)
    with pytest.raises(DataError, match="neither rank1 nor mAP"):
        pub.load_published(file)


def test_a_missing_column_or_file_is_refused(tmp_path):
    file = tmp_path / "published.csv"
    with pytest.raises(DataError, match=r"published.csv is missing.*git"):
        pub.load_published(file)
    pd.read_csv(pub.FILE).drop(columns="protocol").to_csv(file, index=False)
    with pytest.raises(DataError, match="has no column protocol"):
        pub.load_published(file)


# Our runs


def run(name, init="none", epochs=10, dataset="market1501", **scores):
    config = {"height": 256, "width": 128, "distance": "euclidean", "model": "osnet_x0_25"}
    config |= {"optimizer": "adamw", "flip_test": False, "init": init}
    found = seed_run(name, dataset=dataset, epochs=epochs, **config)
    found.metrics.update({"rank1": 50.0, "mAP": 25.0} | scores)
    return {name: [found]}


@pytest.fixture(scope="module")
def scores():
    checkpoint = "reid:$DATA/weights/osnet_x0_25_{}.pth"
    return (
        run("market-none")
        | run("market-msmt17", checkpoint.format("msmt17"))
        | run("published-market1501", checkpoint.format("market1501"), 0, rank1=91.2, mAP=74.9)
        | run("published-msmt17", checkpoint.format("msmt17"), 0)
        | run("market-on-other", "run:market-none", 0, "market-layout")
        | run("other-to-market", "run:market-on-other")
        | run("a-none", dataset="synthetic-a")
    )


def test_settings_follow_a_run_to_its_source(scores):
    ours = pub.settings(scores).set_index("run")
    assert ours.loc["market-none", ["trained_on", "init"]].tolist() == ["Market-1501", "none"]
    msmt17 = "MSMT17 (1,041 training ids)"
    assert ours.loc["market-msmt17", ["trained_on", "init"]].tolist() == ["Market-1501", msmt17]
    checkpoint = ours.loc["published-market1501"]
    assert checkpoint[["trained_on", "init"]].tolist() == ["Market-1501", "imagenet"]
    assert (checkpoint.epochs, checkpoint.optimizer) == (180, "amsgrad")
    assert (checkpoint.trained_by, ours.trained_by["market-msmt17"]) == (pub.THEIRS, pub.OURS)
    assert ours.loc["market-on-other", ["epochs", "trained_by"]].tolist() == [10, pub.OURS]
    assert ours.loc["published-msmt17", "trained_on"] == msmt17
    assert ours.loc["market-on-other", "trained_on"] == "Market-1501"
    assert ours.loc["market-on-other", "dataset"] == "market-layout"
    assert ours.loc["other-to-market", "init"] == "Market-1501"


def test_a_checkpoint_stands_beside_its_own_number(scores, rows):
    pairs = pub.beside(scores, rows)
    first = pairs[pairs.run == "published-market1501"].iloc[0]
    assert first.published == "OSNet x0.25 (model zoo)"
    assert first.differs == "nothing stated"
    assert first.rank1_minus == pytest.approx(0.0)
    assert first.mAP_minus == pytest.approx(-0.1)


def test_differences_in_budget_are_named(scores, rows):
    pairs = pub.beside(scores, rows).set_index(["run", "published"])
    report = pairs.loc[("market-none", "OSNet x1.0 (seed report)")]
    assert report.differs == "network osnet_x0_25, not osnet_x1_0"
    assert report.published_mAP == 18.6
    paper = pairs.loc[("market-none", "OSNet x1.0 (paper)")]
    assert paper.published_mAP == 81.0  # from scratch, as ours
    assert paper.differs == (
        "network osnet_x0_25, not osnet_x1_0; epochs 10, not 350; optimizer adamw, not sgd"
    )
    zoo = pairs.loc[("market-msmt17", "OSNet x0.25 (model zoo)")]
    assert zoo.differs == (
        "init MSMT17 (1,041 training ids), not imagenet; epochs 10, not 180; "
        "optimizer adamw, not amsgrad"
    )


def test_direct_transfer_stands_beside_direct_transfer_only(scores, rows):
    pairs = pub.beside(scores, rows).set_index("run")
    transfer = pairs.loc[["published-msmt17"]]
    assert transfer.published_mAP.tolist() == [31.0]
    assert "MSMT17 (all 4,101 ids)" in transfer.differs.iloc[0]


def test_generated_people_and_a_set_of_ones_own_stand_alone(scores, rows):
    pairs = pub.beside(scores, rows).set_index("run")
    for name in ("a-none", "market-on-other"):
        assert pairs.loc[name, "published"] == "none"
        assert pd.isna(pairs.loc[name, "mAP_minus"])


def test_an_unknown_budget_or_mirror_image_is_a_difference():
    ours = {"network": "n", "trained_on": "t", "init": "none", "size": "s", "distance": "cosine"}
    ours |= {"optimizer": "adamw", "mirror_image": "no"}
    theirs = ours | dict.fromkeys(("distance", "optimizer", "mirror_image"), pub.NOT_STATED)
    assert pub.differences(ours | {"epochs": 10}, theirs | {"epochs": pd.NA}) == [
        "epochs 10, theirs not stated"
    ]
    assert pub.differences(ours | {"epochs": pd.NA}, theirs | {"epochs": 10}) == []
    mirrored = ours | {"epochs": 10, "mirror_image": "yes"}
    assert pub.differences(mirrored, theirs | {"epochs": 10}) == [
        "mirror image yes, theirs not stated"
    ]


# The Siamese report's table again

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
