"""Figures of notebook 06: what stands in the ranked lists.

Right and wrong are never told by colour alone: a mark in words or a sign stands beside it. Where
pictures may not be shown, coloured cells stand in their places.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reidlab.evaluation.retrieval import DISTRACTOR, MATCH
from reidlab.plots.parts import GAP, Sheet, ap_distribution, heat_map
from reidlab.plots.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    QUERY,
    RIGHT,
    UNKNOWN,
    WRONG,
    new_figure,
)

#: Sign, word and colour of an answer, by verdict; everything else is an impostor.
SIGNS = {MATCH: ("✓", "match", RIGHT), DISTRACTOR: ("✗", "distractor", UNKNOWN)}
IMPOSTOR = ("✗", "impostor", WRONG)

#: Pictures by position in the gallery (or among the queries): (H, W, 3) or (3, H, W) uint8.
Pictures = Mapping[int, Any]

#: Height of a cell that stands for a picture, in its widths.
CELL = 0.5


def triplets_figure(
    table: pd.DataFrame, queries: Pictures | None = None, gallery: Pictures | None = None
) -> Figure:
    """Query, true match and impostor, for each row of a table; two rows to a line.

    Args:
        table: rows of :func:`reidlab.evaluation.retrieval.triplets`; at least one.
        queries: pictures of the queries; None colours cells.
        gallery: pictures of the gallery; None colours cells.
    """
    lines = -(-len(table) // 2)
    tall = CELL if queries is None else 2.0
    sheet = Sheet(6 + GAP, rows=lines, headings=lines, tall=tall, lines=2)
    for number, row in enumerate(table.itertuples()):
        line, x = number // 2, (number % 2) * (3 + GAP)
        top = sheet.row_top(line, line + 1)
        verdict = "fooled" if row.margin < 0 else "right"
        sheet.write(f"({chr(97 + number)}) {verdict}", top, x)
        near, far = told_apart(row.match_distance, row.impostor_distance)
        for offset, pictures, position, caption, colour in (
            (0, queries, row.query, f"query\ncamera {row.camid}", QUERY),
            (1, gallery, row.match, f"✓ match at {near}\ncamera {row.match_camid}", RIGHT),
            (2, gallery, row.impostor, f"✗ impostor at {far}\ncamera {row.impostor_camid}", WRONG),
        ):
            sheet.put(_picture(pictures, position), x + offset, top, caption, colour)
    return sheet.figure


def told_apart(first: float, second: float, digits: int = 3) -> tuple[str, str]:
    """Two numbers as text, with as many digits as it takes to see which one is larger.

    >>> told_apart(8.7412, 8.7449)
    ('8.741', '8.745')
    >>> told_apart(14.2, 7.92)
    ('14.2', '7.92')
    >>> told_apart(17.8299, 17.83)
    ('17.8299', '17.8300')
    """
    zeros = "#" if digits > 3 else ""  # 17.83 beside 17.8299 ends in two
    texts = f"{first:{zeros}.{digits}g}", f"{second:{zeros}.{digits}g}"
    if texts[0] == texts[1] and first != second and digits < 9:
        return told_apart(first, second, digits + 1)
    return texts


def ranked_lists(
    found: pd.DataFrame,
    per_query: pd.DataFrame,
    chosen: Sequence[int],
    queries: Pictures | None = None,
    gallery: Pictures | None = None,
) -> Figure:
    """A line for each query: the query, then its answers from rank 1 on.

    Args:
        found: of :func:`reidlab.evaluation.retrieval.answers`.
        per_query: of the run; names each line's AP.
        chosen: queries, a line each, at least one.
        queries: pictures of the queries; None colours cells.
        gallery: pictures of the gallery; None colours cells.
    """
    rows, tall = len(chosen), CELL if queries is None else 2.0
    sheet = Sheet(1 + GAP + int(found["rank"].max()), rows, headings=rows, tall=tall, lines=2)
    scores = per_query.set_index("query")
    for line, query in enumerate(chosen):
        top, score = sheet.row_top(line, line + 1), scores.loc[query]
        few = "1 match" if score.num_matches == 1 else f"{score.num_matches} matches, the first"
        sheet.write(f"AP {100 * score.ap:.1f} %, {few} on rank {score.first_match}", top)
        sheet.put(_picture(queries, query), 0, top, f"query\ncam {score.camid}", QUERY)
        for row in found[found["query"] == query].itertuples():
            sign, word, colour = SIGNS.get(row.verdict, IMPOSTOR)
            caption = f"{sign} {word}\ncam {row.camid}"
            sheet.put(_picture(gallery, row.gallery), row.rank + GAP, top, caption, colour)
    return sheet.figure


def _picture(pictures: Pictures | None, position: int) -> Any:
    return None if pictures is None else pictures[position]


def first_answer_bars(table: pd.DataFrame) -> Figure:
    """What stands on rank 1, beside chance.

    Args:
        table: of :func:`reidlab.evaluation.retrieval.first_answers`.
    """
    figure, axes = new_figure(2.4)
    positions = np.arange(len(table))[::-1]
    for offset, column, colour, label in (
        (0.2, "share", BLUE, "the network"),
        (-0.2, "by_chance", LIGHT, "an image drawn at random"),
    ):
        bars = axes.barh(positions + offset, table[column], 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=9)
    axes.set_yticks(positions, table.verdict)
    axes.set(xlabel="queries with this on rank 1 (%)", xlim=(0, 112))
    axes.grid(axis="y", visible=False)
    axes.legend()
    return figure


def camera_figure(pairs: pd.DataFrame, cameras: pd.DataFrame) -> Figure:
    """The mAP of each camera's queries, and of each pair of cameras.

    Args:
        pairs: of :func:`reidlab.evaluation.retrieval.camera_pairs`.
        cameras: of :func:`reidlab.evaluation.retrieval.by_camera`.
    """
    figure, (bars, heat) = new_figure(3.6, columns=2, width_ratios=[1, 1.15])
    names = [str(camera) for camera in cameras.camid]
    drawn = bars.barh(names, cameras.mAP, color=BLUE)
    labels = [f"{row.mAP:.1f}  ({row.queries})" for row in cameras.itertuples()]
    bars.bar_label(drawn, labels, padding=3, fontsize=9)
    bars.invert_yaxis()
    bars.set(title="All other cameras searched", xlabel="mAP (%)  (queries)", xlim=(0, 125))
    bars.set(ylabel="camera of the query", xticks=range(0, 101, 25))
    bars.grid(axis="y", visible=False)

    grid = pairs.pivot(index="query_camera", columns="gallery_camera", values="mAP")
    texts = grid.map(lambda value: "–" if np.isnan(value) else f"{value:.0f}")
    image = heat_map(heat, grid, texts, vmin=0, vmax=100)
    heat.set(title="One camera searched", xlabel="camera searched", ylabel="camera of the query")
    figure.colorbar(image, ax=heat, label="mAP (%)")
    return figure


def distance_histogram(
    matches: np.ndarray, others: np.ndarray, cuts: pd.DataFrame, distance: str
) -> Figure:
    """Distances of true matches and of all other pairs, with the thresholds of a table.

    Args:
        matches: of :func:`reidlab.evaluation.retrieval.pair_distances`.
        others: likewise.
        cuts: of :func:`reidlab.retrieval.thresholds`.
        distance: its name, for the axis.
    """
    figure, axes = new_figure(3.2)
    bins = np.linspace(0, max(matches.max(), others.max()), 61)
    for values, colour, label in (
        (others, GREY, f"different people ({len(others):,} pairs)"),
        (matches, RIGHT, f"one person, two cameras ({len(matches):,} pairs)"),
    ):
        # Shares within each kind: there are hundreds of other pairs to one match.
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, color=colour, alpha=0.55, label=label)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    top = axes.get_ylim()[1]
    for row in cuts.itertuples():
        axes.axvline(row.threshold, color=BLACK, linewidth=1, linestyle=":")
        note = f"{row.false_accepts:g} %"
        axes.text(row.threshold, top, note, fontsize=8, rotation=90, va="top", ha="right")
    axes.set(xlabel=f"{distance} distance", ylabel="pairs of the kind (%)", xlim=(0, bins[-1]))
    axes.legend(loc="upper right")
    return figure


__all__ = [
    "ap_distribution",
    "camera_figure",
    "distance_histogram",
    "first_answer_bars",
    "ranked_lists",
    "triplets_figure",
]
