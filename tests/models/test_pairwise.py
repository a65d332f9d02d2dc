"""IDLA, FPNN and MCP-CNN against loops, published counts and their layers as published."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.pairs import naive_idla
from reidlab.common.errors import ReidlabError
from reidlab.models import build, variant
from reidlab.models.fpnn import FPNN, displacement
from reidlab.models.idla import IDLA, patch_summary
from reidlab.models.mcp import MCP, Channel
from reidlab.recipe.names import PAIR_MODELS


def doubles(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, dtype=torch.double, generator=generator).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_pair_models_have_their_parameters(name):
    counted = sum(p.numel() for p in build(name).parameters())
    assert counted == variant(name).params


# --- IDLA ---------------------------------------------------------------------------------------


def test_idla_has_the_published_number_of_parameters():
    model = IDLA()
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert {name: count for name, count in counts.items() if count} == {
        "conv1": 1_520,
        "conv2": 12_525,
        "summaries": 31_300,
        "across": 11_300,
        "fc1": 2_250_500,
        "fc2": 1_002,
    }
    assert sum(counts.values()) == 2_308_147


def test_differences_place_by_place():
    f, g, weight = doubles((2, 4, 3, 2), (2, 4, 3, 2), (3, 2, 5, 5))
    expected = torch.zeros(2, 4, 3, 3, dtype=torch.double)
    for n in range(2):
        for y in range(4):
            for x in range(3):
                for c in range(2):
                    for dy in range(-2, 3):
                        for dx in range(-2, 3):
                            there = 0 <= y + dy < 4 and 0 <= x + dx < 3
                            other = g[n, y + dy, x + dx, c] if there else 0
                            kept = max(f[n, y, x, c] - other, 0)
                            expected[n, y, x] += weight[:, c, dy + 2, dx + 2] * kept
    torch.testing.assert_close(patch_summary(f, g, weight), expected)


def test_gradient_of_the_differences():
    # More pairs than are in memory at a time.
    assert torch.autograd.gradcheck(
        patch_summary, doubles((5, 3, 4, 2), (5, 3, 4, 2), (3, 2, 5, 5), seed=1)
    )


@pytest.mark.parametrize("name", ["idla", "idla_bn"])
def test_idla_is_the_published_network_layer_by_layer(name):
    torch.manual_seed(0)
    model = build(name)
    first, second = torch.rand(2, 3, 3, 160, 60)
    model(first, second)  # moves the statistics of the batch norms
    model.eval()
    torch.testing.assert_close(
        model(first, second), naive_idla(model, first, second), rtol=1e-4, atol=1e-5
    )


def test_both_differences_are_made():
    """Other images and other weights, both exchanged, are the same: K and K' mirror each other."""
    torch.manual_seed(1)
    model, twin = IDLA(height=48, width=32).eval(), IDLA(height=48, width=32).eval()
    state = model.state_dict()
    for name in list(state):
        part, _, rest = name.partition(".0.")
        if rest:
            other = f"{part}.1.{rest}"
            state[name], state[other] = state[other], state[name]
    state["fc1.weight"] = torch.cat(state["fc1.weight"].chunk(2, 1)[::-1], 1)
    twin.load_state_dict(state)
    first, second = torch.rand(2, 2, 3, 48, 32)
    torch.testing.assert_close(model(first, second), twin(second, first))
    assert not torch.allclose(model(first, second), model(second, first))


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_one_code_goes_with_many(name):
    torch.manual_seed(2)
    model = build(name, height=60, width=40).eval()
    query, gallery = torch.rand(1, 3, 60, 40), torch.rand(5, 3, 60, 40)
    found = model.compare(model.encode(query, 0), model.encode(gallery, 1))
    pairs = [model(query, one) for one in gallery.split(1)]
    torch.testing.assert_close(found, torch.cat(pairs))


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_bad_images_are_named(name):
    model = build(name, height=60, width=40)
    with pytest.raises(ReidlabError, match="found 2 first and 1 second images"):
        model(torch.rand(2, 3, 60, 40), torch.rand(1, 3, 60, 40))
    with pytest.raises(ReidlabError, match="built for images of 60x40, found 128x64"):
        model.encode(torch.rand(1, 3, 128, 64))
    with pytest.raises(ReidlabError, match=r"leave nothing of such an image \(\d+x0\)"):
        build(name, height=160, width=12)


# --- FPNN ---------------------------------------------------------------------------------------


def test_displacement_matrices_entry_by_entry():
    f, g = doubles((2, 6, 3, 4), (2, 6, 3, 4))
    found = displacement(f, g, group=3)
    assert found.shape == (2, 2, 3, 4, 4)
    for n in range(2):
        for k in range(2):
            for stripe in range(3):
                for i in range(4):
                    for j in range(4):
                        products = [
                            f[n, 3 * k + m, stripe, i] * g[n, 3 * k + m, stripe, j]
                            for m in range(3)
                        ]
                        assert found[n, k, stripe, i, j] == max(products)


def test_gradient_of_the_displacement_matrices():
    f, g = doubles((2, 4, 2, 3), (2, 4, 2, 3), seed=3)
    assert torch.autograd.gradcheck(lambda f, g: displacement(f, g, 2), (f, g))


def test_each_view_has_filters_of_its_own():
    torch.manual_seed(4)
    model = FPNN(height=60, width=40, dropout=0.0)
    images = torch.rand(2, 3, 60, 40)
    assert not torch.allclose(model.encode(images, 0), model.encode(images, 1))
    model(images, images).sum().backward()
    assert all(conv.weight.grad.abs().sum() > 0 for conv in model.conv1)


def test_stripes_are_matched_with_themselves_only():
    torch.manual_seed(5)
    model = FPNN(height=60, width=40, dropout=0.0).eval()
    first = torch.rand(1, 3, 60, 40)
    codes = model.encode(first, 0), model.encode(first, 1)
    before = displacement(*codes, model.group)
    codes[1][:, :, 7] += 1
    changed = (displacement(*codes, model.group) - before).abs().sum((0, 1, 3, 4)) > 0
    assert changed.nonzero().flatten().tolist() == [7]


# --- MCP-CNN ------------------------------------------------------------------------------------


def test_mcp_has_five_channels_of_the_same_first_convolution():
    torch.manual_seed(6)
    model = MCP().eval()
    seen = {}
    for name, part in model.named_modules():
        if isinstance(part, Channel):
            part.register_forward_hook(
                lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
            )
    features = model(torch.rand(2, 3, 250, 100))
    whole = seen["body"][0]
    assert whole.shape == (2, 32, 76, 26)
    for number in range(4):
        part = seen[f"parts.{number}"][0]
        torch.testing.assert_close(part, whole[:, :, 19 * number : 19 * (number + 1)])
    assert [output.shape[1] for _, output in seen.values()] == [400, 100, 100, 100, 100]
    fused = model.fuse(torch.cat([output for _, output in seen.values()], 1))
    torch.testing.assert_close(features.embedding, fused / fused.norm(dim=1, keepdim=True))
    assert features.embedding.shape == (2, 800) and features.metric[0] is features.embedding


def test_mcp_crops_in_the_middle_or_anywhere():
    model = MCP(batch_norm=True)
    images = torch.arange(250.0)[:, None] * 1000 + torch.arange(100.0)
    images = images.expand(64, 3, 250, 100)
    torch.testing.assert_close(model.eval().crop(images), images[:, :, 10:240, 10:90])
    torch.manual_seed(7)
    crops = model.train().crop(images)
    assert crops.shape == (64, 3, 230, 80)
    corners = crops[:, 0, 0, 0]
    tops, lefts = corners // 1000, corners % 1000
    for starts in (tops, lefts):
        assert starts.min() < 3 and starts.max() > 17 and starts.max() <= 20
    inside = crops[:, 0] - corners[:, None, None]
    torch.testing.assert_close(inside, inside[:1].expand_as(inside))


def test_half_precision_sums_are_single():
    torch.manual_seed(8)
    f, g = torch.rand(2, 3, 6, 4, 5)
    weight = torch.randn(5, 5, 5, 5)
    exact = patch_summary(*(x.bfloat16().float() for x in (f, g, weight)))
    found = patch_summary(f.bfloat16(), g.bfloat16(), weight.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)
    assert F.relu(found).sum() > 0
