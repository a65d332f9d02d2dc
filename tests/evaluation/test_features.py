"""Features: the same whatever the way to them, from files as from memory."""

import dataclasses
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reidlab import data
from reidlab.common import paths
from reidlab.common.errors import DataError, ReidlabError
from reidlab.data import store as store_module
from reidlab.data.batches import normalise
from reidlab.data.store import decode
from reidlab.evaluation import features
from reidlab.evaluation.features import embed, extract
from reidlab.evaluation.rescore import Way, rank, run_features
from reidlab.metrics.scores import evaluate
from reidlab.models import build, inference
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.names import MODELS
from reidlab.runs.folder import load_model
from tests.conftest import write_image

HEIGHT, WIDTH = 64, 32


@pytest.fixture
def frame(tmp_path, own_cache) -> pd.DataFrame:
    files = [tmp_path / f"{index}.jpg" for index in range(21)]
    for index, file in enumerate(files):
        write_image(file, index)
    pids, camids = np.arange(21) // 3, np.arange(21) % 3
    return pd.DataFrame({"path": [str(file) for file in files], "pid": pids, "camid": camids})


@pytest.fixture
def threads():
    """Sets PyTorch's number of threads, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def network(name="osnet_x0_25", seed=0) -> nn.Module:
    """A network whose batch norms are far from the identity."""
    torch.manual_seed(seed)
    model = build(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return model


@torch.inference_mode()
def plainly(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The obvious way: one image after the other through the network as it is, in float32."""
    model.eval()
    return torch.cat([model(normalise(image[None])).embedding for image in images])


def relative_error(found, right):
    return ((found - right).norm(dim=1) / right.norm(dim=1)).max().item()


@pytest.mark.parametrize("name", MODELS)
def test_every_network_gives_what_it_gives_by_itself(name):
    height = 128 if name.endswith("_2_4_8") else HEIGHT  # of eight patches of 16 pixels
    model, images = network(name), random_images(3, height)
    right = plainly(model, images)
    assert relative_error(extract(model, images, None, "cpu", "float32"), right) < 1e-5
    # bfloat16 keeps 8 bits: its rounding error is 0.2 to 0.4 % each time
    assert relative_error(extract(model, images, None, "cpu", "bfloat16"), right) < 0.03


def random_images(count, height=HEIGHT):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, WIDTH), dtype=torch.uint8, generator=generator)


def test_channels_in_any_memory_order():
    model, images = network(), random_images(3)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(extract(model, images), extract(model, last))


def test_a_model_in_training_is_left_as_it_is():
    model = network().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    extract(model, random_images(2))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)  # or evaluating would change the training


# Where PyTorch has the operation, not where ours works: else a mistake in it would be a skip.
fuses = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64")
    or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"),
    reason="PyTorch has no fused convolution for this processor",
)


@fuses
def test_fused_and_unfused_convolutions_agree(monkeypatch):
    assert inference.available()
    model, images = network(), random_images(4)
    with_fusion = extract(model, images, 2, "cpu", "float32")
    monkeypatch.setattr(inference, "available", lambda: False)
    without = extract(model, images, 2, "cpu", "float32")
    assert not torch.equal(with_fusion, without)  # another order of sums: it was another path
    assert relative_error(with_fusion, without) < 1e-5


@fuses
def test_every_convolution_is_fused_where_that_works():
    assert inference.available()
    model = features.fold_batch_norm(network())
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    inference.fuse(
        model, torch.float32, {conv: [4, conv.in_channels, 8, 4] for conv in convolutions}
    )
    assert not any(isinstance(module, nn.Conv2d) for module in model.modules())
    assert sum(isinstance(m, inference.FusedConv) for m in model.modules()) == len(convolutions)


@fuses
@pytest.mark.parametrize("name", ["osnet_x0_25", "resnet50"])
def test_weights_are_laid_out_for_the_inputs_that_come(name, monkeypatch):
    assert inference.available()
    expected, seen = [], []

    class Watched(inference.FusedConv):
        def __init__(self, conv, relu, dtype, shape):
            super().__init__(conv, relu, dtype, shape)
            self.shape = list(shape)

        def forward(self, x):
            expected.append(self.shape)
            seen.append(list(x.shape))
            return super().forward(x)

    monkeypatch.setattr(inference, "FusedConv", Watched)
    extract(build(name), random_images(6), 3, "cpu", "float32")
    assert len(seen) >= 2 * 50 and seen == expected  # two batches
    assert len({tuple(shape) for shape in seen}) > 5


def test_where_fusing_fails_networks_stay_as_they_are(monkeypatch, caplog):
    def broken(*arguments):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(inference, "FusedConv", broken)
    inference.available.cache_clear()
    try:
        with caplog.at_level("INFO", logger="reidlab"):
            assert not inference.available()
            model, images = network(), random_images(2)
            found = extract(model, images, None, "cpu", "float32")
        assert relative_error(found, plainly(model, images)) < 1e-5
        assert "stay unfused" in caplog.text
    finally:
        inference.available.cache_clear()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(count, threads, frame):
    model = network()
    threads(1)
    one = extract(model, decode(frame, HEIGHT, WIDTH), 4, "cpu", "float32")
    threads(count)
    many = extract(model, decode(frame, HEIGHT, WIDTH), 4, "cpu", "float32")
    assert relative_error(many, one) < 1e-6
    assert torch.get_num_threads() == count
    counts = ThreadPoolExecutor(1).submit(torch.get_num_threads).result()
    assert counts == count  # also in threads that begin later


def test_threads_work_side_by_side(threads, monkeypatch):
    model, images = network(), random_images(8)
    right = plainly(model, images)
    threads(2)
    monkeypatch.setattr(features, "MAX_WORKERS", 2)
    meeting = threading.Barrier(2, timeout=60)  # broken if one thread did all
    inner = []

    def read(block):
        if threading.current_thread() is not threading.main_thread():
            meeting.wait()
            inner.append(torch.get_num_threads())
        return images[block]

    prepared = features._Network(model, features.pick("cpu", "float32"), (HEIGHT, WIDTH), 2)
    blocks = [slice(start, start + 2) for start in range(0, 8, 2)]
    found = prepared.over(blocks, read)
    assert inner == [1, 1, 1, 1]
    assert relative_error(found, right) < 1e-5


@pytest.mark.parametrize(
    ("name", "precision", "size"),
    [
        # 8 MiB over the first convolution's output, C x 128 x 64 numbers of 2 or 4 bytes
        ("osnet_x1_0", "bfloat16", 8),
        ("osnet_x1_0", "float32", 4),
        ("osnet_x0_25", "bfloat16", 32),
    ],
)
def test_batch_size_follows_the_largest_activation(name, precision, size):
    compute = features.pick("cpu", precision)
    assert features._Network(build(name), compute, (256, 128)).batch_size == size


def test_from_files_is_the_same_as_from_memory(frame):
    model = network()
    found = embed(model, frame, HEIGHT, WIDTH, "cpu", "float32")
    assert found.pids.tolist() == frame.pid.tolist()
    assert found.camids.tolist() == frame.camid.tolist()
    pixels = decode(frame, HEIGHT, WIDTH)
    assert torch.equal(found.features, extract(model, pixels, None, "cpu", "float32"))
    assert relative_error(found.features, plainly(model, pixels)) < 1e-5


def test_images_are_decoded_once_for_features_and_training(frame, monkeypatch):
    model = network()
    first = embed(model, frame, HEIGHT, WIDTH)
    monkeypatch.setattr(store_module, "read_image", None)  # a second decoding would fail
    second = embed(model, frame, HEIGHT, WIDTH)
    assert torch.equal(first.features, second.features)
    assert len(decode(frame, HEIGHT, WIDTH)) == len(frame)


def test_without_keeping_nothing_is_written_but_what_is_there_is_read(
    frame, own_cache, monkeypatch
):
    model = network()
    without = embed(model, frame, HEIGHT, WIDTH, keep=False)
    assert not list(own_cache.rglob("*.npy"))
    kept = embed(model, frame, HEIGHT, WIDTH)
    assert torch.equal(without.features, kept.features)
    monkeypatch.setattr(store_module, "read_image", None)
    embed(model, frame, HEIGHT, WIDTH, keep=False)


def test_an_unreadable_image_is_named_and_nothing_is_left(frame, own_cache, threads):
    threads(2)
    Path(frame.path[13]).write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"13\.jpg cannot be read as an image"):
        embed(network(), frame, HEIGHT, WIDTH)
    assert not list(own_cache.rglob("*.npy"))
    assert torch.get_num_threads() == 2


def test_a_vanished_image_and_an_empty_table(frame):
    with pytest.raises(DataError, match="the table lists no image"):
        embed(network(), frame[:0], HEIGHT, WIDTH)
    Path(frame.path[20]).unlink()
    with pytest.raises(DataError, match=r"20\.jpg is gone"):
        embed(network(), frame, HEIGHT, WIDTH)


def test_no_images():
    with pytest.raises(DataError, match="no image"):
        extract(network(), random_images(3)[:0], None, "cpu")


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-6), ("bfloat16", 0.005)])
def test_the_size_of_a_batch_moves_features_by_rounding_alone(precision, bound):
    model, images = network(), random_images(9)
    whole = extract(model, images, 9, "cpu", precision)
    for size in (1, 2, 4):
        found = extract(model, images, size, "cpu", precision)
        assert relative_error(found, whole) < bound


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    """A run whose features are the mean of each image's and its mirror image's."""
    from reidlab.training.loop import fit

    config = TrainConfig(
        dataset="synthetic-tiny-a", height=64, width=32, epochs=0, flip_test=True, device="cpu"
    )
    return fit(config, tmp_path_factory.mktemp("runs") / "run" / "seed-0")


def test_features_of_a_run_are_those_of_its_own_evaluation(flipped):
    """As notebook 06 asks for them, and as rescoring does."""
    dataset = data.load(flipped.config["dataset"])
    sets = [features.of_run(flipped, split) for split in (dataset.query, dataset.gallery)]
    again = evaluate(*sets, flipped.config["distance"], same_camera_rule=dataset.has_cameras)
    assert again.summary() == {key: flipped.metrics[key] for key in again.summary()}
    rescored = rank(run_features(flipped), Way(flipped.config["distance"]))
    pd.testing.assert_frame_equal(again.per_query, rescored.per_query)
    pixels = decode(dataset.query, 64, 32)
    both = [extract(load_model(flipped), p, None, "cpu") for p in (pixels, pixels.flip(3))]
    assert relative_error(sets[0].features, sum(both) / 2) < 1e-5


def test_a_run_without_weights_is_an_error_that_names_the_file(flipped, tmp_path, frame):
    gone = dataclasses.replace(flipped, path=tmp_path)
    with pytest.raises(ReidlabError, match=r"model\.safetensors"):
        features.of_run(gone, frame)


MEASURE = """
import resource, sys
import pandas as pd, torch
from torch import nn
from reidlab.evaluation.features import embed
from reidlab.models import Features

class Mean(nn.Module):
    def forward(self, images):
        mean = images.mean((2, 3))
        return Features(mean, [mean], [mean])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def run(count):
    frame = pd.DataFrame({"path": [sys.argv[1]] * count, "pid": 0, "camid": 0})
    embed(Mean(), frame, 256, 128, "cpu", "float32")
    return peak()

print(run(100), run(2000), run(2000))  # the last time from the cache
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_a_large_folder_is_never_in_memory(frame):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, frame.path[0]],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    small, large, cached = map(int, done.stdout.split())
    # 2,000 decoded images are 197 MB; a block of them is 6 MB, in float32 25 MB.
    assert large - small < 80
    assert cached - small < 80


def test_a_processor_that_rounds_wrongly_is_not_used(monkeypatch, caplog):
    """As one's kernels for ResNet50's last, 2 x 1 map did: 20 % off, in bfloat16 alone."""
    model, images = network("osnet_x0_25"), random_images(3)
    right = plainly(model, images)

    def wrong(module, dtype, shapes):
        if dtype == torch.bfloat16:
            module.register_forward_hook(
                lambda _, __, found: found._replace(embedding=found.embedding.roll(1, dims=1))
            )

    monkeypatch.setattr(features, "fuse", wrong)
    assert relative_error(extract(model, images, None, "cpu", "bfloat16"), right) < 1e-5
    assert "float32 is used" in caplog.text
