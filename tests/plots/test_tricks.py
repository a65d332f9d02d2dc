"""Figures of recipes side by side: the data that they hold."""

import io

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from reidlab.plots.tricks import LOOKS, difference_plot, seed_plot
from reidlab.statistics.seeds import GAIN, ablation_table
from tests.statistics.test_seeds import family, rows


def test_figure_shows_every_seed_and_interval():
    families = rows()
    table = ablation_table(families)
    seeds = {name: [run.metrics["mAP"] for run in runs] for name, runs in families.items()}
    figure = seed_plot(table, seeds)
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()
    assert [text.get_text() for text in left.get_yticklabels()] == [*families]
    dots = [line.get_xdata() for line in left.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.concatenate(dots), np.concatenate([*seeds.values()]))
    lines = [bars for bars in right.collections if isinstance(bars, LineCollection)]
    ends = [path.vertices[:, 0] for bars in lines for path in bars.get_paths()]
    ends = [pair for pair in ends if np.isfinite(pair).all()]
    expected = [(row.query_low, row.query_high) for row in table[1:].itertuples()]
    expected += [(row.low, row.high) for row in table[1:].itertuples()]
    np.testing.assert_allclose(sorted(map(tuple, ends)), sorted(expected))
    figure.savefig(io.BytesIO())
    alone = difference_plot(table).axes[0]
    assert [text.get_text() for text in alone.get_yticklabels()] == [*families][1:]


def test_every_verdict_has_its_look_and_every_difference_its_place():
    table = ablation_table(rows())
    axes = difference_plot(table).axes[0]
    dots = [dots for dots in axes.collections if isinstance(dots, PathCollection)]
    found = {some.get_label(): some.get_offsets()[:, 0].tolist() for some in dots}
    for verdict, some in table[1:].groupby("verdict"):
        assert found.pop(verdict) == pytest.approx(some["difference"].tolist())
    assert not found and {*table["verdict"]} - {""} <= {*LOOKS}


def test_one_seed_has_a_dot_and_no_interval_over_seeds():
    table = ablation_table({name: family(name, seeds=[0]) for name in ("one", "another")})
    figure = difference_plot(table)
    (band, _, dots) = figure.axes[0].collections
    assert dots.get_offsets()[0, 0] == table["difference"][1]
    assert band.get_segments()[0][:, 0].tolist() == [table.query_low[1], table.query_high[1]]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "interval over the seeds" not in words and GAIN not in words
