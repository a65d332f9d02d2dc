"""Figures of what a network looks at: pictures, bars and points that they hold."""

import numpy as np
import pandas as pd

from reidlab.plots import attention as plots


def picture(level, size=(32, 16)):
    return np.full((*size, 3), level, np.uint8)


def test_overlay_is_brightest_where_the_map_is_and_keeps_the_picture_below():
    heat = np.zeros((4, 2))
    heat[3, 1] = 7.0
    found = plots.overlay(picture(100), heat).astype(int).sum(2)
    assert np.unravel_index(found.argmax(), found.shape) >= (24, 8)
    assert found[:8].max() < found[28:, 12:].min()
    brighter = plots.overlay(picture(200), heat).astype(int).sum(2)
    assert (brighter > found).all()
    np.testing.assert_allclose(plots.overlay(picture(50), 0 * heat)[0, 0], 0.45 * 50, atol=3)


def test_sheets_hold_every_picture_and_map():
    rng = np.random.default_rng(0)
    images = [picture(10 * k) for k in range(3)]
    maps = {"stream 1": rng.random((3, 4, 2)), "end": rng.random((3, 4, 2))}
    axes = plots.map_sheet(images, maps).axes[0]
    shown = [np.asarray(one.get_array()) for one in axes.images]
    expected = []
    for number, image in enumerate(images):
        expected += [image, *(plots.overlay(image, heat[number]) for heat in maps.values())]
    assert len(shown) == 9
    for one, two in zip(shown, expected):
        np.testing.assert_array_equal(one, two)
    pairs = [(images[0], maps["end"][0], images[1], maps["end"][1])]
    axes = plots.pair_sheet(pairs, ["alike: 0.91"]).axes[0]
    shown = [np.asarray(one.get_array()) for one in axes.images]
    np.testing.assert_array_equal(shown[0], images[0])
    np.testing.assert_array_equal(shown[2], plots.overlay(images[1], maps["end"][1]))
    np.testing.assert_array_equal(shown[3], images[1])
    assert "alike: 0.91" in [text.get_text() for text in axes.texts]


def test_share_bars_are_the_table():
    table = pd.DataFrame(
        [("conv5", 62.0, 2.0, 36.0), ("anywhere", 33.0, 4.0, 63.0)],
        columns=["row", "person", "carried", "background"],
    )
    axes = plots.share_bars(table).axes[0]
    for container, region in zip(axes.containers, plots.COLOURS):
        assert [bar.get_width() for bar in container] == table[region].tolist()
    assert {text.get_text() for text in axes.texts} == {"62", "36", "33", "4", "63", ""}


def test_plane_colours_cameras_and_the_people_with_most_images():
    people = pd.DataFrame(
        {"pid": [5, 5, 5, 7, 7, 0, 0, 0, 0], "camid": [1, 2, 1, 2, 1, 1, 1, 2, 2]}
    )
    points = np.arange(18.0).reshape(9, 2)
    left, right = plots.plane(points, people, named=1).axes
    by_camera = {line.get_label(): line.get_xydata() for line in left.lines}
    np.testing.assert_array_equal(by_camera["c1"], points[(people.camid == 1).to_numpy()])
    labels = [line.get_label() for line in right.lines]
    assert labels[1:] == ["person 5"]
    np.testing.assert_array_equal(right.lines[1].get_xydata(), points[:3])
    assert len(right.lines[0].get_xydata()) == 6
