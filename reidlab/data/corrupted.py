"""Corrupted images: made once at their own size, read at any size."""

import json
import logging
import os
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from reidlab.common import once, paths
from reidlab.common.errors import DataError
from reidlab.common.parallel import in_order
from reidlab.common.progress import track
from reidlab.data.image import read_image
from reidlab.data.store import BLOCK, cache_key

if TYPE_CHECKING:  # whoever reads clean images needs none of its libraries
    from reidlab.data.corruptions import Corruption

log = logging.getLogger(__name__)

#: Of the pixels that a corruption makes: raised when they change, so that old files are not read.
VERSION = 1


class CorruptedImages:
    """The images of a table, corrupted at their own size and then resized; read like a store.

    Kept, they serve every network at every size: a file of the cache, named by kind, severity and
    seed, holds them at their own size, in Market-1501 a quarter of 256x128. It is the pixels of
    one image after the other, then one line of JSON: what they are, and size and CRC-32 of each.
    No pixel is handed out unchecked.

    Args:
        frame: table with a ``path`` column.
        corruption: what is done to them.
        height: pixels after the bilinear, antialiased resize that follows.
        width: pixels, likewise.
        keep: write the file. Without, images that no file holds are made at each reading.
        file: where they are kept; default in the cache.

    Raises:
        DataError: an empty table, an image that cannot be read, a full disk; a file that holds
            other images, or another kind, severity or seed of corruption.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        corruption: "Corruption",
        height: int,
        width: int,
        keep: bool = True,
        file: Path | None = None,
    ) -> None:
        self.files = [Path(path) for path in frame.path]
        if not self.files:
            raise DataError("the table lists no image; expected at least one row")
        self.corruption, self.height, self.width = corruption, height, width
        self.about = {
            "kind": corruption.kind,
            "severity": corruption.severity,
            "seed": corruption.seed,
            "version": VERSION,
            "images": cache_key(self.files, "corrupted"),
        }
        name = f"{corruption}-v{VERSION}-{self.about['images']}.pixels"
        self.file = file or paths.cache() / "corrupted" / name
        if keep:
            once.make(self.file, self.file.is_file, self._write)
        self._shapes = None
        if self.file.is_file():
            self._shapes, self._checksums = self._read_index()
            self._ends = np.cumsum(self._shapes.prod(axis=1))

    def __len__(self) -> int:
        return len(self.files)

    def blocks(self, size: int) -> list[slice]:
        """Its images in blocks of ``size``, the last one perhaps smaller."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, block: slice) -> Tensor:
        """(B, 3, H, W) uint8, RGB, channels-last."""
        images = map(self._resized, range(block.start, block.stop))
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)

    def image(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8: one corrupted image at its own size.

        Raises:
            DataError: an image that cannot be read; pixels that changed since they were written.
        """
        if self._shapes is None:
            return self._corrupted(self.files[number])
        shape = self._shapes[number]
        start = int(self._ends[number] - shape.prod())
        pixels = np.fromfile(self.file, np.uint8, shape.prod(), offset=start)
        if zlib.crc32(pixels) != self._checksums[number]:
            raise DataError(
                f"{self.file} is damaged: it holds other pixels of {self.files[number]} than were "
                "written there. Delete it; it is made again when it is needed."
            )
        return pixels.reshape(shape)

    def _resized(self, number: int) -> np.ndarray:
        image = self.image(number)
        if image.shape[:2] == (self.height, self.width):
            return image
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))

    def _corrupted(self, file: Path) -> np.ndarray:
        return self.corruption(read_image(file), file)

    def _write(self, scratch: Path) -> None:
        start = time.perf_counter()
        blocks = self.blocks(BLOCK)
        made = in_order(
            lambda block: [self._corrupted(file) for file in self.files[block]],
            *(blocks, os.cpu_count() or 1),
        )
        shapes, checksums = [], []
        with scratch.open("wb") as file:
            for images in track(made, "corrupt", len(blocks)):
                shapes += [image.shape for image in images]
                whole = [np.ascontiguousarray(image) for image in images]
                file.writelines(whole)
                checksums += map(zlib.crc32, whole)
            index = {"shapes": shapes, "checksums": checksums}
            about = json.dumps(self.about | index).encode()
            file.write(about + len(about).to_bytes(8, "little"))
            file.flush()
            os.fsync(file.fileno())
        seconds = time.perf_counter() - start
        log.info("corrupted %d images (%s) in %.1f s", len(self), self.corruption, seconds)

    def _read_index(self) -> tuple[np.ndarray, list[int]]:
        """(N, 3) height, width and channels of each image, and its CRC-32."""
        try:
            with self.file.open("rb") as file:
                file.seek(-8, os.SEEK_END)
                size = int.from_bytes(file.read(), "little")
                file.seek(-8 - size, os.SEEK_END)
                found = json.loads(file.read(size))
                shapes, checksums = np.array(found["shapes"]), found["checksums"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{self.file} is no whole file of corrupted images ({error}). Delete it; it is "
                "made again when it is needed."
            ) from error
        differing = [
            f"{name} {found.get(name)!r} instead of {value!r}"
            for name, value in self.about.items()
            if found.get(name) != value
        ]
        if differing:
            raise DataError(
                f"{self.file} holds other images than asked for: {', '.join(differing)}. Delete "
                "it, or name another file."
            )
        return shapes, checksums
