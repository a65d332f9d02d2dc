"""Folded networks give the features of the networks they came from."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from reidlab.models.attention import PositionAttention
from reidlab.models.inference import fold_batch_norm
from tests.models.networks import NETWORKS, fresh, images, randomise


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.endswith("_report")])
def test_folding_keeps_the_features_the_neck_and_the_original(name):
    model = fresh(name).double().train()
    before = copy.deepcopy(model.state_dict())
    folded = fold_batch_norm(model)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    # Position attention normalises a sum, and no convolution's output.
    sums = [m.bn for m in folded.modules() if isinstance(m, PositionAttention)]
    left = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {id(module) for module in left} == {id(module) for module in sums}
    assert not folded.training
    kept = [m for m in folded.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(kept) == sum(isinstance(m, nn.BatchNorm1d) for m in model.modules())
    assert kept or name == "mcp"
    with torch.inference_mode():
        x = images(height=128).double()
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
