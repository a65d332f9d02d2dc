"""Folders of images: what readers take from file names, and what they refuse."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reidlab.common.errors import DataError

#: What file managers, notebooks and network drives leave behind; names with a dot in front, too.
LEFTOVERS = {"Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"}

#: How the name of an image ends, for the readers' patterns. No pattern takes digits other than
#: 0-9 (``re.ASCII``), nor a number of more than nine.
IMAGE = r"\.(jpg|jpeg|png|bmp|webp|tif|tiff)"
NUMBER = r"\d{1,9}(?!\d)"


#: What ends a line or stands for no character, in ASCII and beyond it.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is nothing of the set's."""
    return name in LEFTOVERS or (name.startswith(".") and name not in (".", ".."))


def printable(name: str) -> str:
    """A file name for a message: bytes that are no UTF-8 and line ends as escapes."""
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def require_utf8(path: str) -> None:
    """Refuse a path that no table can hold.

    Raises:
        DataError: it has bytes that are no UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{printable(path)} has a name that is no UTF-8, so tables cannot hold it. "
            "Rename it (convmv renames whole folders)."
        ) from None


def visible(folder: Path) -> list[Path]:
    """What a folder holds but for leftovers, sorted by name.

    Raises:
        DataError: a name that is no UTF-8 or holds a line end, a link to nothing, to itself or to
            a folder that it lies in, or what is neither file nor folder; the message names it.
    """
    return sorted(Path(entry.path) for entry in _entries(folder))


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if is_leftover(entry.name):
            continue
        require_utf8(entry.path)
        if CONTROL.search(entry.name):
            raise DataError(
                f"{printable(entry.path)} has a line end or another control character in its "
                "name, which tables lose. Rename it."
            )
        if what := _what_is_wrong(entry):
            raise DataError(
                f"{printable(entry.path)} is {what}. Put the image in its place, or take it out."
            )
        yield entry


def _what_is_wrong(entry: os.DirEntry[str]) -> str:
    try:
        is_folder = entry.is_dir()
        if not (is_folder or entry.is_file()):
            return "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
    except OSError as error:
        return f"a link that cannot be followed ({error.strerror})"
    real = os.path.realpath
    if is_folder and entry.is_symlink() and real(entry) in map(real, Path(entry).parents):
        return "a link to a folder that it lies in"  # whoever follows it never ends
    return ""


def read_names(
    folder: Path | str, pattern: re.Pattern[str], example: str, by_person: bool = False
) -> Iterator[tuple[str, re.Match[str]]]:
    """The images of a folder, as paths, and what their names say.

    Args:
        folder: full of images.
        pattern: of every image's whole name; see :data:`IMAGE` and :data:`NUMBER`.
        example: a right name, for the message.
        by_person: images lie in a folder for each person.

    Raises:
        DataError: as :func:`visible`; a file or folder that is not named by the pattern; a file
            where a folder of images should be, or the other way round.
    """
    for entry in _entries(folder):
        if entry.is_dir() != by_person:
            wrong = (
                "a folder, among images" if entry.is_dir() else "a file, among people's folders"
            )
            raise DataError(f"{printable(entry.path)} is {wrong}. Move it, or take it out.")
        if by_person:
            yield from read_names(entry.path, pattern, example)
            continue
        match = pattern.fullmatch(entry.name)
        if match is None:
            raise DataError(
                f"{printable(entry.path)} is not named like {example}. Rename it, or take it out "
                "of the folder."
            )
        yield entry.path, match
