"""One setting for CPU, CUDA and Apple MPS: where to compute, in which number format."""

import importlib.util
import logging
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError

log = logging.getLogger(__name__)

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Compute:
    """Where networks run: the device, and the number format of their convolutions."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager:
        """Context in which convolutions and products run in :attr:`dtype`."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network there, channels-last: 1.5 to 2 times faster for these networks."""
        return model.to(self.device, memory_format=torch.channels_last)

    def send(self, batch: Tensor) -> Tensor:
        """Move a batch there, keeping its memory layout."""
        return batch.to(self.device, non_blocking=True)

    def compiled(self, model: nn.Module) -> nn.Module:
        """The network for many training steps, with the same weights: compiled on CUDA.

        There OSNet's many small operations are dearer to start than to run. On a CPU compiling
        takes minutes and gains nothing. The result is for calls only: state is the model's.
        """
        if self.device.type != "cuda":
            return model
        if not _has_compiler():
            log.info("not compiled: that takes a C compiler and triton, and one is missing here")
            return model
        return torch.compile(model)

    def __str__(self) -> str:
        return f"{self.device.type}, {str(self.dtype).removeprefix('torch.')}"


def pick(device: str = "auto", precision: str = "auto") -> Compute:
    """Choose device and number format.

    Args:
        device: ``auto`` takes CUDA, then MPS, then the CPU.
        precision: ``auto`` takes bfloat16 where the hardware multiplies it natively.

    Raises:
        ReidlabError: an unknown word, or a device that this machine does not have.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device not in ("auto", *present) or precision not in ("auto", *FORMATS):
        raise ReidlabError(
            f"device={device!r}, precision={precision!r}: device is one of auto, "
            f"{', '.join(present)}; precision one of auto, {', '.join(FORMATS)}."
        )
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    elif not present[device]:
        raise ReidlabError(f'this machine has no {device} device; use device="auto" or "cpu".')
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    return Compute(torch.device(device), FORMATS[precision])


def _has_compiler() -> bool:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and importlib.util.find_spec("triton") is not None


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        # oneDNN's own answer: True from AVX-512 on, where bfloat16 convolutions pay.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False
