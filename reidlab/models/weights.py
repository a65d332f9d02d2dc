"""Weights: where a network's first ones come from; read, verify, load key for key, save.

Loading is strict. Every key of the network must be in the file with its shape, and every key of
the file must be in the network, apart from the heads that the caller names.
"""

import json
import logging
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, WeightsError
from reidlab.common.files import read_json, replacing, sha256
from reidlab.models import variant
from reidlab.models.checkpoint import read_weights, shorten
from reidlab.recipe.init import Init
from reidlab.recipe.names import MODELS

log = logging.getLogger(__name__)

IMAGENET_CLASSES = 1000

#: Weights that this project trained on its own generator and ships with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "weights"
AGAIN = "Check the file out again."


def initialise(
    model: nn.Module,
    init: Init,
    *,
    name: str,
    data_root: Path | None = None,
    run_weights: Path | None = None,
    of: str | None = None,
) -> Path | None:
    """Give a network its initial weights.

    Args:
        model: the network, with random weights.
        init: ``none`` keeps the random weights; ``imagenet`` loads the published ImageNet file,
            from ``<data_root>/weights`` or downloaded once into the cache, or the file that it
            names; ``reid`` loads an already trained re-ID checkpoint; ``synthetic`` the weights
            shipped with the package; ``run`` those of another run.
        name: the network's name.
        data_root: folder of the real data and weights; default ``REIDLAB_DATA``.
        run_weights: the weight file of the run, for ``run``.
        of: the name of that run's network. If it is another variant of the same network, modules
            in which variants differ stay fresh where the file's do not fit.

    Returns:
        The file that was loaded; None where none was.

    Raises:
        WeightsError: no file, or a file that is not what it should be.
    """
    known, root = variant(name), data_root or paths.data_root()
    if init.kind == "none":
        return None
    if init.kind == "imagenet":
        file = init.file(root) or _imagenet_file(name, root)
        _verify_imagenet(file, name)
        imagenet = variant(_origin(name)).imagenet
        heads = imagenet.heads if imagenet else ("classifier",)
        load_weights(model, file, skip=heads, fresh=known.fresh)
    elif init.kind == "synthetic":
        file = _shipped_file(_origin(name))
        load_weights(model, file, fresh=known.fresh if known.like else ())
    elif init.kind == "reid":
        file = init.file(root)
        load_weights(model, file)
    elif run_weights is None or of is None:
        raise WeightsError(f"init: {str(init)!r} names a run, and a training finds its file first")
    else:
        file, fresh = run_weights, _differing(model, run_weights, name, of)
        load_weights(model, file, skip=("classifier", *fresh), fresh=fresh)
    return file


def load_weights(
    model: nn.Module,
    file: Path | str,
    skip: Sequence[str] = ("classifier",),
    fresh: Sequence[str] = (),
) -> None:
    """Load a checkpoint key for key; the network is untouched when anything does not fit.

    A network that is built around another one reads the checkpoints of that, too: it has a method
    ``adopt(state) -> (state, fresh modules)``.

    Args:
        model: the network.
        file: ``.safetensors``, or PyTorch's format, see
            :func:`reidlab.models.checkpoint.read_weights`.
        skip: modules of the file that are ignored when the network has no such keys: heads that
            belong to the training of the file.
        fresh: modules of the network that keep the weights they have, whatever the file says.

    Raises:
        WeightsError: lists all missing, unexpected, mis-shaped and not finite keys at once.
    """
    file = Path(file)
    state, complete = read_weights(file), model.state_dict()
    if hasattr(model, "adopt"):
        state, more = model.adopt(state)
        fresh = (*fresh, *more)
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
        "of whole numbers, where the network has fractions": [
            key
            for key, tensor in wanted.items()
            if key in state and tensor.is_floating_point() and not state[key].is_floating_point()
        ],
    }
    if any(problems.values()):
        lines = [
            f"  {len(keys)} {what}: {shorten(keys)}" for what, keys in problems.items() if keys
        ]
        raise WeightsError(
            f"{file}: does not fit the network {type(model).__name__}, which has {len(wanted)} "
            f"tensors.\n" + "\n".join(lines) + "\nChoose the network (variant, width, "
            "feature_dim) that the file was saved from; extra heads can be named in `skip`."
        )
    loaded = {key: state[key] for key in wanted if key in state}
    if broken := [key for key, tensor in loaded.items() if not tensor.isfinite().all()]:
        raise WeightsError(
            f"{file}: {len(broken)} tensors hold NaN or infinite values: {shorten(broken)}. The "
            "training that saved it diverged, or its numbers are too large for float16; take an "
            "earlier checkpoint, or one in float32"
        )
    model.load_state_dict(complete | loaded)
    log.info(
        "loaded %d tensors from %s, skipped %s, fresh: %s",
        *(len(loaded), file, skipped or "none", ", ".join(dict.fromkeys(fresh)) or "none"),
    )


def save_weights(
    model: nn.Module, file: Path | str, metadata: Mapping[str, object] | None = None
) -> None:
    """Save a network as safetensors, whole or not at all; the same weights give the same bytes.

    Args:
        model: the network.
        file: a ``.safetensors`` file; its folder is made.
        metadata: JSON values; they stand in the file's metadata under ``reidlab``.

    Raises:
        ReidlabError: the disk is full, or the folder cannot be written to.
    """
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    # One entry: safetensors writes several in an order that changes from run to run.
    notes = {"reidlab": json.dumps(dict(metadata or {}), sort_keys=True)}
    with replacing(Path(file)) as scratch:
        try:
            save_file(state, scratch, notes)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(error) from error


# --- initial weights ---------------------------------------------------------------------------


def _origin(name: str) -> str:
    """The network whose weights a network takes: itself, where it is nobody's variant."""
    return variant(name).like or name


def _differing(model: nn.Module, file: Path, name: str, other: str) -> tuple[str, ...]:
    """Modules of a network that the file of another variant has not, or in other shapes."""
    if name == other or _origin(name) != _origin(other):
        return ()
    shapes = [
        {key: value.shape for key, value in state.items()}
        for state in (read_weights(file), model.state_dict())
    ]

    def part(module: str, shapes: dict[str, torch.Size]) -> dict[str, torch.Size]:
        return {key: shapes[key] for key in shapes if key.split(".")[0] == module}

    modules = (*variant(name).fresh, *variant(other).fresh)
    return tuple(m for m in modules if part(m, shapes[0]) != part(m, shapes[1]))


def _imagenet_file(name: str, root: Path | None) -> Path:
    known = variant(_origin(name)).imagenet
    if known is None:
        others = [other for other in MODELS if variant(other).imagenet]
        raise WeightsError(
            f"init 'imagenet': there are no ImageNet weights of {name!r}, only of "
            f"{', '.join(others)} and their variants"
        )
    given = root / "weights" / known.name if root else None
    if given and given.is_file():
        return given
    cached = paths.cache() / "weights" / known.name
    if not cached.is_file():
        _download(known.url, cached, name, given)
    return cached


def _download(url: str, target: Path, name: str, given: Path | None) -> None:
    """Fetch, verify, and only then put in place: the cache never holds a bad file."""
    place = given or Path("<data_root>/weights") / target.name
    log.info("downloading %s", url)
    try:
        with replacing(target) as part:
            with urllib.request.urlopen(url, timeout=30) as response, open(part, "wb") as opened:
                shutil.copyfileobj(response, opened)
            _verify_imagenet(part, name)
    except WeightsError as error:
        raise WeightsError(
            f"init 'imagenet': {url} sent something else: {error}. Fetch the file "
            f"by hand and put it at {place}"
        ) from error
    except ReidlabError as error:  # URLError, timeouts and broken connections are OSErrors
        raise WeightsError(
            f"init 'imagenet': cannot download {url} ({error.__cause__}). Without a network, put "
            f"the file at {place}, or name it: init 'imagenet:<file>'"
        ) from error


def _verify_imagenet(file: Path, name: str) -> None:
    """Size and hash where they are known; else the 1000 classes of its classifier."""
    known = variant(_origin(name)).imagenet
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


def _shipped_file(name: str) -> Path:
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
    expected, found = read_json(note, AGAIN).get("sha256"), sha256(file)
    if found != expected:
        raise WeightsError(f"{file}: has sha256 {found}, but {note.name} says {expected}. {AGAIN}")
    return file
