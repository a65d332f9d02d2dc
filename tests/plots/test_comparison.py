"""Figures that set runs side by side: the data that they hold."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from reidlab.metrics.scores import average_precision, average_precision_trapezoid
from reidlab.plots import comparison as curves
from reidlab.plots.style import BLUE, GREY
from reidlab.statistics.bootstrap import paired_difference


def saved(figure) -> int:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return len(stream.getvalue())


def cmc(start):
    return [start + (1 - start) * rank / 50 for rank in range(50)]


def test_cmc_curves_one_panel_a_data_set_best_run_first():
    figure = curves.cmc_curves(
        {"market": {"low": cmc(0.4), "high": cmc(0.9)}, "cuhk": {"only": cmc(0.2)}}, ranks=10
    )
    market, cuhk = figure.axes
    high, low = market.get_lines()
    assert "90.0 %" in high.get_label() and "high" in high.get_label()
    assert "40.0 %" in low.get_label()
    assert list(low.get_xdata()) == list(range(1, 11))
    assert list(low.get_ydata()) == pytest.approx([100 * value for value in cmc(0.4)[:10]])
    assert market.get_ylim()[0] < 40 <= market.get_ylim()[0] + 10, "zoomed to the lowest start"
    assert cuhk.get_title(loc="left") + cuhk.get_title() == "cuhk"
    assert saved(figure)


def test_cmc_curves_of_many_runs_look_different():
    runs = {f"run-{i}": cmc(i / 30) for i in range(20)}
    figure = curves.cmc_curves({"market": runs, "cuhk": {"x": cmc(0.1)}, "last": {"y": cmc(0.1)}})
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 20
    assert saved(figure)


def test_cmc_curves_of_one_run_look_the_same_in_all_panels():
    first = {"a": cmc(0.9), "b": cmc(0.5), "c": cmc(0.3)}
    second = {"c": cmc(0.9), "new": cmc(0.6), "a": cmc(0.2)}
    figure = curves.cmc_curves({"market": first, "cuhk": second})
    market, cuhk = (
        {line.get_label().split()[-1]: line.get_color() for line in axes.get_lines()}
        for axes in figure.axes[:2]
    )
    assert (cuhk["a"], cuhk["c"]) == (market["a"], market["c"])
    assert len({*cuhk.values()}) == 3, "a new run takes a look that is free"


def test_histogram_leaves_ties_out_and_counts_the_rest():
    base = pd.DataFrame({"query": range(6), "pid": range(6), "camid": 1, "valid": True})
    first = base.assign(ap=[0.5] * 6)
    second = base.assign(ap=[0.5, 0.5, 0.6, 0.7, 0.8, 0.1])
    figure = curves.difference_histogram(paired_difference(first, second), "one", "two")
    (axes,) = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"one answers better: 1", "two answers better: 3", "equal (not drawn): 2"} < {*labels}
    worse, better = axes.containers
    assert sum(bar.get_height() for bar in worse) == 1
    assert sum(bar.get_height() for bar in better) == 3
    assert all(bar.get_x() >= -1e-9 for bar in better if bar.get_height())
    assert saved(figure)


def test_equal_runs_have_a_histogram_too():
    run = pd.DataFrame({"query": [0], "pid": [1], "camid": 1, "valid": True, "ap": 0.5})
    assert saved(curves.difference_histogram(paired_difference(run, run), "one", "two"))


def test_intervals_are_grey_when_they_hold_zero():
    table = pd.DataFrame(
        {"pair": ["a − b", "c − d"], "difference": [2.0, 1.0], "low": [1, -1], "high": [3, 3]}
    )
    figure = curves.step_intervals(table)
    (axes,) = figure.axes
    bars, dots = axes.collections
    ends = [(segment[0][0], segment[1][0]) for segment in bars.get_segments()]
    assert ends == [(1, 3), (-1, 3)]
    assert [to_hex(colour) for colour in dots.get_edgecolors()] == [BLUE.lower(), GREY.lower()]
    np.testing.assert_allclose(dots.get_offsets(), [[2, 0], [1, 1]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a − b", "c − d"]
    assert saved(figure)


@pytest.mark.parametrize("ranks", [[1, 2, 4, 7], [3], [2, 3]])
def test_areas_of_the_example_are_the_metrics_own(ranks):
    figure = curves.ap_example(ranks)
    areas = []
    for axes in figure.axes[:2]:
        assert axes.get_xlabel() == "recall"
        segments = [line.get_data() for line in axes.get_lines() if len(line.get_xdata()) == 2]
        segments = segments[: len(ranks)]
        areas.append(sum((x[1] - x[0]) * (y[0] + y[1]) / 2 for x, y in segments))
    expected = [average_precision(np.array(ranks)), average_precision_trapezoid(np.array(ranks))]
    assert areas == pytest.approx(expected)
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in figure.axes[:2]]
    assert titles == [f"rectangular: AP = {expected[0]:.4f}", f"trapezoid: AP = {expected[1]:.4f}"]
    assert saved(figure)


def test_definitions_of_map_are_shown_by_their_difference():
    table = pd.DataFrame(
        {"run": ["x", "y"], "dataset": "d", "mAP": [50.0, 40.0], "mAP_trapezoid": [47.5, 38.0]}
    )
    figure = curves.map_definitions(table)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [-2.5, -2.0]
    assert [text.get_text() for text in axes.texts] == ["−2.5 of 50.0", "−2.0 of 40.0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["x  (d)", "y  (d)"]
    assert saved(figure)
