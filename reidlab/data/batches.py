"""Batches: which images, in which order, and their augmentation on whole tensors."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: Mean and standard deviation of ImageNet's RGB, on the scale 0..1: the field's normalisation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def hold_out(pids: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split images into fit and validation parts, identity by identity.

    Every identity keeps at least one image to learn from, so that the classifier knows each class
    that it is validated on.

    Args:
        pids: (N,) identity of each image.
        fraction: share of each identity's images to hold out, rounded to whole images.
        seed: the same seed gives the same split.

    Returns:
        Two sorted index arrays: to learn from, to validate on.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(pids), dtype=bool)
    for pid in np.unique(pids):
        (own,) = np.nonzero(pids == pid)
        count = min(round(fraction * len(own)), len(own) - 1)
        held[rng.choice(own, size=count, replace=False)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def shuffled(indices: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Batches of a random order; the last, incomplete batch is left out.

    A batch-norm layer would see too few images in it. A set smaller than one batch is one batch.
    """
    order = torch.from_numpy(rng.permutation(indices))
    size = min(batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def take(images: Tensor, index: Tensor) -> Tensor:
    """Images of a batch, (B, 3, H, W) uint8, in channels-last memory like the store."""
    return images.permute(0, 2, 3, 1)[index].permute(0, 3, 1, 2)


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32, ImageNet mean 0 and standard deviation 1 per channel."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - mean) / std


def flip_and_crop(images: Tensor, flip: float, pad: int, rng: np.random.Generator) -> Tensor:
    """Mirror each image with probability ``flip``; zero-pad by ``pad`` and crop back at random.

    Args:
        images: (B, 3, H, W) uint8.
        flip: probability of a horizontal flip.
        pad: pixels added on every side before the crop; 0 leaves images in place.
        rng: source of randomness.

    Returns:
        (B, 3, H, W) uint8, channels-last memory.
    """
    count, _, height, width = images.shape
    mirrored = torch.from_numpy(rng.random(count) < flip)
    top = torch.from_numpy(rng.integers(0, 2 * pad + 1, count))
    left = torch.from_numpy(rng.integers(0, 2 * pad + 1, count))
    rows = top[:, None] + torch.arange(height)  # (B, H)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + left[:, None]  # (B, W)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)  # (B, H+2p, W+2p, 3)
    device = images.device
    which = torch.arange(count, device=device)[:, None, None]
    crop = padded[which, rows.to(device)[:, :, None], columns.to(device)[:, None, :]]
    return crop.permute(0, 3, 1, 2)


def erase(images: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020), on normalised images, in place.

    A rectangle of 2 to 40 % of the area and aspect ratio 0.3 to 3.3 becomes the ImageNet mean,
    which is zero after :func:`normalise`. A rectangle that does not fit is drawn again.

    Args:
        images: (B, 3, H, W) float.
        probability: share of the images that lose a rectangle.
        rng: source of randomness.
    """
    _, _, height, width = images.shape
    for index in np.flatnonzero(rng.random(len(images)) < probability):
        for _ in range(100):
            area = rng.uniform(0.02, 0.4) * height * width
            ratio = rng.uniform(0.3, 3.3)
            h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 0 < h < height and 0 < w < width:
                top, left = rng.integers(0, height - h), rng.integers(0, width - w)
                images[index, :, top : top + h, left : left + w] = 0
                break
    return images
