"""Decode once: every consumer reads the same memory-mapped uint8 images."""

import hashlib
import logging
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from reidlab import paths
from reidlab.errors import DataError
from reidlab.progress import track

log = logging.getLogger(__name__)


def decode(frame: pd.DataFrame, height: int, width: int) -> Tensor:
    """Images of a table as one uint8 tensor, decoded and resized at most once per machine.

    The pixels live in a memory-mapped file of the cache, stored (N, H, W, 3) and viewed as
    (N, 3, H, W): that is PyTorch's channels-last layout, which the networks run fastest in. The
    file's key holds path, size and modification time of every image, so changed files are
    decoded again.

    Args:
        frame: table with a ``path`` column.
        height: pixels after the bilinear, antialiased resize.
        width: pixels, likewise.

    Returns:
        (N, 3, height, width) uint8, RGB. Writing to it changes no file.

    Raises:
        DataError: an image that cannot be read; the message names it.
    """
    files = [Path(path) for path in frame.path]
    store = paths.cache() / "images" / f"{_key(files, height, width)}.npy"
    if not store.exists():
        _fill(store, files, height, width)
    pixels = np.load(store, mmap_mode="c")
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def read_image(file: Path, height: int, width: int) -> np.ndarray:
    """One image file as (height, width, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, cut short or not an image.
    """
    try:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
            if rgb.size != (width, height):
                rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(rgb)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file} cannot be read as an image ({error}). Restore it from the original archive."
        ) from error


def _key(files: list[Path], height: int, width: int) -> str:
    digest = hashlib.sha256(f"{height}x{width}\n".encode())
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise DataError(f"{file} is gone ({error.strerror}). Load the set afresh.") from error
        digest.update(f"{file}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _fill(store: Path, files: list[Path], height: int, width: int) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    handle, scratch = tempfile.mkstemp(dir=store.parent, prefix=".decoding-", suffix=".npy")
    os.close(handle)
    try:
        pixels = np.lib.format.open_memmap(
            scratch, mode="w+", dtype=np.uint8, shape=(len(files), height, width, 3)
        )

        # Threads suffice: Pillow drops the interpreter lock while it decodes and resizes.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(lambda file: read_image(file, height, width), files)
            for index, image in enumerate(track(decoded, "decode", len(files))):
                pixels[index] = image
        pixels.flush()
        os.replace(scratch, store)
    finally:
        Path(scratch).unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    log.info("decoded %d images to %dx%d in %.1f s", len(files), height, width, seconds)
