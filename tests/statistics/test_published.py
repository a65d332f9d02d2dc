"""Published numbers: the file, what our runs are set beside, and the figure of both."""

import io

import pandas as pd
import pytest

from reidlab.common.errors import DataError
from reidlab.plots.published import dot_plot
from reidlab.statistics import published as pub


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


def run(name, init="none", epochs=10, dataset="market1501", **other):
    base = {"run": name, "dataset": dataset, "model": "osnet_x0_25", "init": init}
    base |= {"height": 256, "width": 128, "epochs": epochs, "distance": "euclidean"}
    return base | {"rank1": 50.0, "mAP": 25.0} | other


@pytest.fixture(scope="module")
def scores():
    checkpoint = "reid:$DATA/weights/osnet_x0_25_{}.pth"
    return pd.DataFrame(
        [
            run("market-none"),
            run("market-msmt17", checkpoint.format("msmt17")),
            run("published-market1501", checkpoint.format("market1501"), 0, rank1=91.2, mAP=74.9),
            run("published-msmt17", checkpoint.format("msmt17"), 0),
            run("market-on-cuhk03", "run:market-none", 0, "cuhk03-market-layout"),
            run("cuhk03-to-market", "run:market-on-cuhk03"),
            run("a-none", dataset="synthetic-a"),
        ]
    )


def test_settings_follow_a_run_to_its_source(scores):
    ours = pub.settings(scores).set_index("run")
    assert ours.loc["market-none", ["trained_on", "init"]].tolist() == ["Market-1501", "none"]
    msmt17 = "MSMT17 (1,041 training ids)"
    assert ours.loc["market-msmt17", ["trained_on", "init"]].tolist() == ["Market-1501", msmt17]
    checkpoint = ours.loc["published-market1501"]
    assert checkpoint[["trained_on", "init"]].tolist() == ["Market-1501", "imagenet"]
    assert pd.isna(checkpoint.epochs)
    assert ours.loc["published-msmt17", "trained_on"] == msmt17
    assert ours.loc["market-on-cuhk03", "trained_on"] == "Market-1501"
    assert ours.loc["market-on-cuhk03", "dataset"] == "CUHK03, own split"
    assert ours.loc["cuhk03-to-market", "init"] == "Market-1501"


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
    assert paper.differs == "network osnet_x0_25, not osnet_x1_0; epochs 10, not 350"
    zoo = pairs.loc[("market-msmt17", "OSNet x0.25 (model zoo)")]
    assert zoo.differs == "init MSMT17 (1,041 training ids), not imagenet; epochs 10, not 180"


def test_direct_transfer_stands_beside_direct_transfer_only(scores, rows):
    pairs = pub.beside(scores, rows).set_index("run")
    transfer = pairs.loc[["published-msmt17"]]
    assert transfer.published_mAP.tolist() == [31.0]
    assert "MSMT17 (all 4,101 ids)" in transfer.differs.iloc[0]


def test_generated_people_and_our_cuhk03_stand_alone(scores, rows):
    pairs = pub.beside(scores, rows).set_index("run")
    for name in ("a-none", "market-on-cuhk03"):
        assert pairs.loc[name, "published"] == "none"
        assert pd.isna(pairs.loc[name, "mAP_minus"])


def test_an_unknown_budget_is_a_difference():
    ours = {"network": "n", "trained_on": "t", "init": "none", "size": "s", "distance": "cosine"}
    theirs = ours | {"distance": pub.NOT_STATED}
    assert pub.differences(ours | {"epochs": 10}, theirs | {"epochs": pd.NA}) == [
        "epochs 10, theirs not stated"
    ]
    assert pub.differences(ours | {"epochs": pd.NA}, theirs | {"epochs": 10}) == []


# The figure


def test_dot_plot_has_a_dot_for_every_number(scores, rows):
    ours = pub.settings(scores)
    ours = ours[(ours.dataset == "Market-1501") & (ours.trained_on == "Market-1501")]
    some = rows[(rows.dataset == "Market-1501") & (rows.trained_on == "Market-1501")].head(8)
    figure = dot_plot(some, ours, "title")
    figure.savefig(io.BytesIO(), format="png")
    for axes, score in zip(figure.axes, ("rank1", "mAP")):
        drawn = sorted(line.get_xdata()[0] for line in axes.lines)
        assert drawn == sorted([*some[score], *ours[score]])
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow) == (some.evidence == "memory").sum()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    best = some.loc[some["mAP"].idxmax()]
    assert labels[-1].startswith(best.system)
    assert sum(label.startswith("ours: ") for label in labels) == len(ours)


def test_dot_plot_of_nothing(rows):
    dot_plot(rows[:0]).savefig(io.BytesIO(), format="png")
