"""MCP-CNN: the multi-channel part-based network.

Cheng, Gong, Zhou, Wang, Zheng. Person Re-Identification by Multi-Channel Parts-Based CNN with
Improved Triplet Loss Function. CVPR 2016. Its loss is :class:`reidlab.losses.ImprovedTriplet`.

One convolution sees the whole image. Its maps go on in five channels: the full body, and four
parts, which they are cut into along the height. A fully connected layer closes each channel, and a
last one fuses them all: an embedding network, unlike the two other networks of its time.

Known: images of 250x100 of which 230x80 are taken, anywhere in training and in the middle in
testing (the network does it, so give it 250x100; 230x80 pass as they are); three convolutions on
each way; five channels. From memory: 7x7 with stride 3 in the first convolution, 400 values for
the full body, 100 for each part, 800 in the end. Ours: 32 filters everywhere, 5x5 in the second
and 3x3 in the third convolution, all padded, the poolings, ReLU after all layers but the last, and
features of length 1, without which the margins of the loss would have no scale. ``mcp_bn`` adds
batch normalisation before each ReLU and after the last layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.common.errors import ReidlabError
from reidlab.models.osnet import Features
from reidlab.models.pairwise import norm

GIVEN, TAKEN = (250, 100), (230, 80)
PARTS, FILTERS = 4, 32


class Channel(nn.Sequential):
    """One of the five: pooling, two convolutions, and a fully connected layer.

    Args:
        height: of the first convolution's map, or of a part of it.
        width: of the same.
        dim: values that the channel ends in.
        batch_norm: before each ReLU.
    """

    def __init__(self, height: int, width: int, dim: int, batch_norm: bool) -> None:
        for _ in range(2):
            height, width = (height + 1) // 2, (width + 1) // 2
        super().__init__(
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(FILTERS, FILTERS, 5, padding=2),
            norm(batch_norm, FILTERS),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(FILTERS, FILTERS, 3, padding=1),
            norm(batch_norm, FILTERS),
            nn.ReLU(inplace=True),
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

    def __init__(self, batch_norm: bool = False, feature_dim: int = 800) -> None:
        super().__init__()
        self.feature_dim, self.id_dims = feature_dim, [feature_dim]
        height, width = ((side + 4 - 7) // 3 + 1 for side in TAKEN)  # 76x26: in four parts of 19
        self.conv1 = nn.Conv2d(3, FILTERS, 7, stride=3, padding=2)
        self.bn1 = norm(batch_norm, FILTERS)
        self.body = Channel(height, width, 400, batch_norm)
        self.parts = nn.ModuleList(
            Channel(height // PARTS, width, 100, batch_norm) for _ in range(PARTS)
        )
        self.fuse = nn.Linear(400 + PARTS * 100, feature_dim)
        self.bn2 = norm(batch_norm, feature_dim, flat=True)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, 250, 100) normalised images -> Features of length 1; (N, 3, 230, 80) uncropped.

        Raises:
            ReidlabError: images of another size.
        """
        x = F.relu(self.bn1(self.conv1(self.crop(images))))
        channels = [self.body(x)]
        channels += [part(rows) for part, rows in zip(self.parts, x.chunk(PARTS, 2))]
        embedding = self.bn2(self.fuse(torch.cat(channels, 1)))
        unit = F.normalize(embedding.float())
        return Features(unit, [embedding], [unit])

    def crop(self, images: Tensor) -> Tensor:
        """230x80 of each image: anywhere in training, the middle in evaluation."""
        size = tuple(images.shape[2:])
        if size == TAKEN:
            return images
        if size != GIVEN:
            raise ReidlabError(
                f"MCP takes {TAKEN[0]}x{TAKEN[1]} out of images of {GIVEN[0]}x{GIVEN[1]}; found "
                f"{size[0]}x{size[1]}: decode them at one of these sizes."
            )
        spare = [have - take for have, take in zip(GIVEN, TAKEN)]
        if not self.training:
            top, left = (side // 2 for side in spare)
            return images[:, :, top : top + TAKEN[0], left : left + TAKEN[1]]
        places = [torch.randint(side + 1, (len(images),)).tolist() for side in spare]
        crops = [
            image[:, top : top + TAKEN[0], left : left + TAKEN[1]]
            for image, top, left in zip(images, *places)
        ]
        return torch.stack(crops)


def mcp(feature_dim: int = 800) -> MCP:
    """MCP-CNN, partly in sizes of our own."""
    return MCP(feature_dim=feature_dim)


def mcp_bn(feature_dim: int = 800) -> MCP:
    """MCP-CNN with batch normalisation."""
    return MCP(batch_norm=True, feature_dim=feature_dim)
