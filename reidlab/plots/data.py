"""Figures of the notebook on data: who is in a dataset, where, how often, and how they look."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from reidlab.plots.style import (
    BLACK,
    DPI,
    GREY,
    PAGE_WIDTH,
    PALETTE,
    QUERY,
    RIGHT,
    SEQUENTIAL,
    WRONG,
    mark_pictures,
    new_figure,
)

# --- sheets of pictures ------------------------------------------------------------------------

INSET = 0.04  # blank rim of a picture's place, so that neighbours do not touch
GAP = 0.45  # between groups of a row, in pictures' widths


class Sheet:
    """A page of pictures: rows of headings, pictures and captions on one pair of axes.

    The axes count in pictures: one is 1 wide and 2 high; y runs down. Headings and captions have
    the same size on every sheet, however wide its pictures are.

    Args:
        columns: width of a row, in pictures.
        rows: rows of pictures.
        headings: how many of the rows have a heading above them.
    """

    def __init__(self, columns: float, rows: int, headings: int):
        scale = PAGE_WIDTH / columns  # inches a picture's width
        self.heading, self.caption = 0.36 / scale, 0.26 / scale
        height = rows * (2 + self.caption) + headings * self.heading
        self.figure = Figure(figsize=(PAGE_WIDTH, scale * height), dpi=DPI)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, columns), ylim=(height, 0))
        self.axes.set_axis_off()
        mark_pictures(self.figure)

    def row_top(self, row: int, headings: int) -> float:
        """Where the pictures of a row begin, with so many headings down to it."""
        return row * (2 + self.caption) + headings * self.heading

    def write(self, text: str, top: float, x: float = 0) -> None:
        """Put a heading above pictures that begin at ``top``."""
        self.axes.text(x + INSET, top - self.heading / 2, text, ha="left", va="center",
                       fontsize=10.5, fontweight="bold")  # fmt: skip

    def put(
        self,
        image: Tensor | np.ndarray,
        x: float,
        top: float,
        caption: str = "",
        colour: str | None = None,
    ) -> None:
        """Put one picture, (3, H, W) or (H, W, 3) uint8; a colour frames it."""
        pixels = np.asarray(image)
        if pixels.shape[0] == 3:
            pixels = pixels.transpose(1, 2, 0)
        self.axes.imshow(
            pixels, extent=(x + INSET, x + 1 - INSET, top + 2 - INSET, top + INSET),
            interpolation="antialiased", aspect="auto",
        )  # fmt: skip
        if colour is not None:
            corner, size = (x + 1.5 * INSET, top + 1.5 * INSET), (1 - 3 * INSET, 2 - 3 * INSET)
            frame = Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=3)
            self.axes.add_patch(frame)
        self.axes.text(x + 0.5, top + 2, caption, ha="center", va="top", fontsize=7.5,
                       color=colour or BLACK)  # fmt: skip


def sample_figure(samples: pd.DataFrame, images: Tensor) -> Figure:
    """Sample images in the manner of the Market-1501 paper (Zheng et al., ICCV 2015).

    Args:
        samples: from `reidlab.evaluation.difficulty.pick_samples`: columns ``row`` (distinctive,
            look-alike, distractor or junk), ``pid`` and ``camid``.
        images: (N, 3, H, W) uint8, in the table's order.

    Returns:
        Three rows: distinctive people, look-alikes, and distractors left of junk.
    """
    titles = {
        "distinctive": "Distinctive: furthest from everybody else in colour",
        "look-alike": "Look-alikes: different people, closest to one another in colour",
    }
    sizes = samples.groupby(["row", "pid"], sort=False).size()
    columns = max(sizes[kind].sum() + GAP * (len(sizes[kind]) - 1) for kind in titles)
    sheet = Sheet(columns, rows=3, headings=3)
    for row, (kind, title) in enumerate(titles.items()):
        x, top = 0.0, sheet.row_top(row, row + 1)
        sheet.write(title, top)
        for pid, person in samples[samples.row == kind].groupby("pid", sort=False):
            for position, camid in person.camid.items():
                caption = f"pid {pid} · c{camid}" if position == person.index[0] else f"c{camid}"
                sheet.put(images[position], x, top, caption)
                x += 1
            x += GAP
    top, half = sheet.row_top(2, 3), columns / 2
    halves = {"distractor": ("Distractors (pid 0) stay, as wrong answers", 0.0),
              "junk": ("Junk (pid −1) is left out", half + GAP / 2)}  # fmt: skip
    for kind, (title, x) in halves.items():
        sheet.write(title, top, x)
        shown = samples[samples.row == kind][: int(half - GAP / 2)]
        for offset, (position, camid) in enumerate(shown.camid.items()):
            sheet.put(images[position], x + offset, top, f"c{camid}")
    return sheet.figure


def camera_views(views: dict[str, tuple[Tensor, Sequence[int]]]) -> Figure:
    """Rows of pictures, one row a dataset, with the camera under each.

    Args:
        views: heading -> (images (N, 3, H, W) uint8, camid of each).
    """
    sheet = Sheet(max(len(camids) for _, camids in views.values()), len(views), len(views))
    for row, (title, (images, camids)) in enumerate(views.items()):
        top = sheet.row_top(row, row + 1)
        sheet.write(title, top)
        for column, (image, camid) in enumerate(zip(images, camids)):
            sheet.put(image, column, top, f"camera {camid}")
    return sheet.figure


def person_views(
    turntable: Sequence[np.ndarray], cameras: Sequence[tuple[int, np.ndarray]]
) -> Figure:
    """One person from all sides, and one person through every camera of a network.

    Args:
        turntable: images at equal steps of the angle, the first from the front.
        cameras: (camid, image) of one person.
    """
    sheet = Sheet(max(len(turntable), len(cameras)), rows=2, headings=2)
    tops = sheet.row_top(0, 1), sheet.row_top(1, 2)
    sheet.write("One person all the way round, without a camera's faults", tops[0])
    for column, image in enumerate(turntable):
        sheet.put(image, column, tops[0], f"{360 * column / len(turntable):.0f}°")
    sheet.write("One person, as every camera of a network sees them", tops[1])
    for column, (camid, image) in enumerate(cameras):
        sheet.put(image, column, tops[1], f"camera {camid}")
    return sheet.figure


def answers_figure(
    queries: Tensor, answers: Sequence[Tensor], right: np.ndarray, captions: Sequence[str]
) -> Figure:
    """Queries and their first answers, framed and marked right or wrong.

    Args:
        queries: (Q, 3, H, W) uint8.
        answers: for each query (K, 3, H, W) uint8, nearest first.
        right: (Q, K) bool.
        captions: under each query.
    """
    count = right.shape[1]
    sheet = Sheet(1 + GAP + count, rows=len(queries), headings=1)
    sheet.write("Query", sheet.row_top(0, 1))
    sheet.write(f"The {count} gallery images nearest in colour", sheet.row_top(0, 1), 1 + GAP)
    for row, (query, found) in enumerate(zip(queries, answers)):
        top = sheet.row_top(row, 1)
        sheet.put(query, 0, top, captions[row], QUERY)
        for column, image in enumerate(found):
            mark, colour = ("✓ right", RIGHT) if right[row, column] else ("✗ wrong", WRONG)
            sheet.put(image, 1 + GAP + column, top, mark, colour)
    return sheet.figure


# --- counts ------------------------------------------------------------------------------------


def identity_counts(splits: dict[str, pd.DataFrame]) -> Figure:
    """How many images and cameras an identity has, and how many images a camera gives.

    Args:
        splits: split name -> table with ``pid`` and ``camid``; pid 0 counts for cameras only.
    """
    figure, (images, cameras, load) = new_figure(3.2, columns=3, width_ratios=[1.2, 0.9, 1.1])
    people = {name: frame[frame.pid > 0] for name, frame in splits.items()}
    per_identity = {name: frame.groupby("pid").size() for name, frame in people.items()}
    most = max(counts.max() for counts in per_identity.values())
    # Whole numbers fall in the middle of a bar, whatever a bar's width.
    bins = np.arange(0.5, most + max(1, most // 30) + 0.5, max(1, most // 30))
    for colour, (name, counts) in zip(PALETTE, per_identity.items()):
        images.hist(counts, bins=bins, histtype="step", color=colour, linewidth=2, label=name)
    images.set(xlabel="images of one identity", ylabel="identities", title="Images per identity")

    spread = {name: frame.groupby("pid").camid.nunique() for name, frame in people.items()}
    counts = pd.DataFrame({name: seen.value_counts() for name, seen in spread.items()})
    _grouped_bars(cameras, counts.sort_index())
    cameras.set(xlabel="cameras that see it", ylabel="identities", title="Cameras per identity")

    of_camera = pd.DataFrame(
        {name: frame.camid.value_counts() for name, frame in splits.items()}
    ).sort_index()
    _grouped_bars(load, of_camera)
    load.set(xlabel="camera (camid)", ylabel="images", title="Images per camera")
    for axes in (images, cameras, load):
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    images.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*load.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _grouped_bars(axes: Axes, counts: pd.DataFrame) -> None:
    """Bars side by side: one group a row, one colour a column."""
    places = np.arange(len(counts))
    width = 0.8 / counts.shape[1]
    for number, (colour, name) in enumerate(zip(PALETTE, counts)):
        shift = (number - (counts.shape[1] - 1) / 2) * width
        axes.bar(places + shift, counts[name].fillna(0), width, color=colour, label=name)
    axes.set_xticks(places, counts.index)
    axes.grid(axis="x", visible=False)


def coverage(frame: pd.DataFrame) -> Figure:
    """Which camera sees whom: images per identity and camera, and identities shared by cameras.

    Args:
        frame: table with ``pid`` and ``camid``; distractors are left out.
    """
    counts = _coverage_counts(frame)
    figure, (who, shared) = new_figure(3.4, columns=2, width_ratios=[1.9, 1])
    images, (cameras, people) = counts.to_numpy(), counts.shape
    # A few people have many times the images of all others: they would pale everybody else.
    most = np.ceil(np.percentile(images[images > 0], 98))
    picture = who.imshow(images, extent=(0.5, people + 0.5, cameras - 0.5, -0.5), vmin=0,
                         vmax=most, cmap=SEQUENTIAL, aspect="auto")  # fmt: skip
    who.set_yticks(range(cameras), counts.index)
    who.xaxis.set_major_locator(MaxNLocator(integer=True))
    who.set(xlabel="identity (seen by most cameras first)", ylabel="camera (camid)",
            title="Images of each identity in each camera")  # fmt: skip
    figure.colorbar(picture, ax=who, label="images", pad=0.01, ticks=MaxNLocator(integer=True),
                    extend="max" if images.max() > most else "neither")  # fmt: skip

    seen = (counts > 0).to_numpy().astype(int)
    both = seen @ seen.T
    shared.imshow(both, cmap=SEQUENTIAL, vmin=0)
    for row, column in np.ndindex(*both.shape):
        colour = "white" if both[row, column] > 0.55 * both.max() else BLACK
        shared.text(column, row, f"{both[row, column]}", ha="center", va="center", color=colour,
                    fontsize=8)  # fmt: skip
    for axis in (shared.xaxis, shared.yaxis):
        axis.set_ticks(range(len(counts)), counts.index)
    shared.set(xlabel="camera", ylabel="camera", title="Identities seen by both")
    for axes in (who, shared):
        axes.grid(False)
    return figure


def _coverage_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Cameras x identities, number of images; identities by how many cameras see them."""
    frame = frame[frame.pid > 0]
    counts = pd.crosstab(frame.camid, frame.pid)
    # Whoever is seen by the same cameras stands together.
    keys = [counts.loc[camid] > 0 for camid in reversed(counts.index)]
    order = np.lexsort([*keys, (counts > 0).sum()])[::-1]
    return counts.iloc[:, order]


# --- light and difficulty ----------------------------------------------------------------------


def camera_light(cameras: pd.DataFrame) -> Figure:
    """Brightness and tint of every camera: where two datasets differ before anybody walks in.

    Args:
        cameras: one row a camera: dataset, camid, brightness (mean grey level, 0 to 1) and
            warmth (mean red minus mean blue).
    """
    figure, axes = new_figure(3.2, width=6.5)
    for colour, marker, (name, rows) in zip(PALETTE, "os^D", cameras.groupby("dataset")):
        axes.scatter(rows.brightness, rows.warmth, s=70, color=colour, marker=marker, label=name)
        for row in rows.itertuples():
            axes.annotate(f"c{row.camid}", (row.brightness, row.warmth), xytext=(6, 4),
                          textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=1)
    axes.margins(0.12)
    axes.set(xlabel="brightness (mean grey level)", ylabel="warmth (red − blue)",
             title="Every camera has a light of its own")  # fmt: skip
    axes.legend()
    return figure


def difficulty_bars(table: pd.DataFrame) -> Figure:
    """Rank-1 and mAP of chance and of mean colours, dataset by dataset.

    Args:
        table: from `reidlab.difficulty.difficulty`: dataset, feature, rank1, mAP (percent).
    """
    figure, panels = new_figure(2.9, columns=2, sharey=True)
    for axes, (column, title) in zip(panels, {"rank1": "Rank-1", "mAP": "mAP"}.items()):
        scores = table.pivot(index="dataset", columns="feature", values=column)
        scores = scores.loc[table.dataset.unique(), table.feature.unique()]
        _grouped_bars(axes, scores)
        for bars in axes.containers:
            axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.set(title=title)
    panels[0].set(ylabel="percent")
    panels[0].margins(y=0.15)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
