"""Figures of networks of pairs: the values that they show, against loops."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from reidlab.plots import pairs as plots
from reidlab.plots.style import note, use_style

RNG = np.random.default_rng(0)
PAIRS = {
    title: tuple(RNG.integers(0, 256, (50, 20, 3), dtype=np.uint8) for _ in range(2))
    for title in ("one person", "two persons")
}


@pytest.fixture(autouse=True)
def _in_style():
    with matplotlib.rc_context():
        use_style()
        yield


def rows_of(figure, columns):
    return [figure.axes[start : start + columns] for start in range(0, len(figure.axes), columns)]


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_difference_maps_share_one_scale_beside_their_images():
    maps = [tuple(RNG.random((6, 4)) * scale for _ in range(2)) for scale in (1, 3)]
    figure = plots.difference_maps(PAIRS, maps)
    highest = max(value for both in maps for one in both for value in one.flat)
    for axes, images, both in zip(rows_of(figure, 4), PAIRS.values(), maps):
        for place, expected in zip(axes, [*images, *both]):
            assert (shown(place) == expected).all()
        for place, expected in zip(axes[2:], both):
            assert place.images[0].get_clim() == (0, highest)
            assert f"mean {sum(expected.flat) / 24:.3f}" in place.get_title(loc="left")
    assert note(figure) is None, "nobody has said yet that these people are generated"


def test_displacement_matrices_show_stripes_from_top_to_bottom():
    matrices = [RNG.random((10, 3, 3)) for _ in PAIRS]
    figure = plots.displacement_matrices(PAIRS, matrices, stripes=5)
    for axes, some in zip(rows_of(figure, 7), matrices):
        for place, stripe in zip(axes[2:], [0, 2, 4, 6, 8]):
            assert (shown(place) == some[stripe]).all()
            assert place.get_title(loc="left") == f"stripe {stripe + 1} of 10"
        lines = [line.get_ydata()[0] for line in axes[0].lines]
        assert lines == [(stripe + 0.5) * 5 for stripe in [0, 2, 4, 6, 8]]  # 50 pixels, 10 stripes


def test_part_channels_cut_where_the_network_does():
    maps, apart = [RNG.random((2, 10, 4)) for _ in PAIRS], [RNG.random(5) for _ in PAIRS]
    figure = plots.part_channels(PAIRS, maps, apart)
    for axes, both, expected in zip(rows_of(figure, 5), maps, apart):
        assert (shown(axes[2]) == both[0]).all() and (shown(axes[3]) == both[1]).all()
        # 10 rows in 4 parts: 3, 3, 2, 2. The network takes the middle 46 of the 50 pixels.
        assert [line.get_ydata()[0] for line in axes[2].lines] == [2.5, 5.5, 7.5]
        cuts = [line.get_ydata()[0] for line in axes[0].lines]
        assert cuts == pytest.approx([2 + 4.6 * row for row in (3, 6, 8)])
        assert [bar.get_width() for bar in axes[4].patches] == expected.tolist()


def test_rank1_panels_have_published_numbers_below_ours():
    columns = ["dataset", "network", "partitions", "planned", "rank1", "rank1_std"]
    table = pd.DataFrame(
        [("viper", "IDLA", 3, 3, 30.0, 2.0), ("viper", "OSNet", 1, 3, 60.0, np.nan),
         ("grid", "IDLA", 1, 1, 10.0, np.nan)],
        columns=columns,
    )  # fmt: skip
    published = pd.DataFrame(
        [("viper", "IDLA", 34.81, "read"), ("ilids", "MCP-CNN", 60.4, "read")],
        columns=["dataset", "network", "rank1", "evidence"],
    )
    viper, grid = plots.rank1_panels(table, published).axes
    assert viper.get_title(loc="left") == "VIPeR, 316 test"
    names = [label.get_text() for label in viper.get_yticklabels()]
    assert names == ["IDLA (3 of 3)", "OSNet (1 of 3)", "published: IDLA"]
    dots = [some.get_offsets().tolist() for some in viper.collections if len(some.get_offsets())]
    assert [[30, 0], [60, 1]] in dots and [[34.81, 2]] in dots
    segments = [s.tolist() for some in viper.collections if hasattr(some, "get_segments")
                for s in some.get_segments()]  # fmt: skip
    assert [[28, 0], [32, 0]] in segments
    assert [label.get_text() for label in grid.get_yticklabels()] == ["IDLA (1 of 1)"]


def test_cost_curves_draw_each_network_over_the_gallery():
    table = pd.DataFrame(
        [("IDLA", 10, 0.1), ("IDLA", 100, 1.0), ("OSNet", 10, 0.01), ("OSNet", 100, 0.011)],
        columns=["network", "gallery", "seconds"],
    )
    (axes,) = plots.cost_curves(table).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"IDLA": [[10, 0.1], [100, 1]], "OSNet": [[10, 0.01], [100, 0.011]]}
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
