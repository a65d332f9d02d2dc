"""Time and memory against the amount of work, drawn from the benchmarks' JSON files."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reidlab.plots.style import BLACK, BLUE, SKY, VERMILLION, new_figure

#: Sides: colour and name in the legend.
LOOKS = {
    "reidlab": (BLUE, "reidlab"),
    "decoded": (SKY, "reidlab, images already decoded"),
    "torchreid": (VERMILLION, "torchreid"),
    "product": (BLACK, "bare product"),
}
MOST_TICKS = 4
COLUMNS = 3


def growth(contents: list[dict]) -> Figure:
    """For each stage seconds, and peak memory below them, against the amount of work.

    Args:
        contents: of JSON files, each with the points of its growth.
    """
    columns = min(COLUMNS, len(contents))
    bands = -(-len(contents) // columns)
    figure, axes = new_figure(3.7 * bands + 0.4, 2 * bands, columns, squeeze=False)
    for number, content in enumerate(contents):
        band, column = divmod(number, columns)
        above, below = axes[2 * band : 2 * band + 2, column]
        _draw(content, above, below)
        if column == 0:
            above.set_ylabel("seconds")
            below.set_ylabel("peak memory, MB")
    for number in range(len(contents), bands * columns):
        for axis in axes[2 * (number // columns) :, number % columns]:
            axis.set_axis_off()
    used = {point["side"] for content in contents for point in content["growth"]["points"]}
    handles = [
        axes[0, 0].plot([], [], "o-", color=colour, label=label)[0]
        for side, (colour, label) in LOOKS.items()
        if side in used
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _draw(content: dict, above: Axes, below: Axes) -> None:
    """Seconds and memory of one stage."""
    points = pd.DataFrame(content["growth"]["points"])
    for side, (colour, _) in LOOKS.items():
        own = points[points.side == side]
        if len(own):
            above.plot(own.amount, own.seconds, "o-", color=colour)
            below.plot(own.amount, own.peak_mb.clip(lower=1), "o-", color=colour)
    above.set_title(short_title(content), fontsize=10)
    below.set_xlabel(content["growth"]["axis"])
    for axis, values in ((above, points.seconds), (below, points.peak_mb.clip(lower=1))):
        axis.set(xscale="log", yscale="log")
        _plain_ticks(axis.xaxis, sorted(set(points.amount)), exact=True)
        _plain_ticks(axis.yaxis, [values.min(), values.max()])


def short_title(content: dict) -> str:
    """A stage's title as far as a narrow panel has room for it."""
    return content["title"].partition(":")[0].partition(" at ")[0].replace(" from image files", "")


def _plain_ticks(axis, values: list[float], exact: bool = False) -> None:
    """Few ticks, written as plain numbers, on a logarithmic axis.

    Args:
        axis: of the axes.
        values: what is shown.
        exact: put ticks at the values themselves.
    """
    places = list(values) if exact else round_numbers(values[0], values[-1])
    places = spread_out(places)
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    if not exact:
        low, high = min(values[0], places[0]), max(values[-1], places[-1])
        margin = (high / low) ** 0.06
        axis.axes.set_ylim(low / margin, high * margin)


def round_numbers(low: float, high: float) -> list[float]:
    """Of 1, 2, 5, 10, 20 … those from low to high, and the next beyond each end.

    Over more than a hundredfold range only the powers of ten.
    """
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    digits = (1,) if high > 100 * low else (1, 2, 5)
    numbers = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    first = max(number for number in numbers if number <= low)
    last = min(number for number in numbers if number >= high)
    return [number for number in numbers if first <= number <= last]


def spread_out(places: list[float]) -> list[float]:
    """At most `MOST_TICKS` of them, both ends among them, about evenly apart in logarithms."""
    if len(places) <= MOST_TICKS:
        return places
    wanted = np.linspace(np.log(places[0]), np.log(places[-1]), MOST_TICKS)
    chosen = {int(np.abs(np.log(places) - place).argmin()) for place in wanted}
    return [places[number] for number in sorted(chosen)]


def plain(value: float) -> str:
    """A number without powers of ten: 0.05, 30, 4k, 515.9k."""
    if value >= 1000:
        return f"{value / 1000:.4g}k"
    return f"{value:g}"


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG at the size that README.md shows it in."""
    figure.savefig(file, dpi=120, bbox_inches="tight")
