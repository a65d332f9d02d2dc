"""OSNet against torchreid's own implementation, and against the published sizes."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reidlab.models import build, osnet
from reidlab.models.osnet import (
    WIDTHS,
    FullConv3x3,
    OSBlock,
    OSNet,
    gate_activations,
)
from tests.models.networks import images

#: The networks that torchreid has; the others are of the ablation.
THEIRS = [name for name in osnet.VARIANTS if re.fullmatch(r"osnet(_ibn|_ain)?_x\d_\d+", name)]


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


@pytest.mark.parametrize("name", THEIRS)
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


def test_full_convolutions_cost_three_times_the_parameters():
    model = OSNet(WIDTHS["x1_0"], conv3x3=FullConv3x3)
    # The paper's 6.9 M. With the shared gates counted four times, as torchreid does: 6.89 M.
    assert sum(p.numel() for p in model.parameters()) == 6_869_028
    assert all(
        isinstance(block.streams[0], FullConv3x3)
        for block in model.modules()
        if isinstance(block, OSBlock)
    )
