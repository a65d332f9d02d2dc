"""Weights: read, verify, load key for key, save.

Loading is strict. Every key of the network must be in the file with its shape, and every key of
the file must be in the network, apart from the heads that the caller names. Files are read as
tensors only: a pickle that asks for anything else is refused, because unpickling it runs code.
"""

import hashlib
import json
import logging
import os
import pickle
import shutil
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, WeightsEnum

from reidlab import paths
from reidlab.errors import WeightsError

log = logging.getLogger(__name__)

INIT_WORDS = ("none", "imagenet", "imagenet:<file>", "reid:<file>", "synthetic", "run:<name>")


@dataclass(frozen=True)
class ImageNetFile:
    """Published ImageNet weights of a network, and how much of the network they hold.

    Attributes:
        url: where the file is fetched.
        name: what it is called in ``<data_root>/weights`` and in the cache.
        size: in bytes, where it is known.
        sha256: of its bytes, or the first digits, where they are known.
        heads: modules of the file that the network lacks: ImageNet's classifier.
        fresh: modules of the network that are not in the file and keep their random weights.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str = ""
    heads: tuple[str, ...] = ("classifier",)
    fresh: tuple[str, ...] = ()


def _zoo(network: str, key: str, **known: Any) -> ImageNetFile:
    """Of torchreid's model zoo (https://kaiyangzhou.github.io/deep-person-reid)."""
    url = f"https://drive.google.com/uc?id={key}&export=download"
    return ImageNetFile(url, f"{network}_imagenet.pth", **known)


def _torchvision(weights: WeightsEnum, head: str) -> ImageNetFile:
    """Of torchvision, whose file names end in the first digits of their hash."""
    name = weights.url.rpartition("/")[2]
    digits = name.rpartition("-")[2].partition(".")[0]
    return ImageNetFile(weights.url, name, sha256=digits, heads=(head,), fresh=("neck",))


#: Network -> its ImageNet weights. Of torchvision's two sets this is the older, which the
#: strong baseline and the papers after it started from; the newer comes from a longer training.
IMAGENET = {
    "osnet_x1_0": _zoo(
        "osnet_x1_0",
        "1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY",
        size=10_910_553,
        sha256="fe2d63f9157c28a4a8d8ca29bec12d5b2988ac0346d712025789ea9174968e79",
    )
} | {
    network: _zoo(network, key)
    for network, key in {
        "osnet_x0_75": "1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq",
        "osnet_x0_5": "16DGLbZukvVYgINws8u8deSaOqjybZ83i",
        "osnet_x0_25": "1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs",
        "osnet_ibn_x1_0": "1sr90V6irlYYDd4_4ISU2iruoRG8J__6l",
        "osnet_ain_x1_0": "1-CaioD9NaqbHK_kzSMW8VE4_3KcsRjEo",
        "osnet_ain_x0_75": "1apy0hpsMypqstfencdH-jKIUEFOW4xoM",
        "osnet_ain_x0_5": "1KusKvEYyKGDTUBVRxRiz55G31wkihB6l",
        "osnet_ain_x0_25": "1SxQt2AvmEcgWNhaRb2xC4rP6ZwVDP0Wt",
    }.items()
}
IMAGENET |= {
    "resnet50": _torchvision(ResNet50_Weights.IMAGENET1K_V1, "fc"),
    "mobilenet_v3_large": _torchvision(MobileNet_V3_Large_Weights.IMAGENET1K_V1, "classifier"),
}
#: Variant -> the network whose files it takes, and the modules that differ and stay fresh.
VARIANTS = {
    "resnet50_stride2": ("resnet50", ("neck",)),
    "mobilenet_v3_large_sigmoid": ("mobilenet_v3_large", ("neck",)),
    "osnet_x0_25_bnneck": ("osnet_x0_25", ("neck",)),
    "osnet_x0_25_d1000": ("osnet_x0_25", ("fc",)),
    "resnet50_report": ("resnet50", ("neck",)),
    "mobilenet_v3_large_report": ("mobilenet_v3_large", ("neck",)),
}
IMAGENET |= {
    variant: replace(IMAGENET[network], fresh=fresh)
    for variant, (network, fresh) in VARIANTS.items()
}
IMAGENET_CLASSES = 1000

#: Weights that this project trained on its own generator and ships with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "weights"


def check_init(init: str) -> None:
    """Hold the words of an initialisation against those that are known.

    Raises:
        WeightsError: another word, or one without the file or run that it needs.
    """
    word, colon, rest = init.partition(":")
    known = word in ("none", "synthetic", "imagenet") and not colon
    if not known and not (word in ("imagenet", "reid", "run") and rest):
        raise WeightsError(f"init: {init!r} is not known; use one of {', '.join(INIT_WORDS)}")


def initialise(
    model: nn.Module, init: str, *, data_root: Path | None = None, name: str | None = None
) -> None:
    """Give a network its initial weights, said in words.

    Args:
        model: the network, with random weights.
        init: ``none`` keeps the random weights; ``imagenet`` loads the published ImageNet file
            (`IMAGENET`), from ``<data_root>/weights`` or downloaded once into the cache;
            ``imagenet:<file>`` loads that file as such; ``reid:<file>`` loads an already trained
            re-ID checkpoint; ``synthetic`` loads the weights shipped with the package.
        data_root: folder of the real data and weights; default ``REIDLAB_DATA``.
        name: the network's name in ``reidlab.models.MODELS``, for ``imagenet`` and ``synthetic``.

    Raises:
        WeightsError: unknown words; no file; a file that is not what it should be.
    """
    check_init(init)
    word, _, file = init.partition(":")
    if init == "none":
        return
    if word == "reid":
        load_weights(model, Path(file))
    elif word == "imagenet":
        path = Path(file) if file else _imagenet_file(name, data_root or paths.data_root())
        _verify_imagenet(path, name)
        known = IMAGENET.get(name or "", ImageNetFile("", ""))
        load_weights(model, path, skip=known.heads, fresh=known.fresh)
    elif init == "synthetic":
        network, fresh = VARIANTS.get(name or "", (name, ()))
        load_weights(model, _shipped_file(network), fresh=fresh)
    else:
        raise WeightsError(f"init: {init!r} names a run, and a training finds its file first")


def load_weights(
    model: nn.Module,
    file: Path | str,
    skip: Sequence[str] = ("classifier",),
    fresh: Sequence[str] = (),
) -> None:
    """Load a checkpoint key for key; the network is untouched when anything does not fit.

    Args:
        model: the network.
        file: ``.safetensors``, or PyTorch's format, see :func:`read_weights`.
        skip: modules of the file that are ignored when the network has no such keys: heads that
            belong to the training of the file.
        fresh: modules of the network that keep the weights they have, whatever the file says.

    Raises:
        WeightsError: lists all missing, unexpected, mis-shaped and not finite keys at once.
    """
    file = Path(file)
    state, complete = read_weights(file), model.state_dict()
    wanted = {key: tensor for key, tensor in complete.items() if key.split(".")[0] not in fresh}
    skipped = [
        key
        for key in state
        if key not in wanted and (key.split(".")[0] in skip or key in complete)
    ]
    unexpected = [key for key in state if key not in wanted and key not in skipped]
    problems = {
        "missing in the file": [
            # A counter that nothing reads; PyTorch before 0.4.1, and so torchvision's older
            # files, did not save it.
            key
            for key in wanted
            if key not in state and not key.endswith(".num_batches_tracked")
        ],
        "unknown to the network": unexpected,
        "of another shape": [
            f"{key} {tuple(state[key].shape)} (the network has {tuple(tensor.shape)})"
            for key, tensor in wanted.items()
            if key in state and state[key].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        lines = [
            f"  {len(keys)} {what}: {_shorten(keys)}" for what, keys in problems.items() if keys
        ]
        raise WeightsError(
            f"{file}: does not fit the network {type(model).__name__}, which has {len(wanted)} "
            f"tensors.\n" + "\n".join(lines) + "\nChoose the network (variant, width, "
            "feature_dim) that the file was saved from; extra heads can be named in `skip`."
        )
    loaded = {key: state[key] for key in wanted if key in state}
    if broken := [key for key, tensor in loaded.items() if not tensor.isfinite().all()]:
        raise WeightsError(
            f"{file}: {len(broken)} tensors hold NaN or infinite values: {_shorten(broken)}. The "
            "training that saved it diverged; take an earlier checkpoint, or train again with a "
            "lower learning rate"
        )
    model.load_state_dict(complete | loaded)
    log.info("loaded %d tensors from %s, skipped %s", len(loaded), file, skipped or "none")


def read_weights(file: Path | str) -> dict[str, Tensor]:
    """A checkpoint as key -> tensor on the CPU.

    PyTorch's format (``.pth``, ``.pt``, ``.tar``, ``.pth.tar-150``) is read with
    ``weights_only=True``; a training checkpoint is unwrapped from its ``state_dict``, and the
    ``module.`` of data-parallel training is stripped.

    Raises:
        WeightsError: no such file; truncated; not a plain file of tensors.
    """
    file = Path(file)
    if not file.is_file():
        raise WeightsError(
            f"{file}: there is no such weights file; check the path, relative "
            f"ones start at {Path.cwd()}"
        )
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{file}: holds a {type(state).__name__}, expected a dictionary of "
            "tensors; save `model.state_dict()`"
        )
    others = [
        f"{key} ({type(value).__name__})"
        for key, value in state.items()
        if not isinstance(value, Tensor)
    ]
    if others or not state:
        raise WeightsError(
            f"{file}: expected a dictionary of tensors, found "
            f"{_shorten(others) or 'nothing'}; save `model.state_dict()`"
        )
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def save_weights(
    model: nn.Module, file: Path | str, metadata: Mapping[str, object] | None = None
) -> None:
    """Save a network as safetensors, whole or not at all; the same weights give the same bytes.

    Args:
        model: the network.
        file: a ``.safetensors`` file; its folder is made.
        metadata: JSON values, readable with :func:`read_metadata`.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        # One entry: safetensors writes several in an order that changes from run to run.
        save_file(state, part, {"reidlab": json.dumps(dict(metadata or {}), sort_keys=True)})
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def read_metadata(file: Path | str) -> dict[str, object]:
    """The metadata that :func:`save_weights` wrote; empty for other safetensors files."""
    try:
        with safe_open(str(file), "pt") as opened:
            return json.loads((opened.metadata() or {}).get("reidlab", "{}"))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file}: cannot be read as safetensors ({error})") from error


def sha256(file: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file}: is not a whole safetensors file ({error}); it is truncated "
            "or damaged, fetch it again"
        ) from error


def _read_pickle(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; errors say enough
            return torch.load(file, map_location="cpu", weights_only=True)
    # A truncated file surfaces as any of these, depending on where it was cut.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        LookupError,
        ValueError,
    ) as error:
        # torch wraps the unpickler's own words in advice to switch its protection off.
        reason = str(error.__context__ if isinstance(error, pickle.UnpicklingError) else error)
        reason = reason.partition("\n")[0].partition(". ")[0]
        foreign_pickle = reason.startswith("Unsupported operand") and _begins(file, pickle.PROTO)
        if "global" in reason.lower() or foreign_pickle:
            message = (
                "is not a plain file of tensors, and was not loaded: unpickling anything else "
                f"can run code ({reason}). If you trust its source, read it in PyTorch yourself "
                "and save only its `state_dict` of tensors"
            )
        else:
            message = (
                f"cannot be read as a PyTorch checkpoint ({type(error).__name__}: "
                f"{reason}); it is truncated or damaged, fetch it again"
            )
        raise WeightsError(f"{file}: {message}") from error


def _begins(file: Path, start: bytes) -> bool:
    with open(file, "rb") as opened:
        return opened.read(len(start)) == start


def _shorten(keys: Sequence[str], most: int = 8) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


# --- where the words of `init` find their files ------------------------------------------------


def _imagenet_file(name: str | None, root: Path | None) -> Path:
    if name not in IMAGENET:
        raise WeightsError(
            f"init 'imagenet': there are no ImageNet weights of {name!r}, "
            f"only of {', '.join(IMAGENET)}"
        )
    file = IMAGENET[name].name
    given = root / "weights" / file if root else None
    if given and given.is_file():
        return given
    cached = paths.cache() / "weights" / file
    if not cached.is_file():
        _download(IMAGENET[name].url, cached, name, given)
    return cached


def _download(url: str, target: Path, name: str, given: Path | None) -> None:
    """Fetch into a temporary file, verify, rename: the cache never holds a bad file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    place = given or Path("<data_root>/weights") / target.name
    log.info("downloading %s", url)
    try:
        with urllib.request.urlopen(url, timeout=30) as response, open(part, "wb") as opened:
            shutil.copyfileobj(response, opened)
        _verify_imagenet(part, name)
        part.replace(target)
    except OSError as error:  # URLError, timeouts and broken connections are OSErrors
        raise WeightsError(
            f"init 'imagenet': cannot download {url} ({error}). Without a network, put the file "
            f"at {place}, or name it: init 'imagenet:<file>'"
        ) from error
    except WeightsError as error:
        raise WeightsError(
            f"init 'imagenet': {url} sent something else: {error}. Fetch the file "
            f"by hand and put it at {place}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _verify_imagenet(file: Path, name: str | None) -> None:
    """Size and hash where they are known; else the 1000 classes of its classifier."""
    known = IMAGENET.get(name or "")
    if known and known.sha256 and file.is_file():
        size, digest = file.stat().st_size, sha256(file)
        if size != (known.size or size) or not digest.startswith(known.sha256):
            bytes_and = f"{known.size:,} bytes and " if known.size else ""
            start = " at the start" if len(known.sha256) < len(digest) else ""
            raise WeightsError(
                f"{file}: is not {known.name}, the published ImageNet file of {name}: it has "
                f"{size:,} bytes and sha256 {digest}, expected {bytes_and}{known.sha256}{start}; "
                f"fetch it again from {known.url}, or use 'reid:<file>' for other weights"
            )
        return
    classifier = read_weights(file).get("classifier.weight")
    if classifier is None or len(classifier) != IMAGENET_CLASSES:
        raise WeightsError(
            f"{file}: is not an ImageNet checkpoint: expected a classifier of "
            f"{IMAGENET_CLASSES} classes, found "
            f"{'none' if classifier is None else len(classifier)}; a re-ID checkpoint is "
            "loaded with 'reid:<file>'"
        )
    log.info("%s: sha256 %s (no published hash to compare with)", file, sha256(file))


def _shipped_file(name: str | None) -> Path:
    file = SHIPPED / f"{name}_synthetic.safetensors"
    note = file.with_suffix(".json")
    if not (file.is_file() and note.is_file()):
        names = [
            found.name.removesuffix("_synthetic.safetensors")
            for found in sorted(SHIPPED.glob("*_synthetic.safetensors"))
        ]
        raise WeightsError(
            f"init 'synthetic': no weights of {name!r} are shipped in {SHIPPED}, "
            f"only of {', '.join(names) or 'none'}; use one of those networks, or "
            "another init"
        )
    expected, found = json.loads(note.read_text())["sha256"], sha256(file)
    if found != expected:
        raise WeightsError(
            f"{file}: has sha256 {found}, but {note.name} says {expected}; check "
            "the file out again"
        )
    return file
