"""The figures on data hold the right numbers, pictures and labels."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba

from reidlab.plots import data as plots
from reidlab.plots import style
from reidlab.plots.style import CHART, QUERY, RIGHT, SETTINGS, WRONG


def pictures(count, size=(8, 4)):
    """Images that can be told apart: number i is filled with i."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, *size)


def shown(axes):
    """What fills each picture of a sheet, left to right in order of drawing."""
    return [int(image.get_array().max()) for image in axes.images]


@pytest.fixture(autouse=True)
def _in_style():
    with matplotlib.rc_context(SETTINGS):
        yield


def texts(axes):
    return [text.get_text() for text in axes.texts]


def saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue().startswith(b"\x89PNG")


@pytest.fixture
def samples():
    rows = [("distinctive", pid, camid) for pid in (7, 8) for camid in (1, 3)]
    rows += [("look-alike", pid, camid) for pid in (21, 22) for camid in (2, 4)]
    rows += [("distractor", 0, 5), ("distractor", 0, 6), ("junk", -1, 1), ("junk", -1, 2)]
    return pd.DataFrame(rows, columns=["row", "pid", "camid"])


def test_sample_figure_has_three_rows_with_labels(samples):
    figure = plots.sample_figure(samples, pictures(len(samples)))
    (axes,) = figure.axes
    assert shown(axes) == list(range(12))
    tops = [image.get_extent()[3] for image in axes.images]
    assert len(set(tops[:4])) == len(set(tops[4:8])) == len(set(tops[8:])) == 1
    assert tops[0] < tops[4] < tops[8]  # y runs down
    distractors, junk = axes.images[9].get_extent(), axes.images[10].get_extent()
    assert distractors[1] < junk[0]
    labels = texts(axes)
    assert {"pid 7 · c1", "c3", "pid 21 · c2", "c4", "c5", "c6"} <= set(labels)
    assert sum("pid 0" in label or "pid −1" in label for label in labels) == 2
    assert saves(figure)


def test_pictures_keep_their_shape_and_do_not_overlap(samples):
    figure = plots.sample_figure(samples, pictures(len(samples)))
    (axes,) = figure.axes
    boxes = [image.get_window_extent() for image in axes.images]
    for number, box in enumerate(boxes):
        assert box.height / box.width == pytest.approx(2, rel=0.06)
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_camera_views_and_person_views():
    views = {"a": (pictures(3), [1, 2, 3]), "b": (pictures(2), [1, 4])}
    (axes,) = plots.camera_views(views).axes
    assert shown(axes) == [0, 1, 2, 0, 1]
    assert texts(axes) == ["a", "camera 1", "camera 2", "camera 3", "b", "camera 1", "camera 4"]

    turntable = list(pictures(4).permute(0, 2, 3, 1).numpy())
    figure = plots.person_views(turntable, [(1, turntable[3]), (6, turntable[2])])
    (axes,) = figure.axes
    assert shown(axes) == [0, 1, 2, 3, 3, 2]
    assert {"0°", "90°", "180°", "270°", "camera 1", "camera 6"} <= set(texts(axes))
    assert saves(figure)


def test_answers_are_marked_by_colour_and_by_word():
    right = np.array([[True, False, False], [False, False, True]])
    answers = [pictures(3), pictures(3)]
    (axes,) = plots.answers_figure(pictures(2), answers, right, ["pid 1", "pid 2"]).axes
    frames = [patch.get_edgecolor() for patch in axes.patches]
    expected = [QUERY, RIGHT, WRONG, WRONG, QUERY, WRONG, WRONG, RIGHT]
    assert frames == [to_rgba(colour) for colour in expected]
    words = [text for text in texts(axes) if "right" in text or "wrong" in text]
    assert words == ["✓ right", "✗ wrong", "✗ wrong", "✗ wrong", "✗ wrong", "✓ right"]


@pytest.fixture
def frame():
    """Person 1: three images in camera 1, one in 2; person 5: two in 2; one distractor in 3."""
    pids, camids = [1, 1, 1, 1, 5, 5, 0], [1, 1, 1, 2, 2, 2, 3]
    return pd.DataFrame({"pid": pids, "camid": camids})


def test_identity_counts(frame):
    figure = plots.identity_counts({"train": frame, "query": frame[:4]})
    images, cameras, load = figure.axes
    heights = [
        dict(zip([1, 2, 3, 4], np.asarray(patch.get_xy())[1:-1:2, 1])) for patch in images.patches
    ]
    assert heights == [{1: 0, 2: 1, 3: 0, 4: 1}, {1: 0, 2: 0, 3: 0, 4: 1}]
    train, query = cameras.containers
    assert [bar.get_height() for bar in train] == [1, 1]  # one person in 1 camera, one in 2
    assert [bar.get_height() for bar in query] == [0, 1]
    assert [label.get_text() for label in load.get_xticklabels()] == ["1", "2", "3"]
    assert [bar.get_height() for bar in load.containers[0]] == [3, 3, 1]  # distractor included
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "query"]
    assert saves(figure)


def test_coverage_counts_images_and_shared_identities(frame):
    figure = plots.coverage(frame)
    who, shared = figure.axes[:2]
    counts = np.asarray(who.images[0].get_array())
    assert counts.tolist() == [[3, 0], [1, 2]]  # cameras x identities, person 1 first
    both = np.asarray(shared.images[0].get_array())
    assert both.tolist() == [[1, 1], [1, 2]]
    assert texts(shared) == ["1", "1", "1", "2"]
    assert saves(figure)


def test_camera_light_shows_every_camera():
    cameras = pd.DataFrame(
        {"dataset": ["a", "a", "b"], "camid": [1, 2, 1], "brightness": [0.3, 0.5, 0.4],
         "warmth": [0.1, -0.1, 0.0]}
    )  # fmt: skip
    (axes,) = plots.camera_light(cameras).axes
    points = [collection.get_offsets().tolist() for collection in axes.collections]
    assert points == [[[0.3, 0.1], [0.5, -0.1]], [[0.4, 0.0]]]
    assert texts(axes) == ["c1", "c2", "c1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_difficulty_bars():
    table = pd.DataFrame(
        {"dataset": ["x", "x", "b", "b"], "feature": ["chance", "mean colour"] * 2,
         "rank1": [1.0, 3.0, 2.0, 4.0], "mAP": [0.5, 2.5, 1.5, 3.5]}
    )  # fmt: skip
    figure = plots.difficulty_bars(table)
    rank1, mean_ap = figure.axes
    assert [[bar.get_height() for bar in bars] for bars in rank1.containers] == [[1, 2], [3, 4]]
    assert [bar.get_height() for bar in mean_ap.containers[1]] == [2.5, 3.5]
    assert [label.get_text() for label in rank1.get_xticklabels()] == ["x", "b"]
    assert "2.5" in texts(mean_ap)
    assert saves(figure)


def test_a_notebook_stores_pictures_as_jpeg_and_drawings_as_png(frame):
    drawing = plots.coverage(frame)
    sheet = plots.camera_views({"a": (pictures(1), [1])})
    png, about = style._encoded(drawing, "png")
    assert png.startswith(b"\x89PNG") and about == CHART
    assert style._encoded(drawing, "jpeg") is None
    for kind in ("jpeg", "png"):  # it may show photographs: no notebook holds it
        assert style._encoded(sheet, kind) is None
    assert "screen only" in style._on_screen(sheet) and style._on_screen(drawing) is None
    sheet = style.generated(sheet)
    assert style._on_screen(sheet) is None
    assert style._encoded(sheet, "jpeg")[0].startswith(b"\xff\xd8")
    assert style._encoded(sheet, "png") is None
    picture, about = style._encoded(style.generated(sheet), "jpeg")
    assert picture.startswith(b"\xff\xd8") and about == style.GENERATED
