"""Networks that look at two images at once, and answer with one number.

Most of what such a network computes depends on one image only: `encode` does that once an image,
`compare` the rest for each pair. A set of Q queries and G gallery images then costs Q + G
encodings and Q x G comparisons, instead of as many whole networks
(:mod:`reidlab.evaluation.pair_scores`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from reidlab.common.errors import ReidlabError


class PairNetwork(nn.Module):
    """Base of the pairwise networks.

    The papers end in two outputs, "same" and "different", and a softmax. Its probability of "same"
    is the sigmoid of their difference, which is the logit here: the two outputs, their parameters
    and their loss are the papers'.

    Args:
        height: of the images, in pixels.
        width: of the images; the fully connected layers fit one size only.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    @property
    def last_layer(self) -> nn.Module:
        """The layer of the two outputs, which alone is retrained on hard negatives."""
        return list(self.children())[-1]

    def encode(self, images: Tensor, view: int = 0) -> Tensor:
        """What depends on one image: (N, 3, H, W) -> (N, ...) codes.

        Args:
            images: normalised.
            view: 0 for the first images of pairs, 1 for the second ones. Only a network whose
                filters differ between the views asks.
        """
        raise NotImplementedError

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """What depends on both: codes (N, ...) of views 0 and 1 -> (N,) logits of "same".

        The codes of one image, (1, ...), go with any number of others.
        """
        raise NotImplementedError

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Images (N, 3, H, W) twice -> (N,) logits of "same person".

        Raises:
            ReidlabError: unequal numbers of images, or images of another size.
        """
        if len(first) != len(second):
            raise ReidlabError(
                f"{type(self).__name__} compares pairs: found {len(first)} first and "
                f"{len(second)} second images, expected as many of both."
            )
        return self.compare(self.encode(first, 0), self.encode(second, 1))

    def check_size(self, images: Tensor) -> None:
        """Refuse images that the fully connected layers do not fit."""
        if tuple(images.shape[2:]) != (self.height, self.width):
            raise ReidlabError(
                f"{type(self).__name__} was built for images of {self.height}x{self.width}, found "
                f"{images.shape[2]}x{images.shape[3]}: decode them at that size, or build the "
                "network with their height and width."
            )


def check_pyramid(name: str, sizes: Sequence[int], height: int, width: int) -> None:
    """Refuse images of which convolutions and poolings leave nothing.

    Args:
        name: of the network.
        sizes: height and width of its last map.
        height: of the images.
        width: of the images.

    Raises:
        ReidlabError: the last map is empty.
    """
    left = "x".join(str(max(0, side)) for side in sizes)
    if min(sizes) < 1:
        raise ReidlabError(
            f"{name}(height={height}, width={width}): its convolutions and poolings leave nothing "
            f"of such an image ({left}). Take larger images; 160x60 are the usual."
        )


def norm(batch_norm: bool, channels: int, flat: bool = False) -> nn.Module:
    """A batch normalisation where a variant asks for it, else nothing."""
    if not batch_norm:
        return nn.Identity()
    return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
