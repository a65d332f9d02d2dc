"""Files that are whole or absent: writing at once, reading, hashing."""

import fcntl
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reidlab.common.errors import ReidlabError

BLANKS = str.maketrans("\t\r\n", "   ")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to; it takes the file's place when the block has ended without an error.

    Readers see the old file or the whole new one, and two writers do not write into each other.

    Raises:
        ReidlabError: the disk is full, or the folder cannot be written to.

    >>> with replacing(Path(tempfile.gettempdir()) / "a.txt") as scratch:
    ...     _ = scratch.write_text("whole")
    """
    prefix = f".writing-{file.stem}-"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _sweep(file.parent, prefix, file.suffix)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=file.suffix, dir=file.parent)
        scratch = Path(name)
        try:
            _is_free(handle)
            yield scratch
            umask = os.umask(0)
            os.umask(umask)
            scratch.chmod(0o666 & ~umask)  # mkstemp's files are for their owner alone
            os.replace(scratch, file)
        finally:
            os.close(handle)
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise ReidlabError(
            f"{file} could not be written: {error}. See that the disk has room and that its "
            "folder may be written to; then run the same command again."
        ) from error


def _sweep(folder: Path, prefix: str, suffix: str) -> None:
    """Take away what killed writers of a file have left: scratch that nobody holds."""
    for scratch in folder.glob(f"{glob.escape(prefix)}????????{glob.escape(suffix)}"):
        with suppress(OSError), scratch.open() as opened:
            if _is_free(opened.fileno()):
                scratch.unlink()


def _is_free(handle: int) -> bool:
    """Hold an open file, unless another process does, until it is closed or its holder dies."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or on a disk that has no locks
        return False
    return True


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with replacing(file) as scratch:
        scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(file: Path, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        file: that is there.
        remedy: what to do where it is damaged, for the message.

    Raises:
        ReidlabError: it holds no JSON: it was cut or damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReidlabError(f"{file} is damaged: it holds no JSON ({error}). {remedy}") from error


def first_line(head: bytes) -> str:
    r"""How a file of text begins, from its first bytes; empty where they are none of a text.

    >>> first_line(b"Not Found\n"), first_line(b"PK\3\4"), first_line("é".encode()[:1])
    ('Not Found', '', '')
    """
    text = head.decode(errors="replace").rstrip("\ufffd")  # cut within a character
    if not re.search(r"\w\w", text) or not text.translate(BLANKS).isprintable():
        return ""
    return "" if "\ufffd" in text else text.strip().splitlines()[0][:60]


def sha256(file: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
