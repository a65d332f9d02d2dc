"""Sizes against published numbers, torchreid's counter and torchvision's own; fields by hand."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from reidlab.models import build
from reidlab.models.cost import (
    PAPER_STAGES,
    compare,
    complexity,
    convolution_cost,
    measure_convolutions,
    receptive_field,
    receptive_map,
    stage_table,
    stream_receptive_fields,
)
from reidlab.models.osnet import WIDTHS, FullConv3x3, LiteConv3x3, OSBlock, OSNet

# The paper's table of width against resolution: Mult-Adds in millions.
TABLE = {
    "osnet_x1_0": (978.9, 550.7, 244.9, 61.5),
    "osnet_x0_75": (571.8, 321.7, 143.1, 35.9),
    "osnet_x0_5": (272.9, 153.6, 68.3, 17.2),
    "osnet_x0_25": (82.3, 46.3, 20.6, 5.2),
}


def test_x1_0_is_the_papers():
    # 2.2 M and 978.9 M in the paper; the exact figures are those of torchreid's counter in the
    # logs of the OSFA authors
    cost = complexity(build("osnet_x1_0"), 256, 128)
    assert cost.params == 2_169_508
    assert cost.params_by_use == 2_193_616
    assert cost.multadds == 978_878_352


@pytest.mark.parametrize("name", TABLE)
def test_multadds_of_width_and_resolution(name):
    model = build(name)
    found = [complexity(model, h, h // 2).multadds / 1e6 for h in (256, 192, 128, 64)]
    assert [round(number, 1) for number in found] == list(TABLE[name])


def test_full_convolutions():
    cost = complexity(OSNet(WIDTHS["x1_0"], conv3x3=FullConv3x3), 256, 128)
    # The paper says 6.9 M and 3,384.9 M.
    assert round(cost.params_by_use / 1e6, 2) == 6.89
    assert round(cost.multadds / 1e6) == 3376


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_5"])
def test_multadds_equal_a_count_on_real_tensors(name):
    # An independent way: PyTorch counts the multiplications that really run, without biases.
    from torch.utils.flop_counter import FlopCounterMode

    model = build(name).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, 128, 64))
    cost = complexity(model, 128, 64)
    modules = dict(model.named_modules())
    biases = sum(
        row.uses * modules[row.layer].bias.numel()
        for row in cost.layers.itertuples()
        if row.kind in ("Conv2d", "Linear") and modules[row.layer].bias is not None
    )
    assert cost.multadds - biases == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    "name, weights",
    [
        ("resnet50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        ("mobilenet_v3_large", torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1),
    ],
)
def test_torchvision_networks_match_their_own_documentation(name, weights):
    cost = complexity(torchvision.models.get_model(name, weights=None), 224, 224)
    assert cost.params == cost.params_by_use == weights.meta["num_params"]
    assert cost.multadds / 1e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)


def test_compare_counts_bodies_without_heads():
    resnet, mobilenet = torchvision.models.resnet50(), torchvision.models.mobilenet_v3_large()
    resnet.fc = mobilenet.classifier = nn.Identity()
    table = compare({"ResNet50": resnet, "MobileNetV3": mobilenet, "OSNet": build("osnet_x1_0")})
    assert list(table.columns) == ["model", "params", "multadds"]
    # seed report-siamese-reid, checked: 23,508,032 and 2,973,872 with its 2 x 960 of a BNNeck
    assert table.params.tolist() == [23_508_032, 2_973_872 - 2 * 960, 2_169_508]
    assert table.set_index("model").multadds.idxmax() == "ResNet50"


def test_layers_sum_to_the_total_and_the_model_is_untouched():
    model = build("osnet_x0_25").train()
    before = copy.deepcopy(model.state_dict())
    cost = complexity(model, 64, 32)
    assert model.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert cost.layers.multadds.sum() == cost.multadds
    assert (cost.layers.drop_duplicates("layer").params.sum()) == cost.params
    assert cost.layers.query("uses == 4").layer.str.contains("gate").all()
    assert len(cost.layers.query("uses == 4")) == 12  # two layers of six gates
    stem = cost.layers.iloc[0]
    assert (stem.layer, stem.output, stem.params) == ("conv1.conv", "32×16, 16", 3 * 16 * 49)
    assert stem.multadds == 32 * 16 * 3 * 16 * 49


@pytest.mark.parametrize("name", ["osnet_x1_0", "osnet_ain_x1_0"])
def test_stage_table_is_the_papers(name):
    model = build(name)
    table = stage_table(model, 256, 128)
    cost = complexity(model, 256, 128)
    assert table.stage.tolist() == list(PAPER_STAGES)
    assert table.output.tolist() == table.paper_output.tolist()
    assert table.params.sum() == cost.params
    assert table.multadds.sum() == cost.multadds


@pytest.mark.parametrize("channels, height, width", [(16, 64, 32), (96, 32, 16)])
def test_formula_equals_the_layers(channels, height, width):
    def count(layer):
        stem = nn.Conv2d(3, channels, 1, bias=False)
        cost = complexity(nn.Sequential(stem, layer(channels)), height, width)
        return cost.multadds - height * width * 3 * channels

    cost = convolution_cost(height, width, channels, channels)
    assert cost == (count(FullConv3x3), count(LiteConv3x3))


def test_formula_with_unequal_channels():
    # c = 2, c' = 5, k = 3 on one pixel: depthwise 2 x 9, pointwise 2 x 5
    assert convolution_cost(1, 1, 2, 5) == (90, 28)


def test_measured_times_are_of_the_right_layers():
    table = measure_convolutions(16, 16, channels=(8, 64), batch=2, repeats=3)
    assert table.channels.tolist() == [8, 64]
    assert (table.full_ms > 0).all() and (table.lite_ms > 0).all()
    assert table.multadds_ratio.tolist() == pytest.approx([9 * 8 / 17, 9 * 64 / 73])
    assert table.time_ratio.tolist() == pytest.approx((table.full_ms / table.lite_ms).tolist())


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
def test_streams_see_3_5_7_9(name):
    blocks = [m for m in build(name).modules() if isinstance(m, OSBlock)]
    assert len(blocks) == 6
    assert all(stream_receptive_fields(block) == [3, 5, 7, 9] for block in blocks)


def test_receptive_field_of_known_layers():
    assert receptive_field(nn.Conv2d(2, 3, 1), 2) == (1, 1)
    assert receptive_field(nn.Conv2d(2, 2, (3, 7), padding=(1, 3)), 2) == (3, 7)
    assert receptive_field(nn.Conv2d(2, 2, 3, padding=2, dilation=2), 2) == (5, 5)


def test_receptive_map_counts_paths():
    layer = LiteConv3x3(4)
    before = copy.deepcopy(layer.state_dict())
    weights = receptive_map(nn.Sequential(layer, LiteConv3x3(4)), 4, size=7)
    # two box filters of three make a triangle of five
    triangle = np.array([0, 1, 2, 3, 2, 1, 0]) / 9
    np.testing.assert_allclose(weights, np.outer(triangle, triangle), atol=1e-12)
    assert all(torch.equal(before[key], tensor) for key, tensor in layer.state_dict().items())


def test_receptive_map_needs_a_centre():
    with pytest.raises(ValueError, match=r"keeps 21x21, found .*\(11, 11\)"):
        receptive_map(nn.Conv2d(1, 1, 3, stride=2, padding=1), 1)
