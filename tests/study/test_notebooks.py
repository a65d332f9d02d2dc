"""The source notebooks: what nbval and the runner take for granted, and would not notice missing.

nbval never compares a cell that was saved without an execution count, so a cleared notebook
passes it in silence; and it runs the defaults only. Here each notebook is read, not run.
"""

import ast
import json
import re
from dataclasses import fields

import nbformat
import pytest

from reidlab.common import paths
from reidlab.plots.style import CHART, GENERATED
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.study import TRAINING, load, study_names
from reidlab.study.notebooks import check_notebooks, parameters_of

SOURCES = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
CHECKED = "nbval-check-output"

every_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def read(source):
    return nbformat.read(source, as_version=4)


def code_cells(source):
    return [cell for cell in read(source).cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs_text(notebook):
    """Everything that the outputs hold, as one text."""
    return json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])


def test_a_number_names_one_notebook():
    assert len(SOURCES) >= 13, f"found only {[path.name for path in SOURCES]}"
    for source in SOURCES:
        assert re.fullmatch(r"[0-9]{2}-[a-z0-9]+(-[a-z0-9]+)*\.ipynb", source.name)
    assert len({source.name[:2] for source in SOURCES}) == len(SOURCES)


@every_notebook
def test_first_cell_is_a_title(source):
    first = read(source).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@every_notebook
def test_parameters_are_literals_for_the_smoke_profile(source):
    parameters = parameters_of(source)  # raises unless there is one cell of name = literal
    assert parameters["profile"] == "smoke"


@every_notebook
def test_saved_outputs_are_one_clean_execution(source):
    counts = [cell.execution_count for cell in code_cells(source)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_checked_cells_have_something_to_check(source):
    checked = [cell for cell in code_cells(source) if CHECKED in tags(cell)]
    assert checked, f"no cell of {source.name} is tagged {CHECKED}"
    for cell in checked:
        texts = [
            output.get("text") or output.get("data", {}).get("text/plain")
            for output in cell.outputs
        ]
        assert any(texts), f"nothing to compare with in:\n{cell.source}"
        assert not any(output.output_type == "error" for output in cell.outputs)


@every_notebook
def test_no_cell_switches_nbval_off(source):
    for cell in code_cells(source):
        assert not {"nbval-skip", "nbval-raises-exception", "raises-exception"} & set(tags(cell))
        assert "NBVAL_" not in cell.source


@every_notebook
def test_outputs_hold_no_warning_and_no_path_of_a_machine(source):
    notebook = read(source)
    text = outputs_text(notebook)
    assert str(paths.ROOT) not in text
    assert not re.search(r"/(home|root|Users|tmp|private|var)/\w", text)
    for cell in code_cells(source):
        assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.source


@every_notebook
def test_python_of_a_cell_stays_short_and_helpers_stay_in_the_package(source):
    for cell in code_cells(source):
        assert len(cell.source.splitlines()) <= 40, cell.source
        magics = [line for line in cell.source.splitlines() if line.startswith(("%", "!"))]
        assert not magics, magics
        assert not any(isinstance(node, ast.ClassDef) for node in ast.parse(cell.source).body)


def test_no_two_notebooks_write_the_same_file():
    writers = {}
    for source in SOURCES:
        for cell in read(source).cells:
            for folder, name in re.findall(r'results\.(\w+)\([^"]*?"([^"]+)"\)', cell.source):
                writers.setdefault((folder, name), set()).add(source.stem)
    assert len(writers) > 30
    assert {file: names for file, names in writers.items() if len(names) > 1} == {}


def test_training_notebook_takes_every_setting_of_a_run():
    parameters = parameters_of(paths.NOTEBOOKS / f"{TRAINING}.ipynb")
    assert set(parameters) >= {"profile", "run", *(field.name for field in fields(TrainConfig))}


@pytest.mark.parametrize("profile", study_names())
def test_studies_set_only_parameters_that_their_notebooks_have(profile):
    check_notebooks(load(profile))


def test_studies_execute_every_notebook():
    names = {source.stem for source in SOURCES}
    for profile in ("smoke", "embedded", "market1501"):
        assert set(load(profile).notebooks) == names


@pytest.mark.parametrize("name", ["smoke"])
def test_defaults_are_those_of_the_smoke_study(name):
    """A notebook that is opened and run shows what `make smoke` has made."""
    study = load(name)
    for notebook in study.notebooks:
        defaults = parameters_of(paths.NOTEBOOKS / f"{notebook}.ipynb")
        assert {**defaults, **study.parameters(notebook)} == defaults


RESULTS = sorted((paths.ROOT / "results").rglob("*.ipynb"))


@pytest.mark.parametrize(
    "result", RESULTS, ids=lambda path: path.relative_to(paths.ROOT / "results").as_posix()
)
def test_results_hold_no_path_of_a_machine_and_no_error(result):
    notebook = read(result)
    text = json.dumps(notebook)
    assert str(paths.ROOT) not in text
    assert '"output_type": "error"' not in text
    assert "papermill" not in notebook.metadata


def test_results_on_real_people_hold_no_photograph():
    """A notebook on real data keeps charts and pictures of generated people, which say so."""
    notebooks = [path for path in RESULTS if "market1501" in path.parts]
    if not notebooks:
        pytest.skip("results/market1501 holds no notebooks")
    for path in notebooks:
        for cell in read(path).cells:
            for output in cell.get("outputs", []):
                for kind in output.get("data", {}):
                    about = output.get("metadata", {}).get(kind)
                    known = (kind, about) in (("image/png", CHART), ("image/jpeg", GENERATED))
                    assert known or not kind.startswith("image/"), f"{path.name}: {cell.source}"
                assert "data:image" not in json.dumps(output), cell.source
