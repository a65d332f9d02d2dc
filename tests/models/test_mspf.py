"""MSPF against a version that looks at one patch after the other; a training that reaches all."""

import pytest
import torch

from reidlab.common.errors import ReidlabError
from reidlab.models import build, make_heads
from reidlab.models.attention import ChannelAttention, SpatialAttention
from reidlab.models.cost import complexity
from reidlab.models.mspf import OPTIONS, patches
from reidlab.recipe.config import TrainConfig
from reidlab.training.objective import Objective
from tests.models.networks import fresh, images


def slow_patches(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    height, width = x.shape[2] // rows, x.shape[3] // columns
    return torch.stack(
        [
            image[:, r * height : (r + 1) * height, c * width : (c + 1) * width]
            for image in x
            for r in range(rows)
            for c in range(columns)
        ]
    )


@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2)])
def test_patches_equal_slices(rows, columns):
    x = images(3, 64, 32)
    expected = slow_patches(x, rows, columns)
    assert torch.equal(patches(x, rows, columns), expected)
    last = x.contiguous(memory_format=torch.channels_last)
    found = patches(last, rows, columns)
    assert torch.equal(found, expected)
    if columns == 1:  # no copy is made
        assert found.data_ptr() == last.data_ptr()
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["mspf_x0_25", "mspf_x0_25_patches_2", "mspf_x0_25_grid"])
def test_global_feature_equals_a_slow_version(name):
    model, x = fresh(name).double().eval(), images(2, 64, 32).double()
    with torch.inference_mode():
        found = model(x)
        _, top = model.paths(x)
        own = model.fc(top.flatten(2).max(2).values)
        for n, image in enumerate(x):
            total = 0
            for trunk, (rows, columns) in zip(model.levels, model.grids):
                seen = [
                    trunk.featuremaps(patch[None])[0].flatten(1).max(1).values
                    for patch in slow_patches(image[None], rows, columns)
                ]
                total = total + torch.stack(seen).max(0).values
            torch.testing.assert_close(found.metric[0][n], torch.cat([own[n], total]))


def test_attention_is_cbam_behind_the_second_stage():
    model = build("mspf_x0_25")
    assert list(model.attention) == ["2"]
    assert [type(m) for m in model.attention["2"]] == [ChannelAttention, SpatialAttention]
    assert model.attention["2"][0].fc1.in_features == 96


def test_cost_is_osfas_and_an_osnet_trunk_for_each_level():
    # every level sees the whole image, in pieces: its Mult-Adds are those of one trunk
    whole = complexity(build("osnet_x0_25"), 256, 128)
    base = complexity(build("mspf_x0_25_patches_none"), 256, 128)
    fc = whole.layers[whole.layers.layer.str.startswith("fc")].multadds.sum()
    for suffix, levels in {"_patches_2": 1, "": 2}.items():
        cost = complexity(build(f"mspf_x0_25{suffix}"), 256, 128)
        gates = cost.layers[cost.layers.layer.str.contains("levels.*gate")].multadds.sum()
        plain = whole.layers[whole.layers.layer.str.contains("gate")].multadds.sum()
        assert cost.multadds - base.multadds - gates == levels * (whole.multadds - fc - plain)


def test_training_reaches_every_branch_and_every_centre():
    torch.manual_seed(0)
    model = build("mspf_x0_25").train()
    config = TrainConfig(
        **{"dataset": "market-layout", "model": "mspf_x0_25", "height": 64, "width": 32},
        **{"sampler": "identities", "triplet": "hinge", "center_weight": 0.0007, "center_lr": 0.5},
    )
    objective = Objective(config, model, classes=4).train()
    labels = torch.arange(4).repeat_interleave(2)
    optimizer = torch.optim.Adam([*model.parameters(), *objective.heads.parameters()], lr=3.5e-4)
    optimizers = [optimizer, objective.center_optimizer()]
    before = {key: value.clone() for key, value in model.named_parameters()}
    for step in range(3):
        _, loss = objective(model(images(8, 64, 32)), labels)
        for each in optimizers:
            each.zero_grad()
        loss.backward()
        for key, value in (*model.named_parameters(), *objective.named_parameters()):
            assert value.grad is not None and value.grad.isfinite().all(), (step, key)
            # The hidden layer of a narrow gate is a unit or two, and may be dead.
            assert value.grad.any() or ".gate." in key, (step, key)
        for each in optimizers:
            each.step()
    assert len(objective.heads) == len(objective.centers) == len(model.branches) == 2
    assert all(center.centers.grad.abs().sum(1).all() for center in objective.centers)
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    assert all(".gate." in key for key in still)


def test_each_branch_alone_trains_its_own_trunks():
    # the local feature comes from OSFA's plain path: patches and attention are the global's
    model = fresh("mspf_x0_25").train()
    reached = []
    for branch, head in enumerate(make_heads(model, 3)):
        model.zero_grad(set_to_none=True)
        head(model(images(4, 64, 32)).id[branch]).square().mean().backward()
        keys = [key for key, value in model.named_parameters() if value.grad is not None]
        reached.append({key.split(".")[0] for key in keys})
    assert {"levels", "attention", "fc", "conv5"} <= reached[0] - reached[1]
    assert reached[1] - reached[0] == {"align"}


@pytest.mark.parametrize("height, width, rows, columns", [(100, 48, 3, 1), (96, 66, 2, 4)])
def test_an_image_that_does_not_divide_is_refused(height, width, rows, columns):
    with pytest.raises(ReidlabError, match=f"{height}x{width} .* {rows}x{columns} patches of"):
        patches(images(1, height, width), rows, columns)


def test_a_patch_that_is_too_small_is_refused():
    with pytest.raises(ReidlabError, match=r"64x32 pixels .* 8x1 patches of at least 16x16"):
        build("mspf_x0_25_patches_2_4_8")(images(1, 64, 32))


def test_variants_are_the_rows_of_the_papers_tables():
    models = {suffix: build(f"mspf_x0_25{suffix}") for suffix in OPTIONS}
    rows = {suffix: [rows for rows, _ in model.grids] for suffix, model in models.items()}
    assert rows["_patches_none"] == [] and rows["_patches_2"] == [2]
    assert rows[""] == [2, 4] and rows["_patches_2_4_8"] == [2, 4, 8]
    orders = {
        suffix: [type(part) for module in model.attention.values() for part in module]
        for suffix, model in models.items()
        if "attention" in suffix
    }
    assert orders == {
        "_attention_none": [],
        "_attention_spatial": [SpatialAttention],
        "_attention_channel": [ChannelAttention],
        "_attention_spatial_channel": [SpatialAttention, ChannelAttention],
    }
