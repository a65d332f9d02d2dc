"""What figures share: the data that it draws."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from reidlab.plots import parts
from reidlab.plots.style import BLACK, BLUE, RIGHT, is_chart, new_figure

PICTURE = np.full((128, 64, 3), 200, dtype=np.uint8)


def test_heat_map_writes_every_number_light_on_dark():
    grid = pd.DataFrame([[0.0, 1.0], [np.nan, 0.2]], index=["a", "b"], columns=[3, 4])
    figure, axes = new_figure(2)
    picture = parts.heat_map(axes, grid, grid.map("{:.1f}".format), vmin=0, vmax=1)
    np.testing.assert_array_equal(np.ma.filled(picture.get_array(), np.nan), grid)
    found = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert found == {
        (0, 0): ("0.0", BLACK),
        (1, 0): ("1.0", "white"),
        (0, 1): ("nan", BLACK),
        (1, 1): ("0.2", BLACK),
    }
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "4"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    figure.savefig(io.BytesIO())


def test_rows_stand_first_on_top_each_with_its_interval():
    table = pd.DataFrame({"value": [1.0, 5.0], "low": [0.5, np.nan], "high": [2.0, np.nan]})
    figure, axes = new_figure(2)
    dots = parts.interval_rows(axes, table, [BLUE, RIGHT], filled=False)
    parts.name_rows(axes, ["one", "two"])
    np.testing.assert_allclose(dots.get_offsets(), [[1, 0], [5, 1]])
    assert [to_hex(colour) for colour in dots.get_edgecolors()] == [BLUE.lower(), RIGHT.lower()]
    assert axes.collections[0].get_segments()[0].tolist() == [[0.5, 0], [2, 0]]
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]
    figure.savefig(io.BytesIO())


def test_ap_distribution_counts_valid_queries_and_marks_some():
    table = pd.DataFrame({"query": range(4), "valid": [True] * 3 + [False]})
    table["ap"] = [0.02, 0.98, 0.5, np.nan]
    (axes,) = parts.ap_distribution(table, [1]).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert sum(heights) == 3 and heights[0] == heights[-1] == 1
    mean, median, marks = axes.lines
    assert mean.get_xdata()[0] == median.get_xdata()[0] == pytest.approx(50)
    assert marks.get_xdata() == [98]
    assert len(parts.ap_distribution(table).axes[0].lines) == 2


def test_a_sheet_of_cells_holds_no_picture():
    sheet = parts.Sheet(2, rows=1, headings=1, tall=0.5)
    sheet.put(None, 0, sheet.row_top(0, 1), "✓ match", RIGHT)
    assert is_chart(sheet.figure) and not sheet.axes.images
    (cell,) = sheet.axes.patches
    assert cell.get_fill() and to_hex(cell.get_facecolor()) == RIGHT.lower()
    sheet.put(PICTURE, 1, sheet.row_top(0, 1), "query", RIGHT)
    assert not is_chart(sheet.figure) and len(sheet.axes.images) == 1
    assert not sheet.axes.patches[1].get_fill(), "a frame, and the picture in it"
    assert [text.get_text() for text in sheet.axes.texts] == ["✓ match", "query"]
