"""OSNet against torchreid's own implementation, and against the published sizes."""

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reidlab.common.errors import StudyError
from reidlab.models import MODELS, Features, build, osnet
from reidlab.models.fold import fold_batch_norm
from reidlab.models.osnet import (
    WIDTHS,
    FullConv3x3,
    OSBlock,
    OSNet,
    gate_activations,
)

# references: own counts, without classifier; the paper says 2.2 M for x1.0
PARAMETERS = {
    "osnet_x1_0": 2_169_508,
    "osnet_x0_75": 1_285_754,
    "osnet_x0_5": 630_034,
    "osnet_x0_25": 201_864,
}


def peer(name: str, **options) -> nn.Module:
    """torchreid's network, from its file alone: importing the package takes half a minute."""
    stem = "osnet_ain" if "ain" in name else "osnet"
    package = Path(importlib.util.find_spec("torchreid").origin).parent
    file = package / "reid" / "models" / f"{stem}.py"
    spec = importlib.util.spec_from_file_location(f"torchreid_{stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)(num_classes=5, pretrained=False, **options)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Every parameter and statistic away from the values that layers are born with."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data.uniform_(-1, 1, generator=generator)


def pair(name: str, randomised: bool = True) -> tuple[nn.Module, nn.Module]:
    """torchreid's network and ours with one state dict."""
    torch.manual_seed(1)
    theirs, ours = peer(name, loss="triplet"), build(name)
    if randomised:
        randomise(theirs)
    state = theirs.state_dict()
    result = ours.load_state_dict(state, strict=False)
    assert result.missing_keys == []
    assert result.unexpected_keys == ["classifier.weight", "classifier.bias"]
    return theirs, ours


def images(n: int = 4, height: int = 64, width: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "name", [name for name, make in MODELS.items() if make.__module__ == osnet.__name__]
)
@pytest.mark.parametrize("randomised", [False, True], ids=["fresh", "randomised"])
def test_evaluation_features_equal_torchreid(name, randomised):
    theirs, ours = pair(name, randomised)
    with torch.inference_mode():
        expected, found = theirs.eval()(images()), ours.eval()(images()).embedding
    assert expected.std() > 1e-3  # not a comparison of zeros
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_evaluation_features_equal_torchreid_at_full_size():
    theirs, ours = pair("osnet_x0_25")
    with torch.inference_mode():
        expected = theirs.eval()(images(2, 256, 128))
        found = ours.eval()(images(2, 256, 128)).embedding
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_training_step_equals_torchreid(name):
    # Double precision: batch statistics of a few images amplify float32 rounding, and what is
    # compared is the algebra, the gradients and the running statistics.
    theirs, ours = (model.double().train() for model in pair(name))
    x = images(4).double()
    expected, found = theirs(x)[1], ours(x).embedding
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    expected.square().mean().backward()
    found.square().mean().backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[key], atol=1e-9, rtol=1e-6, msg=key)
    after = theirs.state_dict()
    for key, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, after[key], atol=1e-9, rtol=0, msg=key)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
def test_initialisation_is_torchreids(name):
    torch.manual_seed(3)
    theirs, ours = peer(name).state_dict(), build(name).state_dict()
    for key, tensor in ours.items():
        if tensor.numel() > 500:  # enough draws to compare a standard deviation
            assert tensor.std() == pytest.approx(float(theirs[key].std()), rel=0.2), key
        elif tensor.numel() < 200 and key.endswith(("bias", "bn.weight", "IN.weight")):
            assert torch.equal(tensor, theirs[key]), key


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_number(name):
    model = build(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    # seed report-siamese-reid: x0.25 with a 1000-d embedding and 751 classes
    if name == "osnet_x0_25":
        wide = build(name, feature_dim=1000)
        count = sum(p.numel() for p in wide.parameters()) + 1000 * 751 + 751
        assert count == 1_017_543


def test_output_contract():
    model = build("osnet_x0_25", feature_dim=96)
    for mode in (True, False):
        features = model.train(mode)(images())
        assert type(features) is Features
        assert features.embedding.shape == (4, 96)
        assert [tuple(f.shape) for f in features.id] == [(4, 96)]
        assert [tuple(f.shape) for f in features.metric] == [(4, 96)]
    assert model.feature_dim == 96
    assert model.id_dims == [96]
    assert not any("classifier" in key for key in model.state_dict())


def test_stages_have_the_papers_sizes():
    # ICCV paper, Table 1
    model = build("osnet_x1_0").eval()
    with torch.inference_mode():
        stages = model.forward_stages(images(1, 256, 128))
        embedding = model(images(1, 256, 128)).embedding
    assert {name: tuple(x.shape[1:]) for name, x in stages.items()} == {
        "conv1": (64, 128, 64),
        "maxpool": (64, 64, 32),
        "conv2": (256, 64, 32),
        "transition2": (256, 32, 16),
        "conv3": (384, 32, 16),
        "transition3": (384, 16, 8),
        "conv4": (512, 16, 8),
        "conv5": (512, 16, 8),
        "gap": (512, 1, 1),
        "fc": (512,),
    }
    assert torch.equal(stages["fc"], embedding)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
def test_stages_of_both_layouts_compute_the_embedding(name):
    model = build(name).eval()
    with torch.inference_mode():
        stages = model.forward_stages(images())
        assert torch.equal(stages["fc"], model(images()).embedding)
    assert len(stages) == 10


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
def test_gate_activations_equal_a_gate_applied_to_each_stream(name):
    _, model = pair(name)
    model.eval()
    found = gate_activations(model, images())
    assert list(found) == ["conv2.0", "conv2.1", "conv3.0", "conv3.1", "conv4.0", "conv4.1"]

    with torch.inference_mode():  # the first block by hand
        block = model.conv2[0]
        x = block.conv1(model.maxpool(model.conv1(images())))
        for s, stream in enumerate(block.streams):
            pooled = stream(x).mean((2, 3))
            hidden = torch.relu(pooled @ block.gate.fc1.weight.flatten(1).T + block.gate.fc1.bias)
            gate = torch.sigmoid(hidden @ block.gate.fc2.weight.flatten(1).T + block.gate.fc2.bias)
            np.testing.assert_allclose(found["conv2.0"][:, s], gate.numpy(), atol=1e-5)
    assert found["conv4.1"].shape == (4, 4, 32)
    assert found["conv2.0"].std() > 0.01
    assert not model.conv2[0].gate._forward_hooks  # nothing stays behind


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_folding_keeps_the_features_and_the_original(name):
    _, model = pair(name)
    model.train()
    before = copy.deepcopy(model.state_dict())
    folded = fold_batch_norm(model)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.inference_mode():
        expected = model.eval()(images()).embedding
        torch.testing.assert_close(folded(images()).embedding, expected, atol=1e-5, rtol=0)


def test_channels_last_bfloat16_stays_close():
    _, model = pair("osnet_x0_25")
    model.eval()
    with torch.inference_mode():
        expected = model(images()).embedding
        model.to(memory_format=torch.channels_last)
        x = images().contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(x).embedding, expected, atol=1e-5, rtol=0)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(x).embedding.float()
    similarity = torch.nn.functional.cosine_similarity(found, expected)
    assert similarity.min() > 0.999


def test_full_convolutions_cost_three_times_the_parameters():
    model = OSNet(WIDTHS["x1_0"], conv3x3=FullConv3x3)
    # The paper's 6.9 M. With the shared gates counted four times, as torchreid does: 6.89 M.
    assert sum(p.numel() for p in model.parameters()) == 6_869_028
    assert all(
        isinstance(block.streams[0], FullConv3x3)
        for block in model.modules()
        if isinstance(block, OSBlock)
    )


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(StudyError, match=r"osnet_x2_0.*osnet_x1_0.*osnet_ain_x0_25"):
        build("osnet_x2_0")
