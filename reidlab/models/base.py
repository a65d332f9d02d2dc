"""What all networks share: their return type, their branches, necks and heads, their register.

A network takes (N, 3, H, W) images and returns `Features`; it states the sizes of its branches in
``branches``. Each file of networks ends in a table ``VARIANTS: dict[str, Variant]``, the one place
where its networks are registered, beside their names in `reidlab.recipe.names.MODELS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """What every network of the study returns, in training and in evaluation alike.

    Attributes:
        embedding: (N, D) what retrieval compares.
        id: inputs of the identity classifiers, one (N, id_dim) a branch.
        metric: inputs of the triplet and centre losses, one (N, metric_dim) a branch.
    """

    embedding: Tensor
    id: list[Tensor]
    metric: list[Tensor]


class Branch(NamedTuple):
    """Sizes of a branch's features: classifiers have the first, centres the second."""

    id_dim: int
    metric_dim: int


@dataclass(frozen=True)
class WeightFile:
    """Published ImageNet weights of a network.

    Attributes:
        url: where the file is fetched.
        name: what it is called in ``<data_root>/weights`` and in the cache.
        size: in bytes, where it is known.
        sha256: of its bytes, or the first digits, where they are known.
        heads: modules of the file that the network lacks: ImageNet's classifier.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str = ""
    heads: tuple[str, ...] = ("classifier",)


@dataclass(frozen=True)
class Variant:
    """A network that has a name.

    Attributes:
        make: its constructor.
        imagenet: its ImageNet weights.
        like: the network whose weights it takes: ImageNet's, the shipped ones, those of a run.
        fresh: modules that ImageNet's file, or the network of ``like``, has not, or otherwise:
            they keep their random weights.
        params: parameters without an identity classifier.
        multadds: Mult-Adds of a 256x128 image.
        published: parameters as the source of the variant counts them.
    """

    make: Callable[..., nn.Module]
    imagenet: WeightFile | None = None
    like: str = ""
    fresh: tuple[str, ...] = ()
    params: int | None = None
    multadds: int | None = None
    published: int | None = None


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation between the feature of the metric losses and that of the ID loss.

    The ID loss separates directions, the triplet loss distances; the neck keeps them from pulling
    at the same vector (Luo et al., "Bag of Tricks", CVPRW 2019, Sec. 3.6). Its bias stays at zero,
    so that the classes lie around the origin.

    Args:
        dim: size of the feature.
        shift: train the bias all the same, as an ordinary batch normalisation does.
    """

    def __init__(self, dim: int, shift: bool = False) -> None:
        super().__init__(dim)
        self.bias.requires_grad_(shift)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D), in the format of the parameters: half precision is computed in it."""
        return super().forward(x.to(self.weight.dtype))


def linear_head(dim: int, classes: int, bias: bool = True, std: float = 0.01) -> nn.Linear:
    """A linear classifier with small random weights; the defaults are torchreid's.

    Args:
        dim: size of the features.
        classes: training identities.
        bias: whether there is one; it starts at zero.
        std: standard deviation of the initial weights.
    """
    head = nn.Linear(dim, classes, bias=bias)
    nn.init.normal_(head.weight, std=std)
    if bias:
        nn.init.zeros_(head.bias)
    return head


def make_heads(model: nn.Module, classes: int) -> nn.ModuleList:
    """One identity classifier for each branch of a network, in the order of ``Features.id``.

    They belong to training and are thrown away after it. A network that wants more than
    :func:`linear_head` has a method ``make_head(branch: int, classes: int) -> nn.Module``. Heads
    may behave otherwise in training than in evaluation (dropout), so they follow the network's
    ``train()`` and ``eval()``.

    Args:
        model: a network of the study.
        classes: training identities.
    """
    make = getattr(model, "make_head", None)
    return nn.ModuleList(
        make(i, classes) if make else linear_head(branch.id_dim, classes)
        for i, branch in enumerate(model.branches)
    )


def count_parameters(module: nn.Module) -> int:
    """Parameters of a network or layer, each counted once."""
    return sum(parameter.numel() for parameter in module.parameters())
