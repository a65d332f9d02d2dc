"""MCP-CNN: the multi-channel part-based network.

Cheng, Gong, Zhou, Wang, Zheng. Person Re-Identification by Multi-Channel Parts-Based CNN with
Improved Triplet Loss Function. CVPR 2016. Its loss is :class:`reidlab.losses.ImprovedTriplet`.

One convolution sees the whole image. Its maps go on in five channels: the full body, and four
parts, which they are cut into along the height. A fully connected layer closes each channel, and a
last one fuses them all: an embedding network, unlike the two other networks of its time.

Known: images of 250x100 of which 230x80 are taken, anywhere in training and in the middle in
testing (the network does it); three convolutions on each way; five channels. From memory: 7x7 with
stride 3 in the first convolution, 400 values for the full body, 100 for each part, 800 in the end.
Ours: 32 filters everywhere, 5x5 in the second and 3x3 in the third convolution, all padded, the
poolings, ReLU after all layers but the last, and features of length 1, without which the margins
of the loss would have no scale. Images of another size are pooled to the same last maps.
``mcp_bn`` adds batch normalisation before each ReLU and after the last layer.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.models.base import Branch, Features, Variant
from reidlab.models.pairwise import norm

TAKEN = (230 / 250, 80 / 100)  # of height and width
PARTS, FILTERS = 4, 32


class Channel(nn.Sequential):
    """One of the five: pooling, two convolutions, and a fully connected layer.

    Args:
        height: of the last map.
        width: of the last map.
        dim: values that the channel ends in.
        batch_norm: before each ReLU.
    """

    def __init__(self, height: int, width: int, dim: int, batch_norm: bool) -> None:
        super().__init__(
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(FILTERS, FILTERS, 5, padding=2),
            norm(batch_norm, FILTERS),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(FILTERS, FILTERS, 3, padding=1),
            norm(batch_norm, FILTERS),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d((height, width)),
            nn.Flatten(),
            nn.Linear(FILTERS * height * width, dim),
            norm(batch_norm, dim, flat=True),
            nn.ReLU(inplace=True),
        )


class MCP(nn.Module):
    """The network above.

    Args:
        batch_norm: the variant with batch normalisation.
        feature_dim: D of the embedding.
    """

    folds = (("conv1", "bn1"),)

    def __init__(self, batch_norm: bool = False, feature_dim: int = 800) -> None:
        super().__init__()
        self.branches = [Branch(feature_dim, feature_dim)]
        self.conv1 = nn.Conv2d(3, FILTERS, 7, stride=3, padding=2)
        self.bn1 = norm(batch_norm, FILTERS)
        self.body = Channel(19, 7, 400, batch_norm)
        self.parts = nn.ModuleList(Channel(5, 7, 100, batch_norm) for _ in range(PARTS))
        self.fuse = nn.Linear(400 + PARTS * 100, feature_dim)
        self.bn2 = norm(batch_norm, feature_dim, flat=True)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, 250, 100) normalised images -> Features of length 1."""
        embedding = self.bn2(self.fuse(torch.cat(self.channels(self.conv1_maps(images)), 1)))
        unit = F.normalize(embedding.float())
        return Features(unit, [embedding], [unit])

    def conv1_maps(self, images: Tensor) -> Tensor:
        """(N, 3, 250, 100) -> (N, 32, 76, 26): what the global convolution answers."""
        return F.relu(self.bn1(self.conv1(self.crop(images))))

    def channels(self, maps: Tensor) -> list[Tensor]:
        """Maps of the global convolution -> (N, 400) of the body, and (N, 100) of each part."""
        parts = zip(self.parts, maps.tensor_split(PARTS, 2))
        return [self.body(maps), *(part(rows) for part, rows in parts)]

    def crop(self, images: Tensor) -> Tensor:
        """230x80 of each image of 250x100: anywhere in training, the middle in evaluation."""
        sides = images.shape[2:]
        height, width = (round(share * side) for share, side in zip(TAKEN, sides))
        spare = sides[0] - height, sides[1] - width
        if not self.training:
            top, left = (side // 2 for side in spare)
            return images[:, :, top : top + height, left : left + width]
        places = [torch.randint(side + 1, (len(images),)).tolist() for side in spare]
        crops = [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(images, *places)
        ]
        return torch.stack(crops)


VARIANTS = {
    "mcp": Variant(MCP, params=2_971_136),
    "mcp_bn": Variant(partial(MCP, batch_norm=True), params=2_975_040),
}
