"""What FPNN, IDLA and MCP-CNN make of a pair of images, and what a query costs each of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.data.batches import normalise
from reidlab.evaluation.pair_scores import compare_one
from reidlab.models import fpnn, idla, mcp
from reidlab.models.pairwise import PairNetwork


def resized(images: Sequence[np.ndarray], height: int, width: int) -> Tensor:
    """(H, W, 3) uint8 images of any size -> (N, 3, height, width) normalised."""
    size = width, height
    pixels = [Image.fromarray(one).resize(size, Image.Resampling.BILINEAR) for one in images]
    return normalise(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))


@torch.inference_mode()
def differences(
    model: idla.IDLA, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """K and K' of a pair, each (5 H, 5 W): :func:`reidlab.models.idla.difference_map`, mean of C.

    Args:
        model: in evaluation mode.
        first: (H, W, 3) uint8.
        second: (H, W, 3) uint8.
    """
    f, g = model.encode(resized([first, second], model.height, model.width)).split(1)
    return tuple(idla.difference_map(*maps)[0].mean(2).numpy() for maps in ((f, g), (g, f)))


@torch.inference_mode()
def displacements(model: fpnn.FPNN, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Displacement matrices of a pair, (S, W, W): mean over the maxout groups, a stripe each.

    Row j, column j': how well patch j of the first image matches patch j' of the second one.

    Args:
        model: in evaluation mode.
        first: (H, W, 3) uint8.
        second: (H, W, 3) uint8.
    """
    images = resized([first, second], model.height, model.width).split(1)
    codes = (model.encode(one, view) for view, one in enumerate(images))
    return fpnn.displacement(*codes, model.group)[0].mean(0).numpy()


class Channels(NamedTuple):
    """What MCP-CNN sees of two images.

    Attributes:
        maps: (2, H, W) answer of the global convolution to either image, mean over filters.
        distances: (5,) of the full body and of the four parts: Euclidean, between the values that
            a channel ends in, scaled to length 1: 0 to √2, for no value is negative.
    """

    maps: np.ndarray
    distances: np.ndarray


@torch.inference_mode()
def channels(
    model: mcp.MCP, first: np.ndarray, second: np.ndarray, height: int, width: int
) -> Channels:
    """A pair in the channels of MCP-CNN, before they are fused.

    Args:
        model: in evaluation mode.
        first: (H, W, 3) uint8.
        second: (H, W, 3) uint8.
        height: of the images that the network was trained on.
        width: of these.
    """
    maps = model.conv1_maps(resized([first, second], height, width))
    units = [F.normalize(values) for values in model.channels(maps)]
    apart = np.array([float((unit[0] - unit[1]).norm()) for unit in units])
    return Channels(maps.mean(1).numpy(), apart)


def query_cost(
    networks: Mapping[str, tuple[nn.Module, int, int]],
    galleries: Sequence[int],
    repeats: int = 3,
) -> pd.DataFrame:
    """Seconds from one decoded query to its distances, the gallery's codes or features ready.

    Neither weights nor images matter to it: codes of a few random images stand for any gallery.

    Args:
        networks: label -> network in evaluation mode, height and width of its images.
        galleries: numbers of images.
        repeats: of each, after one that warms up; the median counts.

    Returns:
        Columns network, gallery, seconds.
    """
    rows = []
    for label, (model, height, width) in networks.items():
        images = torch.randn(8, 3, height, width, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            pairwise = isinstance(model, PairNetwork)
            few = model.encode(images, 1) if pairwise else model(images).embedding
        for count in galleries:
            codes = few.repeat(-(-count // len(few)), *[1] * (few.dim() - 1))[:count]
            answer = partial(_by_pairs if pairwise else _by_product, model, images[:1], codes)
            answer()
            seconds = statistics.median(_seconds(answer) for _ in range(repeats))
            rows.append({"network": label, "gallery": count, "seconds": seconds})
    return pd.DataFrame(rows)


@torch.inference_mode()
def _by_pairs(model: PairNetwork, query: Tensor, codes: Tensor) -> Tensor:
    return compare_one(model, model.encode(query, 0), codes)


@torch.inference_mode()
def _by_product(model: nn.Module, query: Tensor, features: Tensor) -> Tensor:
    return model(query).embedding @ features.T


def _seconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
