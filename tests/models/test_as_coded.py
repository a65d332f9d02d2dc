"""The report's slips: what each does, and the report's own counts."""

import math

import pytest
import torch
from torch import nn

from reidlab.losses import LabelSmoothedCrossEntropy
from reidlab.models import build, make_heads
from reidlab.models.as_coded import report_counts
from tests.models.networks import fresh, images


def test_report_hands_the_embedding_to_the_metric_losses():
    features = fresh("resnet50_report")(images())
    assert features.metric[0] is features.embedding
    features = fresh("mobilenet_v3_large_report")(images())
    assert features.metric[0] is not features.embedding


def test_sigmoid_puts_a_floor_under_the_cross_entropy():
    """However well the report's light model separates, its loss stays above log(1 + 750 / e)."""
    model = build("mobilenet_v3_large_report")
    (head,) = make_heads(model, 751).eval()
    with torch.no_grad():
        linear = next(module for module in head if isinstance(module, nn.Linear))
        linear.weight.zero_()
        linear.bias.fill_(-100)
        linear.bias[7] = 100  # the best scores there are: 1 for the right class, 0 for the others
        scores = head(torch.randn(4, 960))
    loss = LabelSmoothedCrossEntropy(0)(scores, torch.full((4,), 7))
    assert loss.item() == pytest.approx(math.log(1 + 750 / math.e), rel=1e-5)
    assert loss.item() == pytest.approx(5.62, abs=0.01)
    assert head.train()(torch.ones(1, 960)).shape == (1, 751)


def test_report_counts_to_the_unit():
    counts = report_counts().set_index("model")
    assert (counts.counted == counts.reported).all()
    # references/networks.md of the design notes, by hand: trunk + neck, and 751-way classifiers
    assert counts.network.to_dict() == {
        "resnet50_report": 23_508_032 + 4_096,
        "mobilenet_v3_large_report": 2_973_872,
        "osnet_x0_25_d1000": 265_792,
    }
    assert counts.classifier.to_list() == [1_538_799, 721_711, 751_751]
    assert counts.unused.to_list() == [0, 2_511_080, 0]
