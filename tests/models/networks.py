"""Networks and images for the tests of this folder."""

import copy
import functools

import torch
from torch import nn

from reidlab.models import build
from reidlab.recipe.names import MODELS

#: The networks, each at one width: the others differ in nothing but numbers.
NETWORKS = [
    name for name in MODELS if name == "osnet_ibn_x1_0" or not name.endswith(("1_0", "75", "0_5"))
]


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms away from what they are born with, their outputs in a range that nets like."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            if module.bias.requires_grad:
                module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return model


def images(n: int = 4, height: int = 64, width: int = 32) -> torch.Tensor:
    """(n, 3, height, width) float32, the same ones each time."""
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(2))


@functools.cache
def _made(name: str) -> nn.Module:
    torch.manual_seed(1)
    return randomise(build(name))


def fresh(name: str) -> nn.Module:
    """A network of one's own; drawing the weights of ResNet-50 takes a second."""
    return copy.deepcopy(_made(name))
