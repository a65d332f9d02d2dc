"""Figures of transfer between data sets: the data that they hold."""

import io

import numpy as np
import pandas as pd

from reidlab.plots import cross_dataset


def saved(figure) -> int:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return len(stream.getvalue())


def test_transfer_bars_hold_the_scores():
    table = pd.DataFrame(
        {
            "target": ["a", "a", "b"],
            "how": ["direct transfer", "from scratch", "from scratch"],
            "Rank-1": [10.0, 30.0, 50.0],
            "mAP": [5.0, 20.0, 40.0],
        }
    )
    figure = cross_dataset.transfer_bars(table)
    a, b = figure.axes
    heights = [[bar.get_height() for bar in group] for group in a.containers]
    assert heights == [[10.0, 5.0], [30.0, 20.0]]
    nothing, only = b.containers
    assert not len(nothing) and [bar.get_height() for bar in only] == [50.0, 40.0]
    assert a.containers[1][0].get_facecolor() == only[0].get_facecolor(), "a colour is a way"
    assert saved(figure)


def test_trainings_on_a_target_fit_every_panel():
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "mAP": [5.0, np.nan, 12.0, 20.0]})
    better = history.assign(mAP=[50.0, np.nan, 60.0, 70.0])
    figure = cross_dataset.compare_learning(
        {"a": {"scratch": history}, "b": {"scratch": history[:3], "tuned": better}},
        {"a": {"direct": 12.0}},
    )
    left, right = figure.axes
    lines = {line.get_label(): line for line in (*left.get_lines(), *right.get_lines())}
    assert lines["tuned"].get_xydata().tolist() == [[1, 50.0], [3, 60.0], [4, 70.0]]
    assert list(lines["direct"].get_ydata()) == [12.0, 12.0]
    looks = [axes.get_lines()[0].get_linestyle() for axes in (left, right)]
    assert looks == ["-", "None"], "two points are no curve"
    for axes in (left, right):
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 70
    assert saved(figure)
