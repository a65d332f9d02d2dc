"""Every path of the study, from one root: notebooks, papermill and nbval all agree on them."""

import hashlib
import os
from pathlib import Path

from reidlab.common.errors import ReidlabError

#: The checkout. The study runs from a checkout (an editable install), never from site-packages.
ROOT = Path(__file__).resolve().parents[2]

NOTEBOOKS = ROOT / "notebooks"
STUDIES = ROOT / "studies"


def from_env(variable: str, default: Path | None = None) -> Path | None:
    """The folder that a variable of the environment names, whole.

    Raises:
        ReidlabError: a link to itself, a home that nobody has.
    """
    value = os.environ.get(variable)
    if not value:
        return default
    try:
        return Path(value).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself; nobody's ~; a NUL
        raise ReidlabError(
            f"{variable} is {value!r}, which names no place: {error}. Set it to a folder."
        ) from error


def results(profile: str) -> Path:
    """Folder of a profile's regenerated results; ``REIDLAB_RESULTS`` moves the whole tree."""
    base = from_env("REIDLAB_RESULTS", ROOT / "results")
    assert base is not None
    return base / profile


def cache() -> Path:
    """Folder for what can be made again (decoded images, generated data); ``REIDLAB_CACHE``."""
    folder = from_env("REIDLAB_CACHE", ROOT / ".cache")
    assert folder is not None
    return folder


def data_root() -> Path | None:
    """Folder of the real data sets and weights, from ``REIDLAB_DATA``; None when not set."""
    return from_env("REIDLAB_DATA")


def stamp() -> str:
    """What stands in the folder of the real data: names, sizes and times, two folders deep.

    It changes when files there are changed, added or replaced, and when another folder is named.
    """
    root = data_root()
    if root is None or not root.exists():
        return ""
    files = sorted([root, *root.glob("*"), *root.glob("*/*"), *root.glob("*/*/*")])
    seen = [f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(seen).encode("utf-8", "surrogateescape")).hexdigest()[:16]
