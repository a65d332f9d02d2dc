"""Figures of notebook 16: how networks compare two images, how well, and for how much time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from reidlab.plots.parts import interval_rows, name_rows
from reidlab.plots.style import (
    BLUE,
    GREY,
    PALETTE,
    SEQUENTIAL,
    VERMILLION,
    new_figure,
    plain_image,
)
from reidlab.recipe.names import split
from reidlab.statistics.partitions import PROTOCOLS

#: Title of a row -> its two images, (H, W, 3) uint8.
Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]
CHANNELS = ("full body", "part 1, top", "part 2", "part 3", "part 4")
#: Share of an image that MCP-CNN takes in testing, from its middle.
MARGIN = 1 / 25


def _grid(pairs: Pairs, columns: int) -> tuple[Figure, np.ndarray]:
    """A row a pair, with its two images on the left and its title over them."""
    height = 2.6  # inches a row; a picture is half as wide
    figure, grid = new_figure(
        height * len(pairs), len(pairs), columns, 0.5 * height * columns, squeeze=False
    )
    for row, (title, images) in zip(grid, pairs.items()):
        for axes, image in zip(row, images):
            plain_image(axes, image).set(aspect="auto", box_aspect=2)
        row[0].set_title(title)
    return figure, grid


def _map(axes: Axes, values: np.ndarray, highest: float, title: str = "") -> None:
    axes.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=highest, aspect="auto")
    axes.set_box_aspect(2)
    plain_image(axes).set_title(title, fontsize=9, fontweight="normal")


def difference_maps(pairs: Pairs, maps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Figure:
    """IDLA's neighbourhood differences in both directions, all of them on one scale.

    Args:
        pairs: the rows.
        maps: of each, as :func:`reidlab.evaluation.pair_views.differences` gives them.
    """
    figure, grid = _grid(pairs, 4)
    highest = max(values.max() for both in maps for values in both)
    titles = "K: left only", "K': right only"
    for row, both in zip(grid, maps):
        for axes, values, title in zip(row[2:], both, titles):
            mean = values.mean()
            _map(axes, values, highest, f"{title}\nmean {mean:.3f}")
    return figure


def displacement_matrices(
    pairs: Pairs, matrices: Sequence[np.ndarray], stripes: int = 5
) -> Figure:
    """FPNN's displacement matrices of some stripes, evenly from top to bottom.

    Args:
        pairs: the rows.
        matrices: of each, (S, W, W).
        stripes: how many to show.
    """
    figure, grid = _grid(pairs, 2 + stripes)
    count = len(matrices[0])
    chosen = [round((number + 0.5) * count / stripes - 0.5) for number in range(stripes)]
    highest = max(some[chosen].max() for some in matrices)
    for row, some in zip(grid, matrices):
        for axes, stripe in zip(row[2:], chosen):
            _map(axes, some[stripe], highest, f"stripe {stripe + 1} of {count}")
            axes.set_box_aspect(1)
            axes.plot([0, len(some[0]) - 1], [0, len(some[0]) - 1], color=GREY, linewidth=0.8)
        for axes in row[:2]:
            for stripe in chosen:
                height = axes.images[0].get_array().shape[0]
                axes.axhline((stripe + 0.5) * height / count, color=VERMILLION, linewidth=0.8)
    grid[-1, 2].set(xlabel="right patch", ylabel="left patch")
    return figure


def part_channels(
    pairs: Pairs, maps: Sequence[np.ndarray], distances: Sequence[np.ndarray]
) -> Figure:
    """MCP-CNN's parts, what its global convolution answers, and each channel's distance.

    Args:
        pairs: the rows.
        maps: of each pair, (2, H, W).
        distances: of each, (5,), of the channels in the order of :data:`CHANNELS`.
    """
    figure, grid = _grid(pairs, 5)
    highest = max(some.max() for some in maps)
    for row, both, apart in zip(grid, maps, distances):
        for image, axes, values in zip(row[:2], row[2:4], both):
            _map(axes, values, highest, "convolution 1")
            edges = np.cumsum([len(part) for part in np.array_split(values, 4)])[:-1]
            height = image.images[0].get_array().shape[0]
            for edge in edges:
                axes.axhline(edge - 0.5, color=VERMILLION, linewidth=1)
                place = MARGIN + (1 - 2 * MARGIN) * edge / len(values)
                image.axhline(place * height, color=VERMILLION, linewidth=1)
        bars = row[4].barh(range(len(CHANNELS)), apart, color=[GREY, *[BLUE] * 4])
        row[4].bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        name_rows(row[4], CHANNELS)
        row[4].set(xlim=(0, 1.8), xlabel="distance", box_aspect=2)
    return figure


def rank1_panels(table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Rank-1 by data set, ours with their spread over partitions beside published numbers.

    Args:
        table: of :func:`reidlab.statistics.partitions.partition_table`.
        published: of :func:`reidlab.statistics.partitions.published_on`.
    """
    ours = table.assign(value=table.rank1, low=table.rank1 - table.rank1_std,
                        high=table.rank1 + table.rank1_std)  # fmt: skip
    theirs = published.assign(value=published.rank1, low=np.nan, high=np.nan)
    sets = list(dict.fromkeys(table.dataset))
    panels = [(ours[ours.dataset == one], theirs[theirs.dataset == one]) for one in sets]
    counts = [sum(map(len, panel)) for panel in panels]
    figure, grid = new_figure(
        0.6 + sum(0.45 + 0.27 * count for count in counts), max(1, len(sets)), squeeze=False,
        sharex=True, height_ratios=[count + 1 for count in counts] or None,
    )  # fmt: skip
    for axes, name, (mine, others) in zip(grid[:, 0], sets, panels):
        interval_rows(axes, mine)
        places = len(mine) + np.arange(len(others))
        interval_rows(axes, others, VERMILLION, "D", filled=False, places=places)
        labels = [
            f"{row.network} ({row.partitions} of {row.planned})" for row in mine.itertuples()
        ]
        name_rows(axes, [*labels, *(f"published: {one}" for one in others.network)])
        title = ", ".join(PROTOCOLS.get(split(name)[0], (name,)))
        axes.set(title=title, xlim=(0, 100))
    grid[-1, 0].set_xlabel("Rank-1 (%), mean ± standard deviation over the partitions there")
    return figure


def cost_curves(table: pd.DataFrame) -> Figure:
    """Seconds for one query against the size of the gallery, both axes logarithmic.

    Args:
        table: of :func:`reidlab.evaluation.pair_views.query_cost`.
    """
    figure, axes = new_figure(3.4, width=6.5)
    for colour, (name, rows) in zip(PALETTE, table.groupby("network", sort=False)):
        axes.plot(rows.gallery, rows.seconds, "o-", color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="images in the gallery", ylabel="seconds a query")
    axes.set_xticks(sorted(set(table.gallery)), [f"{n:,}" for n in sorted(set(table.gallery))])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend()
    return figure
