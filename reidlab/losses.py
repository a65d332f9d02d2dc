"""Losses of the study."""

from torch import Tensor, nn
from torch.nn import functional as F


class LabelSmoothedCrossEntropy(nn.Module):
    """Softmax cross entropy with smoothed labels (Szegedy et al., CVPR 2016).

    With C classes, smoothing ε and label y, the target is q_c = (1 - ε)·[c = y] + ε / C, and

        L = -(1/N) Σ_i Σ_c q_c log softmax(z_i)_c

    Args:
        smoothing: ε in [0, 1); 0 is plain cross entropy.

    Example:
        Two classes, equal scores: whatever the smoothing, the loss is log 2.

        >>> import torch
        >>> loss = LabelSmoothedCrossEntropy(0.1)
        >>> round(loss(torch.zeros(3, 2), torch.tensor([0, 1, 0])).item(), 4)
        0.6931
    """

    def __init__(self, smoothing: float = 0.1):
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing={smoothing}: it must lie in [0, 1).")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss in nats.

        Args:
            logits: (N, C) scores; computed in float32 whatever their format.
            labels: (N,) class indices.
        """
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)
