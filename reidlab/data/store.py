"""Decode once: every consumer reads the same uint8 images from a file of the cache."""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.common.parallel import in_order
from reidlab.common.progress import track

log = logging.getLogger(__name__)

#: Images that one thread decodes at a time.
BLOCK = 32


def decode(frame: pd.DataFrame, height: int, width: int) -> Tensor:
    """Images of a table as one uint8 tensor, decoded and resized at most once per machine.

    The pixels live in a memory-mapped file of the cache, see :class:`ImageStore`, stored
    (N, H, W, 3) and viewed as (N, 3, H, W): that is PyTorch's channels-last layout, which the
    networks run fastest in.

    Args:
        frame: table with a ``path`` column.
        height: pixels after the bilinear, antialiased resize.
        width: pixels, likewise.

    Returns:
        (N, 3, height, width) uint8, RGB. Writing to it changes no file.

    Raises:
        DataError: an image that cannot be read; the message names it. An empty table.
    """
    with ImageStore(frame, height, width) as store:
        if not store.complete:
            # Threads suffice: Pillow drops the interpreter lock while it decodes and resizes.
            blocks = in_order(store.decode, store.blocks(BLOCK), os.cpu_count() or 1)
            for _ in track(blocks, "decode", len(store.blocks(BLOCK))):
                pass
    return store.read(slice(0, len(store)))


class ImageStore:
    """The decoded images of a table: a file of the cache that fills while it is read.

    Blocks of images can be read in any order and by several threads. Those that the file does not
    hold yet are decoded, handed out and written to it; once it is whole, it gets its name and
    serves every later reader. Its name is a hash of path, size and modification time of every
    image, so changed files are decoded again. Use it as a context: leaving it by an error, or
    before all images were read, leaves no file.

    No block is kept in memory by the store, and none is mapped longer than its tensor lives.

    Args:
        frame: table with a ``path`` column.
        height: pixels after the bilinear, antialiased resize.
        width: pixels, likewise.
        keep: write the file. Without, a table that has none yet is decoded at each reading.

    Raises:
        DataError: the table is empty, a file is gone, or the disk is too full for the store.
    """

    def __init__(self, frame: pd.DataFrame, height: int, width: int, keep: bool = True) -> None:
        self.files = [Path(path) for path in frame.path]
        if not self.files:
            raise DataError("the table lists no image; expected at least one row")
        self.shape = (len(self.files), height, width, 3)
        self.file = paths.cache() / "images" / f"{_key(self.files, height, width)}.npy"
        self.complete = self.file.exists()
        self.offset = np.lib.format.open_memmap(self.file, "r").offset if self.complete else 0
        self._keep = keep and not self.complete
        self._written = np.zeros(len(self.files), dtype=bool)
        self._scratch: Path | None = None
        self._start = time.perf_counter()

    def __len__(self) -> int:
        return len(self.files)

    def blocks(self, size: int) -> list[slice]:
        """Its images in blocks of ``size``, the last one perhaps smaller."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, block: slice) -> Tensor:
        """(B, 3, H, W) uint8, RGB, channels-last. Writing to it changes no file."""
        if not self.complete:
            return self.decode(block)
        shape = (block.stop - block.start, *self.shape[1:])
        start = self.offset + block.start * int(np.prod(self.shape[1:]))
        pixels = np.memmap(self.file, np.uint8, mode="c", offset=start, shape=shape)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def decode(self, block: slice) -> Tensor:
        """The same from the image files; the store keeps them.

        Raises:
            DataError: an image that cannot be read; the message names it. The disk is full.
        """
        _, height, width, _ = self.shape
        pixels = np.stack([read_image(file, height, width) for file in self.files[block]])
        if self._scratch is not None:
            # Written, not mapped: a full disk is an error then, and not the death of the process.
            with self._scratch.open("r+b") as file, self._full_disk_named():
                file.seek(self.offset + block.start * pixels[0].nbytes)
                file.write(pixels)
            self._written[block] = True
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def __enter__(self) -> Self:
        if self._keep:
            folder = self.file.parent
            folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(folder).free < np.prod(self.shape):
                raise self._disk_full()
            handle, scratch = tempfile.mkstemp(dir=folder, prefix=".decoding-", suffix=".npy")
            os.close(handle)
            self._scratch = Path(scratch)
            whole = np.lib.format.open_memmap(scratch, "w+", np.uint8, self.shape)
            self.offset = whole.offset
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scratch is None:
            return
        scratch, self._scratch = self._scratch, None
        try:
            if kind is None and self._written.all():
                self._publish(scratch)
        finally:
            scratch.unlink(missing_ok=True)

    def _publish(self, scratch: Path) -> None:
        with scratch.open("r+b") as file:
            os.fsync(file.fileno())  # or a crash of the machine could leave a store of zeros
        os.replace(scratch, self.file)
        self.complete = True
        seconds = time.perf_counter() - self._start
        count, height, width, _ = self.shape
        log.info("decoded %d images to %dx%d in %.1f s", count, height, width, seconds)

    @contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._disk_full() from error

    def _disk_full(self) -> DataError:
        return DataError(
            f"{self.file.parent} has no room for {len(self)} decoded images "
            f"({np.prod(self.shape) / 1e9:.1f} GB). Make some there, or set REIDLAB_CACHE to a "
            "folder on a larger disk."
        )


def read_image(file: Path, height: int | None = None, width: int | None = None) -> np.ndarray:
    """One image file as (height, width, 3) uint8 RGB; without a size, as large as it is.

    Raises:
        DataError: the file is missing, cut short or not an image.
    """
    try:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
            if height is not None and rgb.size != (width, height):
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
