"""Decode once: every consumer reads the same uint8 images from a file of the cache."""

import hashlib
import io
import logging
import os
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlab.common import once, paths
from reidlab.common.errors import DataError
from reidlab.common.parallel import in_order
from reidlab.common.progress import track
from reidlab.data.image import read_image

log = logging.getLogger(__name__)

#: Images that one thread decodes, or checks, at a time.
BLOCK = 32


def decode(frame: pd.DataFrame, height: int, width: int) -> Tensor:
    """Images of a table as one uint8 tensor, decoded and resized at most once per machine.

    Args:
        frame: table with a ``path`` column.
        height: pixels after the bilinear, antialiased resize.
        width: pixels, likewise.

    Returns:
        (N, 3, height, width) uint8, RGB, channels-last, mapped from the cache. Writing to it
        changes no file.

    Raises:
        DataError: see :class:`ImageStore`.
    """
    store = ImageStore(frame, height, width)
    for _ in in_order(store.check, store.blocks(BLOCK), os.cpu_count() or 1):
        pass
    return store.map(slice(0, len(store)))


class ImageStore:
    """The decoded images of a table: a file of the cache, made when it is not there.

    It is a NumPy file (N, H, W, 3), viewed as (N, 3, H, W): that is PyTorch's channels-last
    layout, which the networks run fastest in. Behind the pixels stands a CRC-32 of each image,
    and no pixel is handed out unchecked. The file's name is a hash of path, size and modification
    time of every image, so changed files are decoded again. Blocks can be read by several
    threads; none is in memory longer than its tensor lives.

    Args:
        frame: table with a ``path`` column.
        height: pixels after the bilinear, antialiased resize.
        width: pixels, likewise.
        keep: write the file. Without, a table that has none yet is decoded at each reading.

    Raises:
        DataError: the table is empty, a file is gone or cannot be read as an image, or the cache
            is full or closed.
    """

    def __init__(self, frame: pd.DataFrame, height: int, width: int, keep: bool = True) -> None:
        self.files = [Path(path) for path in frame.path]
        if not self.files:
            raise DataError("the table lists no image; expected at least one row")
        self.shape = (len(self.files), height, width, 3)
        self.file = paths.cache() / "images" / f"{cache_key(self.files, f'{height}x{width}')}.npy"
        self._header = _header(self.shape)
        self._bytes = height * width * 3  # of an image
        size = len(self._header) + len(self) * (self._bytes + 4)
        if keep:
            once.make(self.file, lambda: self._has(size), self._write, size)
        self.complete = self._has(size)
        if self.complete:
            start = size - 4 * len(self)
            self._checksums = np.fromfile(self.file, "<u4", offset=start)

    def __len__(self) -> int:
        return len(self.files)

    def blocks(self, size: int) -> list[slice]:
        """Its images in blocks of ``size``, the last one perhaps smaller."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, block: slice) -> Tensor:
        """(B, 3, H, W) uint8, RGB, channels-last. Writing to it changes no file.

        Raises:
            DataError: as :meth:`check`; without a file, an image that cannot be read.
        """
        if not self.complete:
            return torch.from_numpy(self._decode(block)).permute(0, 3, 1, 2)
        self.check(block)
        return self.map(block)

    def map(self, block: slice) -> Tensor:
        """The same from the file, not checked."""
        return torch.from_numpy(self._pixels(block)).permute(0, 3, 1, 2)

    def check(self, block: slice) -> None:
        """Compare pixels with their checksums.

        Raises:
            DataError: they changed since they were decoded.
        """
        pixels = self._pixels(block)
        for image, expected, source in zip(pixels, self._checksums[block], self.files[block]):
            if zlib.crc32(image) != expected:
                raise DataError(
                    f"{self.file} is damaged: it holds other pixels of {source} than were written "
                    "there. Delete it; it is made again when it is needed."
                )

    def _pixels(self, block: slice) -> np.ndarray:
        shape = (block.stop - block.start, *self.shape[1:])
        start = len(self._header) + block.start * self._bytes
        return np.memmap(self.file, np.uint8, mode="c", offset=start, shape=shape)

    def _has(self, size: int) -> bool:
        return self.file.is_file() and self.file.stat().st_size == size

    def _decode(self, block: slice) -> np.ndarray:
        _, height, width, _ = self.shape
        return np.stack([read_image(file, height, width) for file in self.files[block]])

    def _write(self, scratch: Path) -> None:
        start = time.perf_counter()
        checksums: list[int] = []
        # Threads suffice: Pillow drops the interpreter lock while it decodes and resizes.
        blocks = in_order(self._decode, self.blocks(BLOCK), os.cpu_count() or 1)
        # Written, not mapped: a full disk is an error then, and not the death of the process.
        with scratch.open("wb") as file:
            file.write(self._header)
            for pixels in track(blocks, "decode", len(self.blocks(BLOCK))):
                file.write(pixels)
                checksums += map(zlib.crc32, pixels)
            file.write(np.array(checksums, "<u4"))
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine could leave a store of zeros
        seconds = time.perf_counter() - start
        log.info("decoded %d images to %dx%d in %.1f s", *self.shape[:3], seconds)


def _header(shape: tuple[int, ...]) -> bytes:
    """How NumPy begins a file of such an array."""
    header = io.BytesIO()
    array = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, array)
    return header.getvalue()


def cache_key(files: list[Path], purpose: str) -> str:
    """Hash of what is made of image files, and of path, size and modification time of each.

    Raises:
        DataError: a file is gone.
    """
    digest = hashlib.sha256(f"{purpose}\n".encode())
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise DataError(f"{file} is gone ({error.strerror}). Load the set afresh.") from error
        digest.update(f"{file}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]
