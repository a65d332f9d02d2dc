"""Features of pictures as people have them, kept in the cache by content and network."""

import hashlib
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from reidlab.common import once, paths
from reidlab.common.errors import DataError, ReidlabError
from reidlab.common.parallel import in_order
from reidlab.common.progress import is_batch, track
from reidlab.data.image import MOST_PIXELS, as_rgb
from reidlab.data.readers.files import is_leftover, printable
from reidlab.pictures.network import Network

log = logging.getLogger(__name__)

#: What Pillow is asked to read. Other formats of its list start programs, or hold no pictures.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
HEIC = {".heic", ".heif"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".avif"}

#: Why a file is left out: what is said of one, and what to do.
NO_PICTURE = "no picture"
REASONS = {
    NO_PICTURE: "no picture of a format that is known here",
    "heic": "HEIC, which the package pillow-heif reads: make add PACKAGE=pillow-heif",
    "large": f"more than {MOST_PIXELS:,} pixels; cut out one person a picture",
    "damaged": "cannot be read; damaged, cut short or closed to you",
}
BLOCK = 256  # pictures whose features are made, and kept, at a time
TINY = 16  # pixels: of less, a network sees nothing


@dataclass(frozen=True)
class Picture:
    """A picture that could be read.

    Attributes:
        file: where it lies.
        content: hash of its bytes.
        width: as viewers show it, in pixels.
        height: as viewers show it, in pixels.
        feature: (D,) float32.
    """

    file: Path
    content: str
    width: int
    height: int
    feature: np.ndarray


class _LeftOut(Exception):
    """A file is no picture that can be read; says which of `REASONS`."""


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder and the folders in it, sorted; hidden files and leftovers are none.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name one that holds pictures.")
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_leftover(name)]
        found += [Path(place, name) for name in names if not is_leftover(name)]
    return sorted(found)


def look_at(
    files: Iterable[Path], network: Network
) -> tuple[dict[Path, Picture], dict[Path, str]]:
    """Features of the files that are pictures, from the cache where they were made before.

    Pictures are read as :func:`reidlab.data.image.as_rgb` does. What is made is kept block by
    block: after an interruption only the rest is made.

    Args:
        files: of any kind.
        network: which features.

    Returns:
        For each file that is one its picture, and for every other file one of `REASONS`.

    Raises:
        ReidlabError: features that are no numbers; a cache that cannot be read or written.
    """
    _read_heic_if_possible()
    left_out: dict[Path, str] = {}
    with _cache() as kept:
        contents = dict(_contents(kept, list(files), left_out))
        known = {row[0] for row in kept.execute(_KNOWN, (network.key,))}
        new = {content: file for file, content in contents.items() if content not in known}
        broken = _make(kept, new, network)
        pictures = {}
        for file, content in contents.items():
            if content in broken:
                left_out[file] = broken[content]
                continue
            *size, feature = kept.execute(_ONE, (network.key, content)).fetchone()
            pictures[file] = Picture(file, content, *size, np.frombuffer(feature, np.float32))
    return pictures, left_out


def look_at_each(files: list[Path], network: Network) -> list[Picture]:
    """The pictures of files that are all to be pictures; what looks wrong about them is said.

    Raises:
        DataError: one that is none; what :func:`look_at` raises.
    """
    for file in files:
        if not file.is_file():
            found = "is a folder" if file.is_dir() else "does not exist"
            raise DataError(f"{printable(str(file))} {found}. Name a picture of one person.")
    pictures, left_out = look_at(files, network)
    for file, reason in left_out.items():
        raise DataError(f"{printable(str(file))}: {REASONS[reason]}.")
    for note in say_what_was_found(list(pictures.values()), {}):
        log.warning("%s", note)
    return [pictures[file] for file in files]


def read(file: Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A picture at a network's size, (height, width, 3) uint8, and its own (width, height)."""
    image = _opened(file)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise _LeftOut("large")
        full, upright = image.size, image.getexif().get(0x0112, 1) < 5
        # A JPEG of a whole camera is decoded at a fraction of its size, never under four times
        # what is asked for.
        image.draft(None, (4 * max(height, width),) * 2)
        try:
            rgb = as_rgb(image, file).resize((width, height), Image.Resampling.BILINEAR)
        except Exception as error:  # Pillow's formats raise nearly anything
            raise _LeftOut("damaged") from error
    turned = image.format != "TIFF" and not upright
    return np.asarray(rgb), full[::-1] if turned else full


def say_what_was_found(pictures: list[Picture], left_out: dict[Path, str]) -> list[str]:
    """A line for each kind of file that is left out or looks wrong, with a few of their names."""
    kinds: dict[str, list[Path]] = {}
    for file, reason in left_out.items():
        kinds.setdefault(reason, []).append(file)
    lines = []
    for reason, files in kinds.items():
        if reason == NO_PICTURE:
            endings = Counter(file.suffix.lower() or "without ending" for file in files)
            some = ", ".join(f"{ending} ({n})" for ending, n in endings.most_common(5))
        else:
            some = _some(files)
        lines.append(f"{_files(len(files))} left out: {REASONS[reason]}: {some}")
    for files, what in (
        (
            [p.file for p in pictures if min(p.width, p.height) < TINY],
            f"narrower than {TINY} pixels, taken all the same; what is said of them means little",
        ),
        (
            [p.file for p in pictures if p.width > p.height],
            "wider than high, taken all the same; "
            "the network expects one person a picture, upright and cut out",
        ),
    ):
        if files:
            lines.append(f"{_files(len(files))} {what}: {_some(files)}")
    return lines


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count > 1)}"


def _some(files: list[Path]) -> str:
    return ", ".join(printable(file.name) for file in files[:3]) + ", ..." * (len(files) > 3)


def _opened(file: Path) -> Image.Image:
    """An image whose header can be read.

    Raises:
        _LeftOut: it is none.
    """
    try:
        return Image.open(file, formats=[one for one in FORMATS if one in Image.OPEN])
    except UnidentifiedImageError as error:
        suffix = file.suffix.lower()
        if suffix in HEIC and "HEIF" not in Image.OPEN:
            raise _LeftOut("heic") from error
        raise _LeftOut("damaged" if suffix in SUFFIXES | HEIC else NO_PICTURE) from error
    except Image.DecompressionBombError as error:
        raise _LeftOut("large") from error
    except Exception as error:  # closed, gone, or a header of nonsense
        raise _LeftOut("damaged") from error


def _read_heic_if_possible() -> None:
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


# --- The cache ---------------------------------------------------------------------------------

_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size, changed, content);
CREATE TABLE IF NOT EXISTS features
    (network, content, width, height, feature BLOB, PRIMARY KEY (network, content));
"""
_KNOWN = "SELECT content FROM features WHERE network = ?"
_ONE = "SELECT width, height, feature FROM features WHERE network = ? AND content = ?"


@contextmanager
def _cache() -> Iterator[sqlite3.Connection]:
    file = paths.cache() / "pictures.sqlite"
    with once.place_named(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=60)) as kept:
            kept.executescript(_TABLES)
            yield kept
    except sqlite3.Error as error:
        raise ReidlabError(
            f"{file}, which keeps the features of your pictures, cannot be used ({error}). See "
            "that its folder may be written to and has room; if it is damaged, delete it."
        ) from error


def _contents(
    kept: sqlite3.Connection, files: list[Path], left_out: dict[Path, str]
) -> Iterator[tuple[Path, str]]:
    """Each file with the hash of its bytes, which are read where size or time have changed."""
    for file in files:
        try:
            status = file.stat()
            at = os.fsencode(file.resolve()), status.st_size, status.st_mtime_ns
            row = kept.execute(
                "SELECT content FROM files WHERE path = ? AND size = ? AND changed = ?", at
            ).fetchone()
            if row is None:
                _opened(file).close()  # no film is read to its end, only to be no picture
                with file.open("rb") as stream:
                    row = (hashlib.file_digest(stream, "sha256").hexdigest(),)
                kept.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (*at, *row))
        except _LeftOut as error:
            left_out[file] = str(error)
        except OSError:
            left_out[file] = "damaged"
        else:
            yield file, row[0]
    kept.commit()


def _make(kept: sqlite3.Connection, new: dict[str, Path], network: Network) -> dict[str, str]:
    """Make and keep the features of new contents; returns why some have none."""
    if not new:
        return {}
    broken: dict[str, str] = {}
    extract = None

    def one(content: str) -> tuple[np.ndarray, tuple[int, int]] | str:
        try:
            return read(new[content], network.height, network.width)
        except _LeftOut as error:
            return str(error)

    log.info("%d new pictures; their features are kept for the next time", len(new))
    found = track(in_order(one, new, os.cpu_count() or 1), "pictures", len(new))
    block: dict[str, tuple[np.ndarray, tuple[int, int]]] = {}
    for place, (content, result) in enumerate(zip(new, found), 1):
        if isinstance(result, str):
            broken[content] = result
        else:
            block[content] = result
        if block and (len(block) == BLOCK or place == len(new)):
            extract = extract or network.load()
            features = extract(np.stack([pixels for pixels, _ in block.values()]))
            if not np.isfinite(features).all():
                raise ReidlabError(
                    f"{network.name} gives features with NaN or infinite values: its weights are "
                    "damaged. Take others, or train the run again."
                )
            rows = [
                (network.key, key, *size, np.asarray(feature, np.float32).tobytes())
                for (key, (_, size)), feature in zip(block.items(), features)
            ]
            kept.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", rows)
            kept.commit()
            block.clear()
            if is_batch():
                log.info("%d of %d pictures", place, len(new))
    return broken
