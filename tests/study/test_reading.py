"""Reading finished results: every notebook on those in the repository, and nothing is trained."""

import shutil
import subprocess

import nbformat
import pytest

from reidlab import study
from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.recipe.study import DEFAULTS, load, study_names
from reidlab.runs.folder import HASHED, WEIGHTS
from reidlab.study import steps
from reidlab.study.notebooks import parameters_of, planned
from reidlab.training import loop

NOTEBOOKS = sorted(file.stem for file in paths.NOTEBOOKS.glob("[0-9]*.ipynb"))


def defaults(name, **changes):
    return parameters_of(paths.NOTEBOOKS / f"{name}.ipynb") | changes


def test_another_profile_brings_what_its_study_sets():
    given = defaults("10-tricks", profile="embedded")
    values = {"profile": "embedded"} | planned("10-tricks", given)
    assert values == load("embedded").parameters("10-tricks")
    given = defaults("10-tricks")
    assert given | planned("10-tricks", given) == given


def test_what_somebody_has_chosen_stays():
    given = defaults("05-comparison", profile="embedded", first="a-synthetic")
    assert "first" not in planned("05-comparison", given)
    given = defaults("03-training", profile="embedded", run="a-to-b", lr=0.5)
    values = planned("03-training", given)
    assert values["init"] == "run:a-none" and values["height"] == 128 and "lr" not in values
    with pytest.raises(StudyError, match="'a-nome' is not known"):
        planned("03-training", given | {"run": "a-nome"})


def test_a_study_without_the_notebook_sets_nothing():
    assert planned("10-tricks", defaults("10-tricks", profile="pretrain")) == {}


@pytest.mark.parametrize("profile", study_names())
def test_defaults_hold_every_parameter_that_a_study_sets(profile):
    """Or nobody could tell whether it was left as it is."""
    for name in load(profile).notebooks:
        assert set(load(profile).parameters(name)) <= set(load(DEFAULTS).parameters(name)), name


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The committed results as a fresh clone has them, somebody who reads, and no training."""
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("REIDLAB_BATCH")
    tracked = ["git", "ls-files", "-z", "results/*/runs/*"]
    listed = subprocess.run(tracked, cwd=paths.ROOT, capture_output=True, check=True).stdout
    for relative in filter(None, listed.decode().split("\0")):
        file = paths.ROOT / relative
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / relative)

    def refuse(*arguments):
        raise AssertionError("nothing may be trained here")

    monkeypatch.setattr(loop, "_Training", refuse)
    return tmp_path / "results"


def execute(name, **changes):
    """Run the code cells of a notebook here and now; returns its variables."""
    cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    shown = {"display": lambda *shown: None}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, shown)
        if "parameters" in cell.metadata.get("tags", []):
            shown |= changes
    return shown


#: Where corrupted images are not measured yet they are here, and a few will do.
SMALLER = {"17-corruptions": dict(repeats=1, row_repeats=1, severities=[5], people=0.02)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_reads_the_results_of_the_repository(clone, name):
    kept = {"config.json", "metrics.json", "provenance.json", *HASHED}
    files = [file for file in clone.rglob("*") if file.name in kept]
    before = {file: file.read_bytes() for file in files}
    assert len(before) > 80
    execute(name, profile="embedded", **SMALLER.get(name, {}))
    assert all(file.read_bytes() == content for file, content in before.items())
    assert {file for file in clone.rglob("*") if file.name in kept} == set(before)


def test_what_is_missing_is_said_where_it_is(clone):
    folder = steps.run_folder("embedded", "a-none")
    (folder / WEIGHTS).unlink(missing_ok=True)
    assert study.runs("embedded", ["a-none"])["a-none"][0].metrics["mAP"] > 50
    with pytest.raises(StudyError) as error:
        study.network("embedded", "a-none")
    assert str(folder / WEIGHTS) in str(error.value)
    assert "python -m reidlab run embedded a-none --weights" in str(error.value)
    (folder / "metrics.json").unlink()
    with pytest.raises(StudyError, match=r"Not trained yet: a-none .*git restore"):
        study.runs("embedded", ["a-none"])
    (folder.with_name("seed-0") / "config.json").unlink()
    with pytest.raises(StudyError, match=r"a-on-b|a-none"):
        execute("04-cross-dataset", profile="embedded")
