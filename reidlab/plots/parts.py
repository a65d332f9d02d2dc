"""What figures share: heat maps with numbers, rows with intervals, sheets of pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from reidlab.plots.style import (
    BLACK,
    BLUE,
    DPI,
    PAGE_WIDTH,
    PALETTE,
    SEQUENTIAL,
    VERMILLION,
    mark_pictures,
    new_figure,
)

# --- heat maps ---------------------------------------------------------------------------------


def heat_map(
    axes: Axes, grid: pd.DataFrame, texts: pd.DataFrame, fontsize: float = 9, **image: Any
) -> AxesImage:
    """Numbers as colours, with a text in every cell.

    Args:
        axes: where to draw.
        grid: the numbers; its index and columns become the axes' labels.
        texts: of the same shape.
        fontsize: of the texts, in points.
        **image: of `Axes.imshow`: `vmin`, `vmax`, `norm`, `aspect` …
    """
    picture = axes.imshow(grid, **{"cmap": SEQUENTIAL, "aspect": "auto"} | image)
    for (row, column), text in np.ndenumerate(texts.to_numpy()):
        dark = picture.norm(grid.iat[row, column]) > 0.55  # a missing value is not
        axes.text(column, row, text, ha="center", va="center", fontsize=fontsize,
                  color="white" if dark else BLACK)  # fmt: skip
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), grid.index)
    axes.grid(False)
    return picture


# --- rows --------------------------------------------------------------------------------------


def interval_rows(
    axes: Axes,
    table: pd.DataFrame,
    colours: Any = BLUE,
    marker: str = "o",
    filled: bool = True,
    places: Sequence[float] | None = None,
    label: str | None = None,
) -> PathCollection:
    """A dot and its interval in each row, the first row on top.

    Args:
        axes: where to draw; :func:`name_rows` labels them.
        table: value, low and high, one row each; no interval is drawn where an end is NaN.
        colours: one, or one a row.
        marker: of the dots.
        filled: whether the dots are.
        places: of the rows; default is 0, 1, …
        label: for the legend.

    Returns:
        The dots.
    """
    places = np.arange(len(table)) if places is None else places
    axes.hlines(places, table["low"], table["high"], color=colours, linewidth=2.5)
    face = colours if filled else "white"
    return axes.scatter(table["value"], places, 45, facecolors=face, edgecolors=colours,
                        linewidths=1.8, marker=marker, label=label, zorder=3)  # fmt: skip


def name_rows(axes: Axes, names: Sequence[str], shown: bool = True) -> None:
    """Names of rows on the left, the first on top; empty where they stand beside other axes."""
    axes.set_yticks(range(len(names)), names if shown else [""] * len(names))
    axes.set_ylim(len(names) - 0.4, -0.6)


# --- histograms --------------------------------------------------------------------------------


def ap_distribution(per_query: pd.DataFrame, marked: Sequence[int] = ()) -> Figure:
    """How the average precision spreads over the queries, with its mean, the mAP.

    Args:
        per_query: see :class:`reidlab.metrics.scores.Ranking`; queries that are not valid are left
            out.
        marked: queries to mark, by their number.
    """
    ap = 100 * per_query.loc[per_query["valid"]].set_index("query")["ap"].astype(float)
    figure, axes = new_figure(2.9)
    axes.hist(ap, bins=np.linspace(0, 100, 26), color=BLUE, edgecolor="white")
    axes.axvline(ap.mean(), color=VERMILLION, label=f"mean, the mAP: {ap.mean():.1f} %")
    axes.axvline(ap.median(), color="0.3", ls="--", label=f"median: {ap.median():.1f} %")
    if len(marked):
        axes.plot(ap.loc[[*marked]], np.zeros(len(marked)), "^", color=BLACK, markersize=9,
                  clip_on=False, label="queries shown below")  # fmt: skip
    axes.set(xlabel="average precision of one query (%)", ylabel="queries", xlim=(0, 100))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def grouped_bars(axes: Axes, counts: pd.DataFrame, texts: str | None = None) -> None:
    """Bars side by side: one group a row, one colour a column.

    Args:
        axes: where to draw.
        counts: the heights; nothing stands where one is missing.
        texts: format of the number above each bar, if one is wanted.
    """
    places = np.arange(len(counts))
    width = 0.8 / counts.shape[1]
    for number, (colour, name) in enumerate(zip(PALETTE, counts)):
        shift = (number - (counts.shape[1] - 1) / 2) * width
        there = counts[name].notna().to_numpy()
        bars = axes.bar(places[there] + shift, counts[name][there], 0.95 * width, color=colour,
                        label=name)  # fmt: skip
        if texts:
            axes.bar_label(bars, fmt=texts, fontsize=8, padding=2)
    axes.set_xticks(places, counts.index)
    axes.grid(axis="x", visible=False)


def camera_light(cameras: pd.DataFrame) -> Figure:
    """Brightness and tint of every camera: where two data sets differ before anybody walks in.

    Args:
        cameras: of :func:`reidlab.evaluation.difficulty.camera_light`, of one or more data sets.
    """
    figure, axes = new_figure(3.2, width=6.5)
    for colour, marker, (name, rows) in zip(PALETTE, "os^D", cameras.groupby("dataset")):
        axes.scatter(rows.brightness, rows.warmth, s=70, color=colour, marker=marker, label=name)
        for row in rows.itertuples():
            axes.annotate(f"c{row.camid}", (row.brightness, row.warmth), xytext=(6, 4),
                          textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    axes.axhline(0, color="0.55", linewidth=1)
    axes.margins(0.12)
    axes.set(xlabel="brightness (mean grey level)", ylabel="warmth (red − blue)",
             title="Every camera has a light of its own")  # fmt: skip
    axes.legend()
    return figure


# --- sheets of pictures ------------------------------------------------------------------------

INSET = 0.04  # blank rim of a picture's place, so that neighbours do not touch
GAP = 0.45  # between groups of a row, in pictures' widths


class Sheet:
    """A page of pictures: rows of headings, pictures and captions on one pair of axes.

    The axes count in pictures: one is 1 wide and ``tall`` high; y runs down. Headings and captions
    have the same size on every sheet, however wide its pictures are.

    Args:
        columns: width of a row, in pictures.
        rows: rows of pictures.
        headings: how many of the rows have a heading above them.
        tall: height of a picture, in its widths; less where cells stand for pictures.
        lines: of a caption.
    """

    def __init__(
        self, columns: float, rows: int, headings: int, tall: float = 2.0, lines: int = 1
    ):
        scale = PAGE_WIDTH / columns  # inches a picture's width
        self.tall, self.heading, self.caption = tall, 0.36 / scale, (0.13 + 0.13 * lines) / scale
        height = rows * (tall + self.caption) + headings * self.heading
        self.figure = Figure(figsize=(PAGE_WIDTH, scale * height), dpi=DPI)
        self.figure.from_new_figure = True
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, columns), ylim=(height, 0))
        self.axes.set_axis_off()

    def row_top(self, row: int, headings: int) -> float:
        """Where the pictures of a row begin, with so many headings down to it."""
        return row * (self.tall + self.caption) + headings * self.heading

    def write(self, text: str, top: float, x: float = 0) -> None:
        """Put a heading above pictures that begin at ``top``."""
        self.axes.text(x + INSET, top - self.heading / 2, text, ha="left", va="center",
                       fontsize=10.5, fontweight="bold")  # fmt: skip

    def put(
        self, image: Any, x: float, top: float, caption: str = "", colour: str | None = None
    ) -> None:
        """Put one picture with its caption below.

        Args:
            image: (3, H, W) or (H, W, 3) uint8; None, where it may not be shown, colours the cell.
            x: of its left side.
            top: of its upper side.
            caption: what stands below it.
            colour: of its frame and caption; None draws no frame.
        """
        bottom = top + self.tall
        if image is not None:
            pixels = np.asarray(image)
            if pixels.shape[0] == 3:
                pixels = pixels.transpose(1, 2, 0)
            extent = (x + INSET, x + 1 - INSET, bottom - INSET, top + INSET)
            self.axes.imshow(pixels, extent=extent, interpolation="antialiased", aspect="auto")
            mark_pictures(self.figure)
        if colour is not None:
            corner = (x + 1.5 * INSET, top + 1.5 * INSET)
            size = (1 - 3 * INSET, self.tall - 3 * INSET)
            self.axes.add_patch(Rectangle(corner, *size, fill=image is None, facecolor=colour,
                                          edgecolor=colour, linewidth=3))  # fmt: skip
        self.axes.text(x + 0.5, bottom, caption, ha="center", va="top", fontsize=7.5,
                       color=colour or BLACK)  # fmt: skip
