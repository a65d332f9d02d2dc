"""Networks for inference on a CPU: convolution, bias and ReLU in one call of oneDNN.

PyTorch's eager mode calls oneDNN for a bare convolution, lays its weights out anew each time, and
makes a second pass over the result for the ReLU. The operations that ``torch.compile`` would use
instead exist in eager mode as well, where nothing has to be compiled. They are not public, so
they are tried out once, and where they fail networks stay as they are.
"""

import functools
import logging
import platform
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlab.models.osnet import ConvLinear, ConvReLU, LiteConv3x3

log = logging.getLogger(__name__)


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
        model: in evaluation mode, its batch norms folded
            (:func:`reidlab.models.fold.fold_batch_norm`), on the CPU.
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
