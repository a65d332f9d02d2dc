"""Shared fixtures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidlab.common import paths


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets and weights; tests that need it are skipped without it."""
    root = paths.data_root()
    if root is None:
        pytest.skip("REIDLAB_DATA is not set: no real data on this machine")
    return root


@pytest.fixture(autouse=True)
def _quiet_batch(monkeypatch):
    monkeypatch.setenv("REIDLAB_BATCH", "1")


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("REIDLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_image(file: Path, seed: int = 0, size: tuple[int, int] = (64, 128)) -> None:
    """A small random JPEG of (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    low = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    Image.fromarray(low).resize(size).save(file, quality=90)


@pytest.fixture
def market_layout(tmp_path) -> Callable[..., Path]:
    """Makes a small set in Market-1501's layout and returns its folder.

    4 training identities with 3 images from each of 2 cameras, 3 test identities with one query
    and 2 gallery images from the other camera, 2 distractors and 1 junk image.
    """

    def make(folder: Path = tmp_path / "market") -> Path:
        seed = 0
        for pid in (2, 7, 11, 1500):
            for camera in (1, 2):
                for shot in range(3):
                    seed += 1
                    name = f"{pid:04d}_c{camera}s1_{shot:06d}_01.jpg"
                    write_image(folder / "bounding_box_train" / name, seed)
        for pid in (1, 3, 5):
            write_image(folder / "query" / f"{pid:04d}_c1s1_000001_00.jpg", pid)
            for shot in (2, 3):
                name = f"{pid:04d}_c2s1_{shot:06d}_00.jpg"
                write_image(folder / "bounding_box_test" / name, pid + 100 * shot)
        for shot in (1, 2):
            name = f"0000_c3s1_{shot:06d}_00.jpg"
            write_image(folder / "bounding_box_test" / name, 900 + shot)
        write_image(folder / "bounding_box_test" / "-1_c1s1_000009_00.jpg", 999)
        return folder

    return make
