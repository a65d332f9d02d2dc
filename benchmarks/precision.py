"""Does the fast training step learn as the plain one does?

Two networks start from the same weights and see the same batches: one takes this package's step
(channels-last, bfloat16 where the processor has it, fused optimiser), the other is torchreid's
OSNet in a plain float32 loop, as a tutorial would write it. Their losses may differ by rounding,
which a training amplifies; by how much is set against what another seed changes.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from reidlab.plots.style import PALETTE, new_figure

SEEDS = (0, 1, 2)
SIZES = {
    "tiny": {"amount": 64, "steps": 8, "batch_size": 16, "dataset": "synthetic-tiny-a"}
    | {"height": 64, "width": 32},
    "quick": {"amount": 800, "steps": 60, "batch_size": 16, "height": 128, "width": 64},
    "full": {"amount": 3_200, "steps": 400, "batch_size": 32, "height": 128, "width": 64},
}
MODEL = "osnet_x0_25"

#: The curves are smoothed over this share of their length before they are compared.
WINDOW = 0.05


def measure(size: str) -> dict:
    """Train both ways with every seed.

    Args:
        size: a key of `SIZES`.

    Returns:
        The losses of every step by seed, and :func:`compare` of them.
    """
    from benchmarks.images import default_dataset, subset

    work = SIZES[size]
    work = {"dataset": default_dataset()} | work
    folder = subset(work["dataset"], work["amount"])
    curves, kind = {}, ""
    with tempfile.TemporaryDirectory(prefix="reidlab-bench-") as scratch:
        for seed in SEEDS:
            curves[str(seed)], kind = _curves(work, folder, Path(scratch), seed)
    amount = "{steps} steps of {batch_size} images of {dataset} at {height}x{width}"
    return {
        "title": f"Loss curves of {MODEL}, this package's step beside a plain float32 loop",
        "amount": amount.format(**work),
        "work": work,
        "ours": kind,
        "curves": curves,
        "found": compare(curves),
    }


def _curves(work: dict, folder: Path, scratch: Path, seed: int) -> tuple[dict, str]:
    """Losses of both trainings, step by step; and where and how ours computed."""
    # The steps themselves are wanted here, of the loop that `fit` runs, and not their mean.
    from benchmarks.images import cache_in
    from reidlab.data.store import decode
    from reidlab.training.loop import TrainConfig, _Training

    steps_an_epoch = work["amount"] // work["batch_size"]
    config = TrainConfig(
        dataset="market-layout",
        model=MODEL,
        height=work["height"],
        width=work["width"],
        batch_size=work["batch_size"],
        epochs=-(-work["steps"] // steps_an_epoch),
        schedule="cosine",
        val_fraction=0.0,
        seed=seed,
        device="cpu",
    )
    training = _Training(config, scratch / str(seed), folder)
    with cache_in(scratch / "cache"):
        images = decode(training.dataset.train, config.height, config.width)
    plain = Plain(training)
    losses: dict[str, list[float]] = {"reidlab": [], "float32": []}
    training.model.train()
    training.objective.train()
    for epoch in range(1, config.epochs + 1):
        rng = np.random.default_rng([seed, epoch])
        for index in training.objective.batches(training.train_labels, training.fit_index, rng):
            batch, labels = training._batch(images, index, rng), training.labels[index]
            losses["float32"].append(round(plain.step(batch, labels), 4))
            loss = training._forward(training.network, batch, index).loss
            training._step(loss)
            losses["reidlab"].append(round(loss.item(), 4))
            if len(losses["reidlab"]) == work["steps"]:
                return losses, str(training.compute)
    raise AssertionError("fewer batches than steps")


class Plain:
    """A training in float32 and PyTorch's default memory layout, with torchreid's network.

    Args:
        training: whose initial weights, learning rate and schedule it takes over.
    """

    def __init__(self, training):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metrics that it has not compiled
            from torchreid.reid import models

        config = training.config
        head = training.objective.heads[0].state_dict()
        self.model = models.build_model(
            MODEL, num_classes=len(head["bias"]), loss="softmax", pretrained=False, use_gpu=False
        )
        weights = training.model.state_dict()
        weights |= {f"classifier.{name}": value for name, value in head.items()}
        self.model.load_state_dict({name: value.contiguous() for name, value in weights.items()})
        self.model.train()
        self.smoothing = config.label_smoothing
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, T_max=training.steps * config.epochs
        )

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """One step; returns the loss before it."""
        logits = self.model(images.float().contiguous())
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()


# --- what the curves say -------------------------------------------------------------------------


def smoothed(curves: dict[str, dict[str, list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Moving means of the losses: ours and the plain loop's, a column a seed, a row a step."""
    both = []
    for side in ("reidlab", "float32"):
        losses = pd.DataFrame({seed: curves[seed][side] for seed in curves})
        both.append(losses.rolling(max(1, round(WINDOW * len(losses)))).mean().dropna())
    return both[0], both[1]


def compare(curves: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """How far apart the curves are, beside what a seed changes.

    Args:
        curves: losses of ``reidlab`` and ``float32`` step by step, by seed.

    Returns:
        `difference`: root mean square, over the steps, of the difference between the two ways,
        averaged over the seeds. `seeds`: the same of the standard deviation of the plain loop's
        losses between seeds. `end_ours`, `end_plain`: mean loss of the last quarter, each with
        its standard deviation between seeds (`…_sd`); `end_difference` of the two at the same
        seed, with its standard error (`…_se`).
    """
    ours, plain = smoothed(curves)
    quarter = slice(-(len(next(iter(curves.values()))["float32"]) // 4), None)
    ends = pd.DataFrame(
        {
            side: {seed: np.mean(curves[seed][side][quarter]) for seed in curves}
            for side in ("reidlab", "float32")
        }
    )
    apart = ends.reidlab - ends.float32
    found = {
        "difference": ((ours - plain).mean(axis=1) ** 2).mean() ** 0.5,
        "seeds": (plain.std(axis=1) ** 2).mean() ** 0.5,
        "end_ours": ends.reidlab.mean(),
        "end_ours_sd": ends.reidlab.std(),
        "end_plain": ends.float32.mean(),
        "end_plain_sd": ends.float32.std(),
        "end_difference": apart.mean(),
        "end_difference_se": apart.std() / len(apart) ** 0.5,
    }
    return {name: round(float(value), 5) for name, value in found.items()}


def statement(content: dict) -> str:
    """What was found, for the notes of the table."""
    found, seeds = content["found"], len(content["curves"])
    within = found["difference"] <= found["seeds"]
    return (
        f"Loss of the training step ({content['ours']}) beside a plain float32 loop on the same "
        f"batches, {content['amount']}, {seeds} seeds: over the last quarter "
        f"{found['end_ours']:.3f} ± {found['end_ours_sd']:.3f} and {found['end_plain']:.3f} ± "
        f"{found['end_plain_sd']:.3f}, at the same seed {found['end_difference']:+.3f} ± "
        f"{found['end_difference_se']:.3f} (standard error) apart. Along the curve the two differ "
        f"by {found['difference']:.3f}, seeds by {found['seeds']:.3f}: "
        + ("within" if within else "**more than**")
        + " what another seed changes."
    )


def figure(content: dict) -> Figure:
    """Both curves of every seed, and their difference beside the spread between seeds."""
    ours, plain = smoothed(content["curves"])
    drawn, (left, right) = new_figure(3.2, 1, 2)
    for number, seed in enumerate(plain):
        left.plot(plain.index, plain[seed], color=PALETTE[number], label=f"float32, seed {seed}")
        left.plot(ours.index, ours[seed], "--", color=PALETTE[number], label="this package's step")
        right.plot(plain.index, ours[seed] - plain[seed], color=PALETTE[number], linewidth=1)
    spread = plain.std(axis=1)
    right.fill_between(plain.index, -spread, spread, color="#DDDDDD", label="± sd between seeds")
    right.plot(plain.index, (ours - plain).mean(axis=1), color="#222222", label="mean of seeds")
    left.set(xlabel="step", ylabel="loss, moving mean", title="Loss")
    right.set(xlabel="step", title="This package's step minus float32")
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[:2], labels[:2])
    right.legend()
    return drawn
