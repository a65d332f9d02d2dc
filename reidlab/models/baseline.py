"""Strong baselines on torchvision's backbones, and the seed report's networks as it ran them.

Papers:
    Luo, Gu, Liao, Lai, Jiang. Bag of Tricks and a Strong Baseline for Deep Person
    Re-Identification. CVPR Workshops 2019 (arXiv 1903.07071).
    He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
    Howard et al. Searching for MobileNetV3. ICCV 2019 (arXiv 1905.02244).

==========================  =====  ==========  ====================  ============================
variant                         D  parameters  Mult-Adds at 256x128  as
==========================  =====  ==========  ====================  ============================
resnet50                     2048  23,512,128             4,053.3 M  the strong baseline
mobilenet_v3_large            960   2,973,872               140.3 M  its recipe, a light backbone
osnet_x0_25_bnneck            512     202,888                82.3 M  its neck on OSNet
resnet50_stride2             2048  23,512,128             2,669.2 M  one slip of the report's
mobilenet_v3_large_sigmoid   960   2,973,872               140.3 M  one slip of the report's
resnet50_report              2048  23,512,128             2,669.2 M  the report's code
mobilenet_v3_large_report     960   2,973,872               140.3 M  the report's code
osnet_x0_25_d1000            1000     265,792                82.4 M  the report's code
==========================  =====  ==========  ====================  ============================

Parameters are without an identity classifier; :func:`report_counts` has the report's counts.
Names of parameters are torchvision's, so its ImageNet weights load key for key; ``neck`` is ours.
"""

import pandas as pd
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from reidlab.common.errors import ReidlabError
from reidlab.models.heads import linear_head, make_heads
from reidlab.models.osnet import WIDTHS, Features, OSNet

#: Identities of Market-1501's training set; the report counts its classifiers with them.
MARKET1501_CLASSES = 751


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation between the feature of the metric losses and that of the ID loss.

    The ID loss separates directions, the triplet loss distances; the neck keeps them from pulling
    at the same vector (Luo et al., Sec. 3.6). Its bias stays at zero, so that the classes lie
    around the origin.

    Args:
        dim: size of the feature.
        shift: train the bias all the same, as an ordinary batch normalisation does.
    """

    def __init__(self, dim: int, shift: bool = False) -> None:
        super().__init__(dim)
        self.bias.requires_grad_(shift)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D), in the format of the parameters: half precision is computed in it."""
        return super().forward(x.to(self.weight.dtype))


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
        self.feature_dim = feature_dim
        self.id_dims = [feature_dim]
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
        return linear_head(self.id_dims[branch], classes, bias=self.shift, std=0.001)


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


class SigmoidMobileNetV3Large(MobileNetV3Large):
    """MobileNetV3-Large with the report's classifier.

    Args:
        dropout: before the classifier; 0.5 in the report's code.
        options: of :class:`Baseline`.
    """

    def __init__(self, dropout: float = 0.5, **options: bool) -> None:
        super().__init__(**options)
        self.dropout = dropout

    def make_head(self, branch: int, classes: int) -> nn.Module:
        """Dropout, linear layer and a sigmoid, whose output the cross entropy takes for logits."""
        linear = super().make_head(branch, classes)
        return nn.Sequential(nn.Dropout(self.dropout), linear, nn.Sigmoid())


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
        return linear_head(self.id_dims[branch], classes, bias=False, std=0.001)


# --- variants ----------------------------------------------------------------------------------


def resnet50(last_stride: int = 1) -> ResNet50:
    """The strong baseline."""
    return ResNet50(last_stride)


def resnet50_stride2() -> ResNet50:
    """The strong baseline with the last stride left at ImageNet's 2: one slip of the report."""
    return ResNet50(last_stride=2)


def mobilenet_v3_large() -> MobileNetV3Large:
    """The report's light model with the strong baseline's neck and losses."""
    return MobileNetV3Large()


def mobilenet_v3_large_sigmoid() -> SigmoidMobileNetV3Large:
    """The light model with a sigmoid before the cross entropy: one slip of the report."""
    return SigmoidMobileNetV3Large(dropout=0.0)


def osnet_x0_25_bnneck(feature_dim: int = 512) -> OSNetBNNeck:
    """OSNet x0.25 with the strong baseline's neck."""
    return OSNetBNNeck(WIDTHS["x0_25"], feature_dim)


def resnet50_report() -> ResNet50:
    """The strong baseline as the report's code has it.

    Three slips against the paper: the last stride is left at 2, the triplet and centre losses see
    the feature after the neck instead of before it, and neck and classifier have a bias.
    """
    return ResNet50(last_stride=2, shift=True, metric_after_neck=True)


def mobilenet_v3_large_report() -> SigmoidMobileNetV3Large:
    """The light model as the report's code has it.

    The slip is a sigmoid between classifier and cross entropy. Scores then differ by less than 1,
    so that with C classes the loss cannot fall below log(1 + (C - 1) / e): 5.62 nats for 751
    classes, where guessing costs 6.62. Besides, there is dropout of 0.5 before the classifier,
    and neck and classifier have a bias.
    """
    return SigmoidMobileNetV3Large(shift=True)


def osnet_x0_25_d1000() -> OSNet:
    """OSNet x0.25 with the report's 1000-d embedding: that layer is half of its parameters."""
    return OSNet(WIDTHS["x0_25"], feature_dim=1000)


# --- the report's counts -----------------------------------------------------------------------


def report_counts(classes: int = MARKET1501_CLASSES) -> pd.DataFrame:
    """Parameters of the report's networks, as it counts them and as they are used.

    Args:
        classes: of the identity classifier.

    Returns:
        One row per network: model; ``reported``, the report's figure; ``counted``, the sum of
        the next three; ``network``, what computes the features; ``classifier``, used in training
        only; ``unused``, the ImageNet head that the report's MobileNetV3 carries along, and that
        is never run.
    """
    reported = {
        resnet50_report: 25_050_927,
        mobilenet_v3_large_report: 6_206_663,
        osnet_x0_25_d1000: 1_017_543,
    }
    rows = []
    with torch.device("meta"):  # sizes alone, no values
        whole = torchvision.models.mobilenet_v3_large()
        for build, figure in reported.items():
            model = build()
            network, classifier = _parameters(model), _parameters(make_heads(model, classes))
            unused = _parameters(whole.classifier) if build is mobilenet_v3_large_report else 0
            rows.append(
                {
                    "model": build.__name__,
                    "reported": figure,
                    "counted": network + classifier + unused,
                    "network": network,
                    "classifier": classifier,
                    "unused": unused,
                }
            )
    return pd.DataFrame(rows)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
