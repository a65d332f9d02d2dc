"""Figures of notebook 05: CMC curves, differences query by query, the two definitions of mAP."""

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reidlab.metrics.scores import average_precision, average_precision_trapezoid
from reidlab.plots.parts import interval_rows, name_rows
from reidlab.plots.style import BLACK, BLUE, GREY, LIGHT, PALETTE, RIGHT, VERMILLION, new_figure
from reidlab.statistics.bootstrap import Difference

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


def step_intervals(table: pd.DataFrame) -> Figure:
    """Differences in mAP of pairs of runs with their confidence intervals; grey holds 0.

    Args:
        table: one row a pair: pair (text), difference, low, high, in points.
    """
    figure, axes = new_figure(1.0 + 0.3 * len(table))
    clear = (table["low"] > 0) | (table["high"] < 0)
    interval_rows(axes, table.rename(columns={"difference": "value"}), np.where(clear, BLUE, GREY))
    name_rows(axes, table["pair"])
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_xlabel("difference in mAP (points)")
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
    rectangular = average_precision(np.array(ranks))
    trapezoid = average_precision_trapezoid(np.array(ranks))
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
    """What the trapezoid definition of mAP takes from the rectangular one, run by run.

    Args:
        table: one row a run: run, dataset, mAP, mAP_trapezoid in percent.
    """
    table = table.assign(less=table["mAP_trapezoid"] - table["mAP"])
    figure, axes = new_figure(1.0 + 0.3 * len(table))
    bars = axes.barh(range(len(table)), table["less"], 0.6, color=VERMILLION)
    texts = [f"{row.less:+.1f} of {row.mAP:.1f}".replace("-", "−") for row in table.itertuples()]
    axes.bar_label(bars, texts, padding=4, fontsize=9)
    name_rows(axes, [f"{run}  ({data})" for run, data in zip(table["run"], table["dataset"])])
    axes.set(xlabel="trapezoid mAP minus rectangular mAP (points)")
    axes.set_xlim(1.35 * table["less"].min(), 0)
    axes.grid(axis="y", visible=False)
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
