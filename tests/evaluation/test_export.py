"""ONNX export: the file's features are PyTorch's, and the file says what it is."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from reidlab.__main__ import main
from reidlab.common import paths
from reidlab.common.errors import ReidlabError
from reidlab.common.files import sha256, write_json
from reidlab.data.batches import normalise
from reidlab.evaluation import export
from reidlab.evaluation.features import embed
from reidlab.models import Features, build
from reidlab.models.weights import save_weights
from reidlab.runs import folder as runs
from reidlab.training.loop import TrainConfig, fit
from tests.conftest import write_image

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

HEIGHT, WIDTH = 64, 32
CONFIG = TrainConfig(
    dataset="market-layout", model="osnet_x0_25", height=HEIGHT, width=WIDTH, epochs=0
)


class Tiny(nn.Module):
    """The smallest network: quick to export."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        embedding = self.conv(images).mean((2, 3))
        return Features(embedding, [embedding], [embedding])


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> runs.Run:
    """A finished run on seven images, with batch norms that differ from the identity."""
    root = tmp_path_factory.mktemp("export")
    names = [f"{split}/000{pid}_c{camera}s1_000001_00.jpg" for split, pid, camera in SHOTS]
    for seed, name in enumerate(names):
        write_image(root / "market" / name, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REIDLAB_CACHE", str(root / "cache"))
        run = fit(CONFIG, root / "runs" / "tiny" / "seed-0", root / "market")
    model = runs.load_model(run)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    save_weights(model, run.path / runs.WEIGHTS)
    run.provenance["sha256"][runs.WEIGHTS] = sha256(run.path / runs.WEIGHTS)
    write_json(run.path / "provenance.json", run.provenance)
    return run


SHOTS = [
    *(("bounding_box_train", pid, camera) for pid in (1, 2) for camera in (1, 2)),
    *(("query", 3, 1), ("bounding_box_test", 3, 2), ("bounding_box_test", 4, 2)),
]


@pytest.fixture(scope="module")
def exported(run) -> Path:
    assert main(["export", str(run.path)]) == 0
    return run.path / "model.onnx"


def session(file):
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def metadata(file):
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_pixels_as_pillow_reads_them_give_the_features_of_the_study(
    run, exported, tmp_path, own_cache
):
    files = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, file in enumerate(files):
        write_image(file, seed, size=(WIDTH, HEIGHT))
    frame = pd.DataFrame({"path": [str(file) for file in files], "pid": 0, "camid": 0})
    right = embed(runs.load_model(run), frame, HEIGHT, WIDTH, "cpu", "float32").features.numpy()
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    for chosen in (slice(0, 3), slice(1, 2)):  # any batch
        (found,) = session(exported).run(None, {"images": images[chosen]})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right[chosen], atol=1e-5 * np.abs(right).max())


def test_inputs_and_outputs_are_as_documented(exported):
    (given,), (out,) = session(exported).get_inputs(), session(exported).get_outputs()
    assert (given.name, given.type, given.shape) == (
        *("images", "tensor(uint8)", ["N", HEIGHT, WIDTH, 3]),
    )
    assert (out.name, out.type, out.shape) == ("embedding", "tensor(float)", ["N", 512])
    opsets = {entry.domain: entry.version for entry in onnx.load(exported).opset_import}
    assert opsets == {"": export.OPSET} == {"": 18}


def test_metadata_say_what_the_network_is_and_whose_images_it_saw(run, exported):
    found = metadata(exported)
    assert found["model"] == "osnet_x0_25"
    size = [int(found[key]) for key in ("height", "width", "feature_dim", "opset")]
    assert size == [HEIGHT, WIDTH, 512, 18]
    assert float(found["rank1"]) == run.metrics["rank1"]
    assert (found["run"], found["distance"]) == ("tiny", "euclidean")
    assert found["licence"] == "MIT, as reidlab: no photograph was used"


def test_no_path_of_the_machine_is_in_the_file(exported):
    content = exported.read_bytes()
    assert str(paths.ROOT).encode() not in content
    assert b"site-packages" not in content


def test_every_batch_norm_is_folded_and_no_operator_is_exotic(exported):
    kinds = {node.op_type for node in onnx.load(exported).graph.node}
    assert kinds <= {
        *("Cast", "Transpose", "Sub", "Div", "Conv", "Relu", "MaxPool", "AveragePool"),
        *("ReduceMean", "Sigmoid", "Mul", "Add", "Reshape", "Gemm", "BatchNormalization"),
        *("ReduceSum", "Concat", "Slice", "Squeeze"),  # the gates, all streams at a time
    }


def test_a_network_by_itself_with_instance_normalisation(tmp_path):
    torch.manual_seed(0)
    model = build("osnet_ain_x0_25").train()
    file = export.to_onnx(model, tmp_path / "new" / "ain.onnx", HEIGHT, WIDTH)
    assert model.training  # left as it was
    images = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    with torch.inference_mode():
        right = model.eval()(normalise(images.permute(0, 3, 1, 2))).embedding
    (found,) = session(file).run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), right, atol=1e-5, rtol=1e-4)
    assert metadata(file)["model"] == "OSNetAIN"


@pytest.mark.parametrize("name", ["osfa_x0_25", "mspf_x0_25"])
def test_attention_and_patches_are_exported(name, tmp_path):
    torch.manual_seed(0)
    model = build(name)
    for key, value in model.named_parameters():
        if key.endswith("gamma"):
            value.data.fill_(0.5)  # at the start it is 0 and hides the attention
    file = export.to_onnx(model, tmp_path / f"{name}.onnx", HEIGHT, WIDTH)
    images = torch.randint(0, 256, (3, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    with torch.inference_mode():
        right = model.eval()(normalise(images.permute(0, 3, 1, 2))).embedding
    (found,) = session(file).run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), right, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_with_the_name_of_its_network(run, exported, tmp_path):
    """The same network from the same weights, once by the run and once by its file."""
    checkpoint = tmp_path / "osnet.pth"
    torch.save({"state_dict": runs.load_model(run).state_dict()}, checkpoint)
    size = ["--height", str(HEIGHT), "--width", str(WIDTH)]
    assert main(["export", str(checkpoint), "--model", "osnet_x0_25", *size]) == 0
    images = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    (found,) = session(tmp_path / "osnet.onnx").run(None, {"images": images})
    (right,) = session(exported).run(None, {"images": images})
    np.testing.assert_array_equal(found, right)
    assert metadata(tmp_path / "osnet.onnx")["licence"].startswith("that of the images")


def test_features_that_differ_are_refused_and_nothing_is_left(tmp_path, tiny):
    class Moody(Tiny):
        """Gives other features each time, which no file can do."""

        calls = 0

        def forward(self, images):
            self.calls += 1
            return Features(super().forward(images).embedding * 1.001**self.calls, [], [])

    with pytest.raises(
        ReidlabError, match=r"m\.onnx was not written: .* differ .* by [1-9]\.\de-0"
    ):
        export.to_onnx(Moody().eval(), tmp_path / "m.onnx", HEIGHT, WIDTH)
    assert not list(tmp_path.iterdir())


def test_parity_is_the_largest_relative_difference(tmp_path, tiny):
    file = export.to_onnx(tiny, tmp_path / "tiny.onnx", HEIGHT, WIDTH)
    assert export.parity(file, tiny, HEIGHT, WIDTH) < 1e-5
    with torch.no_grad():
        tiny.conv.weight.mul_(1.01)
        tiny.conv.bias.mul_(1.01)
    assert export.parity(file, tiny, HEIGHT, WIDTH) == pytest.approx(0.01 / 1.01, rel=1e-3)


def test_a_batch_that_cannot_be_left_open_is_an_error_not_a_fixed_batch(tmp_path):
    class Pairs(Tiny):
        def forward(self, images):
            assert len(images) == 2
            return super().forward(images)

    with pytest.raises(ReidlabError, match=r"cannot trace Pairs .*any number of images"):
        export.to_onnx(Pairs().eval(), tmp_path / "p.onnx", HEIGHT, WIDTH)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"height=None, width=None: give the size"),
        ({"height": 8, "width": 128}, r"height=8, width=128: give the size"),
    ],
)
def test_bad_arguments(tmp_path, tiny, arguments, message):
    with pytest.raises(ReidlabError, match=message):
        export.to_onnx(tiny, tmp_path / "x.onnx", **arguments)


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command(monkeypatch, tmp_path, tiny, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ReidlabError, match=rf"package {name}, .* pip install -e '\.\[onnx\]'"):
        export.to_onnx(tiny, tmp_path / "x.onnx", HEIGHT, WIDTH)


def test_command_line_names_what_is_wrong(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 1
    assert "holds no finished run" in capsys.readouterr().err
    (tmp_path / "osnet.pth").touch()
    assert main(["export", str(tmp_path / "osnet.pth")]) == 1
    assert "osnet.pth is a file: name its network with --model" in capsys.readouterr().err


def fake_run(folder, name, **config):
    """A run's settings, on disk and in memory; nothing else is asked for."""
    path = folder / name / "seed-0"
    config = {"dataset": "synthetic-a", "init": "none", "epochs": 3, "seed": 0} | config
    write_json(path / "config.json", config)
    return runs.Run(path, config, None, {}, None, {})


def test_what_weights_have_learnt_from_is_followed_to_its_source(tmp_path):
    fake_run(tmp_path, "a", dataset="market1501", init="imagenet")
    b = fake_run(tmp_path, "b", init="run:a", epochs=0)
    c = fake_run(tmp_path, "c", dataset="synthetic-b", init="run:b")
    assert export.learnt_from(b) == ["market1501", "imagenet"]
    assert export.learnt_from(c) == ["synthetic-b", "market1501", "imagenet"]
    d = fake_run(tmp_path, "d", init="reid:/home/somebody/weights/x.pth", epochs=0)
    assert export.learnt_from(d) == ["reid:x.pth"]
    assert "learnt from market1501, imagenet: photographs" in export.terms(export.learnt_from(c))
    assert "reid:x.pth" in export.terms(export.learnt_from(d))
    e = fake_run(tmp_path, "e", dataset="synthetic-b", init="synthetic")
    assert export.terms(export.learnt_from(e)).startswith("MIT")
