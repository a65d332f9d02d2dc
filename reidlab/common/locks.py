"""One process at a time: a lock that names its holder and dies with it."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reidlab.common import paths
from reidlab.common.errors import ReidlabError

log = logging.getLogger(__name__)


@contextmanager
def alone(place: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a file or folder while the block runs.

    The operating system frees the lock of a process that has died, so none is ever left behind.
    Locks stand in the cache, so that nothing is left in the place itself.

    Args:
        place: what the lock is for; it need not exist.
        what: what is being done, for the error.
        wait: until the other is done, instead of an error.

    Raises:
        ReidlabError: another process holds the lock, or the folder cannot be written to.
    """
    name = hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:16]
    file = paths.cache() / "locks" / name
    note = file.with_suffix(".holder")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            log.warning("%s: %s is at it; waiting for it", what, _holder(note))
            lock.acquire()
    except Timeout as error:
        raise ReidlabError(
            f"{what}: {_holder(note)} is at it. Wait until it is done, or stop it; then run the "
            "same command again."
        ) from error
    except OSError as error:
        raise ReidlabError(
            f"{what}: {file} cannot be made ({error}). See that its folder may be written to."
        ) from error
    try:
        holder = {"process": os.getpid(), "machine": platform.node(), "since": time.ctime()}
        note.write_text(json.dumps(holder))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return "process {process} on {machine}, since {since},".format(**holder)
    except (OSError, ValueError, KeyError):  # it has only just begun
        return "another process"
