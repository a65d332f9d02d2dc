"""Figures of notebook 08: the data that they hold."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from reidlab.plots import distances
from reidlab.plots.style import BLUE, GREY, VERMILLION

WAYS = ["euclidean", "euclidean, normalised", "cosine"]


def saved(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return len(stream.getvalue())


@pytest.fixture
def table():
    rows = [
        {
            "run": run,
            "way": way,
            "normalised": way.endswith("normalised"),
            "score": score,
            "value": 10.0 * i + j,
            "low": 10.0 * i + j - 2,
            "high": 10.0 * i + j + 3,
        }
        for run in ("a", "b")
        for i, score in enumerate(("rank1", "mAP", "mINP"))
        for j, way in enumerate(WAYS)
    ]
    return pd.DataFrame(rows)


def test_score_intervals_hold_every_value_and_its_interval(table):
    figure = distances.score_intervals(table, "euclidean")
    assert len(figure.axes) == 6
    axes = figure.axes[1]  # run a, mAP
    assert axes.get_xlabel() == "mAP (%)"
    (reference,) = axes.get_lines()
    assert list(reference.get_xdata()) == [10, 10]
    lines, dots, scaled_lines, scaled_dots = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [[10, 0], [12, 2]])
    np.testing.assert_allclose(scaled_dots.get_offsets(), [[11, 1]])
    ends = [part[:, 0].tolist() for part in (*lines.get_segments(), *scaled_lines.get_segments())]
    assert ends == [[8, 13], [10, 15], [9, 14]]
    assert to_hex(scaled_dots.get_facecolor()[0]) == "#ffffff"
    assert to_hex(scaled_dots.get_edgecolor()[0]) == VERMILLION.lower()
    low, high = axes.get_ylim()
    assert low > high, "the first way stands on top"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == WAYS
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in figure.axes[::3]]
    assert titles == ["a", "b"]
    assert saved(figure)


def test_values_that_are_equal_look_so():
    row = {"run": "a", "way": "cosine", "normalised": False, "value": 0, "low": 0, "high": 0}
    table = pd.DataFrame([row | {"score": score} for score in distances.SCORES])
    figure = distances.score_intervals(table, "cosine")
    low, high = figure.axes[0].get_xlim()
    assert (low, high) == pytest.approx((-distances.LEAST_SPAN / 2, distances.LEAST_SPAN / 2))


def test_differences_are_coloured_only_where_they_are_clear():
    table = pd.DataFrame(
        {
            "run": "a",
            "evaluation": ["cosine", "cityblock", "minkowski:3"],
            "score": "mAP",
            "difference": [2.0, -1.0, 0.5],
            "low": [1.0, -2.0, -0.5],
            "high": [3.0, -0.5, 1.5],
            "clear": [True, True, False],
        }
    )
    figure = distances.difference_intervals(table, ("mAP",), title="minus Euclidean")
    (axes,) = figure.axes
    bars, dots = axes.collections
    assert [to_hex(colour) for colour in bars.get_colors()] == [
        colour.lower() for colour in (BLUE, VERMILLION, GREY)
    ]
    np.testing.assert_allclose(dots.get_offsets(), [[2, 0], [-1, 1], [0.5, 2]])
    assert [list(line[:, 0]) for line in bars.get_segments()] == [[1, 3], [-2, -0.5], [-0.5, 1.5]]
    assert figure.get_suptitle() == "minus Euclidean"
    assert saved(figure)


def test_order_curve_is_sorted_by_order_and_has_a_band():
    table = pd.DataFrame({"run": "a", "order": [8, 0.5, 2], "score": "mAP", "value": [1, 3, 2]})
    table = table.assign(low=table["value"] - 1, high=table["value"] + 1)
    figure = distances.order_curve(table)
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == [0.5, 2, 8]
    assert list(line.get_ydata()) == [3, 2, 1]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0 and band[:, 1].max() == 4
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.5", "2", "8"]
    assert saved(figure)
