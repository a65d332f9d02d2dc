"""Figures of training: the data that they hold, and the sentences beside them."""

import io

import numpy as np
import pandas as pd
import pytest
import torch

from reidlab.losses import LabelSmoothedCrossEntropy, chance_loss, floor_loss
from reidlab.plots import training


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "lr": [1e-3, 1e-3, 1e-4],
            "train_loss": [3.0, 2.0, 1.5],
            "val_loss": [2.8, 2.2, 1.9],
            "val_accuracy": [10.0, 30.0, 50.0],
            "rank1": [10.0, np.nan, 30.0],
            "mAP": [5.0, np.nan, 20.0],
        }
    )


def saved(figure) -> int:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return len(stream.getvalue())


def lines(axes):
    """Label -> (x, y) of the lines that carry a label."""
    found = {line.get_label(): line.get_data() for line in axes.get_lines()}
    return {key: tuple(map(list, xy)) for key, xy in found.items() if not key.startswith("_")}


def test_chance_is_the_loss_of_equal_scores():
    loss = LabelSmoothedCrossEntropy(0.1)(torch.zeros(1, 12), torch.tensor([3]))
    assert chance_loss(12) == pytest.approx(loss.item(), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_no_scores_go_below_the_floor_and_the_best_ones_reach_it(smoothing):
    target = torch.full((1, 12), smoothing / 12)
    target[0, 3] += 1 - smoothing
    loss = LabelSmoothedCrossEntropy(smoothing)
    best = loss(target.log(), torch.tensor([3])).item()
    assert floor_loss(12, smoothing) == pytest.approx(best, abs=1e-6)
    surer = loss(3 * target.log(), torch.tensor([3])).item()
    assert surer > best


def test_learning_curves_hold_the_history(history):
    figure = training.learning_curves(history, epochs=10, classes=12, smoothing=0.1)
    loss, score, rate = figure.axes
    assert lines(loss)["training images"] == ([1, 2, 3], [3.0, 2.0, 1.5])
    assert lines(loss)["held-out images"] == ([1, 2, 3], [2.8, 2.2, 1.9])
    assert lines(score)["Rank-1"] == ([1, 3], [10.0, 30.0]), "epochs without evaluation"
    assert lines(score)["mAP"] == ([1, 3], [5.0, 20.0])
    assert list(rate.get_lines()[0].get_ydata()) == [1e-3, 1e-3, 1e-4]
    assert loss.get_xlim()[1] > 10, "live curves grow into the frame of the whole training"
    levels = sorted(line.get_ydata()[0] for line in loss.get_lines()[2:])
    assert levels == pytest.approx([floor_loss(12, 0.1), np.log(12)])
    assert saved(figure)


def test_learning_curves_after_one_epoch_without_validation(history):
    first = history.head(1).drop(columns=["val_loss", "rank1", "mAP"])
    figure = training.learning_curves(first)
    assert list(lines(figure.axes[0])) == ["training images"]
    assert saved(figure)


def test_description_follows_the_numbers(history):
    text = training.describe(history, 12, 0.1)
    assert "from 3.00 in epoch 1 to 1.50 in epoch 3" in text
    assert "ends at 1.90, above the training loss, and 50.0 %" in text
    assert "from 5.0 % to 20.0 %; its best epoch was number 3" in text
    below = training.describe(history.assign(val_loss=0.5), 12, 0.1)
    assert "ends at 0.50, below the training loss" in below
    assert "Nothing was trained" in training.describe(history.iloc[:0], 12, 0.1)
    assert "held-out" not in training.describe(history.drop(columns="val_loss"), 12, 0.1)


def test_two_epochs_are_two_points_and_no_curve(history):
    for epochs, look in ((2, "None"), (3, "-")):
        loss = training.learning_curves(history.head(epochs)).axes[0].get_lines()[0]
        assert (loss.get_linestyle(), loss.get_marker()) == (look, "o")
