"""Figures of notebook 15: maps over pictures, shares of attention, people on a plane."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from reidlab.plots.parts import GAP, Sheet, name_rows
from reidlab.plots.style import BLUE, LIGHT, PALETTE, VERMILLION, new_figure

#: Of what a generated image shows, in the order of `evaluation.attention.REGIONS`.
COLOURS = {"person": BLUE, "carried": VERMILLION, "background": LIGHT}


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map in colours over a darkened picture.

    Args:
        image: (H, W, 3) uint8.
        heat: (h, w), not negative; its largest value becomes the brightest colour.

    Returns:
        (H, W, 3) uint8.
    """
    size = image.shape[1::-1]
    fine = Image.fromarray(np.float32(heat / max(heat.max(), 1e-12))).resize(size, Image.BICUBIC)
    strength = np.asarray(fine).clip(0, 1)
    colours = 255 * colormaps["inferno"](strength)[..., :3]
    grey = image.mean(2, keepdims=True)
    return (0.45 * grey + 0.55 * colours).clip(0, 255).astype(np.uint8)


def mask_sheet(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Figure:
    """Pictures, and below each the share of person, carried object and background in colours.

    Args:
        images: N pictures, (H, W, 3) uint8.
        masks: (H, W, 3) of each, as `pedestrians.mask` makes them.
    """
    sheet = Sheet(len(images), rows=2, headings=0)
    palette = np.array([to_rgb(colour) for colour in COLOURS.values()])
    for x, (image, mask) in enumerate(zip(images, masks)):
        sheet.put(image, x, sheet.row_top(0, 0))
        sheet.put((255 * mask @ palette).round().astype(np.uint8), x, sheet.row_top(1, 0))
    return sheet.figure


def map_sheet(images: Sequence[np.ndarray], maps: Mapping[str, np.ndarray]) -> Figure:
    """Each picture, and each of its maps laid over it; two pictures to a line.

    Args:
        images: N pictures, (H, W, 3) uint8.
        maps: caption -> (N, h, w).
    """
    columns = 1 + len(maps)
    sheet = Sheet(2 * columns + GAP, rows=-(-len(images) // 2), headings=0)
    for number, image in enumerate(images):
        x, top = (number % 2) * (columns + GAP), sheet.row_top(number // 2, 0)
        sheet.put(image, x, top, "picture")
        for place, (caption, heat) in enumerate(maps.items(), 1):
            sheet.put(overlay(image, heat[number]), x + place, top, caption)
    return sheet.figure


def pair_sheet(pairs: Sequence[tuple[np.ndarray, ...]], captions: Sequence[str]) -> Figure:
    """Two pictures a pair, with what makes them alike laid over each; two pairs to a line.

    Args:
        pairs: picture, map, picture, map of each.
        captions: of the pairs.
    """
    sheet = Sheet(8 + GAP, rows=-(-len(pairs) // 2), headings=-(-len(pairs) // 2))
    for number, ((first, one, second, two), caption) in enumerate(zip(pairs, captions)):
        line, x = number // 2, (number % 2) * (4 + GAP)
        top = sheet.row_top(line, line + 1)
        sheet.write(caption, top, x)
        shown = (first, overlay(first, one), overlay(second, two), second)
        for place, picture in enumerate(shown):
            sheet.put(picture, x + place, top)
    return sheet.figure


def share_bars(table: pd.DataFrame) -> Figure:
    """A bar a row, divided as its attention is.

    Args:
        table: columns row, person, carried and background, in percent; the first row on top.
    """
    figure, axes = new_figure(1.2 + 0.36 * len(table))
    left = np.zeros(len(table))
    for region, colour in COLOURS.items():
        values = table[region].to_numpy()
        bars = axes.barh(range(len(table)), values, left=left, color=colour, label=region)
        texts = [f"{value:.0f}" if value >= 3 else "" for value in values]
        axes.bar_label(bars, texts, label_type="center", fontsize=8)
        left += values
    name_rows(axes, table["row"])
    axes.set(xlabel="share (%)", xlim=(0, 100))
    axes.grid(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plane(points: np.ndarray, people: pd.DataFrame, named: int = 6) -> Figure:
    """Embeddings on a plane, coloured by camera on the left and by person on the right.

    Args:
        points: (N, 2).
        people: pid and camid of each.
        named: how many people, those with most images, have a colour; the others are grey.
    """
    figure, (left, right) = new_figure(4.2, columns=2)
    cameras = np.unique(people["camid"])
    markers = "os^Dv<>ph*XP"
    for number, camid in enumerate(cameras):
        some = (people["camid"] == camid).to_numpy()
        left.plot(*points[some].T, markers[number % len(markers)], markersize=4, alpha=0.7,
                  color=PALETTE[number % len(PALETTE)], label=f"c{camid}")  # fmt: skip
    chosen = people.loc[people["pid"] > 0, "pid"].value_counts(sort=False).sort_index()
    chosen = chosen.sort_values(ascending=False, kind="stable").index[:named]
    rest = ~people["pid"].isin(chosen).to_numpy()
    right.plot(*points[rest].T, "o", markersize=3, color=LIGHT)
    for colour, pid in zip(PALETTE, chosen):
        some = (people["pid"] == pid).to_numpy()
        right.plot(*points[some].T, "o", markersize=6, color=colour, label=f"person {pid}")
    for axes, title in ((left, "by camera"), (right, "by person")):
        axes.set(title=title, xticks=[], yticks=[])
        axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.01))
    return figure
