"""Initial weights, said in words: random, ImageNet's, a re-ID checkpoint's, or those we ship."""

import json
import logging
import os
import shutil
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, WeightsEnum

from reidlab.common import paths
from reidlab.common.errors import WeightsError
from reidlab.models.weights import load_weights, read_weights, sha256

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
    model: nn.Module,
    init: str,
    *,
    data_root: Path | None = None,
    name: str | None = None,
    of: str | None = None,
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
        of: the name of the network that was saved in the file of ``reid:``, where it is known.
            If it is another variant of the same network (`VARIANTS`), modules in which variants
            differ stay fresh where the file's do not fit.

    Raises:
        WeightsError: unknown words; no file; a file that is not what it should be.
    """
    check_init(init)
    word, _, file = init.partition(":")
    if init == "none":
        return
    if word == "reid":
        fresh = _differing(model, Path(file), name, of)
        load_weights(model, Path(file), skip=("classifier", *fresh), fresh=fresh)
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


def _differing(
    model: nn.Module, file: Path, name: str | None, other: str | None
) -> tuple[str, ...]:
    """Modules of a network that the file of another variant has not, or in other shapes."""
    (network, fresh), (others, more) = (VARIANTS.get(n or "", (n, ())) for n in (name, other))
    if name == other or network != others:
        return ()
    shapes = [
        {key: value.shape for key, value in state.items()}
        for state in (read_weights(file), model.state_dict())
    ]

    def part(module: str, shapes: dict[str, torch.Size]) -> dict[str, torch.Size]:
        return {key: shapes[key] for key in shapes if key.split(".")[0] == module}

    return tuple(m for m in (*fresh, *more) if part(m, shapes[0]) != part(m, shapes[1]))


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
