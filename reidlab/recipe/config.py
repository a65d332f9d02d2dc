"""The recipe of a training: every setting, its default, and recipes that have a name."""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from reidlab.common.errors import ReidlabError
from reidlab.recipe import names
from reidlab.recipe.init import Init

_SHARE = (lambda value: 0 <= value <= 1, "a share, 0 to 1")
_BELOW_1 = (lambda value: 0 <= value < 1, "0 or more, below 1")
_FROM_0 = (lambda value: 0 <= value < math.inf, "0 or more")
_ABOVE_0 = (lambda value: 0 < value < math.inf, "more than 0")
#: Setting -> whether a value can be meant, and which can.
RANGES = {
    "epochs": _FROM_0,
    "batch_size": (lambda value: value >= 2, "2 or more, for batch norm"),
    "eval_every": (lambda value: value >= 1, "1 or more"),
    "momentum": _BELOW_1,
    "lr": _ABOVE_0,
    "weight_decay": _FROM_0,
    "warmup_epochs": _FROM_0,
    "warmup_start": (lambda value: 0 < value <= 1, "a share of lr, above 0 and up to 1"),
    "label_smoothing": _BELOW_1,
    "margin": _ABOVE_0,
    "center_weight": _FROM_0,
    "center_lr": _FROM_0,
    "ema": _BELOW_1,
    "flip": _SHARE,
    "pad": _FROM_0,
    "erase": _SHARE,
    "corrupt_share": _SHARE,
    "val_fraction": _BELOW_1,
    "val_identities": _FROM_0,
    # A training draws from seed * 10,000 + epoch, which has to fit into 64 bits.
    "seed": (lambda value: 0 <= value < 2**48, "0 or more, below 2**48"),
}
#: Setting -> the words that it knows.
WORDS = {
    "model": names.MODELS | names.PAIR_MODELS,
    "optimizer": names.OPTIMIZERS,
    "schedule": names.SCHEDULES,
    "sampler": names.SAMPLERS + names.PAIR_SAMPLERS,
    "triplet": names.TRIPLETS,
    "device": names.DEVICES,
    "precision": names.PRECISIONS,
}


def unknown(where: str, name: Any, known: Iterable[str]) -> str:
    """What to say about a name that does not exist: the nearest ones, and all of them."""
    close = difflib.get_close_matches(str(name), known := list(known), n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{where}{name!r} is not known.{hint} Known: {', '.join(known) or 'none'}."


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value, as its field's type; whole numbers may stand for floats."""
    if typing.get_origin(kind) is list and isinstance(value, list | tuple):
        return [_typed(name, each, typing.get_args(kind)[0]) for each in value]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not (typing.get_origin(kind) or kind):
        expected = getattr(kind, "__name__", kind)
        raise ReidlabError(f"{name}={value!r}: expected {expected}, found {type(value).__name__}.")
    return value


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, how. The defaults are the seed report's recipe.

    Attributes:
        dataset: a name of :func:`reidlab.data.names`.
        model: a name of ``reidlab.recipe.names.MODELS``.
        init: ``none``, ``imagenet``, ``imagenet:<file>``, ``reid:<file>``, ``synthetic``, or
            ``run:<name>``: the weights of a neighbouring run folder, which may be those of
            another variant of the network (``resnet50_stride2`` from ``resnet50``). ``$DATA`` in
            a file's name stands for the data root.
        height: input height in pixels.
        width: input width in pixels.
        sizes: for a start on smaller images: ``[[epochs, height, width], ...]``, in order, each
            for so many epochs; the remaining epochs are at ``height`` x ``width``.
        batch_size: images a step; for a network of pairs two of each person.
        sampler: ``shuffle`` (each image once an epoch) or ``identities`` (P identities with K
            images each, :func:`reidlab.data.batches.identity_batches`). For a network of pairs
            ``pairs``, ``growing-pairs`` or ``hard-pairs`` (:mod:`reidlab.training.pairs`).
        num_instances: K; P is ``batch_size`` / K. Of pairs: negatives for each positive.
        epochs: passes over the training images; 0 evaluates the initial weights only.
        optimizer: ``adamw``, ``adam`` (the strong baseline's), ``amsgrad`` (torchreid's for
            fine-tuning OSNet), ``sgd`` (the OSNet paper's from scratch) or ``muon``
            (:class:`reidlab.training.muon.Muon`, which learns most in few epochs).
        momentum: of ``sgd``; the others do not use it.
        lr: learning rate (the peak, for ``onecycle``).
        weight_decay: decoupled in ``adamw`` and ``muon``, part of the gradient in the others.
        schedule: ``plateau`` (x0.1 after 5 epochs without a better validation loss), ``step``
            (x0.1 after each of the milestones), ``cosine`` to zero, or ``onecycle`` (up for a
            quarter of the steps, then cosine to zero).
        milestones: epochs of the ``step`` schedule.
        warmup_epochs: epochs of linear warm-up, from ``warmup_start`` x ``lr`` to ``lr``, before
            a ``step`` or ``cosine`` schedule; they count among ``epochs``.
        warmup_start: 0.1 in the paper of the strong baseline, 0.01 in its code.
        label_smoothing: ε of the cross entropy.
        triplet: batch-hard triplet loss beside the cross entropy: ``none``, ``hinge`` (with
            ``margin``) or ``soft`` (soft margin).
        margin: of the ``hinge`` triplet loss.
        center_weight: β of the centre loss; 0 leaves it out.
        center_lr: rate of the centres' own SGD; 0 leaves them where they were drawn.
        ema: decay a step of an exponential moving average of the weights, which is what is then
            evaluated and saved; 0 takes the weights as they are.
        flip: probability of a horizontal flip.
        pad: zero padding in pixels around an image before the random crop.
        erase: probability of random erasing.
        corrupt: a kind or family of :data:`reidlab.recipe.names.CORRUPTIONS`, or ``any``, as
            augmentation, of a drawn severity and before the others; "" is none.
        corrupt_share: probability of an image to be corrupted then.
        val_fraction: share of each training identity's images held out for validation.
        val_identities: so many training identities are held out whole, and the evaluation is on
            them instead of on query and gallery: for choosing a recipe without the test set.
        eval_every: epochs between evaluations on query and gallery; the last is always made.
        distance: of the evaluation, see :func:`reidlab.metrics.scores.evaluate`.
        flip_test: evaluate with the mean of the features of an image and of its mirror image.
        seed: of weights, order, augmentation and validation split.
        device: see :func:`reidlab.common.device.pick`.
        precision: see :func:`reidlab.common.device.pick`.
    """

    dataset: str = "market1501"
    model: str = "osnet_x0_25"
    init: str = "none"
    height: int = 256
    width: int = 128
    sizes: list[list[int]] = field(default_factory=list)
    batch_size: int = 16
    sampler: str = "shuffle"
    num_instances: int = 4
    epochs: int = 10
    optimizer: str = "adamw"
    momentum: float = 0.9
    lr: float = 3e-4
    weight_decay: float = 5e-4
    schedule: str = "plateau"
    milestones: list[int] = field(default_factory=list)
    warmup_epochs: int = 0
    warmup_start: float = 0.1
    label_smoothing: float = 0.1
    triplet: str = "none"
    margin: float = 0.3
    center_weight: float = 0.0
    center_lr: float = 0.5
    ema: float = 0.0
    flip: float = 0.5
    pad: int = 10
    erase: float = 0.0
    corrupt: str = ""
    corrupt_share: float = 0.5
    val_fraction: float = 0.1
    val_identities: int = 0
    eval_every: int = 1
    distance: str = "euclidean"
    flip_test: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self):
        for name, kind in typing.get_type_hints(TrainConfig).items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        for name, known in WORDS.items():
            if getattr(self, name) not in known:
                raise ReidlabError(unknown(f"{name}=", getattr(self, name), known))
        if names.reader(self.dataset) is None:
            known = [*names.DATASETS, *names.GENERATED]
            raise ReidlabError(unknown("dataset=", self.dataset, known))
        for name, (accepts, expected) in RANGES.items():
            if not accepts(getattr(self, name)):
                raise ReidlabError(f"{name}={getattr(self, name)!r}: expected {expected}.")
        names.minkowski_order(self.distance)
        if self.corrupt and self.corrupt not in (known := names.corruptions()):
            raise ReidlabError(unknown("corrupt=", self.corrupt, known))
        Init.parse(self.init)
        self._check_schedule()
        self._check_losses()
        self._check_sizes()
        self._check_pairs()

    def _check_schedule(self) -> None:
        if (self.schedule == "step") != bool(self.milestones):
            raise ReidlabError(
                f"schedule={self.schedule!r} with milestones={self.milestones}: the step schedule "
                "needs them, the others have none."
            )
        if self.warmup_epochs and (
            self.schedule not in ("step", "cosine")
            or not 0 < self.warmup_epochs < self.epochs
            or any(milestone <= self.warmup_epochs for milestone in self.milestones)
        ):
            raise ReidlabError(
                f"warmup_epochs={self.warmup_epochs} with schedule={self.schedule!r}, epochs="
                f"{self.epochs}, milestones={self.milestones}: a warm-up goes before a step or "
                "cosine schedule, ends before the last epoch and before the first milestone."
            )
        if self.schedule == "plateau" and self.epochs and not 0 < self.val_fraction < 1:
            raise ReidlabError(
                f"val_fraction={self.val_fraction}: the plateau schedule watches a validation "
                "loss, so a share between 0 and 1 has to be held out."
            )

    def _check_losses(self) -> None:
        if self.sampler == "identities" and (
            self.num_instances < 2
            or self.batch_size % self.num_instances
            or self.batch_size < 2 * self.num_instances
        ):
            raise ReidlabError(
                f"batch_size={self.batch_size}, num_instances={self.num_instances}: a batch holds "
                "two identities or more with num_instances images each, and those are 2 or more."
            )
        if self.triplet != "none" and self.sampler != "identities":
            raise ReidlabError(
                f"triplet={self.triplet!r} with sampler={self.sampler!r}: every image needs "
                'another of its identity in the batch, so sampler must be "identities".'
            )

    def _check_sizes(self) -> None:
        for entry in [*self.sizes, [1, self.height, self.width]]:
            # Four halvings: below 16 pixels nothing is left of an image.
            if len(entry) != 3 or entry[0] < 1 or min(entry[1:]) < 16:
                raise ReidlabError(
                    f"sizes={self.sizes}, height={self.height}, width={self.width}: sizes are "
                    "[[epochs, height, width], ...], with an epoch and 16 pixels or more each."
                )
        if self.sizes and sum(entry[0] for entry in self.sizes) >= self.epochs:
            raise ReidlabError(
                f"sizes={self.sizes} take up all of the {self.epochs} epochs: some must be left "
                "for the final size."
            )

    def _check_pairs(self) -> None:
        is_pairwise = names.is_pairwise(self.model)
        if is_pairwise != (self.sampler in names.PAIR_SAMPLERS):
            fitting = names.PAIR_SAMPLERS if is_pairwise else names.SAMPLERS
            raise ReidlabError(
                f"sampler={self.sampler!r} with model={self.model!r}: such a network takes "
                f"{', '.join(fitting)}."
            )
        if not is_pairwise:
            return
        for name, neutral in _OF_ONE_IMAGE.items():
            if getattr(self, name) != neutral:
                raise ReidlabError(
                    f"{name}={getattr(self, name)!r} with model={self.model!r}: a network of "
                    f"pairs has no use for it. Leave it at {neutral!r}."
                )
        if self.batch_size < 4 or self.num_instances < 1:
            raise ReidlabError(
                f"batch_size={self.batch_size}, num_instances={self.num_instances}: a batch holds "
                "two images each of two people or more, and a positive has a negative or more."
            )
        if Init.parse(self.init).kind not in ("none", "run"):
            raise ReidlabError(
                f"init={self.init!r} with model={self.model!r}: there are no weights of networks "
                "of pairs but those of this study's runs. Take none or run:<name>."
            )

    def size(self, epoch: int) -> tuple[int, int]:
        """Height and width of the training images in an epoch, counted from 1.

        >>> config = TrainConfig(sizes=[[4, 96, 48]], height=128, width=64)
        >>> config.size(4), config.size(5)
        ((96, 48), (128, 64))
        """
        last = 0
        for epochs, height, width in self.sizes:
            last += epochs
            if epoch <= last:
                return height, width
        return self.height, self.width


#: Settings that a network of pairs has no use for, and what they are left at.
_OF_ONE_IMAGE = {
    "triplet": "none",
    "center_weight": 0.0,
    "val_fraction": 0.0,
    "sizes": [],
    "flip_test": False,
}

#: Recipes that have a name; they leave data, start and seed open.
RECIPES = {
    "report": TrainConfig(),
    # The most from scratch in twenty minutes of two CPU cores, on Market-1501.
    "fast": TrainConfig(
        model="osnet_x0_5",
        height=128,
        width=64,
        sizes=[[12, 96, 48]],
        pad=5,
        batch_size=64,
        epochs=22,
        optimizer="muon",
        lr=0.02,
        schedule="onecycle",
        erase=0.4,
        val_fraction=0.0,
        eval_every=22,
        distance="cosine",
        flip_test=True,
    ),
}

_PAIRS = TrainConfig(
    model="idla", sampler="pairs", height=160, width=60, pad=8, batch_size=64, val_fraction=0.0,
    epochs=100, schedule="onecycle", eval_every=100,
)  # fmt: skip
_OF_THEIR_TIME = dict(optimizer="sgd", momentum=0.9, lr=0.01, weight_decay=5e-4)
#: Of IDLA's, optimiser, rate, decay, schedule, ratio and translation are known from code that
#: re-implements it, and that it ends with hard negatives for the last layer; of FPNN's the growing
#: ratio and the mining. The rest, and all of the modern one, is ours.
RECIPES |= {
    "idla-paper": dataclasses.replace(
        _PAIRS, batch_size=100, sampler="hard-pairs", num_instances=2, schedule="inverse",
        **_OF_THEIR_TIME,
    ),
    "fpnn-paper": dataclasses.replace(
        _PAIRS, model="fpnn", sampler="growing-pairs", num_instances=5, schedule="cosine",
        **_OF_THEIR_TIME,
    ),
    "pairs-modern": dataclasses.replace(
        _PAIRS, model="idla_bn", lr=1e-3, weight_decay=0.05,
    ),
}  # fmt: skip
