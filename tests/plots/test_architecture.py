"""The figures on the network hold the right numbers and labels."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from reidlab.models import build
from reidlab.models.cost import (
    complexity,
    gate_summary,
    receptive_map,
    stage_table,
    stream_receptive_fields,
)
from reidlab.models.osnet import gate_activations
from reidlab.plots import architecture as plots
from reidlab.plots.style import SETTINGS


@pytest.fixture(autouse=True)
def _in_style():
    with matplotlib.rc_context(SETTINGS):
        yield


def texts(axes):
    return [text.get_text() for text in axes.texts]


def saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue().startswith(b"\x89PNG")


def test_block_diagram_has_one_to_four_convolutions_in_a_stream():
    figure = plots.block_diagram()
    (axes,) = figure.axes
    labels = texts(axes)
    assert labels.count("Lite 3×3") == 1 + 2 + 3 + 4
    assert labels.count("gate ×") == 4
    assert {"sees 3×3", "sees 5×5", "sees 7×7", "sees 9×9"} <= set(labels)
    rows = {}
    for text in axes.texts:
        if text.get_text() == "Lite 3×3":
            rows[text.get_position()[1]] = rows.get(text.get_position()[1], 0) + 1
    assert [rows[y] for y in sorted(rows, reverse=True)] == [1, 2, 3, 4]
    assert saves(figure)


def test_texts_of_the_diagram_do_not_overlap():
    figure = plots.block_diagram()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_stage_bars_are_shares_of_the_whole():
    table = stage_table(build("osnet_x0_25"), 64, 32)
    (axes,) = plots.stage_bars(table).axes
    for bars, column in zip(axes.containers, ("params", "multadds")):
        heights = [bar.get_height() for bar in bars]
        assert sum(heights) == pytest.approx(1)
        expected = table[column][table.params > 0] / table[column].sum()
        assert heights == pytest.approx(expected.tolist())
    first = axes.get_xticklabels()[0].get_text()
    assert first.startswith("conv1\n32×16")


def test_width_resolution_prints_every_number():
    table = pd.DataFrame(
        {"width": [1.0, 1.0, 0.25, 0.25], "height": [256, 64] * 2, "image_width": [128, 32] * 2,
         "multadds": [978.9e6, 61.5e6, 82.3e6, 5.2e6]}
    )  # fmt: skip
    figure = plots.width_resolution(table)
    (axes,) = figure.axes
    assert texts(axes) == ["978.9", "61.5", "82.3", "5.2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["256×128", "64×32"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["×1", "×0.25"]
    assert saves(figure)


def test_size_against_work_places_and_names_every_network():
    table = pd.DataFrame(
        {"model": ["OSNet ×1.0", "OSNet ×0.25", "ResNet50"], "params": [2.17e6, 0.2e6, 23.5e6],
         "multadds": [978.9e6, 82.3e6, 2669e6]}
    )  # fmt: skip
    (axes,) = plots.size_against_work(table).axes
    points = np.concatenate([np.asarray(part.get_offsets()) for part in axes.collections])
    assert points == pytest.approx(np.array([[978.9, 2.17], [82.3, 0.2], [2669, 23.5]]))
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([82.3, 978.9])
    assert "ResNet50: 23.50 M, 2,669 M" in texts(axes)


def test_labels_of_the_networks_do_not_overlap():
    names = ("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25")
    costs = [complexity(build(name)) for name in names]
    params = [*(cost.params for cost in costs), 23_508_032, 2_971_952]
    multadds = [*(cost.multadds for cost in costs), 2_669_150_208, 140_335_960]
    models = [*(name.replace("osnet_x", "OSNet ×") for name in names), "ResNet50"]
    models.append("MobileNetV3-Large")
    table = pd.DataFrame({"model": models, "params": params, "multadds": multadds})
    figure = plots.size_against_work(table)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_convolution_costs():
    table = pd.DataFrame(
        {"channels": [16, 64], "full_multadds": [4.7e6, 75.5e6], "lite_multadds": [0.8e6, 9.6e6],
         "multadds_ratio": [5.8, 7.9], "full_ms": [2.0, 30.0], "lite_ms": [1.0, 2.0],
         "time_ratio": [2.0, 15.0]}
    )  # fmt: skip
    figure = plots.convolution_costs(table)
    work, clock, ratio = figure.axes
    assert work.lines[0].get_ydata().tolist() == pytest.approx([4.7, 75.5])
    assert clock.lines[1].get_ydata().tolist() == [1, 2]
    assert ratio.lines[1].get_ydata().tolist() == [2, 15]
    assert ratio.get_ylim()[1] > 15  # a measured ratio above the formula's stays in sight
    assert saves(figure)


def test_receptive_fields_frame_what_was_measured():
    block = build("osnet_x0_25").conv2[0]
    maps = [receptive_map(stream, 16) for stream in block.streams]
    figure = plots.receptive_fields(maps, stream_receptive_fields(block))
    panels = figure.axes[:4]
    assert [axes.patches[0].get_width() for axes in panels] == [3, 5, 7, 9]
    for axes, side in zip(panels, (3, 5, 7, 9)):
        inked = np.isfinite(np.ma.filled(axes.images[0].get_array(), np.nan))
        assert inked.sum() == side * side
        assert axes.get_title(loc="left").endswith(f"{side}×{side}")
    assert saves(figure)


@pytest.fixture
def gates():
    """Two images; stream 3 is widest in block x for every channel, in y for half of them."""
    x = np.full((2, 4, 2), 0.5, dtype=np.float32)
    x[:, 2] = 0.75
    y = np.zeros((2, 4, 4), dtype=np.float32)
    y[:, 0, :2] = y[:, 2, 2:] = 0.5
    y[1, 0, :2] = 0.9
    return {"x": x, "y": y}


def test_gate_summary_by_hand(gates):
    table = gate_summary(gates).set_index(["block", "stream"])
    assert table["mean"]["x"].tolist() == [0.5, 0.5, 0.75, 0.5]
    assert table.favourite["x"].tolist() == [0, 0, 1, 0]
    assert table.favourite["y"].tolist() == [0.5, 0, 0.5, 0]
    assert table["mean"]["y", 1] == pytest.approx((2 * 0.5 + 2 * 0.9) / 8)
    assert table.channel_std["y", 1] == pytest.approx(0.35)  # means over images: .7 .7 0 0
    assert table.image_std["y", 1] == pytest.approx(np.sqrt((0.2**2 + 0.2**2) / 4))
    assert table.image_std["x"].tolist() == [0, 0, 0, 0]


def test_equal_gates_prefer_no_stream():
    table = gate_summary({"x": np.full((3, 4, 5), 0.5, dtype=np.float32)})
    assert table.favourite.tolist() == [0, 0, 0, 0]


def test_gates_by_block(gates):
    figure = plots.gates_by_block(gate_summary(gates))
    level, choice = figure.axes[:2]
    assert texts(level)[::2] == [
        "0.500\n±0.000",
        "0.500\n±0.000",
        "0.750\n±0.000",
        "0.500\n±0.000",
    ]
    assert np.asarray(level.images[0].get_array())[0, 1] == pytest.approx(0.02**0.5)
    tops = [bars[1].get_y() + bars[1].get_height() for bars in choice.containers]
    assert tops == [0.5, 0.5, 1.0, 1.0, 1.0]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*plots.STREAM_NAMES, "none"]
    assert saves(figure)


def test_gates_of_people_shows_changes_not_gates():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 32, 16), dtype=torch.uint8)
    model = build("osnet_x0_25").eval()
    gates = gate_activations(model, images.float() / 255)
    usual = {block: values.mean(0) for block, values in gates.items()}
    some = {block: gates[block] for block in ("conv2.0", "conv4.1")}
    titles = ["first", "second", "pid 1501, camera 6"]
    figure = plots.gates_of_people(images, titles, some, usual)
    panels = np.array(figure.axes[:9]).reshape(3, 3)
    assert [axes.get_title("left") for axes in panels[:, 0]] == titles
    figure.draw_without_rendering()
    assert all(axes.get_tightbbox().x0 >= 0 for axes in panels[:, 0]), "a title leaves the page"
    assert [axes.get_title(loc="left") for axes in panels[0, 1:]] == ["conv2.0", "conv4.1"]
    shown = np.array([np.asarray(axes.images[0].get_array()) for axes in panels[:, 1]])
    assert shown.shape == (3, 4, 16)
    assert shown.sum(0) == pytest.approx(np.zeros((4, 16)), abs=1e-6)
    assert np.sort(shown[0], axis=1) == pytest.approx(
        np.sort(gates["conv2.0"][0] - usual["conv2.0"], axis=1)
    )
    assert saves(figure)
