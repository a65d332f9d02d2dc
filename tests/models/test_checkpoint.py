"""Checkpoints as people have them: each kind loads, or is told as what it is."""

import argparse
import bz2
import gzip
import io
import lzma
import os
import pickle
import shutil
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reidlab.common.errors import WeightsError
from reidlab.models.checkpoint import read_weights

STATE = OrderedDict(
    {"conv.weight": torch.arange(12.0).view(2, 2, 3), "bn.num_batches_tracked": torch.tensor(7)}
)


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in STATE.items()}


def saved(folder, content, name="model.pth", **options):
    torch.save(content, folder / name, **options)
    return folder / name


def written(folder, content: bytes, name="model.pth"):
    (folder / name).write_bytes(content)
    return folder / name


def bytes_of(content) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def assert_read(file):
    found = read_weights(file)
    assert list(found) == list(STATE)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def assert_told(file, *words):
    """One WeightsError that names the file and says these words."""
    with pytest.raises(WeightsError) as error:
        read_weights(file)
    message = str(error.value)
    for word in (str(file), *words):
        assert word in message, f"{word!r} is not in: {message}"
    return message


# --- what is read ------------------------------------------------------------------------------

OPTIMIZER = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
LOADABLE = {
    "plain": STATE,
    "checkpoint": {"state_dict": STATE, "epoch": 3, "optimizer": OPTIMIZER, "x": [1, None, True]},
    # engine.save_model of torchreid: its Rank-1 is a NumPy number
    "torchreid's engine": {
        "state_dict": STATE,
        "epoch": 60,
        "rank1": np.float32(0.91),
        "optimizer": OPTIMIZER,
        "scheduler": {"last_epoch": 60, "_last_lr": [np.float64(0.0003)]},
    },
    "fast-reid's": {"model": STATE, "iteration": 100, "optimizer": OPTIMIZER},
    "deep_sort_pytorch's": {"net_dict": STATE, "acc": 0.9, "epoch": 40},
    "PyTorch's tutorial": {"model_state_dict": STATE, "epoch": 1, "loss": 0.1},
    "network": {"network": STATE},
    "twice wrapped": {"model": {"state_dict": STATE, "epoch": 2}},
    "averaged weights beside": {"state_dict": STATE, "state_dict_ema": prefixed("no.")},
    "with a command line": {"state_dict": STATE, "args": argparse.Namespace(lr=1, gpu="0")},
} | {
    f"prefix {prefix}": {"state_dict": prefixed(prefix)}
    for prefix in (
        *("module.", "model.", "_orig_mod.", "module.module."),
        *("module._orig_mod.", "_orig_mod.module.", "model._orig_mod.module."),
    )
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", LOADABLE)
def test_checkpoints_of_all_trainings_are_read(tmp_path, kind, zipped):
    assert_read(
        saved(
            tmp_path,
            LOADABLE[kind],
            "my best model (1).pth.tar-150",
            _use_new_zipfile_serialization=zipped,
        )
    )


def test_numbers_that_numpy_1_saved_are_read(tmp_path):
    content = {"state_dict": STATE, "best_mAP": np.float64(0.7)}
    file = saved(tmp_path, content, _use_new_zipfile_serialization=False)
    now = file.read_bytes()
    file.write_bytes(now.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert file.read_bytes() != now
    assert_read(file)


def test_only_whole_prefixes_go_and_no_two_tensors_become_one(tmp_path):
    state = {"models.a": torch.ones(1), "a.module.b": torch.ones(2)}
    assert read_weights(saved(tmp_path, state)).keys() == state.keys()
    state = {"a": torch.ones(1), "module.a": torch.ones(2)}
    assert read_weights(saved(tmp_path, state)).keys() == state.keys()


def test_the_content_decides_and_not_the_name(tmp_path):
    save_file(STATE, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").keys() == STATE.keys()
    assert_read(saved(tmp_path, STATE, "b.safetensors"))


# --- what is refused ---------------------------------------------------------------------------

ODD = {
    "sparse": (torch.eye(3).to_sparse(), "to_dense()"),
    "quantised": (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "dequantize()"),
    "meta": (torch.ones(3, device="meta"), "after its weights have been loaded"),
    "complex": (torch.ones(3, dtype=torch.complex64), "no network here"),
}
ODD |= {
    "rows, sparse": (torch.eye(3).to_sparse_csr(), "to_dense()"),
    "float8, quantised": (torch.ones(3).to(torch.float8_e4m3fn), "dequantize()"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.filterwarnings("ignore:torch.quantize")
@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_are_refused_by_name(tmp_path, kind):
    tensor, remedy = ODD[kind]
    file = saved(tmp_path, STATE | {"layer1.weight": tensor})
    assert_told(file, "1 that are ", kind.split()[-1], "layer1.weight", remedy)


def packed(folder, form, members):
    """An archive with these members, in a file that is called a checkpoint."""
    file = folder / "model.pth.tar"
    if form == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(file, "w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><head><title>Virus scan warning</title>", "a web page"),
        (b"\xef\xbb\xbf<!-- saved --><html>", "a web page"),
        (b"<script>window.location = 'login'</script>", "a web page"),
        (b"\n<html><title>Google Drive - Quota exceeded</title></html>", "a web page"),
        (b"<HTML>" + b"<p>Quota exceeded</p>" * 500, "open the address in a browser"),
        (b'{"error": {"code": 403, "message": "forbidden"}}', "a text in JSON"),
        (
            b"Not Found",
            "a text that begins 'Not Found', not a checkpoint; if a site sent it, open",
        ),
        (
            "Zugriff verweigert: später\n".encode() * 100,
            "that begins 'Zugriff verweigert: später'",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2900000\n",
            "git lfs pull",
        ),
        (gzip.compress(bytes_of(STATE)), "unpack it with gunzip"),
        (bz2.compress(bytes_of(STATE)), "unpack it with bunzip2"),
        (lzma.compress(bytes_of(STATE)), "unpack it with unxz"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "unpack it with unzstd"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "an archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(500), "a NumPy array"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(200), "an ONNX network"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
def test_other_files_are_told_as_what_they_are(tmp_path, content, words, name):
    message = assert_told(written(tmp_path, content, name), words)
    assert not content or "truncated" not in message


@pytest.mark.parametrize(
    ("form", "members", "words"),
    [
        ("tar", {"osnet.pth": bytes_of(STATE)}, "a tar archive of osnet.pth"),
        ("zip", {"osnet.pth": bytes_of(STATE)}, "a zip archive of osnet.pth"),
        ("zip", {"a.npy": b"", "b.npy": b""}, "NumPy arrays"),
        ("zip", {"osnet/archive_format": b"pt2"}, "torch.export.load(file)"),
        (
            "tar",
            dict.fromkeys(("sys_info", "storages", "tensors", "pickle"), pickle.dumps({}, 2)),
            "the first format of PyTorch",
        ),
    ],
)
def test_archives_are_told_with_their_contents(tmp_path, form, members, words):
    assert "truncated" not in assert_told(packed(tmp_path, form, members), words)


def test_torchscript_is_told_with_the_way_to_its_weights(tmp_path):
    file = tmp_path / "network.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), file)
    assert_told(file, "a TorchScript program", "torch.jit.load(file).state_dict()")
    torch.save(torch.jit.load(file).state_dict(), file)  # the remedy that it names
    assert read_weights(file).keys() == {"weight", "bias"}


def test_no_file(tmp_path):
    assert_told(tmp_path / "nothing.pth", "no such weights file", "check the path")
    assert_told(tmp_path, "no such weights file", "it is a folder: name the file in it")
    shutil.unpack_archive(saved(tmp_path, STATE), tmp_path / "unpacked.pth", "zip")
    assert_told(tmp_path / "unpacked.pth", "Fetch it again without unpacking")


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_truncated_file(tmp_path, layout):
    state, file = {"weight": torch.arange(3000.0)}, tmp_path / "model.pth"
    if layout == "safetensors":
        file = tmp_path / "model.safetensors"
        save_file(state, file)
    else:
        saved(tmp_path, state, _use_new_zipfile_serialization=layout == "zip")
    content = file.read_bytes()
    for length in (0, 1, 9, 100, 1000, len(content) // 2, len(content) - 1):
        assert_told(written(tmp_path, content[:length], file.name), "truncated or damaged, fetch")


def test_changed_bytes(tmp_path):
    """PyTorch takes them for weights."""
    content = bytearray(bytes_of({"weight": torch.arange(3000.0)}))
    content[len(content) // 2] ^= 1
    assert_told(written(tmp_path, content), "data/0 are not those that were written", "damaged")


def test_a_late_pickle_protocol(tmp_path):
    file = saved(tmp_path, STATE, pickle_protocol=4)
    assert_told(file, "protocol 4 or later", "saved again by `torch.save(state_dict, file)`")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("how", ["tensors", "beside", "pickle", "in a number"])
def test_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    if how == "pickle":
        file = written(tmp_path, pickle.dumps(Evil()))
    else:
        beside = argparse.Namespace(x=Evil()) if how == "in a number" else Evil()
        content = STATE | {"x": Evil()} if how == "tensors" else {"state_dict": STATE, "x": beside}
        file = saved(tmp_path, content)
    assert_told(file, "not a plain file of tensors", "can run code")
    assert not (tmp_path / "pwned").exists()


def test_objects_beside_the_tensors_are_not_made(tmp_path, monkeypatch):
    """Neither NumPy's code nor argparse's runs for what stands beside the tensors."""

    def run(*args, **options):
        raise AssertionError("was run")

    content = {"state_dict": STATE, "args": argparse.Namespace(lr=1), "rank1": np.float32(0.9)}
    file = saved(tmp_path, content)
    monkeypatch.setattr(argparse.Namespace, "__init__", run)
    monkeypatch.setattr(argparse.Namespace, "__new__", run)
    before = {*torch.serialization.get_safe_globals()}
    assert_read(file)
    assert {*torch.serialization.get_safe_globals()} == before  # nothing is allowed for good


def test_other_objects_are_refused(tmp_path):
    assert_told(
        saved(tmp_path, nn.Sequential(nn.Linear(2, 3))),
        *("not a plain file of tensors", "Sequential", "state_dict"),
    )
    assert_told(saved(tmp_path, torch.zeros(3)), "holds a Tensor", "state_dict")
    assert_told(saved(tmp_path, [torch.zeros(1)]), "holds a list", "state_dict")
    assert_told(
        saved(tmp_path, {"epoch": 3, "weights": torch.zeros(1)}), "epoch (int)", "state_dict"
    )
    assert_told(saved(tmp_path, {}), "found nothing")
    arrays = {key: tensor.numpy() for key, tensor in STATE.items()}
    assert_told(saved(tmp_path, arrays), "not a plain file of tensors")
    looped = {"epoch": 3}
    looped["state_dict"] = looped
    assert_told(saved(tmp_path, looped), "epoch (int)")
