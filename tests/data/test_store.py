"""The uint8 store: right pixels, decoded once, unreadable files named."""

import errno
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reidlab.common.errors import DataError
from reidlab.common.parallel import in_order
from reidlab.data import store as images
from reidlab.data.store import ImageStore, decode
from tests.conftest import write_image


@pytest.fixture
def frame(tmp_path, own_cache) -> pd.DataFrame:
    files = [tmp_path / f"{index}.jpg" for index in range(5)]
    for index, file in enumerate(files):
        write_image(file, index, size=(64, 128) if index % 2 else (50, 111))
    return pd.DataFrame({"path": [str(file) for file in files]})


def test_pixels_equal_pillows_one_by_one(frame):
    pixels = decode(frame, 32, 16)
    assert pixels.shape == (5, 3, 32, 16) and pixels.dtype == torch.uint8
    for index, path in enumerate(frame.path):
        image = Image.open(path).convert("RGB").resize((16, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels[index].permute(1, 2, 0).numpy(), np.asarray(image))


def test_grey_and_palette_images_become_rgb(tmp_path, own_cache):
    Image.new("L", (8, 16), 77).save(tmp_path / "grey.png")
    Image.new("P", (8, 16), 3).save(tmp_path / "palette.png")
    frame = pd.DataFrame({"path": [str(tmp_path / "grey.png"), str(tmp_path / "palette.png")]})
    pixels = decode(frame, 16, 8)
    assert pixels.shape == (2, 3, 16, 8)
    assert (pixels[0] == 77).all()


def test_decoded_only_once(frame, monkeypatch):
    first = decode(frame, 32, 16)
    monkeypatch.setattr(images, "read_image", None)  # a second decoding would call it, and fail
    assert torch.equal(decode(frame, 32, 16), first)


def test_another_size_and_a_changed_file_are_decoded_anew(frame):
    before = decode(frame, 32, 16).clone()
    assert decode(frame, 16, 8).shape[2:] == (16, 8)
    write_image(Path(frame.path[2]), seed=77)
    after = decode(frame, 32, 16)
    assert not torch.equal(after[2], before[2])
    assert torch.equal(after[1], before[1])


def test_memory_is_channels_last_and_writing_changes_no_file(frame):
    pixels = decode(frame, 32, 16)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    pixels[0] = 0
    assert decode(frame, 32, 16)[0].any()


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_unreadable_image_is_named_and_nothing_is_left(frame, own_cache, damage):
    bad = Path(frame.path[3])
    content = {"cut": bad.read_bytes()[:300], "text": b"not a picture", "empty": b""}[damage]
    bad.write_bytes(content)
    with pytest.raises(DataError, match=rf"{bad.name} cannot be read as an image"):
        decode(frame, 32, 16)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_vanished_image(frame):
    Path(frame.path[0]).unlink()
    with pytest.raises(DataError, match=r"0\.jpg is gone"):
        decode(frame, 32, 16)


def test_empty_table(frame):
    with pytest.raises(DataError, match="the table lists no image"):
        decode(frame[:0], 32, 16)


def test_blocks_read_by_several_threads_while_the_store_fills(frame, own_cache):
    with ImageStore(frame, 32, 16) as store:
        assert store.blocks(2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
        blocks = store.blocks(2)[::-1]
        while_filling = list(in_order(store.read, blocks, 3))
        assert not store.complete
    assert store.complete
    whole = decode(frame, 32, 16)
    for block, pixels in zip(blocks, while_filling):
        assert torch.equal(pixels, whole[block])
        assert torch.equal(store.read(block), whole[block])
        assert pixels.is_contiguous(memory_format=torch.channels_last)
    (file,) = [path for path in own_cache.rglob("*") if path.is_file()]
    assert np.array_equal(np.load(file), whole.permute(0, 2, 3, 1).numpy())


def test_a_store_that_was_not_filled_is_no_store(frame, own_cache):
    with ImageStore(frame, 32, 16) as store:
        store.read(slice(0, 4))
    assert not store.complete
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


Space = namedtuple("Space", "total used free")


def test_too_small_a_disk_is_told_before_the_work(frame, own_cache, monkeypatch):
    monkeypatch.setattr(images.shutil, "disk_usage", lambda _: Space(9999, 0, 5 * 32 * 16 * 3 - 1))
    with pytest.raises(DataError, match=r"images has no room for 5 decoded images \(0\.0 GB\)"):
        decode(frame, 32, 16)


def test_a_disk_that_runs_full_is_an_error_and_leaves_nothing(frame, own_cache, monkeypatch):
    genuine = Path.open

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def seek(self, _):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": Full() if mode == "r+b" else genuine(self, mode)
    )
    with pytest.raises(DataError, match="set REIDLAB_CACHE to a folder on a larger disk"):
        decode(frame, 32, 16)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]
