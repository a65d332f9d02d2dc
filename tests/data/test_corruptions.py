"""Corruptions: the original's pixels, the same whatever the order, stores of them."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reidlab.common.errors import DataError, ReidlabError
from reidlab.data import corrupted as corrupted_module
from reidlab.data.corrupted import CorruptedImages
from reidlab.data.corruptions import KINDS, SEVERITIES, Corruption, corrupt, corrupt_some
from reidlab.data.store import ImageStore
from reidlab.recipe.names import CORRUPTIONS, corruptions
from tests.conftest import write_image

#: Written by ``benchmarks.original``: the packages that Market-1501-C used, given the same draws.
ORIGINAL = np.load(Path(__file__).parent / "corruptions.npz")
IMAGE = ORIGINAL["image"]

#: Pixels that may be off by one grey level, of which both cut values that are whole up to 1e-15.
ROUNDED = {"brightness": 0.08, "saturate": 0.08, "motion_blur": 0.02, "zoom_blur": 0.02}


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_the_originals(kind, severity):
    theirs = ORIGINAL[f"{kind}-{severity}"].astype(int)
    ours = corrupt(IMAGE, kind, severity, np.random.default_rng(severity))[::4]
    off = np.abs(ours - theirs)
    assert off.max() <= 1
    assert (off > 0).mean() <= ROUNDED.get(kind, 0.002)
    assert np.abs(theirs - IMAGE[::4]).mean() > 1, "the reference is of a corrupted image"


def test_kinds_are_those_of_the_families():
    assert tuple(KINDS) == corruptions()["any"] and len(KINDS) == 20
    assert set(corruptions()["blur"]) == set(CORRUPTIONS["blur"])


def glass(x: np.ndarray, reach: int, times: int, rng: np.random.Generator) -> np.ndarray:
    """The original's loop, one pixel after the other."""
    x = x.copy()
    for _ in range(times):
        for h in range(x.shape[0] - reach, reach, -1):
            for w in range(x.shape[1] - reach, reach, -1):
                dx, dy = rng.integers(-reach, reach, size=2)
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
    return x


def test_glass_takes_colours_as_a_loop_does(monkeypatch):
    monkeypatch.setattr("reidlab.data.corruption_kinds._gaussian", lambda x, sigma: x)
    image = np.random.default_rng(1).integers(0, 256, (40, 37, 3), dtype=np.uint8)
    found = corrupt(image, "glass_blur", 5, np.random.default_rng(2))
    expected = glass((image / 255 * 255).astype(np.uint8), 4, 2, np.random.default_rng(2))
    expected = (expected / 255 * 255).astype(np.uint8)
    assert (found == expected).all() and (found != image).mean() > 0.5


def test_more_severe_is_farther_from_the_image():
    """Over all kinds; a single one may not be, in pixels: saturation first falls, then grows."""
    distance = [
        np.mean([np.abs(corrupt(IMAGE, kind, s).astype(int) - IMAGE).mean() for kind in KINDS])
        for s in SEVERITIES
    ]
    assert distance == sorted(distance)


@pytest.mark.parametrize("kind", KINDS)
def test_same_draw_whatever_came_before(kind):
    corruption = Corruption(kind, 3, seed=5)
    names = [f"{number}.jpg" for number in range(6)]
    alone = [corruption(IMAGE, name) for name in names]
    with ThreadPoolExecutor(3) as pool:
        threads = list(pool.map(lambda name: corruption(IMAGE, name), reversed(names)))
    assert all((a == b).all() for a, b in zip(alone, reversed(threads)))
    draws_nothing = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast"}
    draws_nothing |= {"pixelate", "jpeg_compression", "saturate"}
    differs = (
        (alone[0] != alone[1]).any(),
        (corruption(IMAGE, names[0]) != Corruption(kind, 3, seed=6)(IMAGE, names[0])).any(),
    )
    assert differs == (kind not in draws_nothing,) * 2


def test_pixels_are_the_same_on_every_machine_and_day():
    """Noise in whole numbers: no library's rounding is in it."""
    made = Corruption("impulse_noise", 5, seed=1)(IMAGE, "/a/query/0001_c1s1_000001_00.jpg")
    assert hashlib.sha256(made.tobytes()).hexdigest()[:12] == "18608f41b818"


def test_a_file_is_known_by_its_name_and_its_folder():
    here, moved, other = "/data/cam_a/1.png", "/elsewhere/cam_a/1.png", "/data/cam_b/1.png"
    noise = Corruption("impulse_noise", 3)
    assert (noise(IMAGE, here) == noise(IMAGE, moved)).all()
    assert (noise(IMAGE, here) != noise(IMAGE, other)).any()


def test_kinds_and_severities_are_drawn_uniformly():
    drawn = Corruption(seed=0).drawn(f"folder/{number}.jpg" for number in range(20_000))
    counts = pd.crosstab(drawn.kind, drawn.severity).to_numpy()
    assert counts.shape == (20, 5)
    # χ² of 99 degrees of freedom: above 149 once in a thousand seeds.
    assert ((counts - 200) ** 2 / 200).sum() < 149
    one = Corruption("weather", 2, seed=0).drawn(["a.jpg", "b.jpg"])
    assert set(one.kind) <= set(CORRUPTIONS["weather"]) and set(one.severity) == {2}


@pytest.mark.parametrize("kind", KINDS)
def test_small_images_and_grey_ones(kind):
    grey = np.array(Image.fromarray(IMAGE).convert("L"))
    small = IMAGE[:20, :7]
    for severity in (1, 5):
        made = corrupt(small, kind, severity)
        assert made.shape == small.shape and made.dtype == np.uint8
        as_colour = corrupt(np.stack([grey] * 3, axis=2), kind, severity)
        assert (corrupt(grey, kind, severity) == as_colour).all()
        assert (corrupt(grey[..., None], kind, severity) == as_colour).all()


def test_rain_on_a_low_image_keeps_its_size():
    assert corrupt(IMAGE[:48], "rain", 5).shape == (48, 32, 3)


def test_spatter_without_a_drop_leaves_the_image(monkeypatch):
    monkeypatch.setattr("reidlab.data.corruption_kinds._gaussian", lambda x, sigma: x * 0)
    assert (corrupt(IMAGE, "spatter", 1) == IMAGE).all()


def test_what_cannot_be_meant_is_refused():
    for call in (lambda: corrupt(IMAGE, "mist", 1), lambda: Corruption("mist")):
        with pytest.raises(ReidlabError, match=r"corruption 'mist' is not known.*fog"):
            call()
    for severity in (0, 6, 2.5, "1"):
        with pytest.raises(DataError, match=r"severity=.*: expected 1, 2, 3, 4 or 5"):
            corrupt(IMAGE, "fog", severity)
        with pytest.raises(DataError, match=r"severity=.*: expected 1, 2, 3, 4 or 5"):
            Corruption("fog", severity)
    for image in (IMAGE / 255, IMAGE[None], IMAGE[..., :2], IMAGE[:0]):
        with pytest.raises(DataError, match=r"cannot corrupt .* of shape \(.*: expected uint8"):
            corrupt(image, "fog", 1)


def test_some_of_a_batch_are_corrupted_by_kinds_of_a_family():
    batch = torch.from_numpy(np.stack([IMAGE] * 300)).permute(0, 3, 1, 2)
    made = corrupt_some(batch, "digital", 0.4, np.random.default_rng(0))
    again = corrupt_some(batch, "digital", 0.4, np.random.default_rng(0))
    assert (made == again).all() and (batch == batch[:1]).all(), "the images given stay"
    assert made.is_contiguous(memory_format=torch.channels_last)
    changed = (made != batch).flatten(1).any(1)
    assert 85 < changed.sum() < 155  # 120 ± 4 standard deviations
    # Four of the five draw nothing, so what they make of this image is known.
    known = [
        corrupt(IMAGE, kind, severity)
        for kind in ("contrast", "pixelate", "jpeg_compression", "saturate")
        for severity in SEVERITIES
    ]
    rows = made[changed].permute(0, 2, 3, 1).numpy()
    found = [sum((row == one).all() for row in rows) for one in known]
    assert min(found) > 0 and 0.65 < sum(found) / len(rows) < 0.95
    assert corrupt_some(batch, "any", 0.0, np.random.default_rng(0)) is batch


# --- stores --------------------------------------------------------------------------------------


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    """Five images of two sizes."""
    files = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, file in enumerate(files):
        write_image(file, number, (64, 128) if number % 2 else (48, 100))
    return pd.DataFrame({"path": [str(file) for file in files]})


def test_corrupted_at_their_own_size_and_then_resized(frame, own_cache):
    corruption = Corruption(seed=3)
    expected = []
    for path in frame.path:
        image = corruption(np.asarray(Image.open(path)), path)
        resized = Image.fromarray(image).resize((32, 96), Image.Resampling.BILINEAR)
        expected.append(np.asarray(resized).transpose(2, 0, 1))
    kept = CorruptedImages(frame, corruption, 96, 32)
    made = CorruptedImages(frame, corruption, 96, 32, keep=False, file=own_cache / "none")
    for images in (kept, made):
        blocks = [images.read(block) for block in images.blocks(2)]
        assert [len(block) for block in blocks] == [2, 2, 1]
        assert (np.concatenate(blocks) == np.stack(expected)).all()
    (file,) = (own_cache / "corrupted").glob("*.pixels")
    assert file.name.startswith("any-any-seed3-") and file == kept.file


def test_kept_images_serve_other_sizes(frame, own_cache, monkeypatch):
    first = CorruptedImages(frame, Corruption("fog", 2), 96, 32).image(1)
    monkeypatch.setattr(corrupted_module, "read_image", None)  # a second decoding would fail
    again = CorruptedImages(frame, Corruption("fog", 2), 128, 64)
    assert (again.read(slice(1, 2))[0].permute(1, 2, 0).numpy() == first).all()
    assert (
        first != ImageStore(frame.iloc[1:2], 128, 64).read(slice(0, 1))[0].permute(1, 2, 0).numpy()
    ).any()


def test_a_store_of_another_corruption_is_refused(frame, own_cache, tmp_path):
    file = CorruptedImages(frame, Corruption("fog", 2, seed=1), 96, 32).file
    for other, said in (
        (Corruption("fog", 2, seed=4), "seed 1 instead of 4"),
        (Corruption("rain", 2, seed=1), "kind 'fog' instead of 'rain'"),
        (Corruption("fog", 3, seed=1), "severity 2 instead of 3"),
    ):
        with pytest.raises(DataError, match=f"holds other images than asked for: {said}. Delete"):
            CorruptedImages(frame, other, 96, 32, file=file)
    with pytest.raises(DataError, match="holds other images than asked for: images '"):
        CorruptedImages(frame[1:], Corruption("fog", 2, seed=1), 96, 32, file=file)
    for broken in (file.read_bytes()[:-9], b"", json.dumps([1]).encode()):
        file.write_bytes(broken)
        with pytest.raises(DataError, match="is no whole file of corrupted images"):
            CorruptedImages(frame, Corruption("fog", 2, seed=1), 96, 32)


def test_changed_pixels_are_not_handed_out(frame, own_cache):
    images = CorruptedImages(frame, Corruption("fog", 2), 96, 32)
    content = bytearray(images.file.read_bytes())
    content[images.image(0).size + 7] ^= 1
    images.file.write_bytes(content)
    images.image(0)
    with pytest.raises(DataError, match=r"pixels is damaged: it holds other pixels of \S+1\.jpg"):
        images.read(slice(0, 3))


def test_what_fails_leaves_nothing(frame, own_cache):
    Path(frame.path[3]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.jpg cannot be read as an image"):
        CorruptedImages(frame, Corruption(), 96, 32)
    assert not list((own_cache / "corrupted").glob("[!.]*"))
    with pytest.raises(DataError, match="the table lists no image"):
        CorruptedImages(frame[:0], Corruption(), 96, 32)
