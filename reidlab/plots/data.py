"""Figures of the notebook on data: who is in a dataset, where, how often, and how they look."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from reidlab.plots.parts import GAP, Sheet, camera_light, grouped_bars, heat_map
from reidlab.plots.style import PALETTE, QUERY, RIGHT, SEQUENTIAL, WRONG, new_figure

__all__ = [
    "answers_figure",
    "camera_light",
    "camera_views",
    "coverage",
    "difficulty_bars",
    "identity_counts",
    "person_views",
    "sample_figure",
]

# --- pictures -----------------------------------------------------------------------------------


def sample_figure(samples: pd.DataFrame, images: Tensor) -> Figure:
    """Sample images in the manner of the Market-1501 paper (Zheng et al., ICCV 2015).

    Args:
        samples: from `reidlab.evaluation.difficulty.pick_samples`: columns ``row`` (distinctive,
            look-alike, distractor or junk), ``pid`` and ``camid``.
        images: (N, 3, H, W) uint8, in the table's order.

    Returns:
        Three rows: distinctive people, look-alikes, and distractors left of junk.
    """
    titles = {
        "distinctive": "Distinctive: furthest from everybody else in colour",
        "look-alike": "Look-alikes: different people, closest to one another in colour",
    }
    sizes = samples.groupby(["row", "pid"], sort=False).size()
    columns = max(sizes[kind].sum() + GAP * (len(sizes[kind]) - 1) for kind in titles)
    sheet = Sheet(columns, rows=3, headings=3)
    for row, (kind, title) in enumerate(titles.items()):
        x, top = 0.0, sheet.row_top(row, row + 1)
        sheet.write(title, top)
        for pid, person in samples[samples.row == kind].groupby("pid", sort=False):
            for position, camid in person.camid.items():
                caption = f"pid {pid} · c{camid}" if position == person.index[0] else f"c{camid}"
                sheet.put(images[position], x, top, caption)
                x += 1
            x += GAP
    top, half = sheet.row_top(2, 3), columns / 2
    halves = {"distractor": ("Distractors (pid 0) stay, as wrong answers", 0.0),
              "junk": ("Junk (pid −1) is left out", half + GAP / 2)}  # fmt: skip
    for kind, (title, x) in halves.items():
        sheet.write(title, top, x)
        shown = samples[samples.row == kind][: int(half - GAP / 2)]
        for offset, (position, camid) in enumerate(shown.camid.items()):
            sheet.put(images[position], x + offset, top, f"c{camid}")
    return sheet.figure


def camera_views(views: dict[str, tuple[Tensor, Sequence[int]]]) -> Figure:
    """Rows of pictures, one row a dataset, with the camera under each.

    Args:
        views: heading -> (images (N, 3, H, W) uint8, camid of each).
    """
    sheet = Sheet(max(len(camids) for _, camids in views.values()), len(views), len(views))
    for row, (title, (images, camids)) in enumerate(views.items()):
        top = sheet.row_top(row, row + 1)
        sheet.write(title, top)
        for column, (image, camid) in enumerate(zip(images, camids)):
            sheet.put(image, column, top, f"camera {camid}")
    return sheet.figure


def person_views(
    turntable: Sequence[np.ndarray], cameras: Sequence[tuple[int, np.ndarray]]
) -> Figure:
    """One person from all sides, and one person through every camera of a network.

    Args:
        turntable: images at equal steps of the angle, the first from the front.
        cameras: (camid, image) of one person.
    """
    sheet = Sheet(max(len(turntable), len(cameras)), rows=2, headings=2)
    tops = sheet.row_top(0, 1), sheet.row_top(1, 2)
    sheet.write("One person all the way round, without a camera's faults", tops[0])
    for column, image in enumerate(turntable):
        sheet.put(image, column, tops[0], f"{360 * column / len(turntable):.0f}°")
    sheet.write("One person, as every camera of a network sees them", tops[1])
    for column, (camid, image) in enumerate(cameras):
        sheet.put(image, column, tops[1], f"camera {camid}")
    return sheet.figure


def answers_figure(
    queries: Tensor, answers: Sequence[Tensor], right: np.ndarray, captions: Sequence[str]
) -> Figure:
    """Queries and their first answers, framed and marked right or wrong.

    Args:
        queries: (Q, 3, H, W) uint8.
        answers: for each query (K, 3, H, W) uint8, nearest first.
        right: (Q, K) bool.
        captions: under each query.
    """
    count = right.shape[1]
    sheet = Sheet(1 + GAP + count, rows=len(queries), headings=1)
    sheet.write("Query", sheet.row_top(0, 1))
    sheet.write(f"The {count} gallery images nearest in colour", sheet.row_top(0, 1), 1 + GAP)
    for row, (query, found) in enumerate(zip(queries, answers)):
        top = sheet.row_top(row, 1)
        sheet.put(query, 0, top, captions[row], QUERY)
        for column, image in enumerate(found):
            mark, colour = ("✓ right", RIGHT) if right[row, column] else ("✗ wrong", WRONG)
            sheet.put(image, 1 + GAP + column, top, mark, colour)
    return sheet.figure


# --- counts ------------------------------------------------------------------------------------


def identity_counts(splits: dict[str, pd.DataFrame]) -> Figure:
    """How many images and cameras an identity has, and how many images a camera gives.

    Args:
        splits: split name -> table with ``pid`` and ``camid``; pid 0 counts for cameras only.
    """
    figure, (images, cameras, load) = new_figure(3.2, columns=3, width_ratios=[1.2, 0.9, 1.1])
    people = {name: frame[frame.pid > 0] for name, frame in splits.items()}
    per_identity = {name: frame.groupby("pid").size() for name, frame in people.items()}
    most = max(counts.max() for counts in per_identity.values())
    # Whole numbers fall in the middle of a bar, whatever a bar's width.
    bins = np.arange(0.5, most + max(1, most // 30) + 0.5, max(1, most // 30))
    for colour, (name, counts) in zip(PALETTE, per_identity.items()):
        images.hist(counts, bins=bins, histtype="step", color=colour, linewidth=2, label=name)
    images.set(xlabel="images of one identity", ylabel="identities", title="Images per identity")

    spread = {name: frame.groupby("pid").camid.nunique() for name, frame in people.items()}
    counts = pd.DataFrame({name: seen.value_counts() for name, seen in spread.items()})
    grouped_bars(cameras, counts.sort_index().fillna(0))
    cameras.set(xlabel="cameras that see it", ylabel="identities", title="Cameras per identity")

    of_camera = pd.DataFrame(
        {name: frame.camid.value_counts() for name, frame in splits.items()}
    ).sort_index()
    grouped_bars(load, of_camera.fillna(0))
    load.set(xlabel="camera (camid)", ylabel="images", title="Images per camera")
    for axes in (images, cameras, load):
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    images.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*load.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def coverage(frame: pd.DataFrame) -> Figure:
    """Which camera sees whom: images per identity and camera, and identities shared by cameras.

    Args:
        frame: table with ``pid`` and ``camid``; distractors are left out.
    """
    counts = _coverage_counts(frame)
    figure, (who, shared) = new_figure(3.4, columns=2, width_ratios=[1.9, 1])
    images, (cameras, people) = counts.to_numpy(), counts.shape
    # A few people have many times the images of all others: they would pale everybody else.
    most = np.ceil(np.percentile(images[images > 0], 98))
    picture = who.imshow(images, extent=(0.5, people + 0.5, cameras - 0.5, -0.5), vmin=0,
                         vmax=most, cmap=SEQUENTIAL, aspect="auto")  # fmt: skip
    who.set_yticks(range(cameras), counts.index)
    who.xaxis.set_major_locator(MaxNLocator(integer=True))
    who.set(xlabel="identity (seen by most cameras first)", ylabel="camera (camid)",
            title="Images of each identity in each camera")  # fmt: skip
    figure.colorbar(picture, ax=who, label="images", pad=0.01, ticks=MaxNLocator(integer=True),
                    extend="max" if images.max() > most else "neither")  # fmt: skip

    seen = (counts > 0).to_numpy().astype(int)
    both = seen @ seen.T
    both = pd.DataFrame(both, counts.index, counts.index)
    heat_map(shared, both, both, 8, vmin=0, aspect="equal")
    shared.set(xlabel="camera", ylabel="camera", title="Identities seen by both")
    who.grid(False)
    return figure


def _coverage_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Cameras x identities, number of images; identities by how many cameras see them."""
    frame = frame[frame.pid > 0]
    counts = pd.crosstab(frame.camid, frame.pid)
    # Whoever is seen by the same cameras stands together.
    keys = [counts.loc[camid] > 0 for camid in reversed(counts.index)]
    order = np.lexsort([*keys, (counts > 0).sum()])[::-1]
    return counts.iloc[:, order]


# --- difficulty --------------------------------------------------------------------------------


def difficulty_bars(table: pd.DataFrame) -> Figure:
    """Rank-1 and mAP of chance and of mean colours, dataset by dataset.

    Args:
        table: from `reidlab.difficulty.difficulty`: dataset, feature, rank1, mAP (percent).
    """
    figure, panels = new_figure(2.9, columns=2, sharey=True)
    for axes, (column, title) in zip(panels, {"rank1": "Rank-1", "mAP": "mAP"}.items()):
        scores = table.pivot(index="dataset", columns="feature", values=column)
        scores = scores.loc[table.dataset.unique(), table.feature.unique()]
        grouped_bars(axes, scores, "%.1f")
        axes.set(title=title)
    panels[0].set(ylabel="percent")
    panels[0].margins(y=0.15)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
