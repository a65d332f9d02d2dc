"""The figure of published numbers and ours: the data that it holds."""

import io

import pytest

from reidlab.plots.published import LOOKS, dot_plot
from reidlab.statistics.published import load_published, settings
from tests.statistics.test_published import run


@pytest.fixture(scope="module")
def rows():
    rows = load_published()
    return rows[rows.trained_on == rows.dataset]


def test_a_panel_for_each_data_set_and_a_dot_for_every_number(rows):
    checkpoint = "reid:$DATA/weights/osnet_x0_25_market1501.pth"
    ours = settings(run("market-none") | run("published-market1501", checkpoint, 0, mAP=74.9))
    some = rows[rows.dataset.isin(["Market-1501", "DukeMTMC-reID"])]
    figure = dot_plot(some, ours, "title")
    figure.savefig(io.BytesIO(), format="png")
    assert {axes.get_title("left") or axes.get_title() for axes in figure.axes} == {*some.dataset}
    for axes in figure.axes:
        name = axes.get_title("left") or axes.get_title()
        here, own = some[some.dataset == name], ours[ours.dataset == name]
        for score, bars in (("mAP", False), ("rank1", True)):
            drawn = [x.get_xdata()[0] for x in axes.lines if (x.get_marker() == "|") == bars]
            assert sorted(drawn) == sorted([*here[score], *own[score]])
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow) == (here.evidence == "memory").sum()
        labels = [text.get_text() for text in axes.get_yticklabels()]
        assert labels[0].startswith(here.loc[here["mAP"].idxmax()].system), "the best on top"
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"ours", "authors' checkpoint, evaluated here"} < words


def test_an_authors_checkpoint_is_not_ours(rows):
    checkpoint = "reid:$DATA/weights/osnet_x0_25_market1501.pth"
    ours = settings(run("published-market1501", checkpoint, 0))
    (label,) = dot_plot(rows[:0], ours).axes[0].get_yticklabels()
    assert label.get_color() == LOOKS["authors' checkpoint, evaluated here"][0]


def test_dot_plot_of_nothing(rows):
    dot_plot(rows[:0], settings(run("market-none"))[:0]).savefig(io.BytesIO(), format="png")
