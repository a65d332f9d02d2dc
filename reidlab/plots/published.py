"""Figures of notebook 07: published numbers and our own, a panel for each data set."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reidlab.plots.parts import name_rows
from reidlab.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, new_figure
from reidlab.statistics.published import OURS

#: Colour and marker of every kind of row; ours stand out by size too.
LOOKS = {
    "ours": (BLUE, "D"),
    "authors' checkpoint, evaluated here": (SKY, "D"),
    "seed report": (VERMILLION, "^"),
    "paper": (BLACK, "o"),
    "model zoo": (GREEN, "s"),
    "third party": (ORANGE, "v"),
    "context": (GREY, "P"),
    "ablation": (GREY, "X"),
}
MEASURED = [*LOOKS][:2]


def dot_plot(published: pd.DataFrame, ours: pd.DataFrame, title: str = "") -> Figure:
    """The mAP of published rows and of our runs, best on top, joined to their Rank-1 by a line.

    Args:
        published: rows of :func:`reidlab.statistics.published.load_published`.
        ours: rows of :func:`reidlab.statistics.published.settings`; may be empty.
        title: above the figure.

    Returns:
        One panel a data set, a line for each row: a dot for mAP, a bar for Rank-1. A hollow dot is
        a number that was recalled and not checked.
    """
    kinds = np.where(ours["trained_by"] == OURS, *MEASURED)
    ours = ours.assign(system=ours["run"], kind=kinds, evidence="measured")
    rows = pd.concat([published, ours]).dropna(subset=["mAP"]).sort_values("mAP", ascending=False)
    panels = {name: rows[rows["dataset"] == name] for name in dict.fromkeys(rows["dataset"])}
    counts = [len(some) + 2 for some in panels.values()]
    figure, grid = new_figure(
        0.8 + 0.22 * sum(counts), len(panels) or 1, sharex=True, squeeze=False,
        height_ratios=counts or None,
    )  # fmt: skip
    for axes, (dataset, some) in zip(grid[:, 0], panels.items()):
        places = np.arange(len(some))
        colours = [LOOKS[kind][0] for kind in some["kind"]]
        axes.hlines(places, some["mAP"], some["rank1"], color=colours, linewidth=1, alpha=0.5)
        for place, row in zip(places, some.to_dict("records")):
            colour, marker = LOOKS[row["kind"]]
            face = "white" if row["evidence"] == "memory" else colour
            size = 8 if row["kind"] in MEASURED else 6
            axes.plot(row["mAP"], place, marker, color=colour, markersize=size, mfc=face)
            axes.plot(row["rank1"], place, "|", color=colour, markersize=7)
        name_rows(axes, [_name(row) for row in some.to_dict("records")])
        for text, kind, colour in zip(axes.get_yticklabels(), some["kind"], colours):
            text.set(color=colour, fontweight="bold" if kind in MEASURED else "normal", fontsize=8)
        axes.set(title=dataset, xlim=(0, 100))
    grid[-1, 0].set_xlabel("percent: a dot for mAP, a bar for Rank-1")
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="none", label=kind)
        for kind, (colour, marker) in LOOKS.items()
        if kind in set(rows["kind"])
    ]
    if (rows["evidence"] == "memory").any():
        hollow = {"color": GREY, "marker": "o", "mfc": "white", "ls": "none"}
        handles.append(Line2D([], [], label="hollow: recalled, not checked", **hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.suptitle(title, fontweight="bold")
    return figure


def _name(row: dict) -> str:
    """The system, and what it was trained on, if not the data set; else what it started from."""
    if row["trained_on"] != row["dataset"]:
        return f"{row['system']}, {row['trained_on']}"
    starts = {"none": ", from scratch", "imagenet": ", from ImageNet"}
    return row["system"] + starts.get(row["init"], "")
