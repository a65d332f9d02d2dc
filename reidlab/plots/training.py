"""Figures of notebook 03: what happens over the epochs."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reidlab.losses import chance_loss, floor_loss
from reidlab.plots.parts import ap_distribution
from reidlab.plots.style import BLACK, BLUE, GREEN, VERMILLION, new_figure

__all__ = ["ap_distribution", "describe", "learning_curves"]


def learning_curves(
    history: pd.DataFrame,
    epochs: int | None = None,
    classes: int | None = None,
    smoothing: float = 0.0,
) -> Figure:
    """Loss, ranking scores and learning rate, epoch by epoch.

    Args:
        history: one row an epoch, see :class:`runs.folder.Run`; may be a run's first epochs.
        epochs: length of the whole training, so that live curves grow into a fixed frame.
        classes: training identities; draws the losses of pure chance and of perfection.
        smoothing: ε of the label smoothing, for the latter.
    """
    figure, (loss, score, rate) = new_figure(3.2, 1, 3)
    _line(loss, history, "train_loss", BLUE, "training images")
    _line(loss, history, "val_loss", VERMILLION, "held-out images")
    if classes is not None:
        _level(loss, chance_loss(classes), "chance: log C")
        _level(loss, floor_loss(classes, smoothing), "lowest possible")
        loss.set_ylim(0, 1.45 * max(chance_loss(classes), history["train_loss"].max()))
    loss.set(title="Loss", ylabel="cross entropy (nats)")
    _line(score, history, "rank1", GREEN, "Rank-1")
    _line(score, history, "mAP", BLUE, "mAP")
    score.set(title="Ranking of unseen people", ylabel="percent", ylim=(0, 100))
    _line(rate, history, "lr", BLACK, "")
    rate.set(title="Learning rate", ylabel="at the start of the epoch", yscale="log")
    last = max(epochs or int(history["epoch"].max()), 2)
    rim = 0.04 * last  # so that no mark at an end is cut in half
    for axes in (loss, score, rate):
        axes.set(xlabel="epoch", xlim=(1 - rim, last + rim))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.legend(loc="upper right")
    if score.get_legend_handles_labels()[1]:
        score.legend()
    return figure


def describe(history: pd.DataFrame, classes: int, smoothing: float) -> str:
    """What the learning curves say, in sentences made from their numbers.

    Args:
        history: as in :func:`learning_curves`; empty for a run of 0 epochs.
        classes: training identities.
        smoothing: ε of the label smoothing.
    """
    if not len(history):
        return "Nothing was trained: the scores below are those of the initial weights."
    first, last = history.iloc[0], history.iloc[-1]
    said = [
        f"The training loss went from {first.train_loss:.2f} in epoch 1 to {last.train_loss:.2f} "
        f"in epoch {last.epoch:.0f}; chance is {chance_loss(classes):.2f}, the best possible "
        f"{floor_loss(classes, smoothing):.2f}."
    ]
    if pd.notna(last.get("val_loss")):
        side = "above" if last.val_loss > last.train_loss else "below"
        said.append(
            f"On held-out images it ends at {last.val_loss:.2f}, {side} the training loss, and "
            f"{last.val_accuracy:.1f} % of them are given to the right one of {classes} people."
        )
    scored = history.dropna(subset=["mAP"])
    best = scored.loc[scored["mAP"].idxmax()]
    said.append(
        f"The mAP went from {scored['mAP'].iloc[0]:.1f} % to {scored['mAP'].iloc[-1]:.1f} %; "
        f"its best epoch was number {best.epoch:.0f}, with {best['mAP']:.1f} %."
    )
    return " ".join(said)


def _line(axes: Axes, history: pd.DataFrame, column: str, color: str, label: str) -> None:
    """One column over the epochs; epochs without a value are left out, not broken at."""
    values = history[["epoch", column]].dropna() if column in history else history.iloc[:0]
    if len(values):
        look = "-" if len(values) > 40 else "o-" if len(values) > 2 else "o"  # two are no curve
        axes.plot(values["epoch"], values[column], look, color=color, label=label or None)


def _level(axes: Axes, value: float, text: str) -> None:
    axes.axhline(value, color="0.45", linestyle=":", linewidth=1.2)
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -3),  # below: the curves come down to both levels from above
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize="small",
        color="0.35",
    )
