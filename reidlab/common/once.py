"""Made once: files and folders of the cache, by one process while the others wait."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reidlab.common.errors import DataError, ReidlabError
from reidlab.common.locks import alone

SCRATCH = ".making-"

#: What versions before locks called their scratch; where nobody wrote to it for a day it is left.
BEFORE_LOCKS = (".unpacking-", ".decoding-", ".synthetic-")
DAY = 24 * 3600  # seconds

#: What the system says when a place is full, closed or no folder, whatever is put there.
OF_THE_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
OF_THE_PLACE |= {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOSYS, errno.ENOLCK}
OF_THE_PLACE |= {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}


@contextmanager
def place_named(place: Path) -> Iterator[None]:
    """Full disk, missing rights, a file where a folder should be: one error that names the place.

    Raises:
        DataError: instead of an ``OSError`` of these kinds; others pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_PLACE:
            raise
        where = "" if error.filename in (None, str(place)) else f" at {error.filename}"
        raise DataError(
            f"{place} cannot be written: {error.strerror}{where}. Make room there, see that it is "
            "a folder in which you may write, or set REIDLAB_CACHE to another one."
        ) from error


def make(
    target: Path, whole: Callable[[], bool], write: Callable[[Path], None], size: int = 0
) -> None:
    """Make a file or folder of the cache, unless it is whole.

    It is written under another name and appears when it is complete. Of a folder that is there,
    but lacks files, those that are written join or replace the others.

    Args:
        target: what to make.
        whole: whether it is there and complete; asked without a lock, too, so that a cache that
            may only be read serves.
        write: writes it under the path that it is given, whose folder exists.
        size: bytes that this takes, where they are known: asked for before the work.

    Raises:
        DataError: no room or no rights; what ``write`` raises.
    """
    folder = target.parent
    with place_named(folder):
        if whole():
            return
        folder.mkdir(parents=True, exist_ok=True)
        with alone(target, f"making {target}", wait=True):
            if whole():  # made while this process waited
                return
            scratch = target.with_name(SCRATCH + target.name)
            sweep(folder)
            _remove(scratch)
            if shutil.disk_usage(folder).free < size:
                raise OSError(errno.ENOSPC, f"no room for {size / 1e6:,.1f} MB", str(folder))
            try:
                write(scratch)
                _publish(scratch, target)
            finally:
                _remove(scratch)


def sweep(folder: Path) -> None:
    """Take away what killed processes left: scratch whose lock nobody holds."""
    for scratch in folder.glob(f"{SCRATCH}*"):
        target = scratch.with_name(scratch.name.removeprefix(SCRATCH))
        with suppress(ReidlabError), alone(target, "sweep"):
            _remove(scratch)
    for scratch in [path for name in BEFORE_LOCKS for path in folder.glob(f"{name}*")]:
        with suppress(OSError):
            written = max(path.lstat().st_mtime for path in (scratch, *scratch.rglob("*")))
            if written < time.time() - DAY:
                _remove(scratch)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _publish(scratch: Path, target: Path) -> None:
    if not (scratch.is_dir() and target.is_dir()):
        os.replace(scratch, target)
        return
    for file in [path for path in scratch.rglob("*") if path.is_file()]:
        place = target / file.relative_to(scratch)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
