"""Losses of the study.

The strong baseline (Luo et al., CVPRW 2019) minimises their sum,

    L = L_ID + L_triplet + β·L_centre,    β = 0.0005

with L_ID on the classifier's scores and the other two on the features themselves.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlab.common.errors import ReidlabError


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
            raise ReidlabError(f"smoothing={smoothing}: it must lie in [0, 1).")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss in nats.

        Args:
            logits: (N, C) scores; computed in float32 whatever their format.
            labels: (N,) class indices.
        """
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)


class BatchHardTriplet(nn.Module):
    """Triplet loss on the hardest pairs of a batch (Hermans et al., arXiv 1703.07737, Eq. 5).

    Every image of the batch is an anchor once. With the Euclidean distance d, its hardest
    positive is the farthest image of its identity, its hardest negative the nearest image of any
    other one:

        d⁺_i = max_{j ≠ i, y_j = y_i} d(f_i, f_j)        d⁻_i = min_{y_j ≠ y_i} d(f_i, f_j)

        L = (1/N) Σ_i max(0, m + d⁺_i - d⁻_i)            with a margin m
        L = (1/N) Σ_i log(1 + exp(d⁺_i - d⁻_i))          with the soft margin

    Where two images coincide the distance has no gradient; zero is taken.

    Args:
        margin: m > 0, 0.3 in the strong baseline; None is the soft margin.

    Raises:
        ReidlabError: a margin that is not positive.

    Example:
        Two identities on a line, at 0 and 1, and at 3 and 4. The hardest positive is 1 away from
        everyone, the hardest negative 3, 2, 2 and 3. A margin of 1.5 is short by 0.5 twice.

        >>> import torch
        >>> features = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> labels = torch.tensor([7, 7, 9, 9])
        >>> BatchHardTriplet(margin=1.5)(features, labels).item()
        0.25
        >>> round(BatchHardTriplet(margin=None)(features, labels).item(), 4)
        0.2201
    """

    def __init__(self, margin: float | None = 0.3):
        super().__init__()
        if margin is not None and not margin > 0:
            raise ReidlabError(
                f"margin={margin}: it must be positive; margin=None is the soft margin."
            )
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the anchors.

        Args:
            features: (N, D); half precision is computed in float32.
            labels: (N,) identities; each at least twice, and at least two of them, as
                :func:`reidlab.data.batches.identity_batches` draws them.

        Raises:
            ReidlabError: an anchor has no positive or no negative. On an accelerator the loss
                is NaN instead: to look would be to wait for the device at every step.
        """
        features = _single_or_double(features)
        same = labels[:, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False)
        complete = (positive.any(1) & ~same.all(1)).all()
        if _on_host(labels) and not complete:
            raise ReidlabError(_incomplete(labels))
        with torch.no_grad():  # which pairs; exact also where images nearly coincide
            mode = "donot_use_mm_for_euclid_dist"
            distances = torch.cdist(features, features, compute_mode=mode)
            farthest = distances.masked_fill(~positive, -torch.inf).argmax(1)
            nearest = distances.masked_fill(same, torch.inf).argmin(1)
        to_positive = torch.linalg.vector_norm(features - features[farthest], dim=1)
        to_negative = torch.linalg.vector_norm(features - features[nearest], dim=1)
        excess = to_positive - to_negative
        losses = F.softplus(excess) if self.margin is None else F.relu(excess + self.margin)
        return torch.where(complete, losses.mean(), torch.nan)


class ImprovedTriplet(nn.Module):
    """Triplet loss with a second margin for positives (Cheng et al., "MCP-CNN", CVPR 2016).

    Over the N triplets of a batch, an anchor a, a positive p and a negative n each, with the
    squared Euclidean distance d,

        L = (1/N) Σ max(d(a, p) - d(a, n), τ₁) + β · max(d(a, p), τ₂)

    A negative has to be farther than the positive by -τ₁, and a positive nearer than τ₂. Where a
    maximum picks the margin there is no gradient. At its best the loss is τ₁ + β·τ₂, below zero.
    All triplets of a batch count. Form and values are quoted from memory.

    Args:
        tau1: margin between identities, negative.
        tau2: margin within an identity, from 0 up and smaller than -τ₁.
        beta: weight of the second term.

    Raises:
        ReidlabError: margins outside these ranges.

    Example:
        On a line, identity 7 at 0 and 1, identity 9 at 2. Two triplets: from 0, 1 - 4 is -3 and τ₁
        wins; from 1, 1 - 1 is 0. The second term is β·1 both times.

        >>> import torch
        >>> features, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([7, 7, 9])
        >>> round(ImprovedTriplet(beta=0.1)(features, labels).item(), 4)  # (-1 + 0) / 2 + 0.1
        -0.4
    """

    def __init__(self, tau1: float = -1.0, tau2: float = 0.01, beta: float = 0.002):
        super().__init__()
        if not (tau1 < 0 <= tau2 < -tau1 and beta >= 0):
            raise ReidlabError(
                f"tau1={tau1}, tau2={tau2}, beta={beta}: expected tau1 < 0, tau2 from 0 up to "
                "-tau1, and beta from 0 up."
            )
        self.tau1, self.tau2, self.beta = tau1, tau2, beta

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the triplets.

        Args:
            features: (N, D); half precision is computed in float32.
            labels: (N,) identities, not all of them one, and one of them twice at least.

        Raises:
            ReidlabError: there is no triplet. On an accelerator the loss is NaN instead.
        """
        features = _single_or_double(features)
        same = labels[:, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False)
        triplet = positive[:, :, None] & ~same[:, None, :]  # (N, N, N): anchor, positive, negative
        if _on_host(labels) and not triplet.any():
            raise ReidlabError(_incomplete(labels))
        squares = features.square().sum(1)
        distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=0)
        between = (distances[:, :, None] - distances[:, None, :]).clamp(min=self.tau1)
        losses = between + self.beta * distances.clamp(min=self.tau2)[:, :, None]
        return losses.where(triplet, 0).sum() / triplet.sum()


class CenterLoss(nn.Module):
    """Squared distance of every feature to the centre of its identity (Wen et al., ECCV 2016).

        L = (1/N) Σ_i ‖f_i - c_{y_i}‖²

    as in the code of Luo et al. (CVPRW 2019); Wen et al. have ½ in front and a sum. The centres
    c are parameters, drawn from a standard normal, and **want an optimiser of their own**: plain
    SGD at a rate of 0.5. As the loss enters the total with weight β, that code divides the
    centres' gradient by β before the step. The same step is SGD at the rate 0.5 / β:

        torch.optim.SGD(center_loss.parameters(), lr=0.5 / beta)

    Centres that no optimiser knows stay where they were drawn, and the loss then pulls each
    identity towards a random point. The code behind the seed report did that.

    Args:
        num_classes: identities.
        dim: D of the features.

    Attributes:
        centers: (num_classes, D) parameter.

    Raises:
        ReidlabError: a size below 1.

    Example:
        Centres (0, 0) and (0, 2). The features are 3 and 1 away from theirs: (9 + 1) / 2.

        >>> import torch
        >>> loss = CenterLoss(num_classes=2, dim=2)
        >>> _ = loss.centers.data.copy_(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
        >>> loss(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])).item()
        5.0
    """

    def __init__(self, num_classes: int, dim: int):
        super().__init__()
        if num_classes < 1 or dim < 1:
            raise ReidlabError(
                f"num_classes={num_classes}, dim={dim}: both must be at least 1: the training "
                "identities, and the size of the features that the loss is given."
            )
        self.centers = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean squared distance over the batch.

        Args:
            features: (N, D); half precision is computed in float32.
            labels: (N,) class indices below ``num_classes``.

        Raises:
            ReidlabError: features of another size than the centres.
        """
        if features.shape[1] != self.centers.shape[1]:
            raise ReidlabError(
                f"features have {features.shape[1]} dimensions, the centres "
                f"{self.centers.shape[1]}: make CenterLoss with dim={features.shape[1]}."
            )
        difference = _single_or_double(features) - self.centers[labels]
        return difference.square().sum(1).mean()


def chance_loss(classes: int) -> float:
    """Cross entropy of a classifier that finds all ``classes`` equally likely: log C, in nats.

    >>> round(chance_loss(751), 3)
    6.621
    """
    return math.log(classes)


def floor_loss(classes: int, smoothing: float) -> float:
    """Lowest label-smoothed cross entropy that any classifier can reach: the targets' entropy.

    A target has 1 - ε + ε/C on the true class and ε/C on each of the others. The loss is that
    target's entropy plus the (never negative) divergence of the prediction from it.

    >>> round(floor_loss(751, 0.1), 3)
    0.986
    >>> floor_loss(751, 0.0)
    0.0
    """
    if smoothing == 0:
        return 0.0
    other = smoothing / classes
    true = 1 - smoothing + other
    return -true * math.log(true) - (classes - 1) * other * math.log(other)


def _single_or_double(features: Tensor) -> Tensor:
    """Half precision as float32; the rest as it is."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _incomplete(labels: Tensor) -> str:
    values, counts = labels.unique(return_counts=True)
    if len(values) < 2:
        found = f"{len(labels)} images of {len(values)} identity: there are no negatives"
    else:
        alone = values[counts == 1].tolist()
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        names = ", ".join(map(str, alone[:5])) + more
        found = f"a single image of the identities {names}: they have no positive"
    return (
        f"triplet loss: the batch holds {found}. It needs two identities or more, with two images "
        "or more each; reidlab.data.batches.identity_batches draws such batches."
    )
