"""What a network costs and how far it sees: parameters, Mult-Adds, receptive fields.

Nothing here is specific to OSNet except `stage_table`; torchvision's networks are counted by the
same rule. Mult-Adds are those of convolutions and linear layers, biases included, for one image.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from reidlab.models.base import count_parameters
from reidlab.models.osnet import FullConv3x3, LiteConv3x3, OSBlock, OSNet

#: Table 1 of the OSNet paper (ICCV 2019): stage -> (output at 256x128, layers), width x1.0.
PAPER_STAGES = {
    "conv1": ("128×64, 64", "7×7 conv, stride 2"),
    "maxpool": ("64×32, 64", "3×3 max pool, stride 2"),
    "conv2": ("64×32, 256", "bottleneck × 2"),
    "transition2": ("32×16, 256", "1×1 conv; 2×2 average pool, stride 2"),
    "conv3": ("32×16, 384", "bottleneck × 2"),
    "transition3": ("16×8, 384", "1×1 conv; 2×2 average pool, stride 2"),
    "conv4": ("16×8, 512", "bottleneck × 2"),
    "conv5": ("16×8, 512", "1×1 conv"),
    "gap": ("1×1, 512", "global average pool"),
    "fc": ("1×1, 512", "fc"),
}


@dataclass(frozen=True, eq=False)
class Cost:
    """The size of a network and the work of one forward pass.

    Attributes:
        params: parameters, each counted once.
        params_by_use: parameters counted once per application to an image, as torchreid's
            ``compute_model_complexity`` does. OSNet's gates serve four streams and count four
            times: 2,193,616 for x1.0, and not 2,169,508.
        multadds: multiply-adds of convolutions and linear layers, for one image.
        layers: one row per layer that ran: layer, kind, output, uses, params, multadds.
    """

    params: int
    params_by_use: int
    multadds: int
    layers: pd.DataFrame


def complexity(model: nn.Module, height: int = 256, width: int = 128) -> Cost:
    """Count a network's parameters and Mult-Adds.

    Args:
        model: any network of (N, 3, H, W) images; it is not changed and nothing is computed
            (the shapes are propagated on PyTorch's ``meta`` device).
        height: input height in pixels.
        width: input width in pixels.
    """
    layers, _ = _trace(_to_meta(model), torch.empty(1, 3, height, width, device="meta"))
    return Cost(
        params=count_parameters(model),
        params_by_use=int((layers.params * layers.uses).sum()),
        multadds=int(layers.multadds.sum()),
        layers=layers,
    )


def compare(models: Mapping[str, nn.Module], height: int = 256, width: int = 128) -> pd.DataFrame:
    """Networks side by side: columns model, params, multadds."""
    costs = {name: complexity(model, height, width) for name, model in models.items()}
    return pd.DataFrame(
        {
            "model": list(costs),
            "params": [cost.params for cost in costs.values()],
            "multadds": [cost.multadds for cost in costs.values()],
        }
    )


def stage_table(model: OSNet, height: int = 256, width: int = 128) -> pd.DataFrame:
    """OSNet stage by stage, beside Table 1 of the paper.

    Returns:
        One row per stage: stage, layers, output, params, multadds, paper_output, where the last
        is the paper's, for x1.0 at 256x128. The sums are those of :func:`complexity`.
    """
    meta = _to_meta(model)
    stages = meta.stages() | {
        "gap": nn.AdaptiveAvgPool2d(1),
        "fc": nn.Sequential(nn.Flatten(), meta.fc),
    }
    rows, x = [], torch.empty(1, 3, height, width, device="meta")
    for name, stage in stages.items():
        layers, x = _trace(stage, x)
        paper_output, description = PAPER_STAGES[name]
        rows.append(
            {
                "stage": name,
                "layers": description,
                "output": _size(x),
                "params": count_parameters(stage),
                "multadds": int(layers.multadds.sum()),
                "paper_output": paper_output,
            }
        )
    return pd.DataFrame(rows)


def _trace(module: nn.Module, x: Tensor) -> tuple[pd.DataFrame, Tensor]:
    """Run a module on a batch of one and note every leaf layer that is called."""
    rows: list[dict[str, object]] = []

    def note(name: str, layer: nn.Module, output: Tensor | tuple[Tensor, ...]) -> None:
        output = output[0] if isinstance(output, tuple) else output  # fixed gates, one a stream
        # OSNet's gates take their four streams as a batch of four: four uses per image.
        rows.append(
            {
                "layer": name,
                "kind": type(layer).__name__,
                "output": _size(output),
                "uses": output.shape[0],
                "params": count_parameters(layer),
                "multadds": _multadds(layer, output),
            }
        )

    handles = [
        layer.register_forward_hook(lambda layer, _, output, name=name: note(name, layer, output))
        for name, layer in module.named_modules()
        if not any(layer.children())
    ]
    try:
        with torch.no_grad():
            output = module(x)
    finally:
        for handle in handles:
            handle.remove()
    columns = ["layer", "kind", "output", "uses", "params", "multadds"]
    return pd.DataFrame(rows, columns=columns), output


def _multadds(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        per_output = layer.weight[0].numel()  # k·k·c / groups
    elif isinstance(layer, nn.Linear):
        per_output = layer.in_features
    else:
        return 0
    return output.numel() * (per_output + (layer.bias is not None))


def _to_meta(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to("meta").eval()


def _size(x: Tensor) -> str:
    """A batch's shape in the paper's way: height×width, channels."""
    height, width = x.shape[2:] if x.ndim == 4 else (1, 1)
    return f"{height}×{width}, {x.shape[1]}"


# --- depthwise separable against full convolution ----------------------------------------------


class ConvolutionCost(NamedTuple):
    """Mult-Adds of one k x k layer, as a full convolution and as a depthwise separable one."""

    full: int
    separable: int


def convolution_cost(
    height: int, width: int, in_channels: int, out_channels: int, kernel: int = 3
) -> ConvolutionCost:
    """Mult-Adds by formula: ``h w k² c c'`` against ``h w c (k² + c')``.

    The second is of a depthwise convolution followed by a pointwise one. Lite 3x3 has them the
    other way round, ``h w c' (k² + c)``, which is the same in its place, where c = c'.

    >>> convolution_cost(64, 32, 64, 64)
    ConvolutionCost(full=75497472, separable=9568256)
    """
    area, square = height * width, kernel * kernel
    return ConvolutionCost(
        area * square * in_channels * out_channels, area * in_channels * (square + out_channels)
    )


def measure_convolutions(
    height: int = 64,
    width: int = 32,
    channels: Sequence[int] = (16, 32, 64, 128),
    batch: int = 8,
    repeats: int = 15,
) -> pd.DataFrame:
    """Time Lite 3x3 against a full 3x3 convolution on this machine, in inference.

    Args:
        height: of the feature map.
        width: of the feature map.
        channels: input = output channels, one row for each.
        batch: images at a time.
        repeats: timed runs of each; the two take turns, so that a disturbance hits both.

    Returns:
        Columns channels, full_multadds, lite_multadds, multadds_ratio, full_ms, lite_ms (the
        medians, milliseconds per batch), time_ratio.
    """
    rows = []
    for c in channels:
        cost = convolution_cost(height, width, c, c)
        x = torch.randn(batch, c, height, width).contiguous(memory_format=torch.channels_last)
        pair = [
            layer(c).eval().to(memory_format=torch.channels_last)
            for layer in (FullConv3x3, LiteConv3x3)
        ]
        full_ms, lite_ms = _median_milliseconds(pair, x, repeats)
        rows.append(
            {
                "channels": c,
                "full_multadds": cost.full,
                "lite_multadds": cost.separable,
                "multadds_ratio": cost.full / cost.separable,
                "full_ms": full_ms,
                "lite_ms": lite_ms,
                "time_ratio": full_ms / lite_ms,
            }
        )
    return pd.DataFrame(rows)


@torch.inference_mode()
def _median_milliseconds(modules: Sequence[nn.Module], x: Tensor, repeats: int) -> list[float]:
    times: list[list[float]] = [[] for _ in modules]
    for turn in range(repeats + 2):
        for module, seconds in zip(modules, times):
            start = time.perf_counter()
            module(x)
            if turn >= 2:  # the first two warm up
                seconds.append(time.perf_counter() - start)
    return [1000 * float(np.median(seconds)) for seconds in times]


# --- receptive fields --------------------------------------------------------------------------


def receptive_map(module: nn.Module, channels: int, size: int = 21) -> np.ndarray:
    """How much each input position contributes to the output at the centre, by gradient.

    Every weight is made positive and equal, normalisation is removed and the input is positive:
    then no ReLU cuts and nothing cancels, and the gradient is zero exactly outside the receptive
    field. With these weights it is the number of paths from a position to the centre.

    Args:
        module: keeps height and width; no global pooling inside. It is not changed.
        channels: of its input.
        size: height and width of the input, odd.

    Returns:
        float64 (size, size), summing to 1.

    Raises:
        ValueError: the module changes height or width, so that there is no centre to ask.
    """
    probe = copy.deepcopy(module).double()
    _neutralise(probe)
    x = torch.ones(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    y = probe(x)
    if y.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"receptive_map: expected a module that keeps {size}x{size}, found an "
            f"output of {tuple(y.shape[2:])}; measure its stages one by one"
        )
    y[0, :, size // 2, size // 2].sum().backward()
    gradient = x.grad[0].sum(0)
    return (gradient / gradient.sum()).numpy()


def receptive_field(module: nn.Module, channels: int, size: int = 21) -> tuple[int, int]:
    """Measured height and width of a module's receptive field; see :func:`receptive_map`."""
    reached = receptive_map(module, channels, size) > 0
    rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def stream_receptive_fields(block: OSBlock) -> list[int]:
    """Measured receptive fields of a block's four streams: the paper says 3, 5, 7, 9."""
    channels = block.conv1.conv.out_channels
    fields = []
    for stream in block.streams:
        height, width = receptive_field(stream, channels)
        assert height == width, "the streams' kernels are square"
        fields.append(height)
    return fields


@torch.no_grad()
def _neutralise(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.InstanceNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _neutralise(child)
    if isinstance(module, nn.Conv2d):
        module.weight.fill_(1 / module.weight[0].numel())
        if module.bias is not None:
            module.bias.zero_()


def gate_summary(gates: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Gates in numbers, one row a block and stream.

    Args:
        gates: from :func:`reidlab.models.osnet.gate_activations`: block -> (N, 4 streams, C).

    Returns:
        Columns block, stream (1 to 4), mean (over images and channels), channel_std (over
        channels, of the mean over images), image_std (over images, of a single channel's gate:
        root mean square over the channels), favourite (share of channels, over images, whose
        gate is widest for this stream, by more than 0.001).
    """
    rows = []
    for block, values in gates.items():
        runner_up, best = np.sort(values, axis=1)[:, -2:].swapaxes(0, 1)  # (N, C) each
        widest = np.where(best - runner_up > 0.001, values.argmax(axis=1), -1)
        for stream in range(values.shape[1]):
            of_stream = values[:, stream].astype(np.float64)
            rows.append({
                "block": block, "stream": stream + 1, "mean": of_stream.mean(),
                "channel_std": of_stream.mean(axis=0).std(),
                "image_std": np.sqrt(of_stream.var(axis=0).mean()),
                "favourite": (widest == stream).mean(),
            })  # fmt: skip
    return pd.DataFrame(rows)
