"""What an interrupted training is not continued from, and who may work in a folder."""

import dataclasses
import os
import shutil

import pytest
import torch

from reidlab.common.errors import ReidlabError
from reidlab.common.locks import alone
from reidlab.training.loop import CHECKPOINT, fit
from tests.training.conftest import TINY


def interrupted(folder, root, **changes):
    """Train one epoch and stop; returns the checkpoint that is left."""

    def stop(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(dataclasses.replace(TINY, **changes), folder, root, on_epoch=stop)
    return folder / CHECKPOINT


def without(file, name):
    state = torch.load(file, weights_only=True)
    del state[name]
    torch.save(state, file)


def changed(file, name, value):
    state = torch.load(file, weights_only=True)
    torch.save(state | {name: value}, file)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


SPOILT = {
    "another rate": lambda file, other: shutil.copy(other(lr=0.01), file),
    "another seed": lambda file, other: shutil.copy(other(seed=3), file),
    "another network": lambda file, other: shutil.copy(other(model="osnet_x0_5"), file),
    "other images": lambda file, other: changed(file, "dataset_fingerprint", "other"),
    "other initial weights": lambda file, other: changed(file, "init_sha256", "other"),
    "no optimiser": lambda file, other: without(file, "optimizer"),
    "no number of threads": lambda file, other: without(file, "threads"),
    "cut": lambda file, other: file.write_bytes(file.read_bytes()[:1000]),
    "empty": lambda file, other: file.write_bytes(b""),
    "a changed bit": lambda file, other: flipped(file),
    "a page": lambda file, other: file.write_text("<html>quota</html>"),
    "no dictionary": lambda file, other: torch.save([1, 2], file),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_checkpoint_that_is_not_this_trainings_is_told_and_begun_afresh(
    root, tmp_path, caplog, kind
):
    whole = fit(TINY, tmp_path / "whole", root)
    file = interrupted(tmp_path / "run", root)
    SPOILT[kind](file, lambda **changes: interrupted(tmp_path / "other", root, **changes))
    caplog.clear()
    run = fit(TINY, tmp_path / "run", root)
    assert "starting afresh" in caplog.text and str(file) in caplog.text
    assert run.metrics == whole.metrics
    assert (
        run.provenance["sha256"]["model.safetensors"]
        == (whole.provenance["sha256"]["model.safetensors"])
    )


def test_a_resumed_training_keeps_its_number_of_threads(root, tmp_path):
    file = interrupted(tmp_path / "run", root)
    before = torch.get_num_threads()
    changed(file, "threads", before + 1)
    seen = []
    run = fit(TINY, tmp_path / "run", root, lambda history: seen.append(torch.get_num_threads()))
    assert seen == [before + 1] and run.provenance["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_two_at_once_in_one_folder(root, tmp_path):
    """The second is told who works there; what it asks for changes nothing."""
    folder = tmp_path / "run"
    refused = pytest.raises(ReidlabError, match=f"training .*process {os.getpid()} on .* is at it")
    with alone(folder, "training"), refused:
        fit(dataclasses.replace(TINY, lr=0.01), folder, root)
    assert not folder.exists()


@pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("change", [{}, {"schedule": "cosine"}])
def test_few_images_each_train_or_are_refused_before(root, tmp_path, images, change):
    """The default holds out a tenth of each person's images: none of fewer than six."""
    train = root / "bounding_box_train"
    for pid in {file.name[:4] for file in train.iterdir()}:
        for file in sorted(train.glob(f"{pid}_*"))[images:]:
            file.unlink()
    config = dataclasses.replace(TINY, epochs=1, val_fraction=0.1, **change)
    if change or images == 6:
        assert len(fit(config, tmp_path / "run", root).history) == 1
        return
    with pytest.raises(ReidlabError, match=r"holds none out.*schedule=\"onecycle\""):
        fit(config, tmp_path / "run", root)
    assert not (tmp_path / "run").exists()
