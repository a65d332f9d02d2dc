"""Zip archives: unpacked once, safely, into the cache."""

import hashlib
import logging
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reidlab.common import once, paths
from reidlab.common.errors import DataError
from reidlab.common.files import first_line
from reidlab.common.progress import track
from reidlab.data.readers.files import is_leftover, printable

log = logging.getLogger(__name__)

#: What a member's damage looks like to Python: each way of compressing has errors of its own.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, struct.error)
DAMAGE += (ValueError, IndexError, OverflowError, UnicodeError)

UNPACK = "Unpack it into a folder, as 7-Zip can, and name the folder instead."
FETCH = (
    "It is truncated, damaged or not a zip: fetch it again and compare its size and sha256 with "
    "the source's."
)

#: How files begin that are called .zip and are none: what they are, and what to do.
NO_ZIPS = {
    b"\x1f\x8b": ("a gzip file, perhaps tar.gz", UNPACK),
    b"BZh": ("a bzip2 file, perhaps tar.bz2", UNPACK),
    b"\xfd7zXZ": ("an xz file, perhaps tar.xz", UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", UNPACK),
    b"Rar!": ("a RAR archive", UNPACK),
    b"<": (
        "a web page: the download gave a notice, quota or login page instead of the file",
        "Open the address in a browser and save the file that it offers.",
    ),
    b"version https://git-lfs": (
        "a pointer of Git LFS",
        "Run git lfs pull in the repository that it comes from.",
    ),
}
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
METHODS_UNREAD = {9: "deflate64", 93: "Zstandard", 95: "xz", 99: "AES"}
LONGEST_NAME, LONGEST_PATH = 255, 3000  # bytes that file systems take
DEEPEST = 100  # folders: few programs get along with more


def unpack(archive: Path) -> Path:
    """Unpack a zip into the cache and return the folder; later calls find it there.

    The folder's name holds a hash of the archive's table of contents (names, sizes, CRCs), so a
    replaced archive is unpacked anew. Files that are missing there later, or have another size,
    are restored: caches on scratch disks are purged file by file.

    Args:
        archive: the zip file.

    Raises:
        DataError: not a zip, truncated, damaged, encrypted or compressed in a way that Python
            cannot read; a member that would be written outside its folder (absolute name, ``..``,
            link); a disk that is full or closed.
    """
    with _named(archive), zipfile.ZipFile(archive) as file:
        members = [info for info in file.infolist() if not info.filename.endswith("/")]
        digest = _contents_hash(members)
        for info in members:
            info.filename = info.filename.replace("\\", "/")  # as .NET once wrote them
        members = [info for info in members if not any(map(is_leftover, info.filename.split("/")))]
        _check(archive, members)
        target = paths.cache() / "archives" / f"{archive.stem}-{digest}"

        def missing() -> list[zipfile.ZipInfo]:
            return [info for info in members if not _is_there(f"{target}/{info.filename}", info)]

        def extract(scratch: Path) -> None:
            wanted = missing()
            if target.exists():
                log.warning("%s lacks %d files: restored", target, len(wanted))
            log.info("unpacking %s: %d files", archive, len(wanted))
            for info in track(wanted, f"unpack {archive.name}"):
                place = scratch / info.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with _named(archive, info), file.open(info) as source, place.open("wb") as out:
                    shutil.copyfileobj(source, out)  # reads to the end, so it checks the CRC

        size = sum(info.file_size for info in members)
        once.make(target, lambda: not missing(), extract, 0 if target.exists() else size)
        return target


def _is_there(file: str, info: zipfile.ZipInfo) -> bool:
    try:
        return os.stat(file).st_size == info.file_size
    except OSError:
        return False


@contextmanager
def _named(archive: Path, info: zipfile.ZipInfo | None = None) -> Iterator[None]:
    """Whatever goes wrong in reading a zip is an error that names it, and its member."""
    member = f", {printable(info.filename)!r}," if info else ""
    try:
        yield
    except DataError:
        raise
    except DAMAGE as error:
        if not archive.exists():
            raise DataError(f"{archive} does not exist. Check the path.") from error
        if getattr(error, "errno", None) in once.OF_THE_PLACE:
            raise
        reason, remedy = _reason(archive, error)
        raise DataError(f"{archive}{member} cannot be unpacked ({reason}). {remedy}") from error


def _reason(archive: Path, error: Exception) -> tuple[str, str]:
    """What is wrong with a file that is no whole zip, and what to do."""
    with archive.open("rb") as file:
        start = file.read(100)
        file.seek(0)
        is_tar = not start.startswith(b"PK") and file.read(262)[257:] == b"ustar"
    if not start:
        return "it is empty", FETCH
    kinds = [kind for magic, kind in NO_ZIPS.items() if start.lstrip().startswith(magic)]
    if is_tar or kinds:
        what, remedy = kinds[0] if kinds else ("a tar archive", UNPACK)
        return f"it is {what}", remedy
    if line := first_line(start):
        return f"it is a text that begins {line!r}", NO_ZIPS[b"<"][1]
    return str(error) or type(error).__name__, FETCH


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what cannot be unpacked, or should not be, before anything is written."""
    names = {info.filename for info in members}
    for info in members:
        if wrong := _what_is_wrong(info):
            raise DataError(f"{archive} holds {printable(info.filename)[:200]!r}, {wrong}")
    folders = {up for name in {n.rpartition("/")[0] for n in names} for up in _upwards(name)}
    if clash := names & folders:
        raise DataError(
            f"{archive} holds {printable(min(clash))!r} as a file and as a folder. Repack it "
            "without the file."
        )


def _what_is_wrong(info: zipfile.ZipInfo) -> str:
    parts = info.filename.split("/")
    if parts[-1] in ("", "."):
        return "a member without a name. It is damaged: fetch it again."
    if not parts[0] or ".." in parts or ":" in parts[0] or stat.S_ISLNK(info.external_attr >> 16):
        return (
            "which would be written outside its folder. Nothing was unpacked: this is not the "
            "official archive, do not use it."
        )
    if info.flag_bits & 1 or info.compress_type not in METHODS:
        how = METHODS_UNREAD.get(info.compress_type, f"method {info.compress_type}")
        how = "encrypted with a password" if info.flag_bits & 1 else f"compressed with {how}"
        return (
            f"which is {how}: Python cannot read that. Unpack the archive with 7-Zip (7z x) into "
            "a folder, and name the folder instead."
        )
    longest = max(len(part.encode()) for part in parts)
    is_deep = len(parts) > DEEPEST or len(info.filename) > LONGEST_PATH
    if longest > LONGEST_NAME or is_deep:
        return (
            f"whose name is too long for a file ({longest} bytes, {len(parts) - 1} folders deep). "
            "Repack it without that file."
        )
    return ""


def _upwards(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def _contents_hash(members: list[zipfile.ZipInfo]) -> str:
    digest = hashlib.sha256()
    for info in sorted(members, key=lambda info: info.filename):
        digest.update(f"{info.filename}:{info.file_size}:{info.CRC}\n".encode())
    return digest.hexdigest()[:12]
