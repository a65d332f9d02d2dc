"""The networks of the seed report "Siamese re-ID" as its code ran them, and its slips one by one.

Against the strong baseline's paper the report's ResNet-50 has three: the last stride is left at
2, the triplet and centre losses see the feature after the neck instead of before it, and neck and
classifier have a bias. MobileNetV3 has a sigmoid between classifier and cross entropy. Scores then
differ by less than 1, so that with C classes the loss cannot fall below log(1 + (C - 1) / e): 5.62
nats for 751 classes, where guessing costs 6.62. Besides, there is dropout of 0.5 before the
classifier, and neck and classifier have a bias. OSNet x0.25 has an embedding of 1000 values: that
layer is half of its parameters.
"""

from functools import partial

import pandas as pd
import torch
import torchvision
from torch import nn

from reidlab.models.base import Variant, count_parameters, make_heads
from reidlab.models.baseline import MobileNetV3Large, ResNet50
from reidlab.models.osnet import WIDTHS, OSNet

#: Identities of Market-1501's training set; the report counts its classifiers with them.
MARKET1501_CLASSES = 751


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


VARIANTS = {
    "resnet50_stride2": Variant(
        partial(ResNet50, last_stride=2),
        like="resnet50",
        fresh=("neck",),
        params=23_512_128,
        multadds=2_669_150_208,
    ),
    "mobilenet_v3_large_sigmoid": Variant(
        partial(SigmoidMobileNetV3Large, dropout=0.0),
        like="mobilenet_v3_large",
        fresh=("neck",),
        params=2_973_872,
        multadds=140_335_960,
    ),
    "resnet50_report": Variant(
        partial(ResNet50, last_stride=2, shift=True, metric_after_neck=True),
        like="resnet50",
        fresh=("neck",),
        params=23_512_128,
        multadds=2_669_150_208,
        published=25_050_927,
    ),
    "mobilenet_v3_large_report": Variant(
        partial(SigmoidMobileNetV3Large, shift=True),
        like="mobilenet_v3_large",
        fresh=("neck",),
        params=2_973_872,
        multadds=140_335_960,
        published=6_206_663,
    ),
    "osnet_x0_25_d1000": Variant(
        partial(OSNet, WIDTHS["x0_25"], feature_dim=1000),
        like="osnet_x0_25",
        fresh=("fc",),
        params=265_792,
        multadds=82_378_952,
        published=1_017_543,
    ),
}


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
    rows = []
    with torch.device("meta"):  # sizes alone, no values
        head = count_parameters(torchvision.models.mobilenet_v3_large().classifier)
        for name, variant in VARIANTS.items():
            if variant.published is None:
                continue
            model = variant.make()
            row = {
                "network": count_parameters(model),
                "classifier": count_parameters(make_heads(model, classes)),
                "unused": head if isinstance(model, SigmoidMobileNetV3Large) else 0,
            }
            counted = {"reported": variant.published, "counted": sum(row.values())}
            rows.append({"model": name} | counted | row)
    return pd.DataFrame(rows)
