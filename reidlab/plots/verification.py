"""Figures of "same or different?": distances of pairs, error rates, promises and what became."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reidlab.plots.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    PALETTE,
    RIGHT,
    VERMILLION,
    new_figure,
)
from reidlab.verification.pairs import PairCounts
from reidlab.verification.rates import equal_error_rate, thinned

#: A share that a logarithmic axis shows at least: none is drawn as this.
LEAST = 1e-6


def _percent(value: float, _: int = 0) -> str:
    return f"{100 * value:g} %"


def _log_percent(axes: Axes, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes that are labelled 0.1 %, 1 %, 10 %."""
    for wanted, name in ((x, "x"), (y, "y")):
        if wanted:
            getattr(axes, f"set_{name}scale")("log")
            axis = getattr(axes, f"{name}axis")
            axis.set_major_locator(LogLocator(numticks=5 if name == "x" else 7))
            axis.set_major_formatter(FuncFormatter(_percent))
            axis.set_minor_formatter(NullFormatter())


def pair_histogram(
    panels: dict[str, PairCounts], cuts: pd.DataFrame, distance: str, bins: int = 80
) -> Figure:
    """Distances of genuine and impostor pairs, one panel for each group of people.

    Args:
        panels: title -> counted pairs; all panels share the axis.
        cuts: point and threshold of each line to draw, in every panel; NaN is left out.
        distance: its name.
        bins: bars from 0 to the largest distance.
    """
    figure, grid = new_figure(0.6 + 2.3 * len(panels), len(panels), sharex=True, squeeze=False)
    last = max(counts.thresholds[-1] for counts in panels.values())
    edges = np.linspace(0, last, bins + 1)
    for axes, (title, counts) in zip(grid[:, 0], panels.items()):
        place = np.searchsorted(counts.thresholds, edges).clip(max=len(counts.thresholds) - 1)
        for below, colour, label in (
            (counts.impostor, GREY, f"two persons ({counts.num_impostor:,} pairs)"),
            (counts.genuine, RIGHT, f"one person ({counts.num_genuine:,} pairs)"),
        ):
            share = 100 * np.diff(below[place]) / below[-1]
            axes.bar(
                *(edges[:-1], share, np.diff(edges)),
                align="edge",
                color=colour,
                alpha=0.55,
                label=label,
            )
        top = axes.get_ylim()[1] * 1.3
        axes.set_ylim(0, top)
        for row in cuts.dropna(subset="threshold").itertuples():
            axes.axvline(row.threshold, color=BLACK, linewidth=1, linestyle=":")
            axes.text(
                *(row.threshold, top, row.point), fontsize=8, rotation=90, va="top", ha="right"
            )
        axes.set(title=title, ylabel="pairs of\nthe kind (%)", xlim=(0, last))
        axes.legend(loc="upper right")
    grid[-1, 0].set_xlabel(f"{distance} distance of the pair")
    return figure


def error_curves(counts: PairCounts, distance: str) -> Figure:
    """Both error rates over the threshold, and the ROC curve.

    Args:
        counts: of the test people's pairs.
        distance: its name.
    """
    curve = thinned(counts)
    eer, threshold = equal_error_rate(counts)
    figure, (left, right) = new_figure(4.2, columns=2)
    left.plot(curve.threshold, curve.fmr, color=VERMILLION, label="FMR: two persons accepted")
    left.plot(curve.threshold, curve.fnmr, color=BLUE, label="FNMR: one person rejected")
    left.plot([threshold], [eer], "o", color=BLACK, label=f"equal: {100 * eer:.1f} %")
    _log_percent(left, y=True)
    left.set_ylim(max(LEAST, 1 / counts.num_impostor), 1.5)
    left.set(xlabel=f"threshold ({distance} distance)", ylabel="error rate")
    left.set_title("A threshold's two errors")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))

    shown = curve[curve.fmr >= LEAST]
    right.plot(shown.fmr, 1 - shown.fnmr, color=BLUE)
    right.plot([eer], [1 - eer], "o", color=BLACK, label=f"equal error rate {100 * eer:.1f} %")
    chance = np.geomspace(max(LEAST, 1 / counts.num_impostor), 1, 100)
    right.plot(chance, chance, color=GREY, linestyle=":", label="tossing a coin")
    _log_percent(right, x=True)
    right.yaxis.set_major_formatter(FuncFormatter(_percent))
    right.set(xlabel="FMR: two persons accepted", ylabel="one person accepted", ylim=(0, 1.02))
    right.set_title("ROC curve")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def promise_figure(tables: dict[str, pd.DataFrame]) -> Figure:
    """The false match rate that was wanted, and the one that was met, with intervals.

    Logarithmic axes have no zero: a rate of none stands on the lower edge.

    Args:
        tables: where the thresholds come from -> :func:`verification.rates.threshold_table`.
    """
    figure, axes = new_figure(3.8)
    rows = [t.dropna(subset=["wanted_fmr", "threshold"]) for t in tables.values()]
    everything = pd.concat(rows)
    rates = everything[["wanted_fmr", "fmr", "fmr_high"]].to_numpy()
    low = max(LEAST, min(rates[rates > 0].min(), everything.fmr_low[everything.fmr_low > 0].min()))
    low, high = low / 2, min(1.0, 2 * rates.max())
    axes.plot([low, high], [low, high], color=GREY, linestyle=":", label="as wanted")
    spread = np.linspace(-0.03, 0.03, len(tables)) if len(tables) > 1 else [0.0]
    markers = "osD^"
    for i, (name, table) in enumerate(zip(tables, rows)):
        x = table.wanted_fmr * 10 ** spread[i]  # so that bars do not hide each other
        met = table.fmr.clip(lower=low)
        error = np.stack([met - table.fmr_low.clip(lower=low), table.fmr_high - met]).clip(min=0)
        axes.errorbar(
            *(x, met, error),
            color=PALETTE[i],
            marker=markers[i % len(markers)],
            linestyle="none",
            capsize=3,
            label=name,
        )
    _log_percent(axes, x=True, y=True)
    axes.set(xlabel="false match rate wanted", ylabel="false match rate met on test people")
    axes.set(xlim=(0.8 * low, high), ylim=(0.8 * low, high))
    axes.legend(title="Threshold chosen on", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def det_curves(measures: dict[str, PairCounts]) -> Figure:
    """FNMR over FMR of several measures on the same pairs, both axes logarithmic.

    Args:
        measures: name -> counted pairs; the legend gives the equal error rates.
    """
    figure, axes = new_figure(3.8)
    lowest = 1.0
    for colour, (name, counts) in zip(PALETTE, measures.items()):
        curve = thinned(counts)
        curve = curve[(curve.fmr > 0) & (curve.fnmr > 0)]
        eer, _ = equal_error_rate(counts)
        axes.plot(curve.fmr, curve.fnmr, color=colour, label=f"{100 * eer:5.2f} %  {name}")
        axes.plot([eer], [eer], "o", color=colour)
        lowest = min(lowest, 1 / counts.num_impostor, curve.fnmr.to_numpy().min(initial=1.0))
    ends = [lowest, 1]
    axes.plot(ends, ends, color=LIGHT, linewidth=1, zorder=0)
    _log_percent(axes, x=True, y=True)
    axes.set(xlabel="FMR: two persons accepted", ylabel="FNMR: one person rejected")
    axes.legend(title="Equal error rate", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def head_history(history: pd.DataFrame) -> Figure:
    """Losses of a pair head while it learns.

    Args:
        history: step, train_loss, val_loss.
    """
    figure, axes = new_figure(2.6)
    axes.plot(history.step, history.train_loss, color=GREY, label="on batches")
    axes.plot(history.step, history.val_loss, color=BLUE, label="on held-out people")
    best = history.loc[history.val_loss.idxmin()]
    axes.plot([best.step], [best.val_loss], "o", color=BLACK, label=f"kept: step {best.step:.0f}")
    axes.set(xlabel="step", ylabel="cross entropy (nats)", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
