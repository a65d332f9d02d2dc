"""The guard: no photograph of a person in what git keeps, or is about to.

Pictures are let in by what they say of themselves and not kept out by how they look: a figure of
the house notes whether it is a chart or shows generated people (:mod:`reidlab.plots.style`).
Whatever else is a picture, or could hold one, is named.
"""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from PIL import Image

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError
from reidlab.plots.style import CHART, GENERATED, NOTE
from reidlab.recipe.study import load

#: Files that are no text, and why they are known to show nobody.
KNOWN = {
    "results/*/runs/*/per_query.parquet": "numbers",
    "results/benchmarks/*.png": "charts",
    "reidlab/weights/*.safetensors": "weights, of generated people",
    "results/embedded/runs/a-none/*/model.safetensors": "weights, of generated people",
    "reidlab/data/frost/*": "ice on glass, laid over images",
    "tests/data/corruptions.npz": "noise",
}
_BASE64 = rb"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|AAAA[\w+/]{2,6}ZnR5c)[A-Za-z0-9+/]{60,}"
#: A picture written as text: in a page, a notebook, a widget's state.
IN_TEXT = re.compile(rb"data:image/(?!svg)[\w.+-]+;base64,[A-Za-z0-9+/]{60,}|" + _BASE64)


def require_none(staged: bool = False) -> int:
    """Look through the files that git keeps or would add; returns how many there are.

    Args:
        staged: look at what is about to be committed instead, as it is in git's index.

    Raises:
        StudyError: a picture that is not known to be a chart or to show generated people, a file
            that may hold one, or no git.
    """
    files = list(_staged() if staged else _kept())
    bad = [f"{name}: {why}" for name, content in files if (why := suspicion(name, content))]
    if bad:
        raise StudyError(
            "Photographs of people must not get into git, and these may be some:\n  "
            + "\n  ".join(bad)
            + "\nTake them out: git rm --cached FILE, and move data to my-data/, which git "
            "ignores. A notebook: clear its outputs, or python -m reidlab refresh NAME. A chart, "
            "or generated people: execute its notebook again, which notes that in the picture."
        )
    return len(files)


def suspicion(name: str, content: bytes) -> str | None:
    """Why a file may show a real person; None where it does not.

    Args:
        name: its path in the checkout.
        content: its bytes.
    """
    if name.endswith(".ipynb"):
        return _in_notebook(name, content)
    if _is_text(content):
        return "holds a picture, written as text" if IN_TEXT.search(content) else None
    if any(fnmatch(name, pattern) for pattern in KNOWN):
        return None
    if fnmatch(name, "results/*/figures/*.png"):
        return None if _ours(name) or _note(content) in _notes() else "a figure without a note"
    return "neither text nor of a kind that is known to show nobody"


def _in_notebook(name: str, content: bytes) -> str | None:
    try:
        notebook = json.loads(content)
        cells = enumerate(notebook["cells"], 1)
    except (ValueError, KeyError, TypeError):
        return "cannot be read as a notebook"
    own = _ours(name)
    for number, cell in cells:
        for output in cell.get("outputs", []):
            data, about = output.get("data", {}), output.get("metadata", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                if about.get(kind) in (CHART, GENERATED) or own:
                    del data[kind]
                elif kind != "image/svg+xml":
                    return f"a picture without a note in the output of cell {number}"
    if IN_TEXT.search(json.dumps(notebook).encode()):
        return "holds a picture outside the outputs of its cells, or in a page that one shows"
    return None


def _notes() -> set[str]:
    return {CHART[NOTE], GENERATED[NOTE]}


def _note(content: bytes) -> Any:
    try:
        return Image.open(io.BytesIO(content)).info.get(NOTE)
    except Exception:  # whatever Pillow makes of a file that is no image
        return None


def _ours(name: str) -> bool:
    """Whether a file belongs to the results of a study that has seen generated people only."""
    parts = name.split("/")
    if parts[0] != "results" or len(parts) < 3:
        return False
    try:
        return load(parts[1]).may_be_shown
    except ReidlabError:  # results of a study that is not here
        return False


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _kept() -> Iterator[tuple[str, bytes]]:
    for name in _names("ls-files", "--cached", "--others", "--exclude-standard"):
        file = paths.ROOT / name
        if file.is_file() and not file.is_symlink():  # git keeps a link's words only
            yield name, file.read_bytes()


def _staged() -> Iterator[tuple[str, bytes]]:
    for name in _names("diff", "--cached", "--name-only", "--diff-filter=d"):
        yield name, _git("show", f":{name}")


def _names(*command: str) -> list[str]:
    listed = _git(*command, "-z").decode(errors="surrogateescape")
    return sorted({name for name in listed.split("\0") if name})


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(paths.ROOT), capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise StudyError(
            f"git {arguments[0]} does not work in {paths.ROOT}, so nobody can say what would be "
            f"committed ({getattr(error, 'stderr', b'') or error})."
        ) from error
    return done.stdout
