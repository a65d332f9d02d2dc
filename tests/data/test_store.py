"""The uint8 store: right pixels, decoded once, damage and unreadable files named."""

import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reidlab.common import once
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


def stores(cache: Path) -> list[Path]:
    """What is kept of images, whole or not."""
    return [file for file in (cache / "images").rglob("*") if file.is_file()]


def test_pixels_equal_pillows_one_by_one(frame):
    pixels = decode(frame, 32, 16)
    assert pixels.shape == (5, 3, 32, 16) and pixels.dtype == torch.uint8
    for index, path in enumerate(frame.path):
        image = Image.open(path).convert("RGB").resize((16, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels[index].permute(1, 2, 0).numpy(), np.asarray(image))


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
    assert not stores(own_cache)


def test_vanished_image(frame):
    Path(frame.path[0]).unlink()
    with pytest.raises(DataError, match=r"0\.jpg is gone"):
        decode(frame, 32, 16)


def test_empty_table(frame):
    with pytest.raises(DataError, match="the table lists no image"):
        decode(frame[:0], 32, 16)


@pytest.mark.parametrize("keep", [True, False])
def test_blocks_read_by_several_threads(frame, own_cache, keep):
    store = ImageStore(frame, 32, 16, keep)
    assert store.blocks(2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    blocks = store.blocks(2)[::-1]
    parts = list(in_order(store.read, blocks, 3))
    assert len(stores(own_cache)) == keep
    whole = decode(frame, 32, 16)
    for block, pixels in zip(blocks, parts):
        assert torch.equal(pixels, whole[block])
        assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_the_file_is_numpys_and_everybodys(frame, own_cache):
    whole = decode(frame, 32, 16)
    (file,) = stores(own_cache)
    assert np.array_equal(np.load(file), whole.permute(0, 2, 3, 1).numpy())
    assert file.stat().st_mode & 0o777 == 0o644


def test_every_flipped_bit_is_noticed(frame, own_cache):
    decode(frame, 32, 16)
    (file,) = stores(own_cache)
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    start = len(whole) - 5 * (32 * 16 * 3 + 4)
    for at in rng.integers(start, len(whole), 50):  # pixels and checksums
        spoilt = whole.copy()
        spoilt[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(spoilt)
        index = min((at - start) // (32 * 16 * 3), 4)
        named = r"\d\.jpg" if at >= len(whole) - 20 else rf"{index}\.jpg"
        with pytest.raises(DataError, match=rf"{file.name} is damaged.*{named}.* Delete it"):
            decode(frame, 32, 16)
    store = ImageStore(frame, 32, 16)  # the last one's block is found, others serve
    bad = [block for block in store.blocks(1) if not readable(store, block)]
    assert len(bad) == 1


def readable(store: ImageStore, block: slice) -> bool:
    try:
        store.read(block)
    except DataError:
        return False
    return True


@pytest.mark.parametrize("change", [lambda c: c[:-7], lambda c: b"", lambda c: c + b"more"])
def test_a_store_of_another_length_is_made_again(frame, own_cache, change):
    """Cut by a full disk, or of the time before there were checksums."""
    expected = decode(frame, 32, 16).clone()
    (file,) = stores(own_cache)
    file.write_bytes(change(file.read_bytes()))
    assert torch.equal(decode(frame, 32, 16), expected)
    assert torch.equal(decode(frame, 32, 16), expected)


Space = namedtuple("Space", "total used free")


def test_too_small_a_disk_is_told_before_the_work(frame, own_cache, monkeypatch):
    monkeypatch.setattr(once.shutil, "disk_usage", lambda _: Space(9999, 0, 5 * 32 * 16 * 3 - 1))
    with pytest.raises(DataError, match=r"images cannot be written: no room for \d\.\d MB"):
        decode(frame, 32, 16)


def test_a_disk_that_runs_full_is_an_error_and_leaves_nothing(frame, own_cache, monkeypatch):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    write = ImageStore._write
    monkeypatch.setattr(ImageStore, "_write", lambda self, _: write(self, full))
    with pytest.raises(DataError, match=r"No space left.*set REIDLAB_CACHE to another"):
        decode(frame, 32, 16)
    assert not stores(own_cache)


def test_killed_decoding_is_begun_afresh_by_the_next(frame, own_cache, tmp_path):
    """Several processes decode at once, one of them is killed on the way: the rest succeed."""
    code = (
        "import sys, time, pandas as pd; from reidlab.data import store;"
        "read = store.read_image;"
        "store.read_image = lambda *a: (time.sleep(float(sys.argv[1])), read(*a))[1];"
        "print(int(store.decode(pd.DataFrame({'path': sys.argv[2:]}), 32, 16).sum()))"
    )

    def start(delay: float) -> subprocess.Popen:
        command = [sys.executable, "-c", code, str(delay), *frame.path]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    victim = start(60)
    while not list(own_cache.rglob(f"{once.SCRATCH}*")):
        assert victim.poll() is None
        time.sleep(0.05)
    others = [start(0) for _ in range(3)]
    time.sleep(0.5)
    victim.kill()
    sums = {process.communicate()[0].strip() for process in others}
    assert sums == {str(int(decode(frame, 32, 16).sum()))}
    assert [process.returncode for process in others] == [0, 0, 0]
    assert len(stores(own_cache)) == 1
