"""Baselines against torchvision, the papers' formulas and the report's counts."""

import copy
import functools
import itertools
import math
import re
import urllib.error
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from reidlab.common.errors import ReidlabError, WeightsError
from reidlab.losses import LabelSmoothedCrossEntropy
from reidlab.models import MODELS, Features, baseline, build, initial, make_heads, weights
from reidlab.models.baseline import report_counts
from reidlab.models.cost import complexity
from reidlab.models.fold import fold_batch_norm
from reidlab.models.initial import initialise
from reidlab.models.weights import load_weights, save_weights

NAMES = [name for name, make in MODELS.items() if make.__module__ == baseline.__name__]
TORCHVISION = {
    "resnet50": "resnet50",
    "resnet50_report": "resnet50",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_large_report": "mobilenet_v3_large",
}


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
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(2))


@functools.cache
def _made(name: str) -> nn.Module:
    torch.manual_seed(1)
    return randomise(build(name))


def fresh(name: str) -> nn.Module:
    """A network of one's own; drawing the weights of ResNet-50 takes a second."""
    return copy.deepcopy(_made(name))


def test_names():
    assert set(NAMES) >= {"resnet50", "mobilenet_v3_large", "resnet50_report", *TORCHVISION}
    assert [MODELS[name].__name__ for name in MODELS] == list(MODELS)


# --- features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50_report", "mobilenet_v3_large"])
def test_pooled_feature_is_torchvisions(name):
    """Key for key, and value for value, where the last stride is ImageNet's."""
    theirs = randomise(getattr(torchvision.models, TORCHVISION[name])()).eval()
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
        baseline.resnet50(last_stride=3)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "osnet_x0_25_bnneck"])
def test_neck_stands_between_metric_and_embedding(name, training):
    model = fresh(name).double().train(training)
    neck = copy.deepcopy(model.neck)
    features = model(images().double())
    assert isinstance(features, Features)
    (feature,), (logit_input,) = features.metric, features.id
    assert feature.shape == (4, *model.id_dims) == (4, model.feature_dim)
    assert feature.std() > 1e-3
    # Ioffe and Szegedy, with the variance of the batch over N; its shift is zero.
    mean = feature.mean(0) if training else neck.running_mean
    variance = feature.var(0, correction=0) if training else neck.running_var
    expected = neck.weight * (feature - mean) / (variance + neck.eps).sqrt()
    torch.testing.assert_close(features.embedding, expected, atol=1e-9, rtol=1e-9)
    assert logit_input is features.embedding


def test_report_hands_the_embedding_to_the_metric_losses():
    features = fresh("resnet50_report")(images())
    assert features.metric[0] is features.embedding
    features = fresh("mobilenet_v3_large_report")(images())
    assert features.metric[0] is not features.embedding


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reaches_everything_but_the_frozen_bias(name):
    model = fresh(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    (head,) = make_heads(model, 3)
    scores = head(model(images()).id[0])
    F.cross_entropy(scores, torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    still = [key for key, value in model.named_parameters() if value.grad is None]
    frozen = ["neck.bias"] if hasattr(model, "neck") and not name.endswith("_report") else []
    assert still == frozen
    if frozen:
        assert torch.equal(model.neck.bias, torch.zeros(model.feature_dim))


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


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_bfloat16_stays_close(name):
    model = fresh(name).eval()
    x = images(2, 128, 64)
    with torch.inference_mode():
        expected = model(x).embedding
        model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(x).embedding, expected, atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            features = model(x)
        assert features.embedding.dtype == torch.float32 or "neck" not in dict(
            model.named_children()
        )
    assert F.cosine_similarity(features.embedding.float(), expected).min() > 0.999


# --- heads -------------------------------------------------------------------------------------


def test_default_head_is_torchreids_and_draws_as_before():
    model = build("osnet_x0_25")
    torch.manual_seed(5)
    (head,) = make_heads(model, 751)
    torch.manual_seed(5)
    expected = nn.Linear(512, 751)
    nn.init.normal_(expected.weight, std=0.01)
    assert torch.equal(head.weight, expected.weight)
    assert head.bias.shape == (751,) and not head.bias.any()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "osnet_x0_25_bnneck"])
def test_head_behind_a_neck_has_no_bias(name):
    with torch.device("meta"):
        (head,) = make_heads(build(name), 751)
    assert isinstance(head, nn.Linear) and head.bias is None
    assert head.weight.shape == (751, fresh(name).feature_dim)


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


# --- cost --------------------------------------------------------------------------------------


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


def test_table_of_the_module_is_what_is_counted():
    rows = re.findall(r"^(\w+) +(\d+) +([\d,]+) +([\d,.]+) M ", baseline.__doc__, re.M)
    assert [row[0] for row in rows] == NAMES
    for name, dim, params, multadds in rows:
        model = fresh(name)
        cost = complexity(model)
        assert model.feature_dim == int(dim)
        assert cost.params == int(params.replace(",", "")), name
        assert cost.multadds / 1e6 == pytest.approx(float(multadds.replace(",", "")), abs=0.051)


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Stands for a published file: torchvision's network with random weights, as old as theirs."""

    def make(name: str):
        torch.manual_seed(4)
        theirs = randomise(getattr(torchvision.models, TORCHVISION[name])())
        state = {k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}
        known = initial.IMAGENET[name]
        file = tmp_path / "data" / "weights" / known.name
        file.parent.mkdir(parents=True)
        torch.save(state, file)
        digits = weights.sha256(file)[:8]
        monkeypatch.setitem(initial.IMAGENET, name, replace(known, sha256=digits))
        return theirs, file

    return make


@pytest.mark.parametrize("name", ["resnet50_report", "mobilenet_v3_large"])
def test_imagenet_fills_the_trunk_and_leaves_the_neck(name, imagenet, tmp_path):
    theirs, file = imagenet(name)
    for init in ("imagenet", f"imagenet:{file}"):
        model = build(name)
        initialise(model, init, data_root=tmp_path / "data", name=name)
        expected = theirs.state_dict()
        for key, tensor in model.state_dict().items():
            if not key.startswith("neck."):
                assert torch.equal(tensor, expected[key]), key
        assert torch.equal(model.neck.weight, torch.ones(model.feature_dim))


@pytest.mark.parametrize(
    ("name", "neighbour"), [("osnet_x0_25_bnneck", "neck"), ("osnet_x0_25_d1000", "fc")]
)
def test_imagenet_of_osnet_serves_its_variants(name, neighbour, tmp_path):
    source = fresh("osnet_x0_25")
    state = source.state_dict() | {
        "classifier.weight": torch.ones(1000, 512),
        "classifier.bias": torch.zeros(1000),
    }
    file = tmp_path / "weights" / "osnet_x0_25_imagenet.pth"
    file.parent.mkdir()
    torch.save(state, file)
    model = build(name)
    before = copy.deepcopy(model.state_dict())
    initialise(model, "imagenet", data_root=tmp_path, name=name)
    for key, tensor in model.state_dict().items():
        own = key.split(".")[0] == neighbour
        assert torch.equal(tensor, before[key] if own else state[key]), key


@pytest.mark.parametrize(
    ("name", "own"), [("osnet_x0_25_bnneck", ("neck",)), ("osnet_x0_25_d1000", ("fc",))]
)
def test_shipped_weights_of_osnet_serve_its_variants(name, own):
    source, model = build("osnet_x0_25"), fresh(name)
    initialise(source, "synthetic", name="osnet_x0_25")
    initialise(model, "synthetic", name=name)
    expected, before = source.state_dict(), fresh(name).state_dict()
    for key, tensor in model.state_dict().items():
        kept = key.startswith(own)
        assert torch.equal(tensor, before[key] if kept else expected[key]), key
    with pytest.raises(WeightsError, match="no weights of 'resnet50' are shipped"):
        initialise(fresh("resnet50_report"), "synthetic", name="resnet50_report")


def test_imagenet_file_with_another_hash_is_refused(imagenet, tmp_path, monkeypatch):
    imagenet("resnet50")
    known = replace(initial.IMAGENET["resnet50"], sha256="0676ba61")  # torchvision's
    monkeypatch.setitem(initial.IMAGENET, "resnet50", known)
    model = fresh("resnet50")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth.*0676ba61 at the start"):
        initialise(model, "imagenet", data_root=tmp_path / "data", name="resnet50")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "resnet50-0676ba61.pth"),
        ("mobilenet_v3_large_report", "mobilenet_v3_large-8738ca79.pth"),
    ],
)
def test_offline_names_torchvisions_file(name, file, tmp_path, own_cache, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsError, match="cannot download") as error:
        initialise(fresh(name), "imagenet", data_root=tmp_path / "data", name=name)
    assert f"https://download.pytorch.org/models/{file}" in str(error.value)
    assert str(tmp_path / "data" / "weights" / file) in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_weights_round_trip(name, tmp_path):
    model, other = fresh(name), randomise(fresh(name), seed=1)
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    expected = model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())


# --- folding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_report")])
def test_folding_keeps_the_features_the_neck_and_the_original(name):
    model = fresh(name).double().train()
    before = copy.deepcopy(model.state_dict())
    folded = fold_batch_norm(model)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not folded.training
    kept = [m for m in folded.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(kept) == sum(isinstance(m, nn.BatchNorm1d) for m in model.modules()) >= 1
    with torch.inference_mode():
        x = images().double()
        expected = model.eval()(x)
        assert expected.embedding.std() > 1e-3
        torch.testing.assert_close(folded(x).embedding, expected.embedding, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(folded(x).metric, expected.metric, atol=1e-9, rtol=1e-9)


def test_folding_leaves_what_cannot_be_folded():
    """Normalisation before its convolution, after something else, by instance, of the batch."""
    layers = [
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1),
        nn.InstanceNorm2d(5, affine=True), nn.Conv2d(5, 6, 1),
        nn.BatchNorm2d(6, track_running_stats=False), nn.Conv2d(6, 7, 1), nn.BatchNorm2d(7),
    ]  # fmt: skip
    model = randomise_tracked(nn.Sequential(*layers)).double().eval()
    folded = fold_batch_norm(model)
    kinds = [type(module) for module in folded]
    assert kinds[-1] is nn.Identity and kinds[:-1] == [type(layer) for layer in layers[:-1]]
    x = images().double()
    torch.testing.assert_close(folded(x), model(x), atol=1e-9, rtol=1e-9)


def randomise_tracked(model: nn.Sequential) -> nn.Sequential:
    for module in model:
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            randomise(nn.Sequential(module))
    return model


def test_torchvision_networks_fold_whole():
    for make in (torchvision.models.resnet18, torchvision.models.mobilenet_v2):
        model = randomise(make(num_classes=5)).double().eval()
        folded = fold_batch_norm(model)
        # torchvision's own ResNet does not declare its stem, so that one stays.
        left = sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        assert left == (make is torchvision.models.resnet18)
        with torch.inference_mode():
            x = images().double()
            torch.testing.assert_close(folded(x), model(x), atol=1e-9, rtol=1e-9)
