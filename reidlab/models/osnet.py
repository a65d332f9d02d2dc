"""OSNet: omni-scale feature learning for person re-identification.

Papers:
    Zhou, Yang, Cavallaro, Xiang. Omni-Scale Feature Learning for Person Re-Identification.
    ICCV 2019 (arXiv 1905.00953).
    Zhou, Yang, Cavallaro, Xiang. Learning Generalisable Omni-Scale Representations for Person
    Re-Identification. TPAMI 2021 (arXiv 1910.06827): the AIN variants.

A block sees a person at four scales at once: four streams of 1, 2, 3 and 4 Lite 3x3
convolutions (receptive fields 3, 5, 7, 9), weighted channel by channel by one gate that the
streams share, and summed. Parameter names are torchreid's, so its checkpoints load key for key.

The variants, with their sizes, stand at the end of the file.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError
from reidlab.models.base import Branch, Features, Variant, WeightFile

#: Channels of the stem and of the three stages.
WIDTHS = {
    "x1_0": (64, 256, 384, 512),
    "x0_75": (48, 192, 288, 384),
    "x0_5": (32, 128, 192, 256),
    "x0_25": (16, 64, 96, 128),
}


#: Builds the convolution of the streams from its number of channels.
Conv3x3 = Callable[[int], nn.Module]


# --- building blocks ---------------------------------------------------------------------------


class ConvReLU(nn.Module):
    """Convolution, batch (or instance) normalisation, ReLU."""

    folds = (("conv", "bn"),)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        )
        self.bn = (
            nn.InstanceNorm2d(out_channels, affine=True)
            if instance_norm
            else nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ConvLinear(nn.Module):
    """1x1 convolution and batch normalisation, no activation."""

    folds = (("conv", "bn"),)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn: nn.Module | None = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        x = self.conv(x)
        return x if self.bn is None else self.bn(x)


class LiteConv3x3(nn.Module):
    """Lite 3x3: linear pointwise 1x1, then depthwise 3x3, batch normalisation, ReLU.

    The order is MobileNet's reversed: the channels are mixed before the space (paper, Sec. 3.1).
    """

    folds = (("conv2", "bn"),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return F.relu(self.bn(self.conv2(self.conv1(x))), inplace=True)


class FullConv3x3(nn.Module):
    """The standard 3x3 convolution that Lite 3x3 replaces: for cost comparisons only."""

    folds = (("conv", "bn"),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ChannelGate(nn.Module):
    """Unified aggregation gate: a small network from a stream to one weight per channel.

    The streams share it; they are stacked on the batch axis so that it runs once. It returns the
    gates, in (0, 1), and the block multiplies (paper, Eq. 3).

    Args:
        channels: C.
        gates: C, or 1 for a single weight for the whole stream.
    """

    def __init__(self, channels: int, gates: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, gates, 1)

    def forward(self, streams: list[Tensor]) -> tuple[Tensor, ...]:
        """S tensors (N, C, H, W) -> S tensors (N, gates, 1, 1)."""
        # A sum, and not a mean: its gradient is a broadcast view, while that of a mean is
        # written out in full. With the stacking, 4 to 9 % of a training step on a CPU.
        x = torch.cat([y.sum((2, 3), keepdim=True) for y in streams])
        x = x * (1 / streams[0][0, 0].numel())
        gates = torch.sigmoid(self.fc2(F.relu(self.fc1(x))))
        return gates.unflatten(0, (len(streams), -1)).unbind()


class SeparateGates(nn.ModuleList):
    """A `ChannelGate` for each stream of its own."""

    def forward(self, streams: list[Tensor]) -> tuple[Tensor, ...]:
        """S tensors (N, C, H, W) -> S tensors (N, C, 1, 1)."""
        return tuple(gate([stream])[0] for gate, stream in zip(self, streams))


class FixedGates(nn.Module):
    """Gates that are learnt, but the same for every image: σ(w), at the start 1/2."""

    def __init__(self, channels: int, streams: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(streams, channels))

    def forward(self, streams: list[Tensor]) -> tuple[Tensor, ...]:
        """S tensors (N, C, H, W) -> S tensors (1, C, 1, 1)."""
        return torch.sigmoid(self.weight)[:, None, :, None, None].unbind()


#: How a block unites its streams: word -> gate for (channels, streams). The words are those of
#: the paper's ablation; "concat" has the last 1x1 convolution take all streams side by side.
GATES: dict[str, Callable[[int, int], nn.Module | None]] = {
    "unified": lambda channels, _: ChannelGate(channels, channels),
    "separate": lambda channels, streams: SeparateGates(
        ChannelGate(channels, channels) for _ in range(streams)
    ),
    "stream": lambda channels, _: ChannelGate(channels, 1),
    "fixed": FixedGates,
    "none": lambda *_: None,
    "concat": lambda *_: None,
}


class OSBlock(nn.Module):
    """Omni-scale residual block: 1x1 down, four gated streams, 1x1 up, identity, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; the streams run at a quarter of them.
        instance_norm: normalise the sum of residual and identity (IBN-Net; the IBN variant).
        conv3x3: the convolution of the streams.
        depths: convolutions of each stream. With ``(1,)`` and no gate this is the plain residual
            bottleneck that the paper starts from.
        gate: how the streams are united, one of `GATES`.

    Raises:
        ReidlabError: another gate; no stream, or more than four.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        instance_norm: bool = False,
        conv3x3: Conv3x3 = LiteConv3x3,
        depths: Sequence[int] = (1, 2, 3, 4),
        gate: str = "unified",
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise ReidlabError(f"gate is {gate!r}; known are {', '.join(GATES)}")
        if not 1 <= len(depths) <= 4 or min(depths) < 1:
            raise ReidlabError(
                f"depths is {tuple(depths)}; give each of 1 to 4 streams a depth from 1 up"
            )
        mid = out_channels // 4
        self.conv1 = ConvReLU(in_channels, mid)
        self._make_streams(mid, conv3x3, depths)
        self.gate = GATES[gate](mid, len(depths))
        self.concat = gate == "concat"
        self.conv3 = ConvLinear(mid * (len(depths) if self.concat else 1), out_channels)
        self.downsample = (
            ConvLinear(in_channels, out_channels) if in_channels != out_channels else None
        )
        self.IN = nn.InstanceNorm2d(out_channels, affine=True) if instance_norm else None

    def _make_streams(self, channels: int, conv3x3: Conv3x3, depths: Sequence[int]) -> None:
        for letter, depth in zip("abcd", depths):
            layers = [conv3x3(channels) for _ in range(depth)]
            # torchreid's names: a single convolution has no number.
            setattr(self, f"conv2{letter}", nn.Sequential(*layers) if depth > 1 else layers[0])

    @property
    def streams(self) -> list[nn.Module]:
        """The streams, shallowest first (as published: four of receptive fields 3, 5, 7, 9)."""
        names = (f"conv2{letter}" for letter in "abcd")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def omni_scale(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out/4, H, W): the gated sum of the streams (Eq. 3)."""
        x = self.conv1(x)
        ys = [stream(x) for stream in self.streams]
        if self.concat:
            return torch.cat(ys, 1)
        if self.gate is not None:
            ys = [y * gate for y, gate in zip(ys, self.gate(ys))]
        return reduce(operator.add, ys)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.conv3(self.omni_scale(x)) + identity
        return F.relu(y if self.IN is None else self.IN(y), inplace=True)


class Stream(nn.Module):
    """A stream of the AIN layout: ``depth`` convolutions under the name ``layers``."""

    def __init__(self, channels: int, depth: int, conv3x3: Conv3x3) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(conv3x3(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.layers(x)


class OSBlockAIN(OSBlock):
    """The block of OSNet-AIN, in torchreid's other layout of names.

    With ``instance_norm`` the residual branch is normalised before the identity is added
    ("IN inside residual", TPAMI paper, Sec. 3.3), and its 1x1 loses its batch normalisation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, instance_norm: bool = False, **options: Any
    ) -> None:
        super().__init__(in_channels, out_channels, instance_norm=instance_norm, **options)
        if instance_norm:
            self.conv3.bn = None

    def _make_streams(self, channels: int, conv3x3: Conv3x3, depths: Sequence[int]) -> None:
        self.conv2 = nn.ModuleList(Stream(channels, depth, conv3x3) for depth in depths)

    @property
    def streams(self) -> list[nn.Module]:
        """The streams, shallowest first."""
        return list(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.conv3(self.omni_scale(x))
        if self.IN is not None:
            y = self.IN(y)
        return F.relu(y + identity, inplace=True)


def transition(channels: int) -> nn.Sequential:
    """Between stages: 1x1 convolution, then 2x2 average pooling."""
    return nn.Sequential(ConvReLU(channels, channels), nn.AvgPool2d(2))


# --- the network -------------------------------------------------------------------------------


class Trunk(nn.Module):
    """OSNet up to conv5, without pooling and embedding.

    Args:
        channels: of the stem and of the three stages.
        ibn: instance normalisation in the stem and after the blocks of the first stage.
        block: options of the blocks, see `OSBlock`.
    """

    def __init__(self, channels: Sequence[int], *, ibn: bool = False, **block: Any) -> None:
        super().__init__()
        self.conv1 = ConvReLU(3, channels[0], kernel_size=7, stride=2, instance_norm=ibn)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self._make_stages(channels, ibn, block)
        self.conv5 = ConvReLU(channels[3], channels[3])

    def _make_stages(self, channels: Sequence[int], ibn: bool, block: dict[str, Any]) -> None:
        def blocks(c_in: int, c_out: int, instance_norm: bool = False) -> list[nn.Module]:
            return [OSBlock(c, c_out, instance_norm=instance_norm, **block) for c in (c_in, c_out)]

        c1, c2, c3, c4 = channels
        self.conv2 = nn.Sequential(*blocks(c1, c2, ibn), transition(c2))
        self.conv3 = nn.Sequential(*blocks(c2, c3), transition(c3))
        self.conv4 = nn.Sequential(*blocks(c3, c4))

    def stages(self) -> dict[str, nn.Module]:
        """The trunk by the paper's stage names (Table 1), in the order of computation."""
        return {
            "conv1": self.conv1,
            "maxpool": self.maxpool,
            "conv2": self.conv2[:2],
            "transition2": self.conv2[2],
            "conv3": self.conv3[:2],
            "transition3": self.conv3[2],
            "conv4": self.conv4,
            "conv5": self.conv5,
        }

    def featuremaps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, H/16, W/16): the output of conv5."""
        x = images
        for stage in self.stages().values():
            x = stage(x)
        return x


class OSNet(Trunk):
    """OSNet with batch normalisation, or with instance normalisation as in the IBN variant.

    Args:
        channels: of the stem and of the three stages.
        feature_dim: D of the embedding.
        options: of `Trunk` and of its blocks.
    """

    def __init__(self, channels: Sequence[int], feature_dim: int = 512, **options: Any) -> None:
        super().__init__(channels, **options)
        self.branches = [Branch(feature_dim, feature_dim)]
        self.fc = nn.Sequential(
            nn.Linear(channels[3], feature_dim), nn.BatchNorm1d(feature_dim), nn.ReLU(inplace=True)
        )
        self.apply(initialise)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, H, W) normalised images -> Features; the same type in training mode."""
        x = F.adaptive_avg_pool2d(self.featuremaps(images), 1)
        embedding = self.fc(x.flatten(1))
        return Features(embedding, [embedding], [embedding])


class OSNetAIN(OSNet):
    """OSNet with instance normalisation where an architecture search put it (TPAMI paper)."""

    #: Which of the two blocks of conv2, conv3, conv4 normalise their residual by instance.
    INSTANCE_NORM = ((True, True), (False, True), (True, False))

    def __init__(self, channels: Sequence[int], feature_dim: int = 512, **block: Any) -> None:
        super().__init__(channels, feature_dim, ibn=True, **block)

    def _make_stages(self, channels: Sequence[int], ibn: bool, block: dict[str, Any]) -> None:
        stages = [
            nn.Sequential(
                *(
                    OSBlockAIN(c, c_out, instance_norm=norm, **block)
                    for c, norm in zip((c_in, c_out), norms)
                )
            )
            for c_in, c_out, norms in zip(channels, channels[1:], self.INSTANCE_NORM)
        ]
        self.conv2, self.conv3, self.conv4 = stages
        self.pool2, self.pool3 = transition(channels[1]), transition(channels[2])

    def stages(self) -> dict[str, nn.Module]:
        """The trunk by the paper's stage names (Table 1), in the order of computation."""
        return {
            "conv1": self.conv1,
            "maxpool": self.maxpool,
            "conv2": self.conv2,
            "transition2": self.pool2,
            "conv3": self.conv3,
            "transition3": self.pool3,
            "conv4": self.conv4,
            "conv5": self.conv5,
        }


def initialise(module: nn.Module) -> None:
    """Initialise as torchreid does; normalisation layers keep PyTorch's ones and zeros."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def gate_activations(model: OSNet, images: Tensor) -> dict[str, np.ndarray]:
    """Which scales each block listens to: the gates of its four streams.

    Args:
        model: the network; it is used in its present mode (call ``model.eval()`` first).
        images: (N, 3, H, W) normalised images.

    Returns:
        Block name (``conv2.0`` …, in order) -> float32 array (N, 4 streams, C) in (0, 1).
    """
    gates: dict[str, np.ndarray] = {}

    def keep(name: str, output: tuple[Tensor, ...]) -> None:
        gates[name] = torch.stack(output, dim=1).flatten(2).float().cpu().numpy()

    handles = [
        block.gate.register_forward_hook(lambda _, __, output, n=name: keep(n, output))
        for name, block in model.named_modules()
        if isinstance(block, OSBlock) and block.gate is not None
    ]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return gates


# --- variants ----------------------------------------------------------------------------------


def _imagenet(name: str, key: str, **known: Any) -> WeightFile:
    """Of torchreid's model zoo (https://kaiyangzhou.github.io/deep-person-reid)."""
    url = f"https://drive.google.com/uc?id={key}&export=download"
    return WeightFile(url, f"{name}_imagenet.pth", **known)


VARIANTS = {
    "osnet_x1_0": Variant(
        partial(OSNet, WIDTHS["x1_0"]),
        _imagenet(
            "osnet_x1_0",
            "1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY",
            size=10_910_553,
            sha256="fe2d63f9157c28a4a8d8ca29bec12d5b2988ac0346d712025789ea9174968e79",
        ),
        params=2_169_508,
        multadds=978_878_352,
    ),
    "osnet_x0_75": Variant(
        partial(OSNet, WIDTHS["x0_75"]),
        _imagenet("osnet_x0_75", "1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq"),
        params=1_285_754,
        multadds=571_754_536,
    ),
    "osnet_x0_5": Variant(
        partial(OSNet, WIDTHS["x0_5"]),
        _imagenet("osnet_x0_5", "16DGLbZukvVYgINws8u8deSaOqjybZ83i"),
        params=630_034,
        multadds=272_901_064,
    ),
    "osnet_x0_25": Variant(
        partial(OSNet, WIDTHS["x0_25"]),
        _imagenet("osnet_x0_25", "1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs"),
        params=201_864,
        multadds=82_316_000,
    ),
    # Instance normalisation in the stem and behind conv2 (Pan et al., ECCV 2018).
    "osnet_ibn_x1_0": Variant(
        partial(OSNet, WIDTHS["x1_0"], ibn=True),
        _imagenet("osnet_ibn_x1_0", "1sr90V6irlYYDd4_4ISU2iruoRG8J__6l"),
        params=2_170_532,
        multadds=978_878_352,
    ),
    # Instance normalisation in the stem and inside four blocks.
    "osnet_ain_x1_0": Variant(
        partial(OSNetAIN, WIDTHS["x1_0"]),
        _imagenet("osnet_ain_x1_0", "1-CaioD9NaqbHK_kzSMW8VE4_3KcsRjEo"),
        params=2_169_508,
        multadds=978_878_352,
    ),
    "osnet_ain_x0_75": Variant(
        partial(OSNetAIN, WIDTHS["x0_75"]),
        _imagenet("osnet_ain_x0_75", "1apy0hpsMypqstfencdH-jKIUEFOW4xoM"),
        params=1_285_754,
        multadds=571_754_536,
    ),
    "osnet_ain_x0_5": Variant(
        partial(OSNetAIN, WIDTHS["x0_5"]),
        _imagenet("osnet_ain_x0_5", "1KusKvEYyKGDTUBVRxRiz55G31wkihB6l"),
        params=630_034,
        multadds=272_901_064,
    ),
    "osnet_ain_x0_25": Variant(
        partial(OSNetAIN, WIDTHS["x0_25"]),
        _imagenet("osnet_ain_x0_25", "1SxQt2AvmEcgWNhaRb2xC4rP6ZwVDP0Wt"),
        params=201_864,
        multadds=82_316_000,
    ),
}

#: Suffix of a name -> options of the block: the rows of the paper's ablation, which it trains
#: from scratch. Its row "T = 1" names no gate: that is "bottleneck" here, its figure's baseline.
ABLATION: dict[str, dict[str, Any]] = {
    "streams1": {"depths": (1,)},
    "streams2": {"depths": (1, 2)},
    "streams3": {"depths": (1, 2, 3)},
    "depth4": {"depths": (4, 4, 4, 4)},
    "gate_separate": {"gate": "separate"},
    "gate_stream": {"gate": "stream"},
    "gate_fixed": {"gate": "fixed"},
    "gate_none": {"gate": "none"},
    "gate_concat": {"gate": "concat"},
    "conv3x3": {"conv3x3": FullConv3x3},
    "bottleneck": {"depths": (1,), "gate": "none"},
}
VARIANTS |= {
    f"osnet_x0_25_{suffix}": Variant(partial(OSNet, WIDTHS["x0_25"], **options))
    for suffix, options in ABLATION.items()
}
