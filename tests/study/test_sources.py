"""Which files a training and a notebook rest on."""

import nbformat
import pytest
from nbformat import v4

from reidlab.common import paths
from reidlab.study.sources import code_hash, imported_by


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four modules: train imports data, which imports lazily; plots stands apart."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    files = {
        "__init__.py": "",
        "train.py": '"""Docstring."""\nfrom reidlab import data\nx = 1\n',
        "data/__init__.py": "def load():\n    from reidlab.data.reader import read\n    read()\n",
        "data/reader.py": "import json\nimport reidlab.errors\n",
        "errors.py": "",
        "plots.py": "from reidlab import train\n",
    }
    for name, text in files.items():
        file = tmp_path / "reidlab" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "reidlab"


def test_imports_are_followed_to_the_end(package):
    names = [path.relative_to(package).as_posix() for path in imported_by(package / "train.py")]
    assert names == ["__init__.py", "data/__init__.py", "data/reader.py", "errors.py", "train.py"]


def test_notebook_rests_on_what_its_cells_import(package, tmp_path):
    cells = [v4.new_markdown_cell("import x"), v4.new_code_cell("from reidlab import errors")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "01-x.ipynb")
    names = [path.name for path in imported_by(tmp_path / "01-x.ipynb")]
    assert names == ["__init__.py", "errors.py"]


def test_hash_changes_with_what_the_code_does_and_with_nothing_else(package):
    train, plots = package / "train.py", package / "plots.py"

    def current():
        return code_hash(imported_by(train))

    before = current()
    plots.write_text("y = 2\n")
    train.write_text('"""Another."""\n\n\nfrom reidlab import data  # why\n\nx =  1\n')
    assert current() == before
    train.write_text("from reidlab import data\nx = 2\n")
    assert current() != before


def test_training_does_not_rest_on_figures_or_the_runner():
    names = {file.name for file in imported_by(paths.ROOT / "reidlab" / "training" / "loop.py")}
    assert {"loop.py", "osnet.py", "losses.py", "scores.py", "market1501.py"} <= names
    assert not {"steps.py", "style.py", "results.py", "notebooks.py"} & names
