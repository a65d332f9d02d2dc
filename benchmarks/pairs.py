"""The sides of the stage that scores pairs by a network: IDLA, at 160x60, with random weights.

How long it takes depends neither on the weights nor on what the images show.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Call = Callable[[], dict]

#: Gallery images that the naive side compares with a query at a time.
BATCH = 32


def given_mb(amount: int, queries: int, **_) -> float:
    """Memory of the decoded images, which both sides are given."""
    return (amount + queries) * 3 * 160 * 60 / 1e6


def _images(queries: int, amount: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((count, 160, 60, 3) for count in (queries, amount))
    return [
        torch.randint(256, shape, dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
        for shape in shapes
    ]


def _network():
    from reidlab.models import build

    torch.manual_seed(0)
    return build("idla").eval()


def pairs_reidlab(amount: int, queries: int) -> Call:
    """Every image encoded once, then compared in blocks."""
    from reidlab.evaluation.pair_scores import pair_distances

    (query, gallery), model = _images(queries, amount), _network()

    def call() -> dict:
        blocks = list(pair_distances(model, query, gallery, device="cpu"))
        return {"mean": float(torch.cat(blocks).mean())}

    return call


def pairs_naive(amount: int, queries: int) -> Call:
    """The whole network on every pair, layer by layer as published."""
    from reidlab.data.batches import normalise

    (query, gallery), model = _images(queries, amount), _network()

    @torch.inference_mode()
    def call() -> dict:
        rows = []
        for one in query.split(1):
            for part in gallery.split(BATCH):
                first = normalise(one).expand(len(part), -1, -1, -1)
                rows.append(-naive_idla(model, first.contiguous(), normalise(part)))
        return {"mean": float(torch.cat(rows).mean())}

    return call


def naive_idla(model, first: Tensor, second: Tensor) -> Tensor:
    """IDLA as its paper lays it out: maps of 5x5 blocks, and a convolution of stride 5 on them.

    Args:
        model: :class:`reidlab.models.idla.IDLA`.
        first: (N, 3, H, W) normalised images.
        second: (N, 3, H, W).

    Returns:
        (N,) logits.
    """
    maps = []
    for images in (first, second):
        x = F.max_pool2d(F.relu(model.bn1(model.conv1(images))), 2)
        maps.append(F.max_pool2d(F.relu(model.bn2(model.conv2(x))), 2))
    parts = []
    for which, (f, g) in enumerate((maps, maps[::-1])):
        count, channels, height, width = f.shape
        around = F.unfold(g, 5, padding=2).view(count, channels, 5, 5, height, width)
        blocks = F.relu(f[:, :, None, None] - around).permute(0, 1, 4, 2, 5, 3)
        laid_out = blocks.reshape(count, channels, 5 * height, 5 * width)
        x = F.relu(model.bn3[which](model.summaries[which](laid_out)))
        x = F.relu(model.bn4[which](model.across[which](x)))
        parts.append(F.max_pool2d(x, 2, ceil_mode=True))
    x = model.fc1(torch.cat(parts, 1).flatten(1))
    same, different = model.fc2(F.relu(model.bn5(x))).unbind(1)
    return same - different
