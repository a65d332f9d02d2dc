"""What a network looks at: maps against the block done by hand, gradients against differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reidlab.common.errors import ReidlabError
from reidlab.evaluation import attention
from reidlab.metrics.ranks import FeatureSet
from reidlab.models import build


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = build("osnet_x0_25").double().eval()
    for module in model.modules():  # an untrained gate says 1/2 to all
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


def images(count, seed=0):
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(seed)).double()


def test_activation_map_is_the_energy_of_conv5(network):
    x = images(3)
    found = attention.activation_maps(network, x)
    maps = network.featuremaps(x).detach().numpy()
    for image, activation in zip(maps, found.numpy()):
        slow = np.array(
            [[sum(c[row, col] ** 2 for c in image) for col in range(2)] for row in range(4)]
        )
        np.testing.assert_allclose(activation, slow / slow.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_x0_25_gate_none", "osnet_ain_x0_25"])
def test_stream_maps_are_the_summands_of_the_block(name):
    torch.manual_seed(1)
    model, x = build(name).eval(), images(2).float()
    block, inputs = model.conv4[1], []
    handle = block.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        model(x)
        handle.remove()
        y = block.conv1(inputs[0])
        for number, stream in enumerate(block.streams):
            one = stream(y)
            if block.gate is not None:
                mean = one.mean((2, 3), keepdim=True)
                one = one * torch.sigmoid(block.gate.fc2(F.relu(block.gate.fc1(mean))))
            expected = one.pow(2).sum(1)
            expected = expected / expected.sum((1, 2), keepdim=True)
            torch.testing.assert_close(attention.stream_maps(model, x)[number], expected)


def test_shared_evidence_against_finite_differences(network):
    """α_c is the slope of the similarity when a whole channel of one image's conv5 is raised."""
    first, second = images(1, 1), images(1, 2)
    similarity, *cams = attention.shared_evidence(network, first, second)
    maps = [network.featuremaps(x).detach() for x in (first, second)]

    def alike(*maps):
        embeddings = [network.fc(x.mean((2, 3))) for x in maps]
        return F.cosine_similarity(*embeddings).item()

    assert similarity.item() == pytest.approx(alike(*maps), rel=1e-9)
    step, positions = 1e-5, maps[0][0, 0].numel()
    for side, cam in enumerate(cams):
        slow = torch.zeros_like(maps[side][0, 0])
        for channel in range(maps[side].shape[1]):
            moved = [[x.clone() for x in maps] for _ in range(2)]
            for pair, sign in zip(moved, (1, -1)):
                pair[side][0, channel] += sign * step
            slope = (alike(*moved[0]) - alike(*moved[1])) / (2 * step)
            slow += slope / positions * maps[side][0, channel]
        torch.testing.assert_close(cam[0], slow.clamp(min=0), rtol=1e-4, atol=1e-9)
        assert cam.max() > 0


@pytest.mark.parametrize("name", ["osfa_x0_25", "mspf_x0_25"])
def test_networks_on_the_same_trunk_have_maps_too(name):
    model, x = build(name).eval(), images(2).float()
    assert attention.activation_maps(model, x).shape == (2, 4, 2)
    assert attention.stream_maps(model, x).shape == (4, 2, 4, 2)
    assert len(attention.shared_evidence(model, x, x.flip(3))) == 3


def test_another_network_or_block_is_refused():
    with pytest.raises(ReidlabError, match="has no layer conv5"):
        attention.activation_maps(build("mobilenet_v3_large").eval(), images(1).float())
    with pytest.raises(ReidlabError, match="has no layer conv9"):
        attention.stream_maps(build("osnet_x0_25").eval(), images(1).float(), "conv9")


def test_shares_against_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    maps, masks = rng.random((2, 4, 2)), rng.dirichlet((1, 1, 1), (2, 64, 32))
    slow = np.zeros((2, 3))
    for image in range(2):
        for row in range(64):
            for col in range(32):
                slow[image] += maps[image, row // 16, col // 16] * masks[image, row, col] / 256
        slow[image] /= maps[image].sum()
    found = attention.shares(torch.tensor(maps), torch.tensor(masks))
    np.testing.assert_allclose(found, slow, rtol=1e-9)
    np.testing.assert_allclose(found.sum(1), 1)


def test_camera_neighbours_against_a_loop():
    rng = np.random.default_rng(1)
    features = torch.tensor(rng.normal(size=(60, 4)), dtype=torch.float32)
    pids, camids = (torch.tensor(rng.integers(0, high, 60)) for high in (12, 3))
    features[:, 0] += 0.7 * camids  # cameras show
    same = chance = 0.0
    for i in range(60):
        others = [j for j in range(60) if pids[j] != pids[i]]
        nearest = min(others, key=lambda j: (features[i] - features[j]).norm().item())
        same += (camids[nearest] == camids[i]).item()
        chance += sum((camids[j] == camids[i]).item() for j in others) / len(others)
    found = attention.camera_neighbours(FeatureSet(features, pids, camids))
    assert found == pytest.approx({"share": 100 * same / 60, "by_chance": 100 * chance / 60})
    assert found["share"] > found["by_chance"]
