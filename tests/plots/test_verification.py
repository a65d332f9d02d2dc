"""Figures of "same or different?": the data that they hold."""

import io

import numpy as np
import pandas as pd
import pytest

from reidlab.plots import verification as plots
from reidlab.verification.pairs import count_values
from reidlab.verification.rates import operating_points


def saved(figure) -> int:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return len(stream.getvalue())


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    return count_values(rng.normal(3, 0.5, 400), rng.normal(6, 1, 5000))


def test_pair_histogram_shows_shares_of_each_kind_and_the_thresholds(counts):
    cuts = operating_points(counts, (0.1, 1e-9))
    figure = plots.pair_histogram({"train": counts, "test": counts}, cuts, "euclidean", bins=20)
    train, test = figure.axes
    for axes in (train, test):
        for bars in axes.containers:
            assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
        lines = [line.get_xdata()[0] for line in axes.get_lines()]
        assert lines == cuts.threshold.dropna().tolist() and len(lines) == 2
    width = train.containers[0][0].get_width()
    inside = np.diff(counts.impostor[np.searchsorted(counts.thresholds, [0, 10 * width])])
    drawn = sum(bar.get_height() for bar in train.containers[0][:10])
    assert drawn == pytest.approx(100 * inside[0] / 5000)
    assert saved(figure)


def test_error_curves_meet_at_the_equal_error_rate(counts):
    figure = plots.error_curves(counts, "euclidean")
    left, right = figure.axes
    fmr, fnmr, point = left.get_lines()
    assert np.all(np.diff(fmr.get_ydata()) >= 0) and np.all(np.diff(fnmr.get_ydata()) <= 0)
    crossing = np.interp(point.get_xdata()[0], fmr.get_xdata(), fmr.get_ydata())
    assert crossing == pytest.approx(point.get_ydata()[0], abs=0.01)
    assert left.get_yscale() == "log" and right.get_xscale() == "log"
    assert saved(figure)


def test_promise_figure_draws_wanted_and_met_rates():
    table = pd.DataFrame(
        {
            "point": ["10 %", "1 %", "0.1 %", "EER"],
            "wanted_fmr": [0.1, 0.01, 0.001, np.nan],
            "threshold": [3.0, 2.0, np.nan, 2.5],
            "fmr": [0.2, 0.0, np.nan, 0.05],
            "fmr_low": [0.15, 0.0, np.nan, 0.04],
            "fmr_high": [0.25, 0.01, np.nan, 0.06],
        }
    )
    figure = plots.promise_figure({"train": table, "others": table})
    (axes,) = figure.axes
    assert len(axes.containers) == 2
    drawn = axes.containers[0].lines[0]
    assert len(drawn.get_xdata()) == 2 and drawn.get_ydata()[0] == pytest.approx(0.2)
    assert [text.get_text() for text in axes.get_legend().get_texts()][-2:] == ["train", "others"]
    assert saved(figure)


def test_det_curves_name_the_equal_error_rates(counts):
    perfect = count_values(np.array([0.1, 0.2]), np.array([5.0, 6.0]))
    figure = plots.det_curves({"good": counts, "perfect": perfect})
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(texts) == 2 and "good" in texts[0] and " 0.00 %  perfect" in texts[1]
    assert saved(figure)


def test_head_history_marks_the_step_that_is_kept():
    history = pd.DataFrame(
        {"step": [10, 20, 30], "train_loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.7]}
    )
    figure = plots.head_history(history)
    marked = figure.axes[0].get_lines()[2]
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == (20, 2.5)
    assert "step 20" in marked.get_label()
    assert saved(figure)
