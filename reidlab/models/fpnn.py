"""FPNN: the filter pairing network of DeepReID.

Li, Zhao, Xiao, Wang. DeepReID: Deep Filter Pairing Neural Network for Person Re-Identification.
CVPR 2014.

1. Each camera has filters of its own, in pairs: the k-th one of either camera shows the same part
   under that camera's light. Convolution, ReLU, max pooling.
2. The maps are cut into horizontal stripes. Within a stripe the patches of both images are matched
   filter by filter, by products: S_k[i, j, j'] = f_k[i, j] · g_k[i, j'], a displacement matrix of
   patches by patches for each stripe i and filter k.
3. Maxout: of the filters of a group only the strongest response goes on, so that they specialise.
4. Convolution and max pooling of the displacement matrices, the same for all stripes.
5. A fully connected layer, and the two outputs "same" and "different".

No source at hand gives the sizes. Ours, at 160x60: 64 pairs of 5x5 filters, padded; pooling 5x5,
so that a stripe is 5 pixels high and there are 32 of 12 patches; groups of 4 filters; 32 filters
of 3x3 and pooling 3x3 for the displacement matrices; 200 values in the fully connected layer.
Dropout on the first layer's outputs is the paper's, its share ours. ``fpnn_bn`` adds batch
normalisation before each ReLU.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.models.base import Variant
from reidlab.models.pairwise import PairNetwork, check_pyramid, norm

STRIPE = 5  # pixels


def displacement(f: Tensor, g: Tensor, group: int) -> Tensor:
    """Patch matching and maxout: the displacement matrices of all stripes.

    Args:
        f: (N, K, S, W) maps of K filters, S stripes of W patches; or (1, K, S, W).
        g: the same of the other image.
        group: filters of which the strongest response is taken.

    Returns:
        (N, K / group, S, W, W).

    >>> f = torch.tensor([[[[1.0, 2.0]], [[0.0, 3.0]]]])  # two filters, one stripe, two patches
    >>> g = torch.tensor([[[[1.0, 0.0]], [[5.0, 1.0]]]])
    >>> displacement(f, g, group=2)
    tensor([[[[[ 1.,  0.],
               [15.,  3.]]]]])
    """
    return _Displacement.apply(*torch.broadcast_tensors(f, g), group)


class _Displacement(torch.autograd.Function):
    """The products of one filter of each group after the other, never those of all at once."""

    @staticmethod
    def forward(ctx, f: Tensor, g: Tensor, group: int) -> Tensor:
        best, winner = None, None
        for number in range(group):
            products = f[:, number::group, :, :, None] * g[:, number::group, :, None]
            if best is None:
                best, winner = products, torch.zeros_like(products, dtype=torch.uint8)
            else:
                winner.masked_fill_(products > best, number)
                torch.maximum(best, products, out=best)
        ctx.save_for_backward(f, g, winner)
        ctx.group = group
        return best

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        f, g, winner = ctx.saved_tensors
        to_f, to_g = torch.empty_like(f), torch.empty_like(g)
        for number in range(ctx.group):
            here = grad.where(winner == number, 0)
            some = slice(number, None, ctx.group)
            to_f[:, some] = (here @ g[:, some, :, :, None])[..., 0]
            to_g[:, some] = (f[:, some, :, None] @ here)[..., 0, :]
        return to_f, to_g, None


class FPNN(PairNetwork):
    """The network of the list above.

    Args:
        height: of the images.
        width: of the images.
        batch_norm: the variant with batch normalisation.
        filters: pairs of filters.
        group: filters in a maxout group.
        dropout: share of the first layer's outputs that a training step drops.
    """

    def __init__(
        self,
        height: int = 160,
        width: int = 60,
        batch_norm: bool = False,
        filters: int = 64,
        group: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(height, width)
        self.group = group
        stripes, patches = height // STRIPE, width // STRIPE
        check_pyramid("FPNN", (stripes, patches // 3), height, width)
        self.conv1 = nn.ModuleList(nn.Conv2d(3, filters, 5, padding=2) for _ in range(2))
        self.bn1 = nn.ModuleList(norm(batch_norm, filters) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.conv2, self.bn2 = nn.Conv2d(filters // group, 32, 3, padding=1), norm(batch_norm, 32)
        self.fc1 = nn.Linear(32 * stripes * (patches // 3) ** 2, 200)
        self.bn3 = norm(batch_norm, 200, flat=True)
        self.fc2 = nn.Linear(200, 2)

    def encode(self, images: Tensor, view: int = 0) -> Tensor:
        """(N, 3, 160, 60) -> (N, 64, 32, 12), by the filters of a view."""
        self.check_size(images)
        x = F.relu(self.bn1[view](self.conv1[view](images)))
        return self.dropout(F.max_pool2d(x, STRIPE))

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, 64, 32, 12) twice -> (N,)."""
        matrices = displacement(first, second, self.group).transpose(1, 2)  # (N, S, C, W, W)
        x = F.relu(self.bn2(self.conv2(matrices.flatten(0, 1))))
        x = F.max_pool2d(x, 3).unflatten(0, matrices.shape[:2]).flatten(1)
        same, different = self.fc2(F.relu(self.bn3(self.fc1(x)))).unbind(1)
        return same - different


VARIANTS = {
    "fpnn": Variant(FPNN, params=3_291_770),
    "fpnn_bn": Variant(partial(FPNN, batch_norm=True), params=3_292_490),
}
