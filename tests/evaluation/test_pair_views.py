"""Pictures of a pair against loops, and what is timed against what it stands for."""

import numpy as np
import pytest
import torch
from PIL import Image

from reidlab.data.batches import normalise
from reidlab.evaluation import pair_views as views
from reidlab.models import build

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)


def as_seen(image, height, width):
    pixels = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    return normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])


def network(name, **size):
    torch.manual_seed(1)
    return build(name, **size).eval()


@torch.no_grad()
def test_differences_are_blocks_of_neighbours():
    model = network("idla", height=60, width=40)
    f, g = (model.encode(as_seen(one, 60, 40))[0].numpy() for one in (FIRST, SECOND))
    height, width, count = f.shape
    found = views.differences(model, FIRST, SECOND)
    for drawn, (one, other) in zip(found, ((f, g), (g, f))):
        expected = np.zeros((5 * height, 5 * width))
        for y, x, dy, dx in np.ndindex(height, width, 5, 5):
            row, column = y + dy - 2, x + dx - 2
            there = 0 <= row < height and 0 <= column < width
            near = other[row, column] if there else np.zeros(count)
            expected[5 * y + dy, 5 * x + dx] = np.maximum(one[y, x] - near, 0).mean()
        assert drawn == pytest.approx(expected, abs=1e-6)
    assert expected.max() > 0


@torch.no_grad()
def test_displacements_are_products_within_a_stripe():
    model = network("fpnn", height=20, width=15)
    f, g = (model.encode(as_seen(one, 20, 15), view)[0].numpy()
            for view, one in enumerate((FIRST, SECOND)))  # fmt: skip
    found = views.displacements(model, FIRST, SECOND)
    assert found.shape == (4, 3, 3)
    for stripe, j, k in np.ndindex(found.shape):
        products = [f[n, stripe, j] * g[n, stripe, k] for n in range(64)]
        strongest = [max(products[n : n + 4]) for n in range(0, 64, 4)]
        assert found[stripe, j, k] == pytest.approx(np.mean(strongest), abs=1e-6)


@torch.no_grad()
def test_channels_are_what_is_fused():
    model, fused = network("mcp_bn"), []
    model.fuse.register_forward_hook(lambda _, inputs, __: fused.append(inputs[0][0].numpy()))
    for one in (FIRST, SECOND):
        model(as_seen(one, 250, 100))
    apart = []
    for part in (slice(0, 400), *(slice(n, n + 100) for n in (400, 500, 600, 700))):
        unit = [values[part] / np.sqrt((values[part] ** 2).sum()) for values in fused]
        apart.append(np.sqrt(((unit[0] - unit[1]) ** 2).sum()))
    found = views.channels(model, FIRST, SECOND, 250, 100)
    assert found.distances == pytest.approx(apart, abs=1e-5)
    assert found.maps.shape == (2, 76, 26)


def test_query_cost_times_the_whole_way_from_image_to_distances(monkeypatch):
    model = network("idla", height=60, width=40)
    osnet = network("osnet_x0_25")
    answers = []
    monkeypatch.setattr(views, "_seconds", lambda call: answers.append(call()) or len(answers))
    table = views.query_cost({"a": (model, 60, 40), "b": (osnet, 64, 32)}, [3, 10], repeats=1)
    assert table.values.tolist() == [["a", 3, 1], ["a", 10, 2], ["b", 3, 3], ["b", 10, 4]]
    assert [answer.numel() for answer in answers] == [3, 10, 3, 10]
    images = torch.randn(8, 3, 60, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(images[:1].expand(8, -1, -1, -1), images)
    expected = -torch.cat([whole, whole[:2]])
    assert torch.allclose(answers[1], expected, atol=1e-5)
