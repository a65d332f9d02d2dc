"""Which files of this package a notebook or module rests on, so that only what changed is redone.

A training rests on what ``reidlab/training/loop.py`` imports, directly or through others: a
change of a figure's colours is none of its business. The imports are read, not executed.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from reidlab.common import paths

PACKAGES = ("reidlab", "pedestrians")


def imported_by(*files: Path) -> list[Path]:
    """Every file of this package that the given files import, at any remove.

    Args:
        files: modules (.py, themselves part of the answer) or notebooks (.ipynb, which are not).

    Returns:
        Sorted paths below :data:`reidlab.common.paths.ROOT`.
    """
    found: set[Path] = set()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        if file.suffix == ".py":
            found.add(file)
        waiting += [path for path in _imports(file) if path not in found]
    return sorted(found)


def code_hash(files: list[Path]) -> str:
    """Hash of what the files do: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(paths.ROOT).as_posix().encode())
        digest.update(ast.dump(_without_docstrings(ast.parse(file.read_text()))).encode())
    return digest.hexdigest()[:16]


def _imports(file: Path) -> Iterator[Path]:
    if file.name == "__init__.py" and "import_module(" in _code(file):
        yield from file.parent.rglob("*.py")  # any of them, by its name
    for node in ast.walk(ast.parse(_code(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from _files(node.module or "")
            for alias in node.names:  # each may be a module of the package
                yield from _files(f"{node.module}.{alias.name}")


def _code(file: Path) -> str:
    if file.suffix == ".py":
        return file.read_text()
    cells = json.loads(file.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def _files(module: str) -> Iterator[Path]:
    """The file of a dotted name, and the packages around it, which are imported with it."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return
    for length in range(1, len(parts) + 1):
        place = paths.ROOT.joinpath(*parts[:length])
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield file


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree
