"""One training loop for every network of the study."""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from reidlab import data, paths
from reidlab.data.batches import erase, flip_and_crop, hold_out, normalise, shuffled, take
from reidlab.data.images import decode
from reidlab.data.table import Dataset
from reidlab.device import Compute, pick
from reidlab.errors import ReidlabError, StudyError
from reidlab.features import embed
from reidlab.losses import LabelSmoothedCrossEntropy
from reidlab.metrics import Ranking, evaluate
from reidlab.models import MODELS, build
from reidlab.models.weights import initialise, save_weights, sha256
from reidlab.progress import track
from reidlab.runs import (
    Run,
    environment,
    is_complete,
    load_run,
    read_json,
    save_evaluation,
    write_json,
)

log = logging.getLogger(__name__)

OPTIMIZERS = ("adamw", "amsgrad", "sgd")
SCHEDULES = ("plateau", "step", "cosine", "onecycle")
LOG_EVERY = 30  # seconds between progress lines within a long epoch


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, how. The defaults are the seed report's recipe.

    Attributes:
        dataset: a name of :func:`reidlab.data.names`.
        model: a name of ``reidlab.models.MODELS``.
        init: ``none``, ``imagenet``, ``imagenet:<file>``, ``reid:<file>``, ``synthetic``, or
            ``run:<name>``: the weights of a neighbouring run folder. ``$DATA`` in a file's name
            stands for the data root.
        height: input height in pixels.
        width: input width in pixels.
        batch_size: images a step.
        epochs: passes over the training images; 0 evaluates the initial weights only.
        optimizer: ``adamw``, ``amsgrad`` (torchreid's for fine-tuning OSNet) or ``sgd`` (momentum
            0.9, the OSNet paper's from scratch).
        lr: learning rate (the peak, for ``onecycle``).
        weight_decay: decoupled in ``adamw``, part of the gradient in the others.
        schedule: ``plateau`` (x0.1 after 5 epochs without a better validation loss), ``step``
            (x0.1 after each of the milestones), ``cosine`` to zero, or ``onecycle`` (up for a
            quarter of the steps, then cosine to zero).
        milestones: epochs of the ``step`` schedule.
        label_smoothing: ε of the cross entropy.
        flip: probability of a horizontal flip.
        pad: zero padding in pixels around an image before the random crop.
        erase: probability of random erasing.
        val_fraction: share of each training identity's images held out for validation.
        eval_every: epochs between evaluations on query and gallery; the last is always made.
        distance: of the evaluation, see :func:`reidlab.metrics.evaluate`.
        seed: of weights, order, augmentation and validation split.
        device: see :func:`reidlab.device.pick`.
        precision: see :func:`reidlab.device.pick`.
    """

    dataset: str = "market1501"
    model: str = "osnet_x0_25"
    init: str = "none"
    height: int = 256
    width: int = 128
    batch_size: int = 16
    epochs: int = 10
    optimizer: str = "adamw"
    lr: float = 3e-4
    weight_decay: float = 5e-4
    schedule: str = "plateau"
    milestones: list[int] = field(default_factory=list)
    label_smoothing: float = 0.1
    flip: float = 0.5
    pad: int = 10
    erase: float = 0.0
    val_fraction: float = 0.1
    eval_every: int = 1
    distance: str = "euclidean"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self):
        if self.model not in MODELS:
            raise ReidlabError(f"model={self.model!r}: known are {', '.join(MODELS)}.")
        if self.optimizer not in OPTIMIZERS:
            raise ReidlabError(f"optimizer={self.optimizer!r}: known are {', '.join(OPTIMIZERS)}.")
        if self.schedule not in SCHEDULES:
            raise ReidlabError(f"schedule={self.schedule!r}: known are {', '.join(SCHEDULES)}.")
        if (self.schedule == "step") != bool(self.milestones):
            raise ReidlabError(
                f"schedule={self.schedule!r} with milestones={self.milestones}: the step schedule "
                "needs them, the others have none."
            )
        if self.epochs < 0 or self.batch_size < 2 or self.eval_every < 1:
            raise ReidlabError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, eval_every="
                f"{self.eval_every}: expected at least 0, 2 (batch norm) and 1."
            )
        if self.schedule == "plateau" and self.epochs and not 0 < self.val_fraction < 1:
            raise ReidlabError(
                f"val_fraction={self.val_fraction}: the plateau schedule watches a validation "
                "loss, so a share between 0 and 1 has to be held out."
            )


#: Recipes under the names that the notebooks use.
PRESETS = {"report": TrainConfig()}


def fit(
    config: TrainConfig,
    out: Path,
    data_root: str | Path | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> Run:
    """Train a network, evaluate it on query and gallery, and leave a run folder.

    A folder that already holds this run is read, not trained again; a run that was interrupted
    goes on after its last finished epoch and ends with the same numbers.

    Args:
        config: what to do.
        out: the run folder.
        data_root: folder of the data sets; default ``REIDLAB_DATA``.
        on_epoch: called with the history so far after every epoch, e.g. to draw live curves.

    Raises:
        StudyError: the folder holds a run of another configuration.
        ReidlabError: bad data, weights or settings; a loss that is no longer a number.
    """
    out = Path(out)
    _refuse_other_config(config, out)
    if is_complete(out):
        log.info("%s is complete: nothing to train", out.name)
        return load_run(out)
    run = _Training(config, out, Path(data_root) if data_root else paths.data_root())
    run.train(on_epoch)
    run.finish()
    return load_run(out)


def changed_settings(config: TrainConfig, folder: Path) -> set[str]:
    """Fields in which a run folder's configuration differs; none where there is no run yet."""
    if not (folder / "config.json").is_file():
        return set()
    asked = dataclasses.asdict(config)
    # A field younger than the run has its default there: new fields start out neutral.
    found = dataclasses.asdict(TrainConfig()) | read_json(folder / "config.json")
    return {key for key in asked | found if asked.get(key) != found.get(key)}


def _refuse_other_config(config: TrainConfig, out: Path) -> None:
    if changed := changed_settings(config, out):
        raise StudyError(
            f"{out} holds a run with other settings ({', '.join(sorted(changed))} differ). "
            "Delete the folder, or train under another name."
        )


class _Training:
    """State of one training: network, classifiers, optimiser, schedule, history."""

    def __init__(self, config: TrainConfig, out: Path, root: Path | None):
        self.config, self.out, self.started = config, out, time.perf_counter()
        self.compute: Compute = pick(config.device, config.precision)
        self.environment = environment(str(self.compute))  # of the code that runs, so not later
        self.dataset: Dataset = data.load(config.dataset, root)
        torch.manual_seed(config.seed)
        self.model = build(config.model)
        init = _resolve_init(config.init, out, root)
        initialise(self.model, init, data_root=root, name=config.model)
        self.init_sha256 = sha256(Path(init[5:])) if init.startswith("reid:") else None

        labels = self.dataset.train_labels()
        self.labels = torch.from_numpy(labels)
        self.fit_index, self.val_index = hold_out(labels, config.val_fraction, config.seed)
        classes = int(labels.max()) + 1
        self.heads = nn.ModuleList(nn.Linear(dim, classes) for dim in self.model.id_dims)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)  # as torchreid does
            nn.init.zeros_(head.bias)
        self.compute.place(self.model)
        self.compute.place(self.heads)
        self.loss = LabelSmoothedCrossEntropy(config.label_smoothing)
        self.steps = max(1, len(self.fit_index) // config.batch_size)
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimizer = _optimizer(config, parameters)
        self.scheduler = _scheduler(config, self.optimizer, self.steps)
        self.history: list[dict[str, float]] = []
        self.seconds_before = 0.0
        # Nothing is written before data, weights and settings have proved good.
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "config.json", dataclasses.asdict(config))

    def train(self, on_epoch: Callable[[pd.DataFrame], None] | None) -> None:
        """Run the epochs that are still missing."""
        self._resume()
        images = None
        for epoch in range(len(self.history) + 1, self.config.epochs + 1):
            if images is None:
                images = decode(self.dataset.train, self.config.height, self.config.width)
            row = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
            start = time.perf_counter()
            row |= self._epoch(epoch, images)
            row |= self._validate(images)
            row["train_seconds"] = round(time.perf_counter() - start, 2)
            if self.config.schedule == "plateau":
                self.scheduler.step(row["val_loss"])
            elif self.config.schedule == "step":
                self.scheduler.step()
            start = time.perf_counter()
            if epoch % self.config.eval_every == 0 or epoch == self.config.epochs:
                ranking = self.rank().summary()
                row |= {"rank1": ranking["rank1"], "mAP": ranking["mAP"]}
            row["eval_seconds"] = round(time.perf_counter() - start, 2)
            self.history.append(row)
            self._save_checkpoint()
            log.info("%s %s", self.out.name, _line(row, self.config.epochs))
            if on_epoch is not None:
                on_epoch(pd.DataFrame(self.history))

    def rank(self) -> Ranking:
        """Evaluate on query and gallery."""
        config = self.config
        sets = [
            embed(self.model, frame, config.height, config.width, config.device, config.precision)
            for frame in (self.dataset.query, self.dataset.gallery)
        ]
        return evaluate(*sets, distance=config.distance)

    def finish(self) -> None:
        """Write the results; the metrics come last and make the run complete."""
        columns = ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
        columns += ["rank1", "mAP", "train_seconds", "eval_seconds"]
        pd.DataFrame(self.history, columns=columns).to_csv(self.out / "history.csv", index=False)
        ranking = self.rank()
        seconds = self.seconds_before + time.perf_counter() - self.started
        provenance = self.environment | {
            "seed": self.config.seed,
            "wall_seconds": round(seconds, 1),
            "dataset_fingerprint": self.dataset.fingerprint,
            "train_images": len(self.fit_index),
            "validation_images": len(self.val_index),
            "init_sha256": self.init_sha256,
        }
        write_json(self.out / "provenance.json", provenance)
        save_weights(self.model, self.out / "model.safetensors", {"model": self.config.model})
        save_evaluation(self.out, ranking)
        (self.out / "checkpoint.pt").unlink(missing_ok=True)

    def _epoch(self, epoch: int, images: Tensor) -> dict[str, float]:
        """One pass over the training images."""
        config = self.config
        # Each epoch has its own random stream, so a resumed run draws what it would have drawn.
        rng = np.random.default_rng([config.seed, epoch])
        torch.manual_seed(config.seed * 10_000 + epoch)
        self.model.train()
        total = correct = seen = 0
        said = start = time.perf_counter()
        batches = shuffled(self.fit_index, config.batch_size, rng)
        for step, index in enumerate(track(batches, f"epoch {epoch}", self.steps), 1):
            batch = flip_and_crop(take(images, index), config.flip, config.pad, rng)
            batch = erase(normalise(self.compute.send(batch)), config.erase, rng)
            labels = self.compute.send(self.labels[index])
            logits, loss = self._forward(batch, labels)
            value = loss.item()
            if not math.isfinite(value):
                raise ReidlabError(
                    f"the loss is {value} in epoch {epoch}, step {step}, at learning rate "
                    f"{self.optimizer.param_groups[0]['lr']:.2g}. Lower lr. The last good epoch "
                    f"is kept in {self.out / 'checkpoint.pt'}."
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if config.schedule in ("cosine", "onecycle"):
                self.scheduler.step()
            total += value * len(index)
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(index)
            if time.perf_counter() - said > LOG_EVERY:
                said = time.perf_counter()
                rate = seen / (said - start)
                log.info(
                    "%s epoch %d: step %d of %d, loss %.3f, %.0f images/s",
                    *(self.out.name, epoch, step, self.steps, total / seen, rate),
                )
        return {"train_loss": total / seen, "train_accuracy": 100 * correct / seen}

    def _forward(self, batch: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the first branch, and the loss averaged over branches."""
        with self.compute.autocast():
            features = self.model(batch)
            logits = [head(feature) for head, feature in zip(self.heads, features.id)]
        losses = torch.stack([self.loss(scores, labels) for scores in logits])
        return logits[0], losses.mean()

    @torch.inference_mode()
    def _validate(self, images: Tensor) -> dict[str, float]:
        """Loss and accuracy on the held-out images of the training identities."""
        if not len(self.val_index):
            return {}
        self.model.eval()
        total = correct = 0.0
        for index in torch.from_numpy(self.val_index).split(128):
            labels = self.compute.send(self.labels[index])
            batch = normalise(self.compute.send(take(images, index)))
            logits, loss = self._forward(batch, labels)
            total += loss.item() * len(index)
            correct += int((logits.argmax(1) == labels).sum())
        count = len(self.val_index)
        return {"val_loss": total / count, "val_accuracy": 100 * correct / count}

    def _save_checkpoint(self) -> None:
        state: dict[str, Any] = {
            "config": dataclasses.asdict(self.config),
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "history": self.history,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
            "init_sha256": self.init_sha256,
            "dataset_fingerprint": self.dataset.fingerprint,
        }
        scratch = self.out / "checkpoint.pt.part"
        torch.save(state, scratch)
        os.replace(scratch, self.out / "checkpoint.pt")

    def _resume(self) -> None:
        """Take up the last finished epoch of an interrupted run, if there is one."""
        file = self.out / "checkpoint.pt"
        if not file.is_file():
            return
        state = torch.load(file, map_location=self.compute.device, weights_only=True)
        now = (self.init_sha256, self.dataset.fingerprint)
        if (state["init_sha256"], state["dataset_fingerprint"]) != now:
            log.warning("%s: initial weights or data changed, starting afresh", self.out.name)
            return
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.history = state["history"]
        self.seconds_before = state["seconds"]
        log.info("%s resumes after epoch %d", self.out.name, len(self.history))


def _resolve_init(init: str, out: Path, root: Path | None) -> str:
    """``run:<name>`` as a file of the neighbouring folder, ``$DATA`` as the data root."""
    if init.startswith("run:"):
        source = out.parent / init.removeprefix("run:")
        load_run(source)  # raises, with the remedy, where the source is not finished
        return f"reid:{source / 'model.safetensors'}"
    if "$DATA" in init:
        if root is None:
            raise ReidlabError(
                f"init={init!r} needs the data root: set REIDLAB_DATA, or make study DATA=..."
            )
        return init.replace("$DATA", str(root))
    return init


def _optimizer(config: TrainConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    settings = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **settings)
    if config.optimizer == "amsgrad":
        return torch.optim.Adam(parameters, amsgrad=True, **settings)
    return torch.optim.AdamW(parameters, **settings)


def _scheduler(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int):
    schedulers = torch.optim.lr_scheduler
    total = max(5, steps * config.epochs)  # OneCycleLR divides by zero below 5
    if config.schedule == "plateau":
        return schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=5)
    if config.schedule == "step":
        return schedulers.MultiStepLR(optimizer, config.milestones)
    if config.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=total)
    return schedulers.OneCycleLR(
        optimizer, max_lr=config.lr, total_steps=total, pct_start=0.25, cycle_momentum=False
    )


def _line(row: dict[str, float], epochs: int) -> str:
    """An epoch's row as one line of log."""
    parts = [f"epoch {row['epoch']} of {epochs}: train loss {row['train_loss']:.3f}"]
    if "val_loss" in row:
        parts.append(f"val loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.1f} %")
    if "mAP" in row:
        parts.append(f"Rank-1 {row['rank1']:.1f}, mAP {row['mAP']:.1f}")
    return ", ".join(parts) + f" ({row['train_seconds']:.0f} + {row['eval_seconds']:.0f} s)"
