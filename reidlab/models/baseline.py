"""Strong baselines: trunk, pooling and BNNeck, as the papers define them.

Papers:
    Luo, Gu, Liao, Lai, Jiang. Bag of Tricks and a Strong Baseline for Deep Person
    Re-Identification. CVPR Workshops 2019 (arXiv 1903.07071).
    He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
    Howard et al. Searching for MobileNetV3. ICCV 2019 (arXiv 1905.02244).

Names of parameters are torchvision's, so its ImageNet weights load key for key; ``neck`` is ours.
"""

from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, WeightsEnum
from torchvision.ops import Conv2dNormActivation

from reidlab.common.errors import ReidlabError
from reidlab.models.base import BNNeck, Branch, Features, Variant, WeightFile, linear_head
from reidlab.models.osnet import WIDTHS, OSNet


class Baseline(nn.Module):
    """Trunk, global average pooling, BNNeck; retrieval and ID loss after the neck.

    Args:
        feature_dim: channels of the trunk's output, D.
        shift: train the bias of the neck, and give the classifier one. The strong baseline's
            classes differ in direction alone, so it has neither.
        metric_after_neck: hand the metric losses the feature after the neck too. The strong
            baseline has them before it.
    """

    def __init__(
        self, feature_dim: int, *, shift: bool = False, metric_after_neck: bool = False
    ) -> None:
        super().__init__()
        self.branches = [Branch(feature_dim, feature_dim)]
        self.shift = shift
        self.metric_after_neck = metric_after_neck
        self.neck = BNNeck(feature_dim, shift)

    def featuremaps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, D, h, w): the trunk's output."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        """(N, 3, H, W) normalised images -> Features; the same type in training mode."""
        maps = self.featuremaps(images)
        # Distances are compared on this vector: it is not rounded to the maps' half precision.
        single = torch.promote_types(maps.dtype, torch.float32)
        pooled = maps.mean((2, 3), dtype=single)
        embedding = self.neck(pooled)
        return Features(embedding, [embedding], [embedding if self.metric_after_neck else pooled])

    def make_head(self, branch: int, classes: int) -> nn.Module:
        """The classifier that goes with the neck."""
        return linear_head(self.branches[branch].id_dim, classes, bias=self.shift, std=0.001)


class ResNet50(Baseline):
    """ResNet-50 with BNNeck.

    Args:
        last_stride: of the last stage, 1 or 2 (ImageNet's). With 1 the last map is twice as high
            and wide, 16x8 for a 256x128 image (Luo et al., Sec. 3.5).
        options: of :class:`Baseline`.

    Raises:
        ReidlabError: another stride.
    """

    folds = (("conv1", "bn1"),)

    def __init__(self, last_stride: int = 1, **options: bool) -> None:
        super().__init__(2048, **options)
        if last_stride not in (1, 2):
            raise ReidlabError(f"last_stride={last_stride}: it is 1 (strong baseline) or 2.")
        for name, module in torchvision.models.resnet50().named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)
        for convolution in (self.layer4[0].conv2, self.layer4[0].downsample[0]):
            convolution.stride = (last_stride, last_stride)

    def featuremaps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2048, H/16, W/16), or H/32, W/32 with the last stride 2."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x


class SingleDepthwise(nn.Conv2d):
    """A depthwise convolution that trains in float32 on a CPU, whatever autocast says.

    The backward pass of 5x5 depthwise convolutions is slow there in bfloat16: up to 26 times
    slower than in float32, which made it most of a training step.
    """

    @classmethod
    def like(cls, conv: nn.Conv2d) -> "SingleDepthwise":
        """The same convolution, with the same parameters."""
        channels = conv.out_channels
        twin = cls(
            channels, channels, conv.kernel_size, conv.stride, conv.padding,
            groups=channels, bias=False, device=conv.weight.device,
        )  # fmt: skip
        twin.weight = conv.weight
        return twin

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/stride, W/stride)."""
        if not (x.device.type == "cpu" and self.training):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


class MobileNetV3Large(Baseline):
    """MobileNetV3-Large with BNNeck on the 960 channels before torchvision's 1280-d head."""

    def __init__(self, **options: bool) -> None:
        super().__init__(960, **options)
        self.features = torchvision.models.mobilenet_v3_large().features
        for module in list(self.features.modules()):
            if isinstance(module, Conv2dNormActivation) and module[0].kernel_size == (5, 5):
                module[0] = SingleDepthwise.like(module[0])

    def featuremaps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 960, H/32, W/32)."""
        return self.features(images)


class OSNetBNNeck(OSNet):
    """OSNet with BNNeck behind its embedding, which the metric losses then take."""

    def __init__(self, channels: tuple[int, ...], feature_dim: int = 512) -> None:
        super().__init__(channels, feature_dim)
        self.neck = BNNeck(feature_dim)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, H, W) normalised images -> Features; the same type in training mode."""
        feature = super().forward(images).embedding
        embedding = self.neck(feature)
        return Features(embedding, [embedding], [feature])

    def make_head(self, branch: int, classes: int) -> nn.Module:
        """The classifier that goes with the neck."""
        return linear_head(self.branches[branch].id_dim, classes, bias=False, std=0.001)


# --- variants ----------------------------------------------------------------------------------


def _imagenet(weights: WeightsEnum, head: str) -> WeightFile:
    """Of torchvision, whose file names end in the first digits of their hash."""
    name = weights.url.rpartition("/")[2]
    digits = name.rpartition("-")[2].partition(".")[0]
    return WeightFile(weights.url, name, sha256=digits, heads=(head,))


VARIANTS = {
    # Of torchvision's two sets this is the older, which the strong baseline and the papers after
    # it started from; the newer comes from a longer training.
    "resnet50": Variant(
        ResNet50,
        _imagenet(ResNet50_Weights.IMAGENET1K_V1, "fc"),
        fresh=("neck",),
        params=23_512_128,
        multadds=4_053_270_528,
    ),
    "mobilenet_v3_large": Variant(
        MobileNetV3Large,
        _imagenet(MobileNet_V3_Large_Weights.IMAGENET1K_V1, "classifier"),
        fresh=("neck",),
        params=2_973_872,
        multadds=140_335_960,
    ),
    "osnet_x0_25_bnneck": Variant(
        partial(OSNetBNNeck, WIDTHS["x0_25"]),
        like="osnet_x0_25",
        fresh=("neck",),
        params=202_888,
        multadds=82_316_000,
    ),
}
