"""Baselines against torchvision and the papers' formulas."""

import copy
import itertools

import pytest
import torch
import torchvision
from torch import nn

from reidlab.common.errors import ReidlabError
from reidlab.models import baseline
from reidlab.models.cost import complexity
from tests.models.networks import fresh, images, randomise


@pytest.mark.parametrize("name", ["resnet50_report", "mobilenet_v3_large"])
def test_pooled_feature_is_torchvisions(name):
    """Key for key, and value for value, where the last stride is ImageNet's."""
    theirs = randomise(getattr(torchvision.models, name.removesuffix("_report"))()).eval()
    head = "fc" if hasattr(theirs, "fc") else "classifier"
    ours = fresh(name).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith(head)}
    result = ours.load_state_dict(state, strict=False)
    assert result.unexpected_keys == []
    assert {key.split(".")[0] for key in result.missing_keys} == {"neck"}
    setattr(theirs, head, nn.Identity())
    ours.metric_after_neck = False
    with torch.inference_mode():
        expected, found = theirs(images()), ours(images()).metric[0]
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_last_stride():
    """Stride 1 computes everything that stride 2 does, and what lies between."""
    one, two = fresh("resnet50").eval(), fresh("resnet50_report").eval()
    two.load_state_dict(one.state_dict())
    with torch.inference_mode():
        x = torch.randn(2, 1024, 8, 4)
        torch.testing.assert_close(one.layer4[0](x)[:, :, ::2, ::2], two.layer4[0](x))
        assert one.featuremaps(images(1, 256, 128)).shape == (1, 2048, 16, 8)
        assert two.featuremaps(images(1, 256, 128)).shape == (1, 2048, 8, 4)
    with pytest.raises(ReidlabError, match="last_stride=3: it is 1"):
        baseline.ResNet50(last_stride=3)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "osnet_x0_25_bnneck"])
def test_neck_stands_between_metric_and_embedding(name, training):
    model = fresh(name).double().train(training)
    neck = copy.deepcopy(model.neck)
    features = model(images().double())
    (feature,), (logit_input,) = features.metric, features.id
    assert feature.std() > 1e-3
    # Ioffe and Szegedy, with the variance of the batch over N; its shift is zero.
    mean = feature.mean(0) if training else neck.running_mean
    variance = feature.var(0, correction=0) if training else neck.running_var
    expected = neck.weight * (feature - mean) / (variance + neck.eps).sqrt()
    torch.testing.assert_close(features.embedding, expected, atol=1e-9, rtol=1e-9)
    assert logit_input is features.embedding


def test_bnneck_on_osnet_leaves_osnet_as_it_is():
    osnet, necked = fresh("osnet_x0_25").eval(), fresh("osnet_x0_25_bnneck").eval()
    necked.load_state_dict(osnet.state_dict(), strict=False)
    with torch.inference_mode():
        assert torch.equal(necked(images()).metric[0], osnet(images()).embedding)


def test_wide_depthwise_convolutions_train_in_float32_under_autocast():
    model = fresh("mobilenet_v3_large")
    wide = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 5)]
    assert len(wide) == 6 and all(isinstance(m, baseline.SingleDepthwise) for m in wide)
    plain = nn.Conv2d(*[wide[0].out_channels] * 2, 5, 2, 2, groups=wide[0].groups, bias=False)
    plain.weight.data.copy_(wide[0].weight)
    x = torch.randn(2, plain.in_channels, 8, 4, requires_grad=True)
    expected = plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = wide[0].train()(x)
        assert wide[0].eval()(x).dtype == torch.bfloat16
    assert wide[0].stride == (2, 2) and torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(wide[0].weight.grad, plain.weight.grad)


def test_backbones_are_torchvisions_in_size():
    """Parameters and multiply-adds that torchvision states for its weights, head included."""
    published = {
        "resnet50_report": (torchvision.models.ResNet50_Weights.IMAGENET1K_V1, [2048, 1000]),
        "mobilenet_v3_large": (
            torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1,
            [960, 1280, 1000],
        ),
    }
    for name, (known, widths) in published.items():
        cost = complexity(fresh(name), 224, 224)
        head = sum(a * b + b for a, b in itertools.pairwise(widths))
        neck = 2 * widths[0]
        assert cost.params - neck + head == known.meta["num_params"]
        found = (cost.multadds + head) / 1e9
        assert found == pytest.approx(known.meta["_ops"], abs=0.001)
