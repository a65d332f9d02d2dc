"""Figures of notebook 06: what stands in the axes, and that they can be saved."""

import io

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from reidlab.evaluation import retrieval
from reidlab.plots import retrieval as plots
from reidlab.plots.style import QUERY, RIGHT, UNKNOWN, WRONG, is_chart

PICTURE = np.full((128, 64, 3), 200, dtype=np.uint8)


def saved(figure):
    """Save a figure, since a figure that cannot be drawn fails only then."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def frames(axes):
    return [matplotlib.colors.to_hex(patch.get_edgecolor()).upper() for patch in axes.patches]


@pytest.fixture
def found():
    verdicts = [retrieval.MATCH, retrieval.SAME_CAMERA, retrieval.DISTRACTOR]
    rows = [
        {"query": query, "rank": rank + 1, "gallery": 10 * query + rank, "camid": rank + 1}
        | {"verdict": verdict, "distance": 0.1 * rank, "pid": rank}
        for query in (4, 6)
        for rank, verdict in enumerate(verdicts)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def per_query():
    return pd.DataFrame(
        {
            "query": [4, 6, 7],
            "pid": [1, 2, 3],
            "camid": [2, 3, 1],
            "valid": [True, True, False],
            "num_matches": [2, 1, 0],
            "first_match": pd.array([1, 3, None], dtype="Int64"),
            "ap": [0.75, 1 / 3, np.nan],
        }
    )


def test_ranked_lists_mark_right_and_wrong(found, per_query):
    figure = saved(
        plots.ranked_lists(
            found, per_query, [6, 4], {4: PICTURE, 6: PICTURE}, dict.fromkeys(range(70), PICTURE)
        )
    )
    (axes,) = figure.axes
    first = ["AP 33.3 %, 1 match on rank 3", "query\ncam 3"]
    second = ["AP 75.0 %, 2 matches, the first on rank 1", "query\ncam 2"]
    answers = ["✓ match\ncam 1", "✗ impostor\ncam 2", "✗ distractor\ncam 3"]
    assert texts(axes) == [*first, *answers, *second, *answers]
    assert frames(axes) == [QUERY, RIGHT, WRONG, UNKNOWN] * 2
    assert len(axes.images) == 8
    places = np.array([image.get_extent() for image in axes.images]).reshape(2, 4, 4)
    assert (np.diff(places[:, :, 0]) > 0).all(), "from left to right in the order of ranks"


def test_cells_stand_for_pictures_that_may_not_be_shown(found, per_query):
    figure = saved(plots.ranked_lists(found, per_query, [4]))
    (axes,) = figure.axes
    assert not axes.images and is_chart(figure)
    assert texts(axes)[2] == "✓ match\ncam 1"
    assert frames(axes) == [QUERY, RIGHT, WRONG, UNKNOWN]
    assert all(patch.get_fill() for patch in axes.patches)


def triplet_table(margins):
    return pd.DataFrame(
        [
            {"query": i, "pid": i, "camid": 1, "match": 10 + i, "match_camid": 2}
            | {"match_distance": 0.5, "impostor": 20 + i, "impostor_camid": 3}
            | {"impostor_distance": 0.5 + margin, "margin": margin}
            for i, margin in enumerate(margins)
        ]
    )


def test_triplets_say_who_is_nearer():
    everyone = dict.fromkeys(range(30), PICTURE)
    figure = saved(plots.triplets_figure(triplet_table([0.25, -0.25, -0.4]), everyone, everyone))
    (axes,) = figure.axes
    right = ["(a) right", "query\ncamera 1", "✓ match at 0.5\ncamera 2"]
    assert texts(axes)[:4] == [*right, "✗ impostor at 0.75\ncamera 3"]
    assert texts(axes)[4] == "(b) fooled" and texts(axes)[7] == "✗ impostor at 0.25\ncamera 3"
    assert frames(axes) == [QUERY, RIGHT, WRONG] * 3
    assert len(axes.images) == 9
    tops = [image.get_extent()[3] for image in axes.images]
    assert tops[:6] == tops[:1] * 6 and tops[6] > tops[0], "two triplets a line"


def test_triplets_without_pictures():
    (axes,) = saved(plots.triplets_figure(triplet_table([0.25]))).axes
    assert texts(axes)[1:3] == ["query\ncamera 1", "✓ match at 0.5\ncamera 2"]
    assert not axes.images


def test_first_answer_bars_show_network_and_chance():
    table = pd.DataFrame(
        {"verdict": retrieval.VERDICTS, "share": [70, 20, 5, 5], "by_chance": [2, 18, 70, 10]}
    )
    (axes,) = saved(plots.first_answer_bars(table)).axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [70, 20, 5, 5, 2, 18, 70, 10]
    assert [text.get_text() for text in axes.get_yticklabels()] == retrieval.VERDICTS


def test_camera_figure_shows_each_pair():
    cameras = pd.DataFrame(
        {"camid": [1, 2], "queries": [3, 4], "rank1": [90, 80], "mAP": [70, 60]}
    )
    pairs = pd.DataFrame(
        {"query_camera": [1, 2], "gallery_camera": [2, 1], "queries": [3, 4], "mAP": [75.0, 65.0]}
    )
    bars, heat, _ = saved(plots.camera_figure(pairs, cameras)).axes
    assert [bar.get_width() for bar in bars.patches] == [70, 60]
    assert texts(heat) == ["–", "75", "65", "–"]
    grid = np.asarray(heat.images[0].get_array())
    assert grid[0, 1] == 75 and grid[1, 0] == 65


def test_distance_histogram_draws_shares_and_thresholds():
    rng = np.random.default_rng(0)
    matches, others = rng.normal(1, 0.2, 50).clip(0), rng.normal(2, 0.3, 5000).clip(0)
    cuts = retrieval.thresholds(matches, others)
    (axes,) = saved(plots.distance_histogram(matches, others, cuts, "euclidean")).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert sum(heights[:60]) == pytest.approx(100)
    assert sum(heights[60:]) == pytest.approx(100)
    drawn = [line.get_xdata()[0] for line in axes.lines]
    np.testing.assert_allclose(drawn, cuts.threshold)
    assert texts(axes) == ["10 %", "1 %", "0.1 %"]
