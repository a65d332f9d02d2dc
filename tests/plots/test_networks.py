"""Figures of the networks: the data that they hold."""

import io

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection

from reidlab.plots.networks import cmc_bands, kind_dots
from reidlab.plots.style import PALETTE


def test_dots_are_where_their_labels_are():
    table = pd.DataFrame(
        [("a", "x", 10.0), ("a", "y", 20.0), ("b", "x", np.nan), ("b", "y", 40.0)],
        columns=["label", "kind", "value"],
    )
    axes = kind_dots(table).axes[0]
    where = {text.get_text(): text.get_position()[1] for text in axes.get_yticklabels()}
    dots = [each for each in axes.collections if isinstance(each, PathCollection)]
    found = {each.get_label(): each.get_offsets().tolist() for each in dots}
    assert found == {
        "x": [[10.0, where["a"]]],
        "y": [[20.0, where["a"]], [40.0, where["b"]]],
    }


def test_dots_carry_their_standard_deviations():
    table = pd.DataFrame({"label": ["a", "b"], "kind": "x", "value": [10.0, 20.0]})
    axes = kind_dots(table.assign(std=[1.5, np.nan])).axes[0]
    assert "standard deviation" in axes.get_xlabel()
    lines = [bars for bars in axes.collections if isinstance(bars, LineCollection)]
    ends = [path.vertices.tolist() for bars in lines for path in bars.get_paths()]
    assert [[8.5, 0.0], [11.5, 0.0]] in ends
    assert "standard" not in kind_dots(table.assign(std=np.nan)).axes[0].get_xlabel()


def test_cmc_colour_is_the_network_line_the_form_and_band_the_seeds():
    rng = np.random.default_rng(0)
    seeds = {
        (network, form): np.sort(rng.random((3, 30)))
        for network in ("small", "large")
        for form in ("papers", "report")
    }
    figure = cmc_bands(
        {"market": seeds, "other": {("large", "papers"): seeds["large", "papers"][:1]}}, 20
    )
    market, other = figure.axes
    drawn = [line for line in market.get_lines() if len(line.get_xdata())]
    for line, band, values in zip(drawn, market.collections, seeds.values()):
        np.testing.assert_allclose(line.get_ydata(), 100 * values[:, :20].mean(0))
        assert list(line.get_xdata()) == list(range(1, 21))
        edge = band.get_paths()[0].vertices
        for k in (1, 20):
            ends = edge[edge[:, 0] == k][:, 1]
            expected = 100 * values[:, k - 1].min(), 100 * values[:, k - 1].max()
            np.testing.assert_allclose((ends.min(), ends.max()), expected)
    assert [line.get_color() for line in drawn] == [PALETTE[0]] * 2 + [PALETTE[1]] * 2
    assert [line.get_linestyle() for line in drawn] == ["-", "--"] * 2
    assert other.get_lines()[0].get_color() == PALETTE[1], "a network looks the same everywhere"
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["small", "large", "papers", "report"]
    figure.savefig(io.BytesIO())
