"""Figures of notebook 04: how well a target's people are found, by what a network knew before."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reidlab.plots.parts import camera_light, grouped_bars
from reidlab.plots.style import PALETTE, new_figure

__all__ = ["camera_light", "compare_learning", "transfer_bars"]


def transfer_bars(table: pd.DataFrame, scores: tuple[str, ...] = ("Rank-1", "mAP")) -> Figure:
    """How well a target's people are found, by what the network knew before.

    Args:
        table: one row a run: target, how, and the scores in percent.
        scores: columns to draw.
    """
    targets, ways = (list(dict.fromkeys(table[column])) for column in ("target", "how"))
    figure, row = new_figure(3.4, 1, len(targets), sharey=True, squeeze=False)
    for axes, target in zip(row[0], targets):
        here = table[table["target"] == target].set_index("how")[[*scores]].reindex(ways)
        grouped_bars(axes, here.T, "%.1f")
        axes.set_title(f"Target: {target}")
    highest = table[list(scores)].to_numpy(dtype=float).max()
    row[0][0].set(ylabel="percent", ylim=(0, min(100, max(10, 1.2 * highest))))
    figure.legend(*row[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def compare_learning(
    panels: dict[str, dict[str, pd.DataFrame]], levels: dict[str, dict[str, float]] | None = None
) -> Figure:
    """The mAP over the epochs, of several trainings on one target, a panel for each target.

    Args:
        panels: target -> label -> history.
        levels: target -> label -> mAP in percent of what was not trained on the target, drawn as
            a level line.
    """
    figure, row = new_figure(3.4, 1, len(panels), sharey=True, squeeze=False)
    levels = levels or {}
    for axes, (target, histories) in zip(row[0], panels.items()):
        # The colours of transfer_bars, where what was not trained on the target comes first.
        for colour, (label, history) in zip(PALETTE[1:], histories.items()):
            seen = history.dropna(subset=["mAP"])
            look = "o-" if len(seen) > 2 else "o"  # two looks are no curve
            axes.plot(seen["epoch"], seen["mAP"], look, color=colour, label=label)
        for label, value in levels.get(target, {}).items():
            axes.axhline(value, color=PALETTE[0], linestyle="--", linewidth=1.2, label=label)
        axes.set(title=f"Target: {target}", xlabel="epochs on the target")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(loc="upper left")
    # Only now: limits set panel by panel would stop the shared axis from growing.
    row[0][0].set(ylabel="mAP on the target (%)", ylim=(0, 1.35 * row[0][0].get_ylim()[1]))
    return figure
