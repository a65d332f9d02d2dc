"""Figures of notebook 07: published numbers and our own."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reidlab.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, new_figure

SCORES = {"rank1": "Rank-1 (%)", "mAP": "mAP (%)"}

#: Colour and marker of every kind of row; ours stands out by size too.
LOOKS = {
    "ours": (BLUE, "D"),
    "seed report": (VERMILLION, "^"),
    "paper": (BLACK, "o"),
    "model zoo": (GREEN, "s"),
    "third party": (ORANGE, "v"),
    "context": (GREY, "P"),
}


def dot_plot(published: pd.DataFrame, ours: pd.DataFrame | None = None, title: str = "") -> Figure:
    """Rank-1 and mAP of published rows and of our runs, best mAP on top.

    Args:
        published: rows of :func:`statistics.published.load_published` of one data set and task.
        ours: rows of :func:`statistics.published.settings` of the same; None or empty for none.
        title: above the figure.

    Returns:
        Two axes side by side, a line of dots for each row. A hollow dot is a number that was
        recalled and not checked.
    """
    rows = [
        (row["mAP"], f"{row['system']}{_start(row)}", row["kind"], row)
        for row in published.dropna(subset=["mAP"]).to_dict("records")
    ]
    for row in [] if ours is None else ours.to_dict("records"):
        rows.append(
            (
                row["mAP"],
                f"ours: {row['run']}{_source(row)}",
                "ours",
                row | {"evidence": "measured"},
            )
        )
    rows.sort(key=lambda row: row[0])
    figure, panels = new_figure(1.1 + 0.24 * len(rows), columns=2, sharey=True)
    for axes, (score, label) in zip(panels, SCORES.items()):
        for position, (_, _, kind, row) in enumerate(rows):
            _dot(axes, row[score], position, kind, row["evidence"])
        axes.set(xlabel=label, xlim=(-14, 104), ylim=(-0.7, len(rows) - 0.3))
    panels[0].set_yticks(range(len(rows)), [name for _, name, _, _ in rows])
    for text, (_, _, kind, _) in zip(panels[0].get_yticklabels(), rows):
        text.set(color=LOOKS[kind][0], fontweight="bold" if kind == "ours" else "normal")
    _legend(figure, rows)
    figure.suptitle(title, fontweight="bold")
    return figure


def _start(row: dict) -> str:
    """What a published network was trained on, if not the target; else what it started from."""
    if row["trained_on"] != row["dataset"]:
        return f", {row['trained_on']}"
    return {"none": ", from scratch", "imagenet": ", from ImageNet"}.get(row["init"], "")


def _source(row: dict) -> str:
    return f", {row['trained_on']}" if row["trained_on"] != row["dataset"] else ""


def _dot(axes: Axes, value: float, position: int, kind: str, evidence: str) -> None:
    colour, marker = LOOKS[kind]
    face = "white" if evidence == "memory" else colour
    size = 9 if kind == "ours" else 6
    axes.plot(value, position, marker, color=colour, markerfacecolor=face, markersize=size)
    axes.annotate(
        f"{value:.1f}",
        (value, position),
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        color=colour,
    )


def _legend(figure: Figure, rows: list[tuple]) -> None:
    present = {kind for _, _, kind, _ in rows}
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=kind)
        for kind, (colour, marker) in LOOKS.items()
        if kind in present
    ]
    if any(row["evidence"] == "memory" for *_, row in rows):
        hollow = dict(color=GREY, marker="o", markerfacecolor="white", linestyle="none")
        handles.append(Line2D([], [], label="hollow: recalled, not checked", **hollow))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=max(1, len(handles)), frameon=False
    )
