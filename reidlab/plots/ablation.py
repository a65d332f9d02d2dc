"""Figures of recipes side by side: scores of every seed, differences with their intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidlab.plots.style import BLACK, BLUE, GREY, LIGHT, PALETTE, VERMILLION, new_figure
from reidlab.statistics.ablation import GAIN, LOSS, NOISE, ONE_SEED

#: Colour and marker of a verdict.
LOOKS = {
    GAIN: (BLUE, "^"),
    LOSS: (VERMILLION, "v"),
    NOISE: (GREY, "o"),
    ONE_SEED: (BLACK, "D"),
}
MARKERS = "osD^vP"


def seed_plot(table: pd.DataFrame, seeds: dict[str, list[float]]) -> Figure:
    """Every seed's mAP, row by row, and beside it the difference to the row compared with.

    Args:
        table: of :func:`reidlab.statistics.ablation.ablation_table`; the first row comes on top.
        seeds: for each row the mAP of its runs, in percent.
    """
    figure, (left, right) = new_figure(1.6 + 0.42 * len(table), columns=2, sharey=True)
    for place, row in zip(_places(table), table.itertuples()):
        values = seeds[row.row]
        left.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.6, markersize=6)
        left.plot([row.mAP] * 2, [place - 0.25, place + 0.25], color=BLACK, linewidth=2)
    left.set_yticks(_places(table), table["row"])
    left.set(xlabel="mAP (%): a dot for each seed, a bar for the mean", ylim=_limits(table))
    _differences(right, table)
    _legend(figure, right, table)
    return figure


def difference_plot(table: pd.DataFrame) -> Figure:
    """Differences in mAP with the intervals over seeds and over the people searched for.

    Args:
        table: as for :func:`seed_plot`; rows that are compared with nothing are left out.
    """
    table = table[table["against"] != ""]
    figure, axes = new_figure(1.6 + 0.42 * len(table))
    axes.set_yticks(_places(table), table["row"])
    axes.set_ylim(_limits(table))
    _differences(axes, table)
    _legend(figure, axes, table)
    return figure


def _differences(axes: Axes, table: pd.DataFrame) -> None:
    shown = set()
    for place, row in zip(_places(table), table.itertuples()):
        if not row.against:
            continue
        colour, marker = LOOKS[row.verdict]
        axes.hlines(place, row.query_low, row.query_high, color=LIGHT, linewidth=9, zorder=1)
        if not np.isnan(row.low):
            axes.hlines(place, row.low, row.high, color=colour, linewidth=2)
        label = None if row.verdict in shown else row.verdict
        shown.add(row.verdict)
        axes.plot(row.difference, place, marker, color=colour, markersize=8, ls="", label=label)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_xlabel("difference in mAP (points)")


def _legend(figure: Figure, axes: Axes, table: pd.DataFrame) -> None:
    if table["low"].notna().any():
        axes.plot([], [], color=BLACK, linewidth=2, label="interval over the seeds")
    if table["query_low"].notna().any():
        axes.plot([], [], color=LIGHT, linewidth=9, label="interval over the people searched for")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)))


def kind_dots(table: pd.DataFrame, xlabel: str = "mAP (%)") -> Figure:
    """Values of several kinds on a line each, to compare the kinds within a line.

    Args:
        table: columns label (a line each, the first on top), kind (a colour and marker each) and
            value; a missing value is left out. Where there is a column std, its values are drawn
            to both sides of the value.
        xlabel: what the values are.
    """
    labels = [*dict.fromkeys(table["label"])]
    figure, axes = new_figure(1.5 + 0.4 * len(labels))
    places = {label: len(labels) - 1 - i for i, label in enumerate(labels)}
    for label, rows in table.dropna(subset=["value"]).groupby("label"):
        span = rows["value"].min(), rows["value"].max()
        axes.hlines(places[label], *span, color=LIGHT, linewidth=3, zorder=1)
    for i, kind in enumerate(dict.fromkeys(table["kind"])):
        rows = table[(table["kind"] == kind) & table["value"].notna()]
        if not len(rows):
            continue
        colour, heights = PALETTE[i % len(PALETTE)], [places[label] for label in rows["label"]]
        if "std" in rows:
            low, high = rows["value"] - rows["std"], rows["value"] + rows["std"]
            axes.hlines(heights, low, high, color=colour, linewidth=2)
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(rows["value"], heights, marker, color=colour, markersize=8, label=kind)
    axes.set_yticks([*places.values()], [*places])
    if "std" in table and table["std"].notna().any():
        xlabel += "; a thin line: ± one standard deviation over the seeds"
    axes.set(xlabel=xlabel, ylim=(-0.6, len(labels) - 0.4))
    axes.set_xlim(0, 1.06 * table["value"].max())
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _places(table: pd.DataFrame) -> np.ndarray:
    return np.arange(len(table))[::-1]


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    return -0.6, len(table) - 0.4
