"""IDLA: the network of cross-input neighbourhood differences.

Ahmed, Jones, Marks. An Improved Deep Learning Architecture for Person Re-Identification. CVPR
2015.

Two images, 160x60, go through two convolutions that they share. Each value of one map is then
compared with the 5x5 neighbourhood of its place in the other one:

    K[x, o] = f[x] - g[x + o]      K'[x, o] = g[x] - f[x + o]      o in {-2, ..., 2}²

with zeros around the maps, and ReLU after it: what the one image has and the other lacks nearby.
The rest summarises these differences.

=====================  ==============================================  ==========  ==========
layer                  operation                                       output      parameters
=====================  ==============================================  ==========  ==========
conv1, tied            5x5, ReLU, max pooling 2x2                      78x28x20         1,520
conv2, tied            5x5, ReLU, max pooling 2x2                      37x12x25        12,525
differences, twice     as above: blocks of 5x5, ReLU                   185x60x25            0
patch summary, twice   5x5 with stride 5, one block each, ReLU         37x12x25        31,300
across patches, twice  3x3, ReLU, max pooling 2x2, incomplete too      18x5x25         11,300
fully connected        concatenated 4,500 -> 500, ReLU -> 2            2            2,251,502
=====================  ==============================================  ==========  ==========

2,308,147 parameters. Ours, where no source says more: PyTorch's initial weights, and in the
variant ``idla_bn`` a batch normalisation before each ReLU but that of the differences.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.models.base import Variant
from reidlab.models.pairwise import PairNetwork, check_pyramid, norm

RADIUS, SIDE = 2, 5  # of a neighbourhood
#: Pairs of which differences are in memory at a time: 0.9 MB, a core's cache; or a GPU's fill.
CPU_PAIRS, GPU_PAIRS = 4, 256


def patch_summary(f: Tensor, g: Tensor, weight: Tensor) -> Tensor:
    """The differences of one map to the neighbourhoods of another one, with ReLU, summarised.

    The published layers lay out a map of 5x5 blocks, and read it by a convolution of stride 5.
    That map has 277,500 values a pair, of which nothing is wanted but 25 sums a block. Here they
    are made a row of the neighbourhood at a time, for a few pairs, which stays in a core's cache,
    and made again in the backward pass.

    Args:
        f: (N, H, W, C) maps.
        g: (N, H, W, C) maps whose neighbourhoods are taken.
        weight: (K, C, 5, 5) of the convolution.

    Returns:
        (N, H, W, K): Σ_{c, o} weight[k, c, o] · ReLU(f[x, c] - g[x + o, c]).

    >>> f, g = torch.full((1, 1, 2, 1), 3.0), torch.tensor([[[[1.0], [5.0]]]])
    >>> weight = torch.zeros(1, 1, 5, 5)
    >>> weight[0, 0, 2] = torch.tensor([0.0, 1, 10, 100, 0])  # left of it, itself, right of it
    >>> patch_summary(f, g, weight).flatten()  # 3 + 10·2 + 100·0, 2 + 10·0 + 100·3
    tensor([ 23., 302.])
    """
    # Sums over a row of the neighbourhood are added up in place: not in half precision.
    at_least = torch.promote_types(f.dtype, torch.float32)
    return _PatchSummary.apply(*(each.to(at_least) for each in (f, g, weight)))


threshold = torch.ops.aten.threshold_backward.grad_input


class _PatchSummary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f: Tensor, g: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(f, g, weight)
        rows = _rows_of(weight)
        summary = f.new_zeros(*f.shape[:3], len(weight))
        for part in _parts(f):
            out = summary[part].view(-1, len(weight))
            for row, differences in enumerate(_differences(f[part], g[part])):
                out.addmm_(differences.flatten(0, 2), rows[row])
        return summary

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, g, weight = ctx.saved_tensors
        (_, height, width, channels), rows = f.shape, _rows_of(weight)
        to_f, to_rows, grad = torch.empty_like(f), torch.zeros_like(rows), grad.contiguous()
        padded = g.new_zeros(len(g), height + 2 * RADIUS, width + 2 * RADIUS, channels)
        for part in _parts(f):
            out, wide, back = grad[part].view(-1, grad.shape[3]), None, None
            for row, differences in enumerate(_differences(f[part], g[part])):
                to_rows[row].addmm_(differences.flatten(0, 2).T, out)
                back = torch.empty_like(differences) if back is None else back
                torch.mm(out, rows[row].T, out=back.flatten(0, 2))
                threshold(back, differences, 0, grad_input=back)  # where ReLU let nothing through
                wide = back.clone() if wide is None else wide.add_(back)
                for column, one in enumerate(back.split(channels, 3)):
                    padded[part, row : row + height, column : column + width].sub_(one)
            torch.sum(wide.unflatten(3, (SIDE, channels)), 3, out=to_f[part])
        to_g = padded[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
        return to_f, to_g, to_rows.unflatten(1, (SIDE, channels)).permute(3, 2, 0, 1)


def _differences(f: Tensor, g: Tensor) -> Iterator[Tensor]:
    """For each row of the neighbourhood: (N, H, W, 5 · C), the columns one after the other."""
    padded = _once(g, lambda maps: F.pad(maps, (0, 0, RADIUS, RADIUS, RADIUS, RADIUS)))
    wide = _once(f, lambda maps: maps.repeat(1, 1, 1, SIDE))
    differences = wide.new_empty(wide.shape)
    # Of neighbours, 5 columns lie side by side already.
    for row in range(SIDE):
        first = padded.storage_offset() + row * padded.stride(1)
        around = padded.as_strided(wide.shape, padded.stride(), first)
        yield torch.sub(wide, around, out=differences).relu_()


def difference_map(f: Tensor, g: Tensor) -> Tensor:
    """The differences as the published layer lays them out: a block of 5x5 for each place.

    Args:
        f: (N, H, W, C) maps.
        g: (N, H, W, C) maps whose neighbourhoods are taken.

    Returns:
        (N, 5 H, 5 W, C), after ReLU.
    """
    rows = [row.clone().unflatten(3, (SIDE, f.shape[3])) for row in _differences(f, g)]
    return torch.stack(rows, 2).flatten(3, 4).flatten(1, 2)


def _once(maps: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Changed maps; of one that stands for all pairs, one."""
    if maps.stride(0):
        return change(maps)
    return change(maps[:1]).expand(len(maps), -1, -1, -1)


def _rows_of(weight: Tensor) -> Tensor:
    """(K, C, 5, 5) -> (5, 5 · C, K): a matrix for each row of the neighbourhood."""
    return weight.permute(2, 3, 1, 0).flatten(1, 2).contiguous()


def _parts(f: Tensor) -> list[slice]:
    size = CPU_PAIRS if f.device.type == "cpu" else GPU_PAIRS
    return [slice(start, start + size) for start in range(0, len(f), size)]


class IDLA(PairNetwork):
    """The network of the table above.

    Args:
        height: of the images.
        width: of the images.
        batch_norm: the variant with batch normalisation.
        dropout: share of the 500 values that a training step drops.
    """

    def __init__(
        self, height: int = 160, width: int = 60, batch_norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__(height, width)
        shape = [((side - 4) // 2 - 4) // 2 for side in (height, width)]
        last = [(side - 1) // 2 for side in shape]  # 3x3, then halves, rounded up
        check_pyramid("IDLA", last, height, width)
        self.conv1, self.bn1 = nn.Conv2d(3, 20, 5), norm(batch_norm, 20)
        self.conv2, self.bn2 = nn.Conv2d(20, 25, 5), norm(batch_norm, 25)
        self.summaries = nn.ModuleList(nn.Conv2d(25, 25, 5, stride=5) for _ in range(2))
        self.bn3 = nn.ModuleList(norm(batch_norm, 25) for _ in range(2))
        self.across = nn.ModuleList(nn.Conv2d(25, 25, 3) for _ in range(2))
        self.bn4 = nn.ModuleList(norm(batch_norm, 25) for _ in range(2))
        self.fc1 = nn.Linear(2 * 25 * last[0] * last[1], 500)
        self.bn5, self.dropout = norm(batch_norm, 500, flat=True), nn.Dropout(dropout)
        self.fc2 = nn.Linear(500, 2)

    def encode(self, images: Tensor, view: int = 0) -> Tensor:
        """(N, 3, 160, 60) -> (N, 37, 12, 25), channels last; the views share their filters."""
        self.check_size(images)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return x.permute(0, 2, 3, 1).contiguous()

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, 37, 12, 25) twice -> (N,)."""
        first, second = torch.broadcast_tensors(first, second)
        parts = []
        for which, maps in enumerate([(first, second), (second, first)]):
            conv = self.summaries[which]
            x = (patch_summary(*maps, conv.weight) + conv.bias).permute(0, 3, 1, 2)
            x = self.across[which](F.relu(self.bn3[which](x)))
            x = F.max_pool2d(F.relu(self.bn4[which](x)), 2, ceil_mode=True)
            parts.append(x.flatten(1))
        x = self.dropout(F.relu(self.bn5(self.fc1(torch.cat(parts, 1)))))
        same, different = self.fc2(x).unbind(1)
        return same - different


VARIANTS = {
    "idla": Variant(IDLA, params=2_308_147),
    "idla_bn": Variant(partial(IDLA, batch_norm=True), params=2_309_437),
}
