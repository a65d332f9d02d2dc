"""The house: which room may import which, read from the code, and the map in the README."""

import ast
import re

import pytest

from reidlab.common import paths

#: Room -> the rooms that it may import. Nothing points upwards: there is no circle.
MAY_IMPORT = {
    "common": "",
    "pedestrians": "",
    "recipe": "common",
    "losses": "common",
    "data": "common recipe pedestrians",
    "models": "common recipe",
    "metrics": "common recipe data",
    "runs": "common recipe models metrics",
    "statistics": "common recipe models metrics runs",
    "evaluation": "common recipe data models metrics runs statistics",
    "training": "common recipe data models losses metrics runs evaluation",
    "verification": "common recipe data models metrics runs evaluation",
    "pictures": "common recipe data models metrics runs evaluation verification",
    "plots": "common recipe losses data metrics statistics evaluation verification",
    "study": "common recipe data models metrics runs evaluation training statistics plots",
    "__main__": "common recipe data evaluation pictures study",
}
FILES = sorted(
    [*(paths.ROOT / "reidlab").rglob("*.py"), *(paths.ROOT / "pedestrians").rglob("*.py")]
)


def room(parts):
    """The room of a module by the parts of its dotted name."""
    return parts[0] if parts[0] == "pedestrians" else (parts[1] if len(parts) > 1 else "reidlab")


def imported(file):
    """Dotted names of this project's modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            if node.module == "reidlab":
                yield from (f"reidlab.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(paths.ROOT)))
def test_imports_point_one_way(file):
    parts = file.relative_to(paths.ROOT).with_suffix("").parts
    own = room(parts)
    if own in ("reidlab", "__init__"):
        return
    for name in imported(file):
        if name.split(".")[0] in ("reidlab", "pedestrians"):
            other = room(name.split("."))
            assert other == own or other in MAY_IMPORT[own].split(), f"{own} imports {name}"


def test_the_table_has_no_circle():
    order = list(MAY_IMPORT)
    for own, others in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(own) for other in others.split())


def test_recipes_are_made_without_torch():
    for file in (paths.ROOT / "reidlab" / "recipe").glob("*.py"):
        assert not {"torch", "pandas", "numpy"} & set(imported(file))


def test_the_map_in_the_readme_is_the_tree():
    text = (paths.ROOT / "README.md").read_text()
    listed = set(re.findall(r"(?m)^ {4,}(?:reidlab/)?([a-z_]+)/ ", text))
    rooms = {one.parent.name for one in (paths.ROOT / "reidlab").glob("*/__init__.py")}
    assert rooms <= listed, f"the README's map lacks {sorted(rooms - listed)}"
    tops = {"notebooks", "studies", "reidlab", "pedestrians", "results", "benchmarks", "tests"}
    assert tops <= listed
    for name in listed - rooms:
        assert (paths.ROOT / name).is_dir() or (paths.ROOT / "reidlab/data" / name).is_dir(), name


def test_the_tests_mirror_the_rooms():
    rooms = {one.parent.name for one in (paths.ROOT / "reidlab").glob("*/__init__.py")}
    folders = {one.name for one in (paths.ROOT / "tests").iterdir() if one.is_dir()}
    assert folders - {"__pycache__"} == (rooms | {"pedestrians"})
