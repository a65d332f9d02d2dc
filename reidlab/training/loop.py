"""One training loop for every network of the study."""

import dataclasses
import io
import logging
import math
import pickle
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from reidlab import data
from reidlab.common import paths
from reidlab.common.device import Compute, pick
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.common.files import replacing, sha256, write_json
from reidlab.common.locks import alone
from reidlab.common.progress import track
from reidlab.data.batches import erase, flip_and_crop, hold_out, normalise, take
from reidlab.data.corruptions import corrupt_some
from reidlab.data.holdout import hold_out_identities
from reidlab.data.store import decode
from reidlab.data.table import Dataset
from reidlab.evaluation.features import distances, of_model
from reidlab.metrics.ranks import require_matches
from reidlab.metrics.scores import FeatureSet, Ranking, evaluate
from reidlab.models import build, size_of
from reidlab.models.checkpoint import require_whole
from reidlab.models.weights import initialise, save_weights
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.init import Init
from reidlab.recipe.names import is_pairwise
from reidlab.runs.folder import (
    WEIGHTS,
    Run,
    finish,
    is_complete,
    load_run,
    source_folder,
    why_not_current,
)
from reidlab.runs.provenance import environment
from reidlab.training.objective import Objective, Step
from reidlab.training.optimisers import make_optimizer, make_scheduler
from reidlab.training.pairs import PairObjective, Pairs

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
HISTORY = ["epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
HISTORY += ["rank1", "mAP", "train_seconds", "eval_seconds"]
# What torch.load raises for a checkpoint that was cut, damaged or is something else.
DAMAGED = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.PickleError)
DAMAGED += (zipfile.BadZipFile,)
LOG_EVERY = 30  # seconds between progress lines within a long epoch
# Steps between looks at the loss on an accelerator: a look waits for the device.
LOOK_EVERY = 50
# Steps of a training from which compiling it, a minute or two, pays.
COMPILE_FROM = 2000
# Share of an accelerator's free memory that the decoded training images may take.
RESIDENT = 0.5


def fit(
    config: TrainConfig,
    out: Path,
    data_root: str | Path | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> Run:
    """Train a network, evaluate it on query and gallery, and leave a run folder.

    A folder that already holds this run is read, not trained again; a run that was interrupted
    goes on after its last finished epoch and ends with the same numbers. So does a training that
    is repeated, on the same kind of processor and with as many threads (its provenance tells both;
    a resumed one keeps its number): sums are rounded otherwise elsewhere, and from there on it is
    another training, as with another seed.

    Args:
        config: what to do.
        out: the run folder.
        data_root: folder of the data sets; default ``REIDLAB_DATA``.
        on_epoch: called with the history so far after every epoch, e.g. to draw live curves.

    Raises:
        StudyError: the folder holds a run of another configuration.
        ReidlabError: bad data, weights or settings; a loss that is no longer a number.
    """
    out, root = Path(out), Path(data_root) if data_root else paths.data_root()
    if finished := _finished(config, out, root):
        return finished
    with alone(out, f"training {out}"):
        if finished := _finished(config, out, root):  # another process was faster
            return finished
        log.info("%s holds no finished run: training", out)
        threads = torch.get_num_threads()
        try:
            run = _Training(config, out, root)
            run.train(on_epoch)
            run.finish()
        finally:
            torch.set_num_threads(threads)
    return load_run(out)


def _finished(config: TrainConfig, out: Path, root: Path | None) -> Run | None:
    """The run that a folder holds, where it is finished."""
    if why := why_not_current(out, config, _fingerprint_here(config.dataset, root)):
        raise StudyError(
            f"{out} holds a run of {why}. Delete the folder, or train under another name."
        )
    if not is_complete(out):
        return None
    log.info("%s is complete: nothing to train", out)
    return load_run(out)


def _fingerprint_here(name: str, root: Path | None) -> str | None:
    """Of a data set that is on this machine; None where there is none to compare with."""
    try:
        return data.fingerprint_here(name, root)
    except DataError:
        return None


class _Training:
    """State of one training: network, objective, optimiser, schedule, history."""

    def __init__(self, config: TrainConfig, out: Path, root: Path | None):
        self.config, self.out, self.started = config, out, time.perf_counter()
        self.compute: Compute = pick(config.device, config.precision)
        self.environment = environment(str(self.compute))  # of the code that runs, so not later
        self.dataset: Dataset = data.load(config.dataset, root)
        if config.val_identities:
            self.dataset = hold_out_identities(self.dataset, config.val_identities)
        self._require_matches()
        torch.manual_seed(config.seed)
        self.model = build(config.model, **size_of(config))
        init = Init.parse(config.init)
        start = {"name": config.model, "data_root": root}
        if init.run:
            source = load_run(source_folder(out, init.run, config.seed))  # raises if unfinished
            start |= {"run_weights": source.path / WEIGHTS, "of": source.config["model"]}
        file = initialise(self.model, init, **start)
        self.init_sha256 = sha256(file) if init.kind in ("reid", "run") else None

        self.train_labels = self.dataset.train_labels()
        self.fit_index, self.val_index = hold_out(
            self.train_labels, config.val_fraction, config.seed
        )
        self._require_validation()
        if is_pairwise(config.model):
            train = self.dataset.train
            self.objective = PairObjective(config, train.pid.to_numpy(), train.camid.to_numpy())
        else:
            classes = int(self.train_labels.max()) + 1
            self.objective = Objective(config, self.model, classes)
        self.compute.place(self.model)
        self.compute.place(self.objective)
        self.labels = self.compute.send(torch.from_numpy(self.train_labels))
        self.steps = self.objective.steps(self.train_labels, self.fit_index)
        long = self.steps * config.epochs >= COMPILE_FROM and not is_pairwise(config.model)
        self.network = self.compute.compiled(self.model) if long else self.model
        self.optimizer = make_optimizer(config, self.model, self.objective.heads)
        self.center_optimizer = self.objective.center_optimizer()
        self.scheduler = make_scheduler(config, self.optimizer, self.steps)
        self.averaged = None
        if config.ema:
            average = get_ema_multi_avg_fn(config.ema)
            self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.history: list[dict[str, float]] = []
        self.ranking: Ranking | None = None  # of the latest evaluation
        self.seconds_before = 0.0
        # Nothing is written before data, weights and settings have proved good.
        write_json(out / "config.json", dataclasses.asdict(config))

    def train(self, on_epoch: Callable[[pd.DataFrame], None] | None) -> None:
        """Run the epochs that are still missing."""
        self._resume()
        images, size = None, None
        for epoch in range(len(self.history) + 1, self.config.epochs + 1):
            if size != self.config.size(epoch):
                size = self.config.size(epoch)
                images = self._hold(decode(self.dataset.train, *size))
            row = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
            start = time.perf_counter()
            row |= self._epoch(epoch, images)
            row |= self._validate(images)
            row["train_seconds"] = round(time.perf_counter() - start, 2)
            if self.config.schedule == "plateau":
                self.scheduler.step(row["val_loss"])
            start = time.perf_counter()
            if epoch % self.config.eval_every == 0 or epoch == self.config.epochs:
                self.ranking = self.rank()
                scores = self.ranking.summary()
                row |= {"rank1": scores["rank1"], "mAP": scores["mAP"]}
            row["eval_seconds"] = round(time.perf_counter() - start, 2)
            self.history.append(row)
            self._save()
            log.info("%s %s", self.name, _line(row, self.config.epochs))
            if on_epoch is not None:
                on_epoch(pd.DataFrame(self.history))

    @property
    def name(self) -> str:
        """For the log: run and seed, the last two folders."""
        return "/".join(self.out.parts[-2:])

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one where the recipe says so."""
        return self.model if self.averaged is None else self.averaged.module

    def rank(self) -> Ranking:
        """Evaluate on query and gallery."""
        frames = (self.dataset.query, self.dataset.gallery)
        query, gallery = (of_model(self.result, frame, vars(self.config)) for frame in frames)
        return evaluate(
            query,
            gallery,
            distance=distances(self.result, query, gallery, self.config.distance),
            same_camera_rule=self.dataset.has_cameras,
            single_shot=self.dataset.single_shot,
        )

    def finish(self) -> None:
        """Write the results, of which the metrics come last and make the run complete."""
        # The last epoch has been evaluated, unless it ran before an interruption.
        ranking = self.ranking if self.ranking is not None else self.rank()
        seconds = self.seconds_before + time.perf_counter() - self.started
        provenance = self.environment | {
            "seed": self.config.seed,
            "wall_seconds": round(seconds, 1),
            "dataset_fingerprint": self.dataset.fingerprint,
            "train_images": len(self.fit_index),
            "validation_images": len(self.val_index),
            "init_sha256": self.init_sha256,
        }
        save_weights(self.result, self.out / WEIGHTS, {"model": self.config.model})
        finish(self.out, pd.DataFrame(self.history, columns=HISTORY), ranking, provenance)
        (self.out / CHECKPOINT).unlink(missing_ok=True)

    def _hold(self, images: Tensor) -> Tensor:
        """The decoded images on the accelerator, once and for all, where there is room."""
        if self.compute.device.type != "cuda":
            return images
        free, _ = torch.cuda.mem_get_info(self.compute.device)
        return self.compute.send(images) if images.numel() < RESIDENT * free else images

    def _batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Tensor] | Iterator[Pairs]:
        if isinstance(self.objective, PairObjective):
            return self.objective.batches(epoch, rng)
        return self.objective.batches(self.train_labels, self.fit_index, rng)

    def _batch(self, images: Tensor, index: Tensor | Pairs, rng: np.random.Generator) -> Tensor:
        """Augmented, normalised images of a batch, where the network is."""
        config = self.config
        index = index.images if isinstance(index, Pairs) else index
        batch = take(images, index.to(images.device))
        if config.corrupt:
            batch = corrupt_some(batch, config.corrupt, config.corrupt_share, rng)
        batch = self.compute.send(batch)
        pad = round(config.pad * images.shape[2] / config.height)
        return erase(
            normalise(flip_and_crop(batch, self.objective.flip, pad, rng)), config.erase, rng
        )

    def _epoch(self, epoch: int, images: Tensor) -> dict[str, float]:
        """One pass over the training images."""
        config = self.config
        # Each epoch has its own random stream, so a resumed run draws what it would have drawn.
        rng = np.random.default_rng([config.seed, epoch])
        torch.manual_seed(config.seed * 10_000 + epoch)
        self.model.train()
        self.objective.train()
        tally = _Tally(1 if self.compute.device.type == "cpu" else LOOK_EVERY)
        said = start = time.perf_counter()
        self.objective.begin(self.model, epoch)
        batches = track(self._batches(epoch, rng), f"epoch {epoch}", self.steps)
        for step, index in enumerate(batches, 1):
            batch = self._batch(images, index, rng)
            done = self._forward(self.network, batch, index)
            tally.add(done)
            self._refuse_bad_loss(tally, epoch)
            self._step(done.loss)
            if time.perf_counter() - said > LOG_EVERY:
                said = time.perf_counter()
                log.info(
                    "%s epoch %d: step %d of %d, loss %.3f, %.0f images/s",
                    *(self.name, epoch, step, self.steps),
                    *(tally.mean_loss(), tally.seen / (said - start)),
                )
        tally.look()
        self._refuse_bad_loss(tally, epoch)
        self._refuse_bad_weights(epoch)
        self.objective.after_epoch(self.model, images, epoch, rng)
        return {"train_loss": tally.mean_loss(), "train_accuracy": tally.accuracy()}

    def _refuse_bad_loss(self, tally: "_Tally", epoch: int) -> None:
        if tally.bad_step:
            raise self._diverged(f"the loss is {tally.bad_loss} in", epoch, tally.bad_step)

    def _refuse_bad_weights(self, epoch: int) -> None:
        """The last step of an epoch can break weights after its loss was still a number."""
        parts = [part for part in (self.model, self.objective, self.averaged) if part is not None]
        values = [value for part in parts for value in part.state_dict().values()]
        if not all(value.isfinite().all() for value in values if value.is_floating_point()):
            raise self._diverged("weights are no numbers after", epoch, self.steps)

    def _diverged(self, what: str, epoch: int, step: int) -> ReidlabError:
        kept = self.out / CHECKPOINT
        return ReidlabError(
            f"{what} epoch {epoch}, step {step}, at learning "
            f"rate {self.optimizer.param_groups[0]['lr']:.2g}. Lower lr, "
            "and train under another name."
            + (f" The last good epoch is kept in {kept}." if kept.is_file() else "")
        )

    def _require_validation(self) -> None:
        """The plateau schedule watches a validation loss: no image held out, no schedule."""
        if self.config.schedule == "plateau" and self.config.epochs and not len(self.val_index):
            raise ReidlabError(
                f"{self.config.dataset}: val_fraction={self.config.val_fraction} of so few images "
                "a person holds none out, and the plateau schedule watches those that are. Choose "
                'another schedule, such as schedule="onecycle", or a larger val_fraction.'
            )

    def _require_matches(self) -> None:
        """A data set that nothing can be evaluated on is refused before the training."""
        sets = [
            FeatureSet.of(torch.empty(0), frame)
            for frame in (self.dataset.query, self.dataset.gallery)
        ]
        require_matches(*sets, same_camera_rule=self.dataset.has_cameras)

    def _forward(self, network: nn.Module, batch: Tensor, index: Tensor | Pairs) -> Step:
        """What a batch costs."""
        is_pairs = isinstance(index, Pairs)
        labels = index if is_pairs else self.labels[index.to(self.labels.device)]
        with self.compute.autocast():
            return self.objective.step(network, batch, labels)

    def _step(self, loss: Tensor) -> None:
        """One step of the optimisers, the schedule and the average."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.center_optimizer is not None:
            self.center_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.center_optimizer is not None:
            self.center_optimizer.step()
        if self.config.schedule != "plateau":
            self.scheduler.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    @torch.inference_mode()
    def _validate(self, images: Tensor) -> dict[str, float]:
        """Identity loss and accuracy on the held-out images of the training identities."""
        if not len(self.val_index):
            return {}
        self.model.eval()
        self.objective.eval()
        tally = _Tally(len(self.val_index))
        for index in torch.from_numpy(self.val_index).split(128):
            batch = normalise(self.compute.send(take(images, index.to(images.device))))
            tally.add(self._forward(self.model, batch, index))
        return {"val_loss": tally.mean_loss(), "val_accuracy": tally.accuracy()}

    def _parts(self) -> dict[str, Any]:
        """Everything with a state, by its name in the checkpoint."""
        parts = {
            "model": self.model,
            "objective": self.objective,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "averaged": self.averaged,
            "center_optimizer": self.center_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _save(self) -> None:
        state: dict[str, Any] = {
            "config": dataclasses.asdict(self.config),
            "history": self.history,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
            "threads": torch.get_num_threads(),
            "init_sha256": self.init_sha256,
            "dataset_fingerprint": self.dataset.fingerprint,
        }
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        content = io.BytesIO()  # torch's own writer names neither file nor cause on a full disk
        torch.save(state, content)
        with replacing(self.out / CHECKPOINT) as scratch:
            scratch.write_bytes(content.getbuffer())
        with replacing(self.out / "history.csv") as scratch:  # for who watches
            pd.DataFrame(self.history, columns=HISTORY).to_csv(scratch, index=False)

    def _resume(self) -> None:
        """Take up the last finished epoch of an interrupted run, if there is one."""
        file = self.out / CHECKPOINT
        if not file.is_file():
            return
        try:
            with file.open("rb") as opened:
                require_whole(opened)
                state = torch.load(opened, map_location=self.compute.device, weights_only=True)
            why = self._not_mine(state)
        except DAMAGED as error:
            why = f"it cannot be read ({type(error).__name__})"
        if why:
            log.warning("%s: %s is of no use, since %s: starting afresh", self.name, file, why)
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history = state["history"]
        self.seconds_before = state["seconds"]
        # Sums depend on the number of threads in their last digits.
        torch.set_num_threads(state["threads"])
        self.environment["threads"] = state["threads"]
        log.info("%s resumes after epoch %d", self.name, len(self.history))

    def _not_mine(self, state: dict[str, Any]) -> str | None:
        """Why a checkpoint is not one of this training; None where it is."""
        asked, found = dataclasses.asdict(self.config), state["config"]
        if changed := sorted(key for key in asked if asked[key] != found.get(key)):
            return f"it has another {', '.join(changed)}"
        now = (self.init_sha256, self.dataset.fingerprint)
        if (state["init_sha256"], state["dataset_fingerprint"]) != now:
            return "initial weights or data have changed"
        missing = [name for name in (*self._parts(), "history", "threads") if name not in state]
        return f"it lacks {', '.join(missing)}" if missing else None


class _Tally:
    """Loss and accuracy of an epoch so far, looked at every so many steps.

    Args:
        every: steps between looks. On an accelerator a look waits for the device.
    """

    def __init__(self, every: int):
        self.every = every
        self.waiting: list[tuple[Tensor, Tensor, int]] = []
        self.loss = self.correct = 0.0
        self.seen = self.steps = self.bad_step = 0
        self.bad_loss = 0.0

    def add(self, done: Step) -> None:
        """Count a step; a loss that is no number shows in ``bad_step`` at the next look."""
        self.waiting.append((done.loss.detach(), done.correct, done.count))
        if len(self.waiting) >= self.every:
            self.look()

    def look(self) -> None:
        """Fetch what is waiting."""
        if not self.waiting:
            return
        losses, corrects, counts = zip(*self.waiting)
        self.waiting = []
        for loss, count in zip(torch.stack(losses).tolist(), counts):
            self.steps += 1
            if not math.isfinite(loss) and not self.bad_step:
                self.bad_step, self.bad_loss = self.steps, loss
            self.loss += loss * count
            self.seen += count
        self.correct += torch.stack(corrects).sum().item()

    def mean_loss(self) -> float:
        """Mean over the images seen."""
        self.look()
        return self.loss / self.seen

    def accuracy(self) -> float:
        """Percent of the images seen that were told right."""
        self.look()
        return 100 * self.correct / self.seen


def _line(row: dict[str, float], epochs: int) -> str:
    """An epoch's row as one line of log."""
    parts = [f"epoch {row['epoch']} of {epochs}: train loss {row['train_loss']:.3f}"]
    if "val_loss" in row:
        parts.append(f"val loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.1f} %")
    if "mAP" in row:
        parts.append(f"Rank-1 {row['rank1']:.1f}, mAP {row['mAP']:.1f}")
    return ", ".join(parts) + f" ({row['train_seconds']:.0f} + {row['eval_seconds']:.0f} s)"
