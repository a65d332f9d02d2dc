"""Muon: momentum whose matrices are made orthogonal before they are taken as a step.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon). A gradient matrix is usually dominated by a few
directions. Muon replaces the momentum U S Vᵀ with about U Vᵀ, so that every direction moves alike.
PyTorch has it for 2-D parameters, one after another; nearly all of OSNet's weights are 1x1
convolutions, many of one shape, which are stacked here and go through one batched product.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

#: Of the quintic Newton-Schulz iteration, by Jordan et al.: steep at 0, and then the singular
#: values stay between 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST = 16  # rows and columns from which a convolution is treated as a matrix
ADAMW_SHARE = 0.15  # of the learning rate: AdamW's steps are counted in another unit


def orthogonalise(matrices: Tensor) -> Tensor:
    """About U Vᵀ of matrices U S Vᵀ: the same singular vectors, singular values near 1.

    Args:
        matrices: (N, rows, columns).

    Returns:
        The same shape; singular values that were not tiny lie between 0.7 and 1.2.

    >>> turned = orthogonalise(torch.tensor([[[3.0, 0.0], [0.0, 0.1]]]))
    >>> bool(((turned.diagonal(dim1=1, dim2=2) - 1).abs() < 0.35).all())
    True
    """
    a, b, c = COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    found = matrices.mT if tall else matrices
    found = found / (found.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = found @ found.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        found = torch.baddbmm(found, polynomial, found, beta=a)
    return found.mT if tall else found


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter is the matrix of a layer: a convolution that mixes channels, or linear.

    Depthwise convolutions mix nothing, and the gates' few channels are no matrix worth the name.
    """
    return parameter.ndim > 1 and min(parameter.flatten(1).shape) >= SMALLEST


class Muon(optim.AdamW):
    """Muon for the matrices inside a network, AdamW for everything else.

    Args:
        inside: parameters of the network; those that are no matrices go to AdamW.
        outside: parameters for AdamW whatever their shape; by custom the classifiers.
        lr: of Muon; AdamW's is :data:`ADAMW_SHARE` of it.
        weight_decay: decoupled, for both.
        momentum: of Muon, with Nesterov's look ahead.
    """

    def __init__(
        self,
        inside: Iterable[nn.Parameter],
        outside: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ):
        inside = list(inside)
        matrices = [each for each in inside if is_matrix(each)]
        others = [each for each in inside if not is_matrix(each)] + list(outside)
        groups = [
            {"params": matrices, "lr": lr, "momentum": momentum},
            {"params": others, "lr": ADAMW_SHARE * lr},
        ]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure=None):
        """One step; see :meth:`torch.optim.Optimizer.step`."""
        groups = self.param_groups
        try:
            self.param_groups = groups[1:]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        self._muon(groups[0])
        return loss

    def _muon(self, group: dict) -> None:
        momentum, lr, decay = group["momentum"], group["lr"], group["weight_decay"]
        by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)  # AdamW looks for it in whatever it loads
                state["momentum"] = torch.zeros_like(parameter)
            state["step"] += 1
            state["momentum"].lerp_(parameter.grad, 1 - momentum)
            ahead = parameter.grad.lerp(state["momentum"], momentum).flatten(1)
            by_shape[ahead.shape].append((parameter, ahead))
        for (rows, columns), pairs in by_shape.items():
            steps = orthogonalise(torch.stack([ahead for _, ahead in pairs]))
            length = lr * max(1, rows / columns) ** 0.5
            for (parameter, _), step in zip(pairs, steps):
                parameter.mul_(1 - lr * decay).sub_(step.view_as(parameter), alpha=length)
