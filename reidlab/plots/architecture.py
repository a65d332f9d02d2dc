"""Figures of the notebook on OSNet: its block, its cost, how far it sees, what its gates do."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from reidlab.plots.parts import heat_map
from reidlab.plots.style import (
    BLACK,
    BLUE,
    DIVERGING,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PALETTE,
    SEQUENTIAL,
    SKY,
    VERMILLION,
    new_figure,
    plain_image,
)

#: Receptive fields of the four streams as the paper states them.
SCALES = (3, 5, 7, 9)
STREAM_COLOURS = PALETTE[:4]
STREAM_NAMES = [f"stream {number} ({scale}×{scale})" for number, scale in enumerate(SCALES, 1)]


# --- the block ---------------------------------------------------------------------------------


def block_diagram() -> Figure:
    """The omni-scale residual block: four streams, one gate, one sum (paper, Fig. 4)."""
    figure, axes = new_figure(3.4)
    axes.set(xlim=(0, 16.2), ylim=(0.2, 6.1))
    axes.set_axis_off()
    middle, gate, plus, up, last = 3.25, 10.7, 12.3, 13.8, 15.3  # where things stand
    _box(axes, 1.5, middle, "1×1\nC → C/4", SKY)
    _box(axes, plus, middle, "+", LIGHT, width=0.7)
    _box(axes, up, middle, "1×1\nC/4 → C", SKY)
    _box(axes, last, middle, "+", LIGHT, width=0.7)
    _arrow(axes, (0.1, middle), (0.85, middle))
    for depth, (y, scale, colour) in enumerate(
        zip((4.9, 3.8, 2.7, 1.6), SCALES, STREAM_COLOURS), 1
    ):
        _arrow(axes, (2.15, middle), (2.85, y))
        for step in range(depth):
            x = 3.5 + 1.45 * step
            _box(axes, x, y, "Lite 3×3", "white", width=1.25, edge=colour)
            if step:
                _arrow(axes, (x - 0.82, y), (x - 0.63, y))
        _arrow(axes, (3.5 + 1.45 * (depth - 1) + 0.63, y), (gate - 0.6, y))
        axes.text(gate - 0.75, y + 0.1, f"sees {scale}×{scale}", ha="right", va="bottom",
                  fontsize=8.5, color=colour)  # fmt: skip
        _box(axes, gate, y, "gate ×", ORANGE, width=1.2, height=0.7)
        _arrow(axes, (gate + 0.6, y), (plus - 0.35, middle))
    _arrow(axes, (plus + 0.35, middle), (up - 0.65, middle))
    _arrow(axes, (up + 0.65, middle), (last - 0.35, middle))
    _arrow(axes, (last + 0.35, middle), (16.2, middle))
    # The identity goes round below.
    axes.plot([0.45, 0.45, last], [middle, 0.5, 0.5], color=BLACK, linewidth=1.2)
    _arrow(axes, (last, 0.5), (last, middle - 0.4))
    for x, y, text in (
        (6.5, 0.72, "identity (a 1×1 convolution where the channels change)"),
        (gate, 5.72, "one gate,\nshared by all four"),
        (up, 3.9, "no ReLU"),
        (last, 3.9, "then ReLU"),
    ):
        axes.text(x, y, text, ha="center", va="center", fontsize=8.5)
    return figure


def _box(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    face: str,
    width: float = 1.3,
    height: float = 0.8,
    edge: str = BLACK,
) -> None:
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=face,
                                  edgecolor=edge, linewidth=1.5))  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK, "lw": 1.2,
                                              "shrinkA": 0, "shrinkB": 0})  # fmt: skip


# --- size --------------------------------------------------------------------------------------


def stage_bars(table: pd.DataFrame) -> Figure:
    """Where the parameters are and where the work is done, stage by stage.

    Args:
        table: from `reidlab.models.cost.stage_table`: stage, params, multadds.
    """
    table = table[table.params > 0]
    figure, axes = new_figure(3.0)
    places = np.arange(len(table))
    for shift, colour, column, label in (
        (-0.2, BLUE, "params", "parameters"),
        (0.2, VERMILLION, "multadds", "Mult-Adds"),
    ):
        share = table[column] / table[column].sum()
        bars = axes.bar(places + shift, share, 0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{100 * value:.0f}" for value in share], fontsize=8, padding=2)
    axes.set_xticks(places, [f"{row.stage}\n{row.output}" for row in table.itertuples()])
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(ylabel="share of the network", title="Parameters sit late, work is done early")
    axes.legend()
    return figure


def width_resolution(table: pd.DataFrame) -> Figure:
    """Mult-Adds over the network's width and the image's size, on a logarithmic colour scale.

    Args:
        table: columns width, height, image_width, multadds.
    """
    table = table.assign(size=[f"{row.height}×{row.image_width}" for row in table.itertuples()])
    grid = table.pivot(index="width", columns="size", values="multadds") / 1e6
    grid = grid.loc[table.width.unique(), table["size"].unique()]
    figure, axes = new_figure(2.9, width=6.0)
    low, high = grid.to_numpy().min(), grid.to_numpy().max()
    grid.index = [f"×{width:g}" for width in grid.index]
    heat_map(axes, grid, grid.map("{:.1f}".format), 10, norm=LogNorm(low / 2, high))
    axes.set(xlabel="image (height × width)", ylabel="width of the network",
             title="Mult-Adds of one image, in millions")  # fmt: skip
    return figure


def size_against_work(table: pd.DataFrame, highlight: str = "OSNet") -> Figure:
    """Networks by parameters and Mult-Adds, both logarithmic: lower left is cheaper.

    Args:
        table: from `reidlab.models.cost.compare`: model, params, multadds.
        highlight: networks whose name starts so are joined by a line.
    """
    figure, axes = new_figure(3.8, width=8.0)
    ours = table.model.str.startswith(highlight)
    family = table[ours].sort_values("multadds")
    axes.plot(family.multadds / 1e6, family.params / 1e6, "-", color=BLUE, linewidth=1)
    for rows, colour, marker in ((table[ours], BLUE, "o"), (table[~ours], VERMILLION, "s")):
        axes.scatter(rows.multadds / 1e6, rows.params / 1e6, s=60, color=colour, marker=marker,
                     zorder=3)  # fmt: skip
        for row in rows.itertuples():
            # To the right, except for what stands at the right edge.
            last = row.multadds == table.multadds.max()
            side = (
                {"xytext": (-9, 0), "ha": "right"} if last else {"xytext": (9, -4), "ha": "left"}
            )
            axes.annotate(f"{row.model}: {row.params / 1e6:.2f} M, {row.multadds / 1e6:,.0f} M",
                          (row.multadds / 1e6, row.params / 1e6), textcoords="offset points",
                          va="center", fontsize=8.5, color=colour, **side)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="Mult-Adds of one image (millions)",
             ylabel="parameters (millions)",
             title="Size and work, without a classifier")  # fmt: skip
    axes.margins(x=0.12, y=0.12)
    return figure


# --- convolutions ------------------------------------------------------------------------------


def convolution_costs(table: pd.DataFrame) -> Figure:
    """Full against depthwise separable convolution: by formula, by the clock, and the ratios.

    Args:
        table: from `reidlab.models.cost.measure_convolutions`.
    """
    figure, (work, clock, ratio) = new_figure(3.1, columns=3)
    full = {"color": VERMILLION, "marker": "s", "label": "full 3×3"}
    lite = {"color": BLUE, "marker": "o", "label": "Lite 3×3"}
    work.plot(table.channels, table.full_multadds / 1e6, **full)
    work.plot(table.channels, table.lite_multadds / 1e6, **lite)
    work.set(ylabel="Mult-Adds (millions)", title="By formula", yscale="log")
    clock.plot(table.channels, table.full_ms, **full)
    clock.plot(table.channels, table.lite_ms, **lite)
    clock.set(ylabel="milliseconds a batch", title="By the clock", yscale="log")
    ratio.plot(table.channels, table.multadds_ratio, color=GREY, marker="^", label="Mult-Adds")
    ratio.plot(table.channels, table.time_ratio, color=GREEN, marker="D", label="time")
    ratio.axhline(9, color=BLACK, linestyle=":", linewidth=1.2)
    ratio.annotate("limit of the formula: k² = 9", (table.channels.iloc[0], 9), xytext=(0, 4),
                   textcoords="offset points", fontsize=8.5)  # fmt: skip
    ratio.set(
        ylabel="full ÷ Lite",
        title="What is gained",
        ylim=(0, 1.3 * max(9, table.time_ratio.max())),  # room for the legend
    )
    for axes in (work, clock, ratio):
        axes.set_xscale("log", base=2)
        axes.set_xticks(table.channels, table.channels)
        axes.set_xlabel("channels")
        axes.legend(loc="upper left", ncols=2 if axes is ratio else 1)
    return figure


def receptive_fields(maps: Sequence[np.ndarray], measured: Sequence[int]) -> Figure:
    """What each stream sees, as a heat map around the output position.

    Args:
        maps: one square map a stream, from `reidlab.models.cost.receptive_map`.
        measured: side of each stream's receptive field.
    """
    figure, panels = new_figure(2.9, columns=len(maps), squeeze=False)
    lowest = min(part[part > 0].min() / part.max() for part in maps)
    for number, (axes, part, side) in enumerate(zip(panels[0], maps, measured), 1):
        middle = len(part) // 2
        edge = middle + 0.5
        share = np.where(part > 0, part / part.max(), np.nan)
        picture = axes.imshow(share, cmap=SEQUENTIAL, norm=LogNorm(lowest / 3, 1),
                              extent=(-edge, edge, edge, -edge))  # fmt: skip
        frame = Rectangle((-side / 2, -side / 2), side, side, fill=False, linewidth=2.5,
                          edgecolor=STREAM_COLOURS[(number - 1) % 4])  # fmt: skip
        axes.add_patch(frame)
        reach = max(measured) / 2 + 1
        axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="pixels from the centre",
                 title=f"stream {number}: {side}×{side}")  # fmt: skip
        axes.set_xticks([-4, 0, 4])
        axes.set_yticks([-4, 0, 4])
        axes.grid(False)
    figure.colorbar(picture, ax=list(panels[0]), label="weight (centre = 1)", pad=0.01, shrink=0.8)
    return figure


# --- gates -------------------------------------------------------------------------------------


def gates_by_block(summary: pd.DataFrame) -> Figure:
    """How open the gate is for each stream, from the first block to the last.

    Args:
        summary: from `reidlab.models.osnet.gate_summary`.
    """
    figure, (level, choice) = new_figure(3.4, columns=2)
    blocks = list(dict.fromkeys(summary.block))
    mean, spread, favourite = (
        summary.pivot(index="stream", columns="block", values=column)[blocks]
        for column in ("mean", "image_std", "favourite")
    )
    most = max(spread.to_numpy().max(), 0.01)
    texts = mean.map("{:.3f}".format) + "\n±" + spread.map("{:.3f}".format)
    spread.index = [f"{scale}×{scale}" for scale in SCALES]
    heat_map(level, spread, texts, 8, vmin=0, vmax=most)
    level.set_title("Mean gate ± spread over images")

    bottom = np.zeros(len(blocks))
    for name, colour, share in zip(STREAM_NAMES, STREAM_COLOURS, favourite.to_numpy()):
        choice.bar(range(len(blocks)), share, 0.7, bottom=bottom, color=colour, label=name)
        bottom += share
    choice.bar(range(len(blocks)), 1 - bottom, 0.7, bottom=bottom, color=LIGHT, label="none")
    choice.set(ylabel="share of channels", title="Which stream a channel prefers")
    choice.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    choice.grid(axis="x", visible=False)
    for axes in (level, choice):
        axes.set_xticks(range(len(blocks)), blocks)
        axes.set_xlabel("block, from the image to the feature")
    figure.legend(*choice.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def gates_of_people(
    images: Tensor,
    titles: Sequence[str],
    gates: Mapping[str, np.ndarray],
    usual: Mapping[str, np.ndarray],
) -> Figure:
    """What single images change: their gates less the usual ones, channel by channel.

    Args:
        images: (N, 3, H, W) uint8, one row of the figure each.
        titles: above each picture.
        gates: block -> (N, 4 streams, C), of these images.
        usual: block -> (4 streams, C), the mean over many images.

    Returns:
        A picture, then one heat map for each block of ``gates``.
    """
    widths = [values.shape[2] for values in gates.values()]
    figure, panels = new_figure(
        1.7 * len(images) + 0.5, rows=len(images), columns=len(gates) + 1, squeeze=False,
        width_ratios=[0.13 * sum(widths), *widths],
    )  # fmt: skip
    changes = {block: values - usual[block] for block, values in gates.items()}
    most = max(np.abs(change).max() for change in changes.values())
    for row, (image, title) in enumerate(zip(images, titles)):
        plain_image(panels[row, 0], image)
        # Wider than its picture: flush left it stays on the page.
        panels[row, 0].set_title(title, fontsize=9, fontweight="normal", loc="left")
        for axes, (block, change) in zip(panels[row, 1:], changes.items()):
            # The channels that change most stand on the left.
            order = np.argsort(-np.abs(change).max(axis=(0, 1)), kind="stable")
            picture = axes.imshow(change[row][:, order], cmap=DIVERGING, aspect="auto",
                                  vmin=-most, vmax=most)  # fmt: skip
            names = [f"{scale}×{scale}" for scale in SCALES] if axes is panels[row, 1] else []
            axes.set_yticks(range(len(names)), names)
            axes.set_xticks([])
            axes.grid(False)
            if row == 0:
                axes.set_title(block)
            if row == len(images) - 1:
                axes.set_xlabel(f"{change.shape[2]} channels")
    bar = figure.colorbar(picture, ax=list(panels.ravel()), pad=0.01, shrink=0.8)
    bar.set_label("gate, less its mean over all images")
    return figure
