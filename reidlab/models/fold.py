"""Batch normalisation folded into convolutions, for inference."""

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

#: Blocks of torchvision whose convolutions are followed by these batch normalisations. Blocks of
#: the project's own say so themselves, in an attribute ``folds``.
TORCHVISION_FOLDS = {
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
}


@torch.no_grad()
def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy for inference, with every batch normalisation folded into its convolution.

    The features are the same up to rounding; extraction is faster, with OSNet by a fifth. The
    copy is in evaluation mode, its parameters have other names, and it is of no use for training.

    Folded are neighbours in an ``nn.Sequential``, and the pairs that a block declares: its class
    attribute ``folds`` lists the names of convolution and normalisation, where the output of the
    one goes into the other and nowhere else. What has no convolution before it, such as a BNNeck,
    stays.

    Args:
        model: any network; it is left as it is.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        for conv_name, bn_name in _pairs(module):
            conv, bn = getattr(module, conv_name), getattr(module, bn_name)
            # Instance normalisation, and batch statistics that nobody has kept, cannot be folded.
            if isinstance(bn, nn.BatchNorm2d) and bn.running_mean is not None:
                setattr(module, conv_name, fuse_conv_bn_eval(conv, bn))
                setattr(module, bn_name, nn.Identity())
    return folded


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    yield from getattr(module, "folds", TORCHVISION_FOLDS.get(type(module), ()))
    if type(module).forward is nn.Sequential.forward:
        children = list(module.named_children())
        for (name, child), (next_name, next_child) in itertools.pairwise(children):
            if isinstance(child, nn.Conv2d) and isinstance(next_child, nn.BatchNorm2d):
                yield name, next_name
