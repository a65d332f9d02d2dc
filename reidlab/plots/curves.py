"""Figures that set runs side by side: CMC curves, differences, transfer, the two mAPs."""

import itertools
import math

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from reidlab.plots.style import BLACK, BLUE, GREY, LIGHT, PALETTE, RIGHT, VERMILLION, new_figure
from reidlab.statistics.compare import Difference

#: With the palette's colours, enough to tell 28 runs apart.
LINES = ("-", "--", ":", "-.")


def cmc_curves(
    curves: dict[str, dict[str, list[float]]], ranks: int = 20, columns: int = 2
) -> Figure:
    """Cumulative matching characteristics, one panel for each data set.

    Both axes are zoomed: to the first ``ranks`` ranks, and from the lowest curve's start up. The
    legend gives Rank-1 and lists the runs as their curves start, the best on top. A run of several
    panels looks the same in all of them.

    Args:
        curves: data set -> run -> CMC as fractions, rank 1 first.
        ranks: how many to show.
        columns: of panels.
    """
    columns = min(columns, len(curves))
    rows = math.ceil(len(curves) / columns)
    longest = max(len(runs) for runs in curves.values())
    figure, grid = new_figure(rows * (3.6 + 0.22 * longest), rows, columns, squeeze=False)
    looks: dict[str, int] = {}
    for axes, (dataset, runs) in zip(grid.flat, curves.items()):
        ordered = sorted(runs.items(), key=lambda item: -item[1][0])
        taken = {looks[run] for run in runs if run in looks}
        free = (look for look in itertools.count() if look not in taken)
        for run, cmc in ordered:
            percent = 100 * np.asarray(cmc[:ranks])
            if run not in looks:
                looks[run] = next(free)
            i = looks[run]
            axes.plot(
                range(1, len(percent) + 1),
                percent,
                color=PALETTE[i % len(PALETTE)],
                linestyle=LINES[i // len(PALETTE) % len(LINES)],
                label=f"{percent[0]:5.1f} %  {run}",
            )
        start = 100 * min(cmc[0] for cmc in runs.values())
        axes.set(title=dataset, xlabel="rank k", xlim=(0.7, ranks + 0.3))
        axes.set_ylim(max(0, 5 * math.floor(start / 5) - 2), 101)
        axes.set_xticks([1, *range(5, ranks + 1, 5)])
        axes.set_ylabel("queries with a right answer\namong the first k (%)")
        axes.legend(title="Rank-1, run", loc="upper left", bbox_to_anchor=(0, -0.16))
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    return figure


def difference_histogram(
    difference: Difference, first: str, second: str, bins: int = 40
) -> Figure:
    """Differences in AP, query by query, with their mean and its interval.

    Args:
        difference: of the two runs.
        first: name of the run that is subtracted.
        second: name of the other.
        bins: of the histogram; an even number, so that no bin straddles 0.
    """
    values = 100 * difference.per_query["difference"].to_numpy()
    reach = max(1.0, np.abs(values).max())
    figure, axes = new_figure(3.3)
    edges = np.linspace(-reach, reach, bins + 1)
    worse, better = values[values < 0], values[values > 0]
    # A tie is neither; drawn in the bin right of 0 it would look like a gain.
    ties = len(values) - len(worse) - len(better)
    axes.hist(worse, edges, color=VERMILLION, label=f"{first} answers better: {len(worse):,}")
    axes.hist(better, edges, color=BLUE, label=f"{second} answers better: {len(better):,}")
    axes.axvline(0, color=GREY, linewidth=1, label=f"equal (not drawn): {ties:,}")
    mean, low, high = (100 * v for v in (difference.mean, difference.low, difference.high))
    axes.axvspan(low, high, color=LIGHT, linewidth=0, zorder=0)
    text = (
        f"mean {mean:+.1f}, {100 * difference.confidence:.0f} % interval {low:+.1f} to {high:+.1f}"
    )
    axes.axvline(mean, color=BLACK, label=text.replace("-", "−"))
    axes.set(
        xlabel=f"AP of {second} minus AP of {first}, for one query (points)",
        ylabel="queries",
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def interval_plot(table: pd.DataFrame) -> Figure:
    """Differences in mAP of many pairs of runs with their confidence intervals.

    Args:
        table: one row a pair: pair (text), difference, low, high, in points.
    """
    figure, axes = new_figure(1.0 + 0.3 * len(table))
    rows = np.arange(len(table))[::-1]
    clear = (table["low"] > 0) | (table["high"] < 0)
    axes.hlines(rows, table["low"], table["high"], color=np.where(clear, BLUE, GREY), linewidth=3)
    axes.scatter(table["difference"], rows, color=np.where(clear, BLUE, GREY), zorder=3)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_yticks(rows, table["pair"])
    axes.set(xlabel="difference in mAP (points)", ylim=(-0.6, len(table) - 0.4))
    return figure


def transfer_bars(table: pd.DataFrame, scores: tuple[str, ...] = ("Rank-1", "mAP")) -> Figure:
    """How well a target's people are found, by what the network knew before.

    Args:
        table: one row a run: target, how, and the scores in percent.
        scores: columns to draw.
    """
    targets = list(dict.fromkeys(table["target"]))
    ways = list(dict.fromkeys(table["how"]))
    figure, row = new_figure(3.4, 1, len(targets), sharey=True, squeeze=False)
    width = 0.8 / len(ways)
    for axes, target in zip(row[0], targets):
        for i, way in enumerate(ways):
            rows = table[(table["target"] == target) & (table["how"] == way)]
            if not len(rows):
                continue
            values = rows.iloc[0][list(scores)].to_numpy(dtype=float)
            places = np.arange(len(scores)) + (i - (len(ways) - 1) / 2) * width
            bars = axes.bar(places, values, 0.92 * width, color=PALETTE[i], label=way)
            axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9)
        axes.set_xticks(range(len(scores)), scores)
        axes.set_title(f"Target: {target}")
        axes.grid(axis="x", visible=False)
    highest = table[list(scores)].to_numpy(dtype=float).max()
    row[0][0].set(ylabel="percent", ylim=(0, min(100, max(10, 1.2 * highest))))
    figure.legend(*row[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def colours_by_camera(images: Tensor, camids: pd.Series, most: int = 200) -> pd.DataFrame:
    """Average colour of each camera's images.

    Args:
        images: (N, 3, H, W) uint8.
        camids: (N,) the images' cameras.
        most: images of one camera to average over, spread evenly over its images.

    Returns:
        One row a camera: camid, images (averaged over), brightness (mean of red, green and blue),
        warmth (red minus blue), in grey levels from 0 to 255.
    """
    rows = []
    camids = camids.to_numpy()
    for camid in np.unique(camids):
        positions = np.flatnonzero(camids == camid)
        positions = positions[:: math.ceil(len(positions) / most)]
        pixels = images[torch.from_numpy(positions)]
        red, green, blue = pixels.float().mean((0, 2, 3)).tolist()
        row = {"brightness": (red + green + blue) / 3, "warmth": red - blue}
        rows.append({"camid": int(camid), "images": len(positions)} | row)
    return pd.DataFrame(rows)


def camera_colours(table: pd.DataFrame) -> Figure:
    """Cameras by the average colour of their images, one colour for each data set.

    Args:
        table: of :func:`colours_by_camera`, with a column dataset.
    """
    figure, axes = new_figure(3.6)
    markers = iter("osD^v")
    for color, (dataset, cameras) in zip(PALETTE, table.groupby("dataset", sort=False)):
        axes.scatter(
            cameras["brightness"],
            cameras["warmth"],
            s=70,
            color=color,
            marker=next(markers),
            label=dataset,
        )
        for camera in cameras.itertuples():
            axes.annotate(
                f"c{camera.camid}",
                (camera.brightness, camera.warmth),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    axes.set(xlabel="brightness (0 black, 255 white)", ylabel="red minus blue\n(cold to warm)")
    axes.margins(0.1)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def ap_example(ranks: list[int]) -> Figure:
    """One ranked list, and its average precision by rectangles and by trapezoids.

    Args:
        ranks: of the right answers, ascending, from 1.
    """
    figure, grid = new_figure(4.0, 2, 2, height_ratios=[1, 3.4])
    for axes in grid[0]:
        axes.remove()
    _ranked_list(figure.add_subplot(grid[0, 0].get_gridspec()[0, :]), ranks)
    hits = np.arange(1, len(ranks) + 1)
    at_hit = hits / np.array(ranks)
    before = np.array([1.0 if r == 1 else (j - 1) / (r - 1) for j, r in zip(hits, ranks)])
    recall = np.arange(len(ranks) + 1) / len(ranks)
    rectangular = at_hit.mean()
    trapezoid = ((at_hit + before) / 2).mean()
    for axes, left, name, ap in (
        (grid[1, 0], at_hit, "rectangular", rectangular),
        (grid[1, 1], before, "trapezoid", trapezoid),
    ):
        for j in range(len(ranks)):
            edge = [left[j], at_hit[j]]
            axes.fill_between(recall[j : j + 2], edge, color=BLUE, alpha=0.25, lw=0, aa=False)
            axes.plot(recall[j : j + 2], edge, color=BLUE)
        axes.plot(recall[1:], at_hit, "o", color=BLACK, label="precision at a right answer")
        axes.set(title=f"{name}: AP = {ap:.4f}", xlabel="recall", xlim=(0, 1.02), ylim=(0, 1.08))
    grid[1, 0].set_ylabel("precision")
    grid[1, 0].legend(loc="lower left")
    return figure


def map_definitions(table: pd.DataFrame) -> Figure:
    """The mAP of each run in both definitions, joined by a line.

    Args:
        table: one row a run: run, dataset, mAP, mAP_trapezoid in percent.
    """
    figure, axes = new_figure(1.1 + 0.3 * len(table))
    rows = np.arange(len(table))[::-1]
    axes.hlines(rows, table["mAP_trapezoid"], table["mAP"], color=LIGHT, linewidth=4, zorder=1)
    axes.scatter(table["mAP_trapezoid"], rows, color=VERMILLION, marker="v", label="trapezoid")
    axes.scatter(table["mAP"], rows, color=BLUE, marker="s", label="rectangular")
    for row, left, right in zip(rows, table["mAP_trapezoid"], table["mAP"]):
        text = f"{left - right:+.1f} points".replace("-", "−")
        axes.annotate(
            text, (right, row), (9, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(rows, [f"{run}  ({data})" for run, data in zip(table.run, table.dataset)])
    axes.set(xlabel="mAP (%)", ylim=(-0.6, len(table) - 0.4))
    axes.set_xlim(0, min(100, 1.4 * table["mAP"].max()))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _ranked_list(axes: Axes, ranks: list[int]) -> None:
    """The list as a row of boxes: ✓ for a right answer, its precision below."""
    last = ranks[-1]
    for rank in range(1, last + 1):
        hit = rank in ranks
        axes.text(
            rank,
            0.5,
            "✓" if hit else "✗",
            ha="center",
            va="center",
            fontsize=14,
            color="white" if hit else BLACK,
            bbox={"boxstyle": "square,pad=0.35", "facecolor": RIGHT if hit else LIGHT, "lw": 0},
        )
        below = f"{ranks.index(rank) + 1}/{rank}" if hit else ""
        axes.text(rank, -0.35, below, ha="center", va="top", fontsize=9)
    axes.set(xlim=(0.2, last + 0.8), ylim=(-0.9, 1.2), yticks=[])
    axes.set_xticks(range(1, last + 1), [f"rank {rank}" for rank in range(1, last + 1)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
