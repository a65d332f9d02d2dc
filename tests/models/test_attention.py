"""Attention modules against loops over positions and channels, value and gradient."""

import numpy as np
import pytest
import torch
from torch import nn

from reidlab.common.errors import ReidlabError
from reidlab.models.attention import (
    CBAM_ORDERS,
    ChannelAffinity,
    ChannelAttention,
    PositionAttention,
    SpatialAttention,
    UnpooledGate,
    cbam,
    osfa_attention,
)

C, H, W = 32, 4, 3


def maps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, C, H, W, generator=generator, dtype=torch.float64)


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter and statistic away from zero: γ = 0 would hide the attention."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.4, generator=generator)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
    return module.double().eval()


def positions():
    return [(y, x) for y in range(H) for x in range(W)]


def dense(layer: nn.Module, vector: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution or linear layer as what it is: a matrix and a bias."""
    return layer.weight.flatten(1) @ vector + layer.bias


def slow_norm(bn: nn.BatchNorm2d, channel: int, value: torch.Tensor) -> torch.Tensor:
    scaled = (value - bn.running_mean[channel]) / (bn.running_var[channel] + bn.eps).sqrt()
    return scaled * bn.weight[channel] + bn.bias[channel]


def slow_channel(module: ChannelAttention, x: torch.Tensor) -> torch.Tensor:
    out = []
    for image in x:
        mean = torch.stack(
            [sum(image[c, y, v] for y, v in positions()) / (H * W) for c in range(C)]
        )
        high = torch.stack([max(image[c, y, v] for y, v in positions()) for c in range(C)])
        a, b = (dense(module.fc2, dense(module.fc1, p).clamp(min=0)) for p in (mean, high))
        gate = 1 / (1 + torch.exp(-(a + b)))
        out.append(torch.stack([image[c] * gate[c] for c in range(C)]))
    return torch.stack(out)


def slow_spatial(module: SpatialAttention, x: torch.Tensor) -> torch.Tensor:
    out, weight = torch.empty_like(x), module.conv.weight[0]
    for n, image in enumerate(x):
        for y, v in positions():
            total = torch.zeros((), dtype=x.dtype)
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    if 0 <= y + dy < H and 0 <= v + dx < W:
                        column = image[:, y + dy, v + dx]
                        total = total + weight[0, dy + 3, dx + 3] * column.max()
                        total = total + weight[1, dy + 3, dx + 3] * column.mean()
            out[n, :, y, v] = image[:, y, v] / (1 + torch.exp(-slow_norm(module.bn, 0, total)))
    return out


def slow_position(module: PositionAttention, x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    for n, image in enumerate(x):
        columns = {p: image[:, p[0], p[1]] for p in positions()}
        for here in positions():
            query = dense(module.query, columns[here])
            weights = torch.stack(
                [torch.exp(query @ dense(module.key, columns[there])) for there in positions()]
            )
            taken = 0
            for weight, there in zip(weights / weights.sum(), positions()):
                plain = isinstance(module.value, nn.Identity)
                value = columns[there] if plain else dense(module.value, columns[there])
                taken = taken + module.gamma * weight * value
            if isinstance(module.bn, nn.BatchNorm2d):
                taken = torch.stack([slow_norm(module.bn, c, taken[c]) for c in range(C)])
            out[n, :, here[0], here[1]] = columns[here] + taken
    return out


def slow_affinity(module: ChannelAffinity, x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    for n, image in enumerate(x):
        for c in range(C):
            energy = torch.stack([(image[c] * image[d]).sum() for d in range(C)])
            weights = torch.exp(energy.max() - energy - (energy.max() - energy).max())
            weights = weights / weights.sum()
            taken = sum(weights[d] * image[d] for d in range(C))
            out[n, c] = image[c] + module.gamma * taken
    return out


def slow_gate(module: UnpooledGate, x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    for n, image in enumerate(x):
        for y, v in positions():
            score = dense(module.fc2, dense(module.fc1, image[:, y, v]).clamp(min=0))
            out[n, :, y, v] = image[:, y, v] / (1 + torch.exp(-score))
    return out


CASES = {
    "cbam channel": (lambda: ChannelAttention(C), slow_channel),
    "cbam spatial": (SpatialAttention, slow_spatial),
    "danet position": (lambda: PositionAttention(C), slow_position),
    "osfa position": (lambda: PositionAttention(C, value_conv=False, norm=True), slow_position),
    "danet channel": (ChannelAffinity, slow_affinity),
    "osfa gate": (lambda: UnpooledGate(C), slow_gate),
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_equal_a_loop(case):
    make, slow = CASES[case]
    module = randomised(make())
    gradients = []
    for function in (module, lambda x: slow(module, x)):
        module.zero_grad()
        x = maps().requires_grad_()
        y = function(x)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        gradients.append([y.detach(), x.grad, *(p.grad.clone() for p in module.parameters())])
    assert (gradients[0][0] - maps()).abs().max() > 0.1  # it does something
    for found, expected in zip(*gradients):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("make", [lambda: PositionAttention(C), ChannelAffinity])
def test_self_attention_is_the_identity_at_the_start(make):
    torch.testing.assert_close(make().double()(maps()), maps())


def test_orders_are_those_of_the_table():
    x = maps()
    for order in CBAM_ORDERS:
        module = randomised(cbam(C, order))
        expected = x
        for word in order.split("-"):
            if word != "none":
                kind = ChannelAttention if word == "channel" else SpatialAttention
                (part,) = (child for child in module if isinstance(child, kind))
                expected = part(expected)
        torch.testing.assert_close(module(x), expected)
    with pytest.raises(ReidlabError, match="attention is 'both'; known are none, spatial"):
        cbam(C, "both")


def test_osfa_attention_has_the_logged_layers():
    # the module tree in the authors' logs, at 256 channels: convolutions 256 -> 32 twice,
    # 256 -> 16 -> 256, one batch norm; 25,424 parameters and γ
    module = osfa_attention(256)
    assert sum(p.numel() for p in module.parameters()) == 25_424 + 1
    shapes = [tuple(m.weight.shape[:2]) for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(32, 256), (32, 256), (16, 256), (256, 16)]
    assert np.isclose(module[0].gamma.item(), 0)
