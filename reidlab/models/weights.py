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
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reidlab.common.errors import WeightsError

log = logging.getLogger(__name__)


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
