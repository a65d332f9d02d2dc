"""Figures of notebook 11: three networks in two forms, side by side and from set to set."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reidlab.plots.parts import interval_rows, name_rows
from reidlab.plots.style import LIGHT, PALETTE, new_figure
from reidlab.plots.tricks import difference_plot

__all__ = ["cmc_bands", "difference_plot", "kind_dots"]

MARKERS = "osD^vP"
LINES = ("-", "--", ":", "-.")


def kind_dots(table: pd.DataFrame, xlabel: str = "mAP (%)") -> Figure:
    """Values of several kinds on a line each, to compare the kinds within a line.

    Args:
        table: columns label (a line each, the first on top), kind (a colour and marker each) and
            value; a missing value is left out. Where there is a column std, its values are drawn
            to both sides of the value.
        xlabel: what the values are.
    """
    labels, kinds = (list(dict.fromkeys(table[column])) for column in ("label", "kind"))
    std = table.get("std", np.nan)
    table = table.assign(
        place=table["label"].map(labels.index), low=table["value"] - std, high=table["value"] + std
    )
    if table["low"].notna().any():
        xlabel += "; a thin line: ± one standard deviation over the seeds"
    table = table.dropna(subset=["value"])
    figure, axes = new_figure(1.5 + 0.4 * len(labels))
    span = table.groupby("place")["value"].agg(["min", "max"])
    axes.hlines(span.index, span["min"], span["max"], color=LIGHT, linewidth=3, zorder=1)
    for i, kind in enumerate(kinds):
        some = table[table["kind"] == kind]
        looks = {"colours": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        if len(some):
            interval_rows(axes, some, places=some["place"], label=kind, **looks)
    name_rows(axes, labels)
    axes.set(xlabel=xlabel, xlim=(0, 1.06 * table["value"].max()))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def cmc_bands(curves: Mapping[str, Mapping[tuple[str, str], np.ndarray]], ranks: int) -> Figure:
    """CMC curves: the colour is the network, the line its form, the band its seeds.

    Args:
        curves: data set -> (network, form) -> (seeds, ranks or more) fractions, rank 1 first; a
            panel each.
        ranks: how many to show, on a logarithmic axis.
    """
    names = dict.fromkeys(name for some in curves.values() for name in some)
    networks, forms = (list(dict.fromkeys(name[i] for name in names)) for i in (0, 1))
    figure, row = new_figure(3.6, 1, len(curves), sharey=True, squeeze=False)
    for axes, (dataset, some) in zip(row[0], curves.items()):
        for (network, form), seeds in some.items():
            percent = 100 * np.atleast_2d(seeds)[:, :ranks]
            places = np.arange(1, percent.shape[1] + 1)
            colour = PALETTE[networks.index(network) % len(PALETTE)]
            line = LINES[forms.index(form) % len(LINES)]
            axes.fill_between(
                places, percent.min(0), percent.max(0), color=colour, alpha=0.15, lw=0
            )
            axes.plot(places, percent.mean(0), line, color=colour)
        axes.set(title=dataset, xlabel="rank k", xscale="log", xlim=(1, ranks), ylim=(0, 100))
        ticks = [k for k in (1, 2, 5, 10, 20, 50) if k <= ranks]
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
    row[0][0].set_ylabel("queries with a right answer\namong the first k (%)")
    for i, network in enumerate(networks):
        row[0][0].plot([], [], color=PALETTE[i % len(PALETTE)], label=network)
    for i, form in enumerate(forms):
        row[0][0].plot([], [], LINES[i % len(LINES)], color="0.3", label=form)
    handles = row[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=max(2, len(networks)))
    return figure
