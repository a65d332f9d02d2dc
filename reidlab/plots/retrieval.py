"""Figures of notebook 06: what stands in the ranked lists.

Right and wrong are never told by colour alone: a mark in words or a sign stands beside it. Where
pictures may not be shown, the same figures are drawn with tiles that carry the camera instead.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidlab.evaluation.retrieval import DISTRACTOR, MATCH
from reidlab.plots.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    QUERY,
    RIGHT,
    SEQUENTIAL,
    UNKNOWN,
    VERMILLION,
    WRONG,
    new_figure,
    plain_image,
)

#: Sign, word and colour of an answer, by verdict; everything else is an impostor.
SIGNS = {MATCH: ("✓", "match", RIGHT), DISTRACTOR: ("✗", "distractor", UNKNOWN)}
IMPOSTOR = ("✗", "impostor", WRONG)

#: Pictures by position in the gallery (or among the queries): (H, W, 3) or (3, H, W) uint8.
Pictures = Mapping[int, Any]


def triplets_figure(
    table: pd.DataFrame, queries: Pictures | None = None, gallery: Pictures | None = None
) -> Figure:
    """Query, true match and impostor, for each row of a table.

    Args:
        table: rows of :func:`reidlab.evaluation.retrieval.triplets`; at least one.
        queries: pictures of the queries; None draws tiles.
        gallery: pictures of the gallery; None draws tiles.

    Returns:
        Three axes a row of the table, two sub-figures to a line, lettered (a), (b) …
    """
    lines = -(-len(table) // 2)
    height = (1.3 if queries is None else 3.1) * lines
    figure, axes = new_figure(height, lines, 7, squeeze=False, width_ratios=_TRIPLET_WIDTHS)
    figure.get_layout_engine().set(hspace=0.06)
    for spare in axes.ravel():
        spare.axis("off")
    for number, row in enumerate(table.itertuples()):
        three = axes[number // 2, 4 * (number % 2) : 4 * (number % 2) + 3]
        _tile(three[0], _picture(queries, row.query), QUERY, f"camera {row.camid}")
        _tile(three[1], _picture(gallery, row.match), RIGHT, f"camera {row.match_camid}")
        _tile(three[2], _picture(gallery, row.impostor), WRONG, f"camera {row.impostor_camid}")
        verdict = "fooled" if row.margin < 0 else "right"
        three[0].set_title(f"({chr(97 + number)}) query", fontsize=10)
        near, far = told_apart(row.match_distance, row.impostor_distance)
        three[1].set_title(f"✓ match\nat {near}", fontsize=10, color=RIGHT)
        title = f"✗ impostor\nat {far}: {verdict}"
        three[2].set_title(title, fontsize=10, color=WRONG)
    return figure


_TRIPLET_WIDTHS = [1, 1, 1, 0.25, 1, 1, 1]


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
    chosen: list[int],
    queries: Pictures | None = None,
    gallery: Pictures | None = None,
) -> Figure:
    """A line for each query: the query, then its answers from rank 1 on.

    Args:
        found: of :func:`reidlab.evaluation.retrieval.answers`.
        per_query: of the run; names each line's AP.
        chosen: queries, a line each, at least one.
        queries: pictures of the queries; None draws tiles.
        gallery: pictures of the gallery; None draws tiles.
    """
    k = int(found["rank"].max())
    widths = [1, 0.3, *[1] * k]
    height = (0.85 if queries is None else 1.8) * len(chosen)
    figure, axes = new_figure(height, len(chosen), k + 2, squeeze=False, width_ratios=widths)
    scores = per_query.set_index("query")
    for line, query in enumerate(chosen):
        for spare in axes[line]:
            spare.axis("off")
        score = scores.loc[query]
        few = "1 match" if score.num_matches == 1 else f"{score.num_matches} matches, the first"
        title = f"AP {100 * score.ap:.1f} %, {few} on rank {score.first_match}"
        _row_title(axes[line, 0], title)
        _tile(axes[line, 0], _picture(queries, query), QUERY, f"query\ncam {score.camid}")
        for row in found[found["query"] == query].itertuples():
            sign, word, colour = SIGNS.get(row.verdict, IMPOSTOR)
            tile = axes[line, row.rank + 1]
            _tile(tile, _picture(gallery, row.gallery), colour, f"{sign} {word}\ncam {row.camid}")
    return figure


def _row_title(axes: Axes, title: str) -> None:
    """A title that may be wider than its axes: laid out as a title, its columns would grow."""
    axes.set_title(" ", fontsize=10)  # makes room above
    place = dict(xy=(0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points")
    note = axes.annotate(title, **place, fontsize=10, fontweight="bold", annotation_clip=False)
    note.set_in_layout(False)


def _picture(pictures: Pictures | None, position: int) -> Any:
    return None if pictures is None else pictures[position]


def _tile(axes: Axes, picture: Any, colour: str, caption: str) -> None:
    """A framed picture with a caption below; without a picture a tile that holds the caption."""
    axes.axis("on")
    plain_image(axes, picture, colour)
    if picture is None:
        axes.set(xlim=(0, 1), ylim=(0, 1), facecolor="#F7F7F7")
        axes.text(0.5, 0.5, caption, color=colour, fontsize=7.5, **_CENTRED)
    else:
        axes.set_xlabel(caption, color=colour, fontsize=8, labelpad=2)


_CENTRED = dict(ha="center", va="center")


def ap_distribution(per_query: pd.DataFrame, chosen: list[int]) -> Figure:
    """How the average precision is spread over the queries, with a few of them marked.

    Args:
        per_query: of a run.
        chosen: queries to mark.
    """
    valid = per_query[per_query.valid]
    figure, axes = new_figure(2.8)
    axes.hist(100 * valid.ap, bins=np.linspace(0, 100, 26), color=BLUE, alpha=0.8)
    mean = 100 * valid.ap.mean()
    axes.axvline(mean, color=BLACK, linestyle="--", label=f"mean, the mAP: {mean:.1f} %")
    marked = 100 * valid.set_index("query").ap.loc[chosen]
    axes.plot(
        marked,
        np.zeros(len(marked)),
        "^",
        color=VERMILLION,
        markersize=10,
        clip_on=False,
        label="queries shown below",
    )
    axes.set(xlabel="average precision of a query (%)", ylabel="queries", xlim=(0, 100))
    axes.legend()
    return figure


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
    image = heat.imshow(grid, cmap=SEQUENTIAL, vmin=0, vmax=100, aspect="auto")
    for line, column in np.ndindex(grid.shape):
        value = grid.iat[line, column]
        text = "–" if np.isnan(value) else f"{value:.0f}"
        colour = "white" if value > 60 else BLACK
        heat.text(column, line, text, color=colour, fontsize=9, **_CENTRED)
    heat.set_xticks(range(grid.shape[1]), grid.columns)
    heat.set_yticks(range(grid.shape[0]), grid.index)
    heat.set(title="One camera searched", xlabel="camera searched", ylabel="camera of the query")
    heat.grid(False)
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
