"""Figures of notebook 10: scores of every seed, and differences with their intervals."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidlab.plots.parts import interval_rows, name_rows
from reidlab.plots.style import BLACK, BLUE, GREY, LIGHT, ORANGE, SKY, VERMILLION, new_figure
from reidlab.statistics.seeds import FEW_SEEDS, GAIN, LOSS, NOISE, NOT_CONVERGED

#: Colour and marker of a verdict.
LOOKS = {
    GAIN: (BLUE, "^"),
    LOSS: (VERMILLION, "v"),
    NOISE: (GREY, "o"),
    FEW_SEEDS: (SKY, "D"),
    NOT_CONVERGED: (ORANGE, "s"),
}


def seed_plot(table: pd.DataFrame, seeds: Mapping[str, Sequence[float]]) -> Figure:
    """Every seed's mAP, row by row, and beside it the difference to the row compared with.

    Args:
        table: of :func:`reidlab.statistics.seeds.ablation_table`; the first row comes on top.
        seeds: for each row the mAP of its runs, in percent.
    """
    figure, (left, right) = new_figure(1.6 + 0.42 * len(table), columns=2)
    for place, row in enumerate(table.itertuples()):
        values = seeds[row.row]
        left.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.6, markersize=6)
        left.plot([row.mAP] * 2, [place - 0.25, place + 0.25], color=BLACK, linewidth=2)
    name_rows(left, table["row"])
    left.set_xlabel("mAP (%): a dot for each seed, a bar for the mean")
    _differences(figure, right, table, named=False)
    return figure


def difference_plot(table: pd.DataFrame) -> Figure:
    """Differences in mAP with the intervals over seeds and over the people searched for.

    Args:
        table: as for :func:`seed_plot`; rows that are compared with nothing are left out.
    """
    table = table[table["against"] != ""]
    figure, axes = new_figure(1.6 + 0.42 * len(table))
    _differences(figure, axes, table)
    return figure


def _differences(figure: Figure, axes: Axes, table: pd.DataFrame, named: bool = True) -> None:
    table = table.reset_index(drop=True).rename(columns={"difference": "value"})
    axes.hlines(table.index, table["query_low"], table["query_high"], color=LIGHT, linewidth=9)
    for verdict, (colour, marker) in LOOKS.items():
        some = table[table["verdict"] == verdict]
        if len(some):
            interval_rows(axes, some, colour, marker, places=some.index, label=verdict)
    name_rows(axes, table["row"], named)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_xlabel("difference in mAP (points)")
    if table["low"].notna().any():
        axes.plot([], [], color=BLACK, linewidth=2.5, label="interval over the seeds")
    if table["query_low"].notna().any():
        axes.plot([], [], color=LIGHT, linewidth=9, label="interval over the people searched for")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)))
