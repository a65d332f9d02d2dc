"""The strict notebook runner: what it refuses, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import nbformat
import pytest
from nbformat import v4

from reidlab.common.errors import StudyError
from reidlab.study.notebooks import _batch_environment, failures, parameters_of, run_notebook
from tests.common.test_lifeline import gone, is_alive


def write_notebook(file, *sources, parameters="epochs = 2\nname: str = 'x'", kernel="gone"):
    """A notebook of a title, a parameters cell and code cells; recorded on a kernel of old."""
    cells = [v4.new_markdown_cell("# Title")]
    if parameters is not None:
        cells.append(v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)
    return file


def texts(file):
    """The text outputs of an executed notebook, cell by cell."""
    return [
        "".join(output.get("text") or output.data["text/plain"] for output in cell.outputs)
        for cell in nbformat.read(file, as_version=4).cells
        if cell.cell_type == "code"
    ]


def test_relative_folders_are_the_same_for_the_kernel_which_runs_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REIDLAB_RESULTS", "out")
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    with _batch_environment():
        assert os.environ["REIDLAB_RESULTS"] == str(tmp_path / "out")
        assert "REIDLAB_DATA" not in os.environ
    assert os.environ["REIDLAB_RESULTS"] == "out"


# Refusals, which need no kernel.


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (None, "has 0 cells tagged 'parameters'"),
        ("a = 1\nb = a * 2", "'b = a * 2' is not of the form name = literal"),
        ("a = 1\nimport os", "found 'import os'"),
        ("a = b = 1", "is not of the form name = literal"),
        ("a: int", "only name = literal"),
        ("a = = 1", "parameters cell"),
    ],
)
def test_parameters_cell_holds_literals(tmp_path, parameters, complaint):
    source = write_notebook(tmp_path / "01-x.ipynb", parameters=parameters)
    with pytest.raises(StudyError, match=r"01-x.ipynb") as error:
        parameters_of(source)
    assert complaint in str(error.value)


def test_parameters_and_defaults_are_read(tmp_path):
    source = write_notebook(
        tmp_path / "x.ipynb", parameters="# why\na: float = -1e-3  # unit\nb = ['c', None]"
    )
    assert parameters_of(source) == {"a": -1e-3, "b": ["c", None]}


def test_two_parameters_cells_are_refused(tmp_path):
    source = write_notebook(tmp_path / "x.ipynb", "b = 1")
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, source)
    with pytest.raises(StudyError, match="has 2 cells tagged"):
        run_notebook(source, tmp_path / "out.ipynb")


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    source = write_notebook(tmp_path / "x.ipynb", "open('ran', 'w')")
    with pytest.raises(StudyError, match=r"no parameter 'epoch'. Did you mean epochs\?"):
        run_notebook(source, tmp_path / "out.ipynb", {"epoch": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["x.ipynb"]


def test_missing_and_broken_notebooks_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"There is no notebook .*x.ipynb"):
        run_notebook(tmp_path / "x.ipynb", tmp_path / "out.ipynb")
    (tmp_path / "x.ipynb").write_text("{not json")
    with pytest.raises(StudyError, match=r"x.ipynb is not a notebook"):
        run_notebook(tmp_path / "x.ipynb", tmp_path / "out.ipynb")


# Executions.


def test_execution_takes_parameters_folder_and_interpreter(tmp_path):
    source = write_notebook(
        tmp_path / "notebooks" / "01-x.ipynb",
        "import os, sys, logging, warnings, matplotlib.pyplot as plt",
        "print(epochs, name, os.getcwd(), sys.executable)",
        "logging.getLogger('reidlab.x').info('progress'); warnings.warn('careful')",
        "from reidlab.plots.style import new_figure, plain_image, use_style; use_style()",
        "figure, axes = new_figure(1); axes.plot([1, 2]); figure",
        "import numpy; photograph = numpy.zeros((2, 2, 3), 'uint8')",
        "figure, axes = new_figure(1); plain_image(axes, photograph).figure",
        "figure, axes = new_figure(1); axes.imshow(photograph); figure",
        "plt.imshow(photograph[..., 0]);",
    )
    before = source.read_bytes()
    first, second = tmp_path / "out" / "1.ipynb", tmp_path / "out" / "2.ipynb"
    run_notebook(source, first, {"epochs": 3})
    run_notebook(source, second, {"epochs": 3}, pictures=False)
    assert texts(first)[3].split() == ["3", "x", str(source.parent), sys.executable]
    assert source.read_bytes() == before
    assert os.environ.get("REIDLAB_BATCH") == "1"  # conftest's value is back
    # Progress and warnings are shown while it runs, and are not part of the result.
    assert texts(first)[4] == ""
    assert "papermill" not in first.read_text()
    # The house's figures with pictures that may be photographs are in no notebook.
    one, two = (nbformat.read(file, as_version=4) for file in (first, second))
    for index in (-3, -2):
        data = one.cells[index].outputs[-1].data
        assert "shown on screen only" in data["text/html"]
        assert not any(kind.startswith("image/") for kind in data)
    # Apart from those of pyplot, the second execution gives the same bytes.
    assert "image/png" in one.cells[-1].outputs[-1].data
    assert two.cells[-1].outputs[-1].data == {
        "text/plain": "(picture left out: made from research data)"
    }
    assert "image/png" in two.cells[-5].outputs[-1].data, "a chart stays"
    del one.cells[-1:], two.cells[-1:]
    assert one == two


def test_progress_is_shown_while_the_cell_runs(tmp_path):
    seen = tmp_path / "seen"

    class Terminal:
        text = ""

        def writelines(self, lines):
            self.text += "".join(lines)
            if "epoch 1" in self.text:
                seen.touch()

        def flush(self):
            pass

    # The cell ends well only if its first line has come through before.
    source = write_notebook(
        tmp_path / "03-x.ipynb",
        "import logging, time, pathlib\n"
        "logging.getLogger('reidlab.training.loop').info('epoch 1')\n"
        "deadline = time.time() + 30\n"
        f"while not pathlib.Path({str(seen)!r}).exists():\n"
        "    assert time.time() < deadline\n"
        "    time.sleep(0.05)\n",
    )
    terminal = Terminal()
    run_notebook(source, tmp_path / "out.ipynb", stream=terminal)
    assert terminal.text == "[03-x] epoch 1\n"


def test_failing_cell_is_named_and_leaves_no_half_written_result(tmp_path):
    source = write_notebook(tmp_path / "01-x.ipynb", "a = 1", "{}['key']", "b = 1")
    output, failed = tmp_path / "out.ipynb", tmp_path / "out.failed.ipynb"
    output.write_text("of an earlier execution")
    with pytest.raises(StudyError, match=r"01-x.ipynb failed in cell 4 of 5: KeyError") as error:
        run_notebook(source, output, {"epochs": 3})
    assert str(failed) in str(error.value)
    assert failures(tmp_path) == {failed: str(error.value).splitlines()[0]}
    assert output.read_text() == "of an earlier execution"
    assert "KeyError" in failed.read_text()
    run_notebook(write_notebook(source, "a = 1"), output)
    assert not failed.exists()


def test_hanging_cell_is_stopped(tmp_path):
    source = write_notebook(tmp_path / "01-x.ipynb", "import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(StudyError, match="cell 3 of 3: CellTimeoutError"):
        run_notebook(source, tmp_path / "out.ipynb", timeout=1)
    assert time.monotonic() - start < 30
    assert not (tmp_path / "out.ipynb").exists()


def test_dead_kernel_is_an_error(tmp_path):
    source = write_notebook(tmp_path / "01-x.ipynb", "import os; os._exit(9)")
    with pytest.raises(StudyError, match="cell 3 of 3: DeadKernelError"):
        run_notebook(source, tmp_path / "out.ipynb", timeout=20)


def test_somebody_stops_it_and_no_cell_has_failed(tmp_path):
    source = write_notebook(tmp_path / "01-x.ipynb", "import os; os.kill(os.getpid(), 2)")
    with pytest.raises(KeyboardInterrupt):
        run_notebook(source, tmp_path / "out.ipynb", timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["01-x.ipynb"]


def test_temporary_files_may_lie_deep(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 82)  # the path of a socket has 107 bytes at most
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    source = write_notebook(tmp_path / "01-x.ipynb", "print(name)")
    assert texts(run_notebook(source, tmp_path / "out.ipynb"))[-1] == "x\n"
    assert not list(deep.iterdir())


def test_a_kernel_ends_with_its_runner(tmp_path):
    note = tmp_path / "pid"
    source = write_notebook(
        tmp_path / "01-x.ipynb",
        f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid()))",
        "while True: pass",
    )
    code = "import sys, pathlib; from reidlab.study.notebooks import run_notebook\n"
    code += "run_notebook(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out.ipynb")]
    runner = subprocess.Popen(command)
    end = time.monotonic() + 120
    while not (note.exists() and note.read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    kernel = int(note.read_text())
    assert is_alive(kernel)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert gone(kernel)
