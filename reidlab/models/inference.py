"""Networks made ready for inference: batch norms folded, convolution and ReLU in one call.

On a CPU PyTorch's eager mode calls oneDNN for a bare convolution, lays its weights out anew each
time, and makes a second pass over the result for the ReLU. The operations that ``torch.compile``
would use instead exist in eager mode as well, where nothing has to be compiled. They are not
public, so they are tried out once, and where they fail networks stay as they are.
"""

import copy
import functools
import itertools
import logging
import platform
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reidlab.models.osnet import ConvLinear, ConvReLU, LiteConv3x3

log = logging.getLogger(__name__)

#: Blocks of torchvision whose convolutions are followed by these batch normalisations. By name:
#: torchvision takes longer to import than torch. Blocks of the project's own say so themselves,
#: in an attribute ``folds``.
TORCHVISION_FOLDS = {
    "BasicBlock": (("conv1", "bn1"), ("conv2", "bn2")),
    "Bottleneck": (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
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
    kind = type(module)
    of_torchvision = kind.__module__ == "torchvision.models.resnet"
    known = TORCHVISION_FOLDS.get(kind.__name__, ()) if of_torchvision else ()
    yield from getattr(module, "folds", known)
    if type(module).forward is nn.Sequential.forward:
        children = list(module.named_children())
        for (name, child), (next_name, next_child) in itertools.pairwise(children):
            if isinstance(child, nn.Conv2d) and isinstance(next_child, nn.BatchNorm2d):
                yield name, next_name


class FusedConv(nn.Module):
    """A convolution with bias, its weights laid out in advance, with ReLU if asked for.

    Args:
        conv: the convolution.
        relu: whether a ReLU follows.
        dtype: number format of weights and output; the input is cast to it.
        shape: (N, C_in, H, W) of the input that the layout is chosen for. Any other gives the
            same results, only slower where oneDNN has to lay the weights out anew for it.
    """

    def __init__(
        self, conv: nn.Conv2d, relu: bool, dtype: torch.dtype, shape: Sequence[int]
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.activation = "relu" if relu else "none"
        self.geometry = (
            list(conv.padding),
            list(conv.stride),
            list(conv.dilation),
            conv.groups,
        )
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight.detach().to(dtype), *self.geometry, list(shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return torch.ops.mkldnn._convolution_pointwise(
            x.to(self.dtype), self.weight, self.bias, *self.geometry, self.activation, [], ""
        )


def fuse(model: nn.Module, dtype: torch.dtype, shapes: dict[nn.Module, list[int]]) -> nn.Module:
    """Replace the convolutions of a network, in place, where this machine can.

    The results are the same up to rounding. The network is of no use for training after this.

    Args:
        model: in evaluation mode, its batch norms folded (:func:`fold_batch_norm`), on the CPU.
        dtype: number format of the convolutions.
        shapes: of each convolution's input, (N, C_in, H, W), as it will be used most. What is not
            in it stays as it is.

    Returns:
        The same network.
    """
    if not available():
        return model

    def fused(conv: nn.Conv2d, relu: bool = False) -> nn.Module:
        odd = conv.padding_mode != "zeros" or isinstance(conv.padding, str)
        if odd or conv not in shapes:
            return nn.Sequential(conv, nn.ReLU()) if relu else conv
        return FusedConv(conv, relu, dtype, shapes[conv])

    def replace(parent: nn.Module) -> None:
        for name, child in parent.named_children():
            folded = isinstance(getattr(child, "bn", None), nn.Identity | None)
            if isinstance(child, ConvReLU) and folded:
                new = fused(child.conv, relu=True)
            elif isinstance(child, ConvLinear) and folded:
                new = fused(child.conv)
            elif isinstance(child, LiteConv3x3) and folded:
                new = nn.Sequential(fused(child.conv1), fused(child.conv2, relu=True))
            elif isinstance(child, nn.Conv2d):
                new = fused(child)
            else:
                replace(child)
                continue
            setattr(parent, name, new)

    replace(model)
    return model


@functools.cache
def available() -> bool:
    """Whether oneDNN's fused convolution exists here and gives the right result."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False  # not tried on other processors
    conv = nn.utils.skip_init(nn.Conv2d, 3, 8, 3, padding=1)  # draws no random numbers
    with torch.no_grad():
        conv.weight.copy_(torch.linspace(-1, 2, conv.weight.numel()).view_as(conv.weight))
        conv.bias.copy_(torch.linspace(-1, 1, 8))
    image = torch.linspace(-1, 1, 3 * 8 * 4).view(1, 3, 8, 4)
    image = image.contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            found = FusedConv(conv, True, torch.float32, image.shape)(image)
            right = torch.allclose(found, F.relu(conv(image)), atol=1e-5)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        log.info("convolutions stay unfused, since PyTorch %s: %s", torch.__version__, error)
        return False
    if not right:
        log.warning("convolutions stay unfused: PyTorch %s fuses them wrongly", torch.__version__)
    return right
