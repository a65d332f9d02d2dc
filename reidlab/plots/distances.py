"""Figures of notebook 08: scores by distance with their intervals, and what separates them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidlab.plots.parts import interval_rows, name_rows
from reidlab.plots.style import BLACK, BLUE, GREY, LIGHT, VERMILLION, new_figure

#: Scores as axis labels, in the order of the panels.
SCORES = {"rank1": "Rank-1 (%)", "mAP": "mAP (%)", "mINP": "mINP (%)"}

#: Percent, or points. Values that are all but equal are to look so.
LEAST_SPAN = 0.5


def score_intervals(
    table: pd.DataFrame, reference: str, scores: dict[str, str] = SCORES
) -> Figure:
    """Dots and intervals: one row of panels for each run, one panel for each score.

    Args:
        table: one row for each run, way and score: run, way, normalised (bool), score, value, low
            and high in percent; ways in the order in which they are drawn, the first on top.
        reference: the way whose value is drawn as a line through the panel.
        scores: column of the table -> label of the axis.
    """
    runs = list(dict.fromkeys(table["run"]))
    ways = list(dict.fromkeys(table["way"]))
    figure, grid = new_figure(
        len(runs) * (0.95 + 0.27 * len(ways)) + 0.3, len(runs), len(scores), squeeze=False
    )
    for row, run in zip(grid, runs):
        for axes, (score, label) in zip(row, scores.items()):
            here = table[(table["run"] == run) & (table["score"] == score)].set_index("way")
            axes.axvline(here.loc[reference, "value"], color=LIGHT, linewidth=2, zorder=0)
            here = here.loc[ways]
            scaled = here["normalised"].to_numpy(dtype=bool)
            interval_rows(axes, here[~scaled], places=np.flatnonzero(~scaled))
            looks = {"colours": VERMILLION, "marker": "D", "filled": False}
            interval_rows(axes, here[scaled], places=np.flatnonzero(scaled), **looks)
            _rows(axes, ways, label, named=axes is row[0])
        row[0].set_title(run)
    return figure


def difference_intervals(
    table: pd.DataFrame, scores: tuple[str, ...] = ("rank1", "mAP"), title: str = ""
) -> Figure:
    """Paired differences with their intervals; grey where the interval holds 0.

    Args:
        table: rows of :func:`reidlab.statistics.bootstrap.differences` with a column run.
        scores: of which scores, one panel each.
        title: what is subtracted from what.
    """
    runs = list(dict.fromkeys(table["run"]))
    ways = list(dict.fromkeys(table["evaluation"]))
    names = {"rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10"}
    figure, grid = new_figure(
        len(runs) * (0.95 + 0.27 * len(ways)) + 0.3, len(runs), len(scores), squeeze=False
    )
    for row, run in zip(grid, runs):
        for axes, score in zip(row, scores):
            here = table[(table["run"] == run) & (table["score"] == score)]
            here = here.set_index("evaluation").loc[ways]
            axes.axvline(0, color=BLACK, linewidth=1)
            colours = np.where(here["difference"] > 0, BLUE, VERMILLION)
            colours = np.where(here["clear"], colours, GREY)
            interval_rows(axes, here.rename(columns={"difference": "value"}), colours)
            _rows(axes, ways, f"{names.get(score, score)} (points)", named=axes is row[0])
        row[0].set_title(run)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def order_curve(table: pd.DataFrame, score: str = "mAP") -> Figure:
    """A score over the order p of the Minkowski distance, with a band for its interval.

    Args:
        table: one row for each run, order and score: run, order, score, value, low, high.
        score: which one.
    """
    runs = list(dict.fromkeys(table["run"]))
    figure, row = new_figure(2.9, 1, len(runs), squeeze=False, width=9.0 if runs[1:] else 6.0)
    for axes, run in zip(row[0], runs):
        here = table[(table["run"] == run) & (table["score"] == score)].sort_values("order")
        axes.fill_between(here["order"], here["low"], here["high"], color=BLUE, alpha=0.15, lw=0)
        axes.plot(here["order"], here["value"], "o-", color=BLUE)
        axes.set_xscale("log")
        axes.set_xticks(here["order"], [f"{order:g}" for order in here["order"]])
        axes.minorticks_off()
        axes.set(title=run, xlabel="order p of the Minkowski distance")
    row[0][0].set_ylabel(SCORES.get(score, score))
    return figure


def _rows(axes: Axes, names: list[str], label: str, named: bool) -> None:
    """Rows with names on the left of the first panel, and an axis that is not too narrow."""
    name_rows(axes, names, named)
    axes.set_xlabel(label)
    low, high = axes.get_xlim()
    if high - low < LEAST_SPAN:
        middle = (low + high) / 2
        axes.set_xlim(middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)
