"""Muon: against singular values, PyTorch's own for matrices, and AdamW for everything else."""

import pytest
import torch
from torch import nn, optim

from reidlab.models import build
from reidlab.training.muon import ADAMW_SHARE, Muon, is_matrix, orthogonalise


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64), (2, 64, 16)])
def test_orthogonalised_matrices_have_the_same_directions(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, vt = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ orthogonalise(matrices) @ vt.mT  # diagonal, where the directions are the same
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    assert (found - torch.diag_embed(diagonal)).abs().max() < 1e-3
    # The iteration has lifted what began at a thousandth of the norm or more.
    large = values > 0.01 * values.norm(dim=-1, keepdim=True)
    assert diagonal[large].min() > 0.65
    assert diagonal.max() < 1.25


def parameters(*shapes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def descend(optimizer, values, steps=5):
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for each in values:
            each.grad = torch.randn(each.shape, generator=generator)
        optimizer.step()


def test_matrices_move_as_with_pytorchs_muon():
    ours, theirs = parameters((24, 48), (48, 16)), parameters((24, 48), (48, 16))
    descend(Muon(ours, [], lr=0.02, weight_decay=0.1), ours)
    descend(optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95), theirs)
    for before, mine, their in zip(parameters((24, 48), (48, 16)), ours, theirs):
        # PyTorch iterates in bfloat16, of 8 bits.
        difference = (mine - their).norm() / (their - before).norm()
        assert difference < 0.02


def test_a_convolution_is_the_matrix_of_its_channels():
    (flat,), (convolution,) = parameters((32, 64)), parameters((32, 64, 1, 1))
    descend(Muon([flat], [], lr=0.02), [flat])
    optimizer = Muon([convolution], [], lr=0.02)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        convolution.grad = torch.randn(flat.shape, generator=generator).view_as(convolution)
        optimizer.step()
    assert torch.allclose(convolution.flatten(1), flat, atol=1e-6)


def test_everything_else_moves_as_with_adamw():
    shapes = [(64,), (32, 1, 3, 3), (8, 64, 1, 1), (751, 64)]
    ours, theirs = parameters(*shapes), parameters(*shapes)
    descend(Muon(ours[:3], ours[3:], lr=0.02, weight_decay=0.1), ours)
    descend(optim.AdamW(theirs, lr=0.02 * ADAMW_SHARE, weight_decay=0.1), theirs)
    for mine, their in zip(ours, theirs):
        assert torch.allclose(mine, their, atol=1e-6)


def test_the_state_is_saved_and_taken_up():
    shapes = [(32, 32), (64,)]
    whole, parted = parameters(*shapes), parameters(*shapes)
    descend(Muon(whole, [], lr=0.02), whole, steps=2)
    first = Muon(parted, [], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for each in parted:
        each.grad = torch.randn(each.shape, generator=generator)
    first.step()
    second = Muon(parted, [], lr=0.02)
    second.load_state_dict(first.state_dict())
    generator = torch.Generator().manual_seed(1)
    for each in parted:
        each.grad = torch.randn(each.shape, generator=generator)
    second.step()
    for one, other in zip(whole, parted):
        assert torch.equal(one, other)


def test_pointwise_convolutions_of_osnet_are_matrices_depthwise_ones_are_not():
    model = build("osnet_x1_0")
    kinds = {
        (conv.groups == conv.in_channels, is_matrix(conv.weight))
        for name, conv in model.named_modules()
        if isinstance(conv, nn.Conv2d) and "gate" not in name
    }
    assert kinds == {(True, False), (False, True)}
    by_muon = sum(each.numel() for each in model.parameters() if is_matrix(each))
    assert by_muon > 0.9 * sum(each.numel() for each in model.parameters())
