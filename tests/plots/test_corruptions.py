"""Figures of corrupted images: the cells and pictures that they hold."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from reidlab.data.corruptions import KINDS, SEVERITIES, corrupt
from reidlab.plots import corruptions
from reidlab.plots.style import use_style


@pytest.fixture(autouse=True)
def _in_style():
    with matplotlib.rc_context():
        use_style()
        yield


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_kinds_sheet_shows_every_kind_at_every_severity():
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    figure = corruptions.kinds_sheet(image, seed=3)
    shown = {}
    for axes in figure.axes:
        for picture in axes.images:
            shown[len(shown)] = np.asarray(picture.get_array())
    assert len(shown) == len(KINDS) * len(SEVERITIES)
    expected = {corrupt(image, kind, s, 3).tobytes() for kind in KINDS for s in SEVERITIES}
    assert {picture.tobytes() for picture in shown.values()} == expected
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert sorted(labels) == sorted(map(corruptions.words, KINDS))


def test_grid_map_writes_each_cell_and_the_clean_score():
    cells = pd.DataFrame(
        [("clean", 0, 80.0), ("fog", 1, 60.4), ("fog", 5, 20.6), ("snow", 1, 50), ("snow", 5, 5)],
        columns=["kind", "severity", "mAP"],
    )
    axes = corruptions.grid_map(cells).axes[0]
    assert texts(axes) == ["50", "5", "60", "21"], "kinds in the benchmark's order: snow, fog"
    assert "clean 80.0" in axes.get_title(loc="left")
    assert axes.images[0].get_clim() == (0, 80)


def test_clean_against_corrupted_has_two_dots_a_network_the_most_robust_on_top():
    table = pd.DataFrame(
        {"label": ["a", "b", "c"], "mAP_clean": [50, 60.0, 70], "mAP_both": [10, 8.0, 9]}
    )
    left, right = corruptions.clean_against_corrupted(table).axes
    assert left.collections[0].get_offsets().tolist() == [[8, 0], [9, 1], [10, 2]]
    assert right.collections[0].get_offsets().tolist() == [[60, 0], [70, 1], [50, 2]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "c", "a"]


def test_camera_losses_leave_out_what_no_query_has():
    table = pd.DataFrame(
        {"camid": [1, 1, 2], "kind": ["fog", "snow", "fog"], "mAP_loss": [30.2, 12.0, -1.0]}
    )
    axes = corruptions.camera_losses(table).axes[0]
    assert texts(axes) == ["12", "–", "30", "-1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["c1", "c2"]


@pytest.mark.parametrize("bins", [(), (0, 50, 100)])
def test_findable_counts_people(bins):
    people = pd.DataFrame({"mAP_clean": [90.0, 80, 20], "mAP": [40.0, 30, 0]})
    (axes,) = corruptions.findable(people, bins=bins).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["clean queries, mean 63.3", "corrupted queries, mean 23.3"]
    assert max(patch.get_xy()[:, 1].max() for patch in axes.patches) == (3 if bins else 1)
