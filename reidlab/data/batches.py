"""Batches: which images, in which order, and their augmentation on whole tensors."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reidlab.common.errors import DataError

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


def identity_batches(
    labels: np.ndarray,
    indices: np.ndarray,
    num_ids: int,
    num_instances: int,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    """Batches of P identities with K images each, for metric losses (Hermans et al., 2017).

    One pass is an epoch. The images of each identity are shuffled and cut into groups of K; what
    is left of them, at most K - 1, sits this epoch out. An identity with fewer than K images is
    one group: all its images, and some of them again. A batch takes a group of each of P
    identities, drawn without replacement from those that have groups left.

    So far this is the field's ``RandomIdentitySampler``. There the epoch ends where fewer than P
    identities have groups left, which depends on the draws. Here an identity that has a group for
    every batch to come is drawn first, as soon as leaving it out would cost a batch: then an
    epoch has always the same number of batches, :func:`num_identity_batches`, the most that the
    groups allow.

    Args:
        labels: (N,) identity of each image.
        indices: images to draw from, positions in ``labels``; e.g. those that
            :func:`hold_out` left to learn from.
        num_ids: P, at least 2.
        num_instances: K, at least 2.
        rng: source of randomness.

    Yields:
        (P·K,) positions in ``labels``, the images of an identity side by side.

    Raises:
        DataError: P or K below 2, fewer than P identities, or none with K images.
    """
    steps = num_identity_batches(labels, indices, num_ids, num_instances)
    return _identity_batches(_by_identity(labels, indices), num_ids, num_instances, steps, rng)


def num_identity_batches(
    labels: np.ndarray, indices: np.ndarray, num_ids: int, num_instances: int
) -> int:
    """How many batches :func:`identity_batches` gives in an epoch, whatever the draws.

    With g_i groups of identity i it is the largest n with Σ_i min(g_i, n) ≥ n·P: a batch takes
    an identity at most once, so in n batches no identity fills more than n places.

    Args:
        labels: (N,) identity of each image.
        indices: images to draw from.
        num_ids: P, at least 2.
        num_instances: K, at least 2.

    Raises:
        DataError: P or K below 2, fewer than P identities, or none with K images.

    Example:
        Groups of 2 images: three of identity 0, one each of 1, 2 and 3. Two identities a batch
        make three batches: 0 is in each of them.

        >>> labels = np.repeat([0, 1, 2, 3], [6, 2, 3, 1])
        >>> num_identity_batches(labels, np.arange(12), num_ids=2, num_instances=2)
        3
    """
    for name, value, why in (
        ("num_ids", num_ids, "a negative is an image of another identity"),
        ("num_instances", num_instances, "a positive is another image of the same identity"),
    ):
        if value < 2:
            raise DataError(f"{name}={value}: it must be at least 2, since {why}.")
    counts = np.unique(np.asarray(labels)[indices], return_counts=True)[1]
    if len(counts) < num_ids:
        raise DataError(
            f"num_ids={num_ids}: the training images show only {len(counts)} identities; lower "
            "num_ids, or train on more of them."
        )
    if counts.max() < num_instances:
        raise DataError(
            f"num_instances={num_instances}: no identity has so many training images, the most "
            f"are {counts.max()}; every group would repeat some. Lower num_instances."
        )
    groups = np.maximum(counts // num_instances, 1)
    steps = int(groups.sum()) // num_ids  # at least 1; what the sum allows, if not the identities
    while np.minimum(groups, steps).sum() < steps * num_ids:
        steps -= 1
    return steps


def _by_identity(labels: np.ndarray, indices: np.ndarray) -> list[np.ndarray]:
    own = np.asarray(labels)[indices]
    order = np.argsort(own, kind="stable")
    return np.split(np.asarray(indices)[order], np.unique(own[order], return_index=True)[1][1:])


def _identity_batches(
    images: list[np.ndarray],
    num_ids: int,
    num_instances: int,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    groups = []
    for own in images:
        count = max(len(own) // num_instances, 1) * num_instances
        # np.resize cuts what is too much, and starts over where there is too little.
        groups.append(
            list(np.resize(rng.permutation(own), (count // num_instances, num_instances)))
        )
    left = np.array([len(own) for own in groups])
    for ahead in range(steps, 0, -1):
        # An identity in every batch ahead loses a place by being left out, the others lose one by
        # being drawn: as many of the former may be left out as there are places to spare.
        everywhere = np.flatnonzero(left >= ahead)
        spare = np.minimum(left, ahead).sum() - ahead * num_ids
        drawn = rng.permutation(np.flatnonzero(left))
        first = rng.permutation(everywhere)[: max(0, len(everywhere) - spare)]
        drawn = np.concatenate([first, drawn[~np.isin(drawn, first)]])[:num_ids]
        left[drawn] -= 1
        yield torch.from_numpy(np.concatenate([groups[which].pop() for which in drawn]))


def take(images: Tensor, index: Tensor) -> Tensor:
    """Images of a batch, (B, 3, H, W) uint8, in channels-last memory like the store."""
    return images.permute(0, 2, 3, 1)[index].permute(0, 3, 1, 2)


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32, ImageNet mean 0 and standard deviation 1 per channel."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - mean) / std


def flip_and_crop(
    images: Tensor, flip: float, pad: int | Sequence[int], rng: np.random.Generator
) -> Tensor:
    """Mirror each image with probability ``flip``; zero-pad by ``pad`` and crop back at random.

    Args:
        images: (B, 3, H, W) uint8.
        flip: probability of a horizontal flip.
        pad: pixels added on every side before the crop, or above and below, and left and right; 0
            leaves images in place.
        rng: source of randomness.

    Returns:
        (B, 3, H, W) uint8, channels-last memory.
    """
    count, _, height, width = images.shape
    mirrored = torch.from_numpy(rng.random(count) < flip)
    down, right = (pad, pad) if isinstance(pad, int) else pad
    top = torch.from_numpy(rng.integers(0, 2 * down + 1, count))
    left = torch.from_numpy(rng.integers(0, 2 * right + 1, count))
    rows = top[:, None] + torch.arange(height)  # (B, H)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + left[:, None]  # (B, W)
    padded = F.pad(images, (right, right, down, down)).permute(0, 2, 3, 1)  # (B, H+2p, W+2p, 3)
    device = images.device
    which = torch.arange(count, device=device)[:, None, None]
    crop = padded[which, rows.to(device)[:, :, None], columns.to(device)[:, None, :]]
    return crop.permute(0, 3, 1, 2)


def erase(images: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020), on normalised images, in place.

    A rectangle of 2 to 40 % of the area and aspect ratio 0.3 to 3.3 becomes the ImageNet mean,
    which is zero after :func:`normalise`. Of 20 rectangles drawn the first that fits is taken.

    Args:
        images: (B, 3, H, W) float.
        probability: share of the images that lose a rectangle.
        rng: source of randomness.
    """
    count, _, height, width = images.shape
    hit = rng.random(count) < probability
    if not hit.any():
        return images
    area = rng.uniform(0.02, 0.4, (count, 20)) * height * width
    ratio = rng.uniform(0.3, 3.3, (count, 20))
    tall, wide = np.rint((area * ratio) ** 0.5), np.rint((area / ratio) ** 0.5)
    fits = (tall > 0) & (tall < height) & (wide > 0) & (wide < width)
    chosen = np.arange(count), fits.argmax(1)
    hit &= fits[chosen]
    extent = np.stack([tall[chosen], wide[chosen]]) * hit  # (2, B); 0 where nothing is erased
    start = np.floor(rng.random((2, count)) * (np.array([[height], [width]]) - extent))
    rows, columns = (
        torch.from_numpy((first[:, None] <= place) & (place < (first + length)[:, None]))
        for first, length, place in zip(start, extent, (np.arange(height), np.arange(width)))
    )
    rows, columns = rows.to(images.device), columns.to(images.device)
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0)
