"""Identity classifiers: they belong to training, and are thrown away after it."""

from torch import nn


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

    A network that wants more than :func:`linear_head` has a method
    ``make_head(branch: int, classes: int) -> nn.Module``. Heads may behave otherwise in training
    than in evaluation (dropout), so they follow the network's ``train()`` and ``eval()``.

    Args:
        model: a network of the study; ``id_dims`` lists the sizes of its branches.
        classes: training identities.
    """
    make = getattr(model, "make_head", None)
    return nn.ModuleList(
        make(branch, classes) if make else linear_head(dim, classes)
        for branch, dim in enumerate(model.id_dims)
    )
