"""Attention for convolutional networks, as three papers and their codes have it.

Papers:
    Woo, Park, Lee, Kweon. CBAM: Convolutional Block Attention Module. ECCV 2018.
    Fu et al. Dual Attention Network for Scene Segmentation (DANet). CVPR 2019.
    Li, Liu, Zhu, Zhang. OSFA. Knowledge-Based Systems 228, 2021: its code's variants of the last.

================  ==========================================================================
CBAM              `ChannelAttention`, `SpatialAttention`; one after the other: `cbam`
DANet             `PositionAttention`, `ChannelAffinity`
OSFA              `osfa_attention`: `PositionAttention` without value convolution and with
                  batch normalisation, then `UnpooledGate`
================  ==========================================================================

Every module maps (N, C, H, W) to (N, C, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError


class ChannelAttention(nn.Module):
    """CBAM's channel attention: x · σ(MLP(average over H, W) + MLP(maximum over H, W)).

    Args:
        channels: C.
        reduction: the MLP's hidden layer has C / reduction units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        scores = (
            self.fc2(F.relu(self.fc1(pooled))) for pooled in (x.mean((2, 3)), x.amax((2, 3)))
        )
        return x * torch.sigmoid(sum(scores))[:, :, None, None]


class SpatialAttention(nn.Module):
    """CBAM's spatial attention: x · σ(BN(convolution of [max over C, mean over C])).

    The paper's formula has no batch normalisation; its code has, with momentum 0.01.
    """

    folds = (("conv", "bn"),)

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.bn(self.conv(pooled)))


#: The orders that MSPF's Table 6 compares; CBAM's own is the last.
CBAM_ORDERS = ("none", "spatial", "channel", "spatial-channel", "channel-spatial")


def cbam(channels: int, order: str = "channel-spatial") -> nn.Sequential:
    """CBAM's two modules one after the other, or one of them alone.

    Args:
        channels: C.
        order: one of `CBAM_ORDERS`; ``none`` is empty.

    Raises:
        ReidlabError: another order.
    """
    if order not in CBAM_ORDERS:
        raise ReidlabError(f"attention is {order!r}; known are {', '.join(CBAM_ORDERS)}")
    make = {"channel": lambda: ChannelAttention(channels), "spatial": SpatialAttention}
    return nn.Sequential(*(make[word]() for word in order.split("-") if word != "none"))


class PositionAttention(nn.Module):
    """DANet's position attention: every position takes from all that resemble it.

        A = softmax over j of qᵢ·kⱼ,  y = x + γ · Σⱼ Aᵢⱼ vⱼ

    with q, k, v from 1x1 convolutions, q and k with C/8 channels, and γ zero at the start.

    Args:
        channels: C.
        value_conv: v is a 1x1 convolution of x; else v = x.
        norm: batch normalisation of γ · Σ, as OSFA has it.
    """

    def __init__(self, channels: int, *, value_conv: bool = True, norm: bool = False) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1) if value_conv else nn.Identity()
        self.bn = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        attention = torch.softmax(query.mT @ key, dim=-1)  # (N, HW, HW), rows sum to 1
        return x + self.bn(self.gamma * (value @ attention.mT).view_as(x))


class ChannelAffinity(nn.Module):
    """DANet's channel attention: every channel takes from those that differ from it.

        E = X Xᵀ,  A = softmax over d of (max_d E_cd - E_cd),  y = x + γ · A X

    with X (C, HW) and γ zero at the start. It has no other parameter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        rows = x.flatten(2)
        energy = rows @ rows.mT
        attention = torch.softmax(energy.amax(-1, keepdim=True) - energy, dim=-1)  # (N, C, C)
        return x + self.gamma * (attention @ rows).view_as(x)


class UnpooledGate(nn.Module):
    """OSFA's squeeze-and-excitation without the squeeze: x · σ(fc2(ReLU(fc1(x)))) by position.

    Its code has the global pooling commented out, so that this is a gate for each position and no
    attention over channels.

    Args:
        channels: C.
        reduction: the hidden layer has C / reduction channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x))))


def osfa_attention(channels: int) -> nn.Sequential:
    """OSFA's attention module: position attention, then the gate."""
    return nn.Sequential(
        PositionAttention(channels, value_conv=False, norm=True), UnpooledGate(channels)
    )
