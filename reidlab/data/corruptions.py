"""What befalls a camera: 20 kinds of corrupted images at 5 severities, as in Market-1501-C.

Nineteen kinds are those of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations" (ICLR 2019), after the formulas of ``imagecorruptions``
1.1.2; the rain is that of albumentations 0.5.2 with the parameters of Chen, Wang and Zheng,
"Benchmarks for Corruption Invariant Person Re-identification" (NeurIPS 2021). Given the same
random numbers the pixels are the original's, up to 1 where a value sits on the edge of a grey
level, and the slow loops are gone. What differs:

- ``spatter`` of an image on which no drop falls leaves it; the original divides 0 by 0 and
  returns black.
- ``rain`` of an image up to 60 pixels high is computed at 65, as in the original, and then
  brought back to the image's own size.
- An image below 32 pixels on a side, which the original refuses, is corrupted enlarged.
- Grey images become RGB with three equal channels first.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from reidlab.common.errors import DataError
from reidlab.data.corruption_kinds import KINDS
from reidlab.recipe.config import unknown
from reidlab.recipe.names import corruptions

SEVERITIES = (1, 2, 3, 4, 5)

#: Sides below are enlarged before a corruption; rain needs room for its longest drops.
MIN_SIDE, MIN_RAIN, RAIN_HEIGHT = 32, 60, 65


@dataclass(frozen=True)
class Corruption:
    """What is done to the images of a table.

    What happens to an image depends on the seed and on the names of its file and of the folder
    that this is in (VIPeR has the same file names in both cameras' folders): never on its place in
    a table, on what happened to others, or on threads.

    Attributes:
        kind: one of the 20, a family of ``recipe.names.CORRUPTIONS``, or ``any``; of several one
            is drawn for every image, uniformly.
        severity: 1 to 5; None draws one for every image, uniformly.
        seed: of everything that is drawn.

    Raises:
        DataError: an unknown kind, another severity.
    """

    kind: str = "any"
    severity: int | None = None
    seed: int = 0

    def __post_init__(self):
        _kinds(self.kind)
        if self.severity is not None:
            _check_severity(self.severity)

    def __str__(self) -> str:
        return f"{self.kind}-{self.severity or 'any'}-seed{self.seed}"

    def __call__(self, image: np.ndarray, file: str | Path) -> np.ndarray:
        """(H, W, 3) uint8 image of this file -> the same shape, corrupted."""
        kind, severity, rng = self._draw(Path(file))
        return corrupt(image, kind, severity, rng)

    def drawn(self, files: Iterable[str]) -> pd.DataFrame:
        """Columns ``kind`` and ``severity``: what happens to each image."""
        rows = [self._draw(Path(file))[:2] for file in files]
        return pd.DataFrame(rows, columns=["kind", "severity"])

    def _draw(self, file: Path) -> tuple[str, int, np.random.Generator]:
        name = f"{file.parent.name}/{file.name}"
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        kinds = _kinds(self.kind)
        kind = kinds[rng.integers(len(kinds))] if len(kinds) > 1 else kinds[0]
        return kind, self.severity or int(rng.integers(1, 6)), rng


def corrupt(
    image: np.ndarray, kind: str, severity: int, rng: np.random.Generator | int = 0
) -> np.ndarray:
    """One corrupted image.

    Args:
        image: (H, W, 3) uint8 RGB; (H, W) and (H, W, 1) become RGB.
        kind: one of the 20 kinds.
        severity: 1 to 5.
        rng: source of randomness, or its seed.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: an unknown kind, another severity, something that is no such image.
    """
    if kind not in KINDS:
        raise DataError(unknown("corruption ", kind, KINDS))
    _check_severity(severity)
    image = _rgb(image)
    function, levels = KINDS[kind]
    height, width = image.shape[:2]
    larger = max(1.0, MIN_SIDE / min(height, width))
    if kind == "rain" and larger * height <= MIN_RAIN:
        larger = RAIN_HEIGHT / height
    if larger > 1:
        image = _resized(image, math.ceil(height * larger), math.ceil(width * larger))
    result = function(image, levels[severity - 1], np.random.default_rng(rng))
    if result.dtype != np.uint8:
        result = np.clip(result, 0, 255).astype(np.uint8)  # cut off, not rounded: the original
    return result if larger == 1 else _resized(result, height, width)


def corrupt_some(images: Tensor, kind: str, share: float, rng: np.random.Generator) -> Tensor:
    """Augmentation: a share of a batch, each with a kind and a severity of its own.

    Args:
        images: (B, 3, H, W) uint8, on any device.
        kind: a kind, a family or ``any``.
        share: probability of an image to be corrupted.
        rng: source of randomness.

    Returns:
        The same shape, device and, where a store has them so, channels-last memory.
    """
    kinds = _kinds(kind)
    (hit,) = np.nonzero(rng.random(len(images)) < share)
    which, severities = rng.integers(len(kinds), size=len(hit)), rng.integers(1, 6, len(hit))
    seeds = rng.integers(2**63, size=len(hit))
    if not len(hit):
        return images
    index = torch.from_numpy(hit).to(images.device)
    rows = images.permute(0, 2, 3, 1)  # (B, H, W, 3)
    made = [
        corrupt(image, kinds[k], int(severity), int(seed))
        for image, k, severity, seed in zip(rows[index].cpu().numpy(), which, severities, seeds)
    ]
    rows = rows.clone()
    rows[index] = torch.from_numpy(np.stack(made)).to(images.device)
    return rows.permute(0, 3, 1, 2)


def _kinds(name: str) -> tuple[str, ...]:
    if name not in (known := corruptions()):
        raise DataError(unknown("corruption ", name, known))
    return known[name]


def _check_severity(severity: int) -> None:
    if severity not in SEVERITIES:
        raise DataError(f"severity={severity!r}: expected 1, 2, 3, 4 or 5.")


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8 and image.ndim == 2:
        image = image[..., None]
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] not in (1, 3)
        or not image.size
    ):
        raise DataError(
            f"cannot corrupt {image.dtype} of shape {image.shape}: expected uint8 of shape "
            "(H, W, 3), RGB, or (H, W), grey."
        )
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
