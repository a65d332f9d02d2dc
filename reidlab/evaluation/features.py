"""From images to features: those of a run, of a network in training, of any images."""

import copy
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from reidlab.common.device import Compute, pick
from reidlab.common.errors import DataError, StudyError
from reidlab.common.parallel import in_order
from reidlab.common.progress import track
from reidlab.data.batches import IMAGENET_MEAN, IMAGENET_STD
from reidlab.data.corrupted import CorruptedImages
from reidlab.data.corruptions import Corruption
from reidlab.data.store import ImageStore, decode
from reidlab.evaluation.pair_scores import pair_distances
from reidlab.metrics.scores import FeatureSet
from reidlab.models.inference import fold_batch_norm, fuse
from reidlab.models.pairwise import PairNetwork
from reidlab.recipe.names import is_pairwise
from reidlab.runs.folder import Run, load_model

log = logging.getLogger(__name__)

#: Images at a time on a GPU; the largest activation of OSNet x1.0 is 0.25 GB then.
GPU_BATCH = 256

#: A CPU is fastest when the largest activation of a batch has about this size: the next
#: convolution finds it in the cache, and one image's share of Python's work is small.
CPU_BATCH_BYTES = 8 * 2**20

#: bfloat16 rounds features by 1 or 2 % of their length. Some processors' kernels for small maps
#: are off by 20 %, without a word: past this share float32 does the work instead.
MAX_ROUNDING = 0.1

#: Networks at work side by side on a CPU. Two threads with a network each do more than one
#: network on two; past this number they wait for each other's Python.
MAX_WORKERS = 8


def of_run(run: Run, frame: pd.DataFrame, corruption: Corruption | None = None) -> FeatureSet:
    """Features of images as a run's own evaluation makes them.

    Everything that scores, ranks or compares with a finished run gets its features here.

    Args:
        run: a finished run with its weights.
        frame: table with ``path``, ``pid``, ``camid``, say the gallery of a data set.
        corruption: see :func:`embed`.

    Raises:
        StudyError: the run's weights are another training's, or its network looks at pairs.
        WeightsError: they are not here.
        DataError: see :class:`reidlab.data.store.ImageStore`.
    """
    if is_pairwise(run.config["model"]):
        raise StudyError(
            f"{run.path} is a run of {run.config['model']}, which looks at pairs: an image alone "
            "has no features. Its own scores are in metrics.json; others are made with "
            "reidlab.evaluation.pair_scores."
        )
    return of_model(load_model(run), frame, run.config, corruption)


def of_model(
    model: nn.Module,
    frame: pd.DataFrame,
    config: Mapping[str, Any],
    corruption: Corruption | None = None,
) -> FeatureSet:
    """Features of images as a recipe has them, for a network that may still be in training.

    Args:
        model: returns ``Features``; it is left as it is. A network of pairs has none: the images
            stand for them, (N, 3, H, W) uint8, of which :func:`distances` makes scores.
        frame: table with ``path``, ``pid``, ``camid``.
        config: the fields of its ``TrainConfig``.
        corruption: see :func:`embed`.
    """
    size = config["height"], config["width"]
    if isinstance(model, PairNetwork):
        if corruption is None:
            return FeatureSet.of(decode(frame, *size), frame)
        hurt = CorruptedImages(frame, corruption, *size)
        return FeatureSet.of(hurt.read(slice(0, len(frame))), frame)
    return embed(model, frame, *size, **how(config), corruption=corruption)


def distances(
    model: nn.Module, query: FeatureSet, gallery: FeatureSet, distance: str
) -> str | Iterator[Tensor]:
    """What :func:`reidlab.metrics.scores.evaluate` takes as distances between a model's features.

    Args:
        model: see :func:`of_model`.
        query: of :func:`of_model`.
        gallery: of :func:`of_model`.
        distance: between features; a network of pairs scores each pair itself.
    """
    if isinstance(model, PairNetwork):
        return pair_distances(model, query.features, gallery.features)
    return distance


def how(config: Mapping[str, Any]) -> dict[str, Any]:
    """Device, precision and mirror image of a recipe, as :func:`extract` takes them.

    Recipes of older run folders lack some of these.
    """
    chosen = {key: config.get(key, "auto") for key in ("device", "precision")}
    return chosen | {"mirror": config.get("flip_test", False)}


def extract(
    model: nn.Module,
    images: Tensor,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    mirror: bool = False,
) -> Tensor:
    """Embeddings of images, in evaluation mode.

    Args:
        model: returns ``Features``. It is left as it is: a copy in evaluation mode, with its
            batch norms folded into its convolutions, does the work.
        images: (N, 3, H, W) uint8, as from :func:`reidlab.data.store.decode`.
        batch_size: images at a time; None lets the network and the machine decide. It may change
            the order in which a library adds up: a feature then moves by 1e-6 of its length in
            float32, and by a rounding of its 8 bits in bfloat16. The number of threads changes
            nothing.
        device: see :func:`reidlab.common.device.pick`.
        precision: see :func:`reidlab.common.device.pick`.
        progress: show a bar where somebody watches.
        mirror: the mean of the features of each image and of its mirror image.

    Returns:
        (N, D) float32 on the CPU.

    Raises:
        DataError: there are no images.
    """
    if not len(images):
        raise DataError("no images to extract features from; expected at least one")
    network = _Network(model, pick(device, precision), images.shape[2:], batch_size, mirror)
    starts = range(0, len(images), network.batch_size)
    blocks = [slice(start, min(start + network.batch_size, len(images))) for start in starts]
    return network.over(blocks, images.__getitem__, progress)


def embed(
    model: nn.Module,
    frame: pd.DataFrame,
    height: int,
    width: int,
    device: str = "auto",
    precision: str = "auto",
    keep: bool = True,
    mirror: bool = False,
    corruption: Corruption | None = None,
) -> FeatureSet:
    """A split's table as features with their pids and camids, ready for ranking.

    The first time, images are decoded into the cache; later they come from there. Either way only
    a few batches are in memory at a time.

    Args:
        model: see :func:`extract`.
        frame: table with ``path``, ``pid``, ``camid``.
        height: input height in pixels.
        width: input width in pixels.
        device: see :func:`reidlab.common.device.pick`.
        precision: see :func:`reidlab.common.device.pick`.
        keep: write the decoded images to the cache, 3 · height · width bytes an image.
        mirror: see :func:`extract`.
        corruption: what befalls the images, at their own size, before they are resized; ``keep``
            is then about the corrupted images.

    Raises:
        DataError: see :class:`reidlab.data.store.ImageStore`.
    """
    start = time.perf_counter()
    compute = pick(device, precision)
    store = (
        ImageStore(frame, height, width, keep)
        if corruption is None
        else CorruptedImages(frame, corruption, height, width, keep)
    )
    network = _Network(model, compute, (height, width), mirror=mirror)
    features = network.over(store.blocks(network.batch_size), store.read)
    seconds = time.perf_counter() - start
    log.info(
        "features of %d images in %.1f s: %.0f images/s (%s)",
        *(len(frame), seconds, len(frame) / seconds, compute),
    )
    return FeatureSet.of(features, frame)


class _Network:
    """A copy of a network that is made ready for inference, with the threads to run it."""

    def __init__(
        self,
        model: nn.Module,
        compute: Compute,
        size: tuple[int, int],
        batch_size: int | None = None,
        mirror: bool = False,
    ) -> None:
        height, width = size
        self.mirror = mirror
        self.compute = compute
        self.threads = torch.get_num_threads()
        self.model = compute.place(fold_batch_norm(model))
        # Of a whole row, (W · 3): broadcasting over three channels alone takes ten times longer.
        self.mean, self.std = (
            torch.tensor(values, device=compute.device).mul(255).repeat(width)
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.batch_size = batch_size or GPU_BATCH
        if compute.device.type == "cpu":
            shapes, largest = self._watch(height, width)
            self.batch_size = batch_size or min(max(1, CPU_BATCH_BYTES // largest), 64)
            # A convolution may see an image more than once: OSNet's gates see all four streams.
            shapes = {c: [n * self.batch_size, *one] for c, (n, *one) in shapes.items()}
            fuse(self.model, compute.dtype, shapes)
            if compute.dtype == torch.bfloat16:
                exact = dataclasses.replace(compute, dtype=torch.float32)
                error = self._rounding(fold_batch_norm(model), exact, size)
                if error > MAX_ROUNDING:
                    log.warning(
                        "bfloat16 on this processor moves features of %d x %d images by %.0f %% "
                        "of their length; float32 is used, which is right and slower",
                        *(*size, 100 * error),
                    )
                    self.__init__(model, exact, size, batch_size, mirror)

    def _rounding(self, model: nn.Module, exact: Compute, size: tuple[int, int]) -> float:
        """How far features of noise are from those in float32, as a share of their length."""
        noise = torch.Generator().manual_seed(0)
        images = torch.randint(256, (self.batch_size, 3, *size), generator=noise).byte()
        plain = copy.copy(self)
        plain.model, plain.compute = exact.place(model), exact
        right = plain(images)
        return float((self(images) - right).norm() / right.norm())

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, D) float32, both where the network is."""
        if len(images) == 1:  # libraries round a batch of one otherwise: by 0.4 % in bfloat16
            return self._features(images.expand(2, -1, -1, -1))[:1]
        return self._features(images)

    def _features(self, images: Tensor) -> Tensor:
        rows = images.permute(0, 2, 3, 1).flatten(2).float()  # (B, H, W · 3)
        rows.sub_(self.mean).div_(self.std)
        batch = rows.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)
        with self.compute.autocast():
            embedding = self.model(batch).embedding.float()
            if self.mirror:
                embedding = (embedding + self.model(batch.flip(3)).embedding.float()) / 2
        return embedding

    def over(
        self, blocks: list[slice], read: Callable[[slice], Tensor], progress: bool = True
    ) -> Tensor:
        """Features of all blocks, one after the other, (N, D) float32 on the CPU."""
        is_cpu = self.compute.device.type == "cpu"
        parts = self._side_by_side(blocks, read) if is_cpu else self._fed(blocks, read)
        if progress:
            parts = track(parts, "features", len(blocks))
        features = torch.empty(0)
        for part, block in zip(parts, blocks):
            if block.start == 0:
                features = part.new_empty(blocks[-1].stop, part.shape[1])
            features[block] = part
        return features.cpu()

    def _side_by_side(
        self, blocks: list[slice], read: Callable[[slice], Tensor]
    ) -> Iterator[Tensor]:
        """Every thread reads (and so perhaps decodes) a block and runs the network on it."""
        workers = min(self.threads, MAX_WORKERS)
        try:
            yield from in_order(
                lambda block: self(read(block)),
                *(blocks, workers, lambda: torch.set_num_threads(self.threads // workers)),
            )
        finally:
            torch.set_num_threads(self.threads)  # for threads that others start after this

    def _fed(self, blocks: list[slice], read: Callable[[slice], Tensor]) -> Iterator[Tensor]:
        """Threads read ahead of the one network on the device, which never waits for a copy."""
        pinned = self.compute.device.type == "cuda"

        def fetch(block: slice) -> Tensor:
            rows = read(block).permute(0, 2, 3, 1)
            return (rows.pin_memory() if pinned else rows).permute(0, 3, 1, 2)

        for images in in_order(fetch, blocks, os.cpu_count() or 1):
            yield self(self.compute.send(images))

    def _watch(self, height: int, width: int) -> tuple[dict[nn.Module, list[int]], int]:
        """Each convolution's input for one image, and the bytes of the largest output."""
        shapes: dict[nn.Module, list[int]] = {}
        largest = 1

        def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            nonlocal largest
            shapes[module] = list(inputs[0].shape)
            largest = max(largest, output.nbytes)

        handles = [
            module.register_forward_hook(note)
            for module in self.model.modules()
            if isinstance(module, nn.Conv2d)
        ]
        try:
            with torch.inference_mode():
                self._features(torch.zeros(1, 3, height, width, dtype=torch.uint8))
        finally:
            for handle in handles:
                handle.remove()
        return shapes, largest
