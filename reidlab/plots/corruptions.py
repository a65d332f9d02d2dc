"""Figures of notebook 17: what corruption does to images, and to a network that looks at them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reidlab.data.corruptions import KINDS, SEVERITIES, corrupt
from reidlab.plots.parts import heat_map
from reidlab.plots.style import GREY, VERMILLION, new_figure, plain_image


def words(kind: str) -> str:
    """A kind as a reader says it."""
    return kind.replace("_", " ")


def kinds_sheet(image: np.ndarray, seed: int = 0) -> Figure:
    """One image under every kind at every severity, ten kinds on each side.

    Args:
        image: (H, W, 3) uint8.
        seed: of what is drawn.
    """
    half, severities = (len(KINDS) + 1) // 2, len(SEVERITIES)
    figure, grid = new_figure(0.98 * half, half, 2 * severities + 1, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for number, kind in enumerate(KINDS):
        row, first = number % half, number // half * (severities + 1)
        for place, severity in enumerate(SEVERITIES):
            axes = plain_image(grid[row, first + place], corrupt(image, kind, severity, seed))
            axes.axis("on")
            if not row:
                axes.set_title(f"{severity}", fontsize=9)
        grid[row, first].set_ylabel(
            words(kind), rotation=0, ha="right", va="center", fontsize=8, labelpad=4
        )
    return figure


def grid_map(cells: pd.DataFrame, score: str = "mAP") -> Figure:
    """A score for every kind and severity; the title has that of clean images.

    Args:
        cells: of :func:`reidlab.evaluation.corrupted_runs.grid`.
        score: column.
    """
    clean = cells[cells.kind == "clean"][score].iloc[0]
    table = cells[cells.kind != "clean"].pivot(index="kind", columns="severity", values=score)
    table = table.reindex([kind for kind in KINDS if kind in table.index])
    table.index = [words(kind) for kind in table.index]
    figure, axes = new_figure(5.6, width=6.5)
    image = heat_map(axes, table, table.map("{:.0f}".format), fontsize=8, vmin=0, vmax=clean)
    axes.set(xlabel="severity", title=f"{score} (%) of corrupted images; clean {clean:.1f}")
    figure.colorbar(image, ax=axes, label=f"{score} (%)")
    return figure


def clean_against_corrupted(table: pd.DataFrame, score: str = "mAP") -> Figure:
    """Each network's score on clean images and on corrupted ones, the most robust on top.

    Where clean scores predicted the others, both columns of dots would lean the same way.

    Args:
        table: label, ``<score>_clean`` and ``<score>_both``, one row a network.
        score: which.
    """
    table = table.sort_values(f"{score}_both")
    figure, (left, right) = new_figure(1.0 + 0.26 * len(table), 1, 2, sharey=True)
    for axes, setting, colour in ((left, "both", VERMILLION), (right, "clean", GREY)):
        axes.scatter(table[f"{score}_{setting}"], range(len(table)), s=40, color=colour, zorder=3)
    left.set_yticks(range(len(table)), table["label"])
    left.set_xlabel(f"{score}, query and gallery corrupted (%)")
    right.set_xlabel(f"{score}, clean (%)")
    return figure


def camera_losses(table: pd.DataFrame, score: str = "mAP") -> Figure:
    """What a corrupted query costs, by its camera and by the kind.

    Args:
        table: camid, kind and ``<score>_loss`` in points.
        score: which.
    """
    losses = table.pivot(index="kind", columns="camid", values=f"{score}_loss")
    losses = losses.reindex([kind for kind in KINDS if kind in losses.index])
    losses.index = [words(kind) for kind in losses.index]
    losses.columns = [f"c{camera:.0f}" for camera in losses.columns]
    texts = losses.map(lambda value: "–" if np.isnan(value) else f"{value:.0f}")
    figure, axes = new_figure(5.6, width=6.5)
    image = heat_map(axes, losses, texts, fontsize=8, vmin=0)
    axes.set(xlabel="camera of the query", title=f"Lost {score} in points, query corrupted")
    figure.colorbar(image, ax=axes, label="points")
    return figure


def findable(people: pd.DataFrame, score: str = "mAP", bins: Sequence[float] = ()) -> Figure:
    """How well each person is found by clean and by corrupted queries.

    Args:
        people: one row a person: ``<score>_clean`` and ``<score>``, in percent.
        score: which.
        bins: edges of the histogram.
    """
    edges = bins or np.linspace(0, 100, 21)
    figure, axes = new_figure(3.0)
    for column, colour, label in (
        (f"{score}_clean", GREY, "clean queries"),
        (score, VERMILLION, "corrupted queries"),
    ):
        axes.hist(people[column], bins=edges, histtype="step", linewidth=2, color=colour)
        axes.plot([], [], color=colour, label=f"{label}, mean {people[column].mean():.1f}")
    axes.set(xlabel=f"{score} of a person's queries (%)", ylabel="people")
    axes.legend()
    return figure
