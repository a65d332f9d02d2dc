"""Zip archives of images: unpacked once, safely, into the cache."""

import errno
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.common.progress import track

log = logging.getLogger(__name__)

#: What the system says when a disk is full or closed, whatever the archive is like.
NOT_THE_ARCHIVE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def unpack(archive: Path) -> Path:
    """Unpack a zip into the cache and return the folder; later calls find it there.

    The folder's name holds a hash of the archive's table of contents (names, sizes, CRCs), so a
    replaced archive is unpacked anew. Files appear under the final name only when all of them
    are written and their CRCs agree.

    Args:
        archive: the zip file.

    Raises:
        DataError: not a zip, truncated, damaged, or with a member that would be written
            outside its folder (absolute name, ``..``, link); a disk that is full or closed.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [info for info in file.infolist() if not info.is_dir()]
            for info in members:
                _refuse_escape(archive, info)
            target = paths.cache() / "archives" / f"{archive.stem}-{_contents_hash(members)}"
            if not target.exists():
                _extract(file, members, target)
            return target
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError) and not archive.exists():
            raise DataError(f"{archive} does not exist. Check the path.") from error
        if getattr(error, "errno", None) in NOT_THE_ARCHIVE:
            raise DataError(
                f"{archive} cannot be unpacked into {paths.cache()}: {error}. Make room there, "
                "check your rights to the folder, or set REIDLAB_CACHE to another one."
            ) from error
        raise DataError(
            f"{archive} cannot be unpacked ({error}). It is truncated, damaged or not a zip: "
            "fetch it again and compare its size and sha256 with the source's."
        ) from error


def _refuse_escape(archive: Path, info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or is_link:
        raise DataError(
            f"{archive} holds {info.filename!r}, which would be written outside its folder. "
            "Nothing was unpacked: this is not the official archive, do not use it."
        )


def _contents_hash(members: list[zipfile.ZipInfo]) -> str:
    digest = hashlib.sha256()
    for info in sorted(members, key=lambda info: info.filename):
        digest.update(f"{info.filename}:{info.file_size}:{info.CRC}\n".encode())
    return digest.hexdigest()[:12]


def _extract(file: zipfile.ZipFile, members: list[zipfile.ZipInfo], target: Path) -> None:
    log.info("unpacking %s: %d files", file.filename, len(members))
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpacking-"))
    try:
        for info in track(members, f"unpack {Path(file.filename or '').name}"):
            file.extract(info, scratch)  # reads to the end, so it checks the CRC
        os.replace(scratch, target)
    except OSError:
        if not target.exists():  # else another process finished first, and its copy serves
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
