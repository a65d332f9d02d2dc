"""Carrying out a study: its data, its runs, its graph."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from reidlab.common import paths
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.common.locks import alone
from reidlab.recipe.study import load
from reidlab.study import steps
from reidlab.study.notebooks import check_notebooks
from reidlab.study.sources import imported_by

SMALL = """
from reidlab.recipe import Study

study = Study("d", keep=KEEP)
base = study.run(
    "base", dataset="synthetic-tiny-a", height=32, width=16, epochs=0, pad=0, seeds=[2, 1]
)
study.run("after", base, start=base)
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Makes a study of two runs with two seeds each, that only evaluate."""
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))

    def make(text=SMALL, keep=False):
        (tmp_path / "mine.py").write_text(text.replace("KEEP", str(keep)))
        monkeypatch.setattr(steps, "load", lambda name: load(name, tmp_path))
        return load("mine", tmp_path)

    return make


def test_real_data_are_asked_for_before_anything_starts(tmp_path, monkeypatch):
    study = load("market1501")
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    with pytest.raises(StudyError, match=r"needs market1501.*make study PROFILE=market1501 DATA="):
        steps.require_data(study)
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(StudyError, match=r"looked in .*nowhere, which does not exist"):
        steps.require_data(study)
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"market1501 was not found.*{tmp_path}"):
        steps.require_data(study)
    steps.require_data(load("embedded"))  # needs none


def test_missing_checkpoint_is_named(tmp_path, monkeypatch, small):
    text = SMALL.replace('"base", dataset', '"base", start="reid:FILE", dataset')
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path))
    with pytest.raises(StudyError, match=f"checkpoint {tmp_path}/w/a.pth, which is missing"):
        steps.require_data(small(text.replace("FILE", "$DATA/w/a.pth")))
    # A relative name starts in notebooks/, where the training runs, and needs no data root.
    monkeypatch.delenv("REIDLAB_DATA")
    with pytest.raises(StudyError, match=r"checkpoint .*/notebooks/b.pth, .*studies/mine.py"):
        steps.require_data(small(text.replace("FILE", "b.pth")))


def test_runs_are_trained_where_they_are_missing_and_only_there(small):
    study = small()
    found = steps.runs("mine", ["after"])  # trains its source first
    assert [run.seed for run in found["after"]] == [2, 1]
    folders = [steps.run_folder("mine", "base", seed) for seed in (2, 1)]
    files = [folder / "metrics.json" for folder in folders]
    before = [file.stat().st_mtime_ns for file in files]
    base = steps.runs("mine", ["base", "after"])["base"]
    assert [file.stat().st_mtime_ns for file in files] == before
    # After its own seed: the same network, evaluated twice.
    assert [run.metrics for run in base] == [run.metrics for run in found["after"]]
    assert base[0].metrics != base[1].metrics and base[0].name == "base"
    assert [one["epochs"] for one in found["after"][0].lineage()] == [0, 0]
    marks = sorted(study.results.glob(".done/run/*/*"))
    assert [mark.relative_to(study.results / ".done/run").as_posix() for mark in marks] == [
        "after/1", "after/2", "base/1", "base/2",
    ]  # fmt: skip

    # As after a clone: scores are in git, weights are not.
    (folders[0] / "model.safetensors").unlink()
    assert steps.runs("mine", ["base"])["base"][0].metrics == base[0].metrics
    assert files[0].stat().st_mtime_ns == before[0]
    assert steps.network("mine", "base").metrics == base[0].metrics  # digit for digit
    assert (folders[0] / "model.safetensors").is_file()
    assert files[0].stat().st_mtime_ns > before[0]
    with pytest.raises(StudyError, match=r"run 'c' is not known"):
        steps.runs("mine", ["c"])


def test_runs_that_take_hours_are_asked_for_and_not_trained_in_passing(small):
    study = small(keep=True)
    with pytest.raises(StudyError, match=r"Not trained yet: after \(seed 2\), after \(seed 1\)"):
        steps.runs("mine", ["after"])
    steps.train(study, "after", 2)
    weights = steps.run_folder("mine", "after", 2) / "model.safetensors"
    weights.unlink()  # as after a clone: its scores count
    before = weights.with_name("metrics.json").stat().st_mtime_ns
    steps.train(study, "after", 2)
    assert weights.with_name("metrics.json").stat().st_mtime_ns == before


def test_a_table_shows_the_rows_that_are_whole_and_counts_what_the_others_lack(small):
    study = small(keep=True)
    rows = {"first": "base", "same again": "base", "second": "after"}
    assert steps.whole("mine", rows) == ({}, 4)
    steps.train(study, "after", 2)  # and its source with that seed
    assert steps.whole("mine", rows) == ({}, 2)
    steps.train(study, "base", 1)
    shown, missing = steps.whole("mine", rows)
    assert list(shown) == ["first", "same again"] and missing == 1
    assert [run.seed for run in shown["first"]] == [2, 1]


@pytest.mark.parametrize("change", ["setting", "code", "start", "note", "weights", "images"])
def test_a_run_makes_room_when_what_it_rests_on_has_changed(small, monkeypatch, change):
    study = small()
    folder = steps.run_folder("mine", "after", 2)
    steps.train(study, "after", 2)
    steps.train(study, "after", 2)
    assert not (study.results / ".replaced").exists()
    if change == "setting":
        study = small(SMALL.replace("start=base", "start=base, flip_test=True"))
    elif change == "code":
        monkeypatch.setattr(steps, "code_hash", lambda files: "other")
    elif change == "start":
        note = json.loads((folder / steps.RESTS_ON).read_text())
        (folder / steps.RESTS_ON).write_text(json.dumps(note | {"start": "other"}))
    elif change == "note":  # cut by a full disk
        (folder / steps.RESTS_ON).write_text("")
    elif change == "weights":  # they are not in git: a fresh clone lacks them
        (folder / "model.safetensors").unlink()
    else:
        provenance = json.loads((folder / "provenance.json").read_text())
        provenance["dataset_fingerprint"] = "other"
        (folder / "provenance.json").write_text(json.dumps(provenance))
    steps.train(study, "after", 2)
    assert (study.results / ".replaced" / "after" / "seed-2" / "metrics.json").is_file()
    assert (folder / "metrics.json").is_file()


def test_notebooks_are_held_against_their_parameters(small):
    for line, complaint in (
        ('study.notebook("99-none")', r"line 9: There is no notebook"),
        ('study.notebook("06-retrieval", runn="base")', r"line 9: .* has no parameter 'runn'"),
        ('study.notebook("06-retrieval", top="10")', r"line 9: .*top = '10': expected int"),
    ):
        with pytest.raises(StudyError, match=complaint):
            check_notebooks(small(f"{SMALL}{line}\n"))
    check_notebooks(small(f'{SMALL}study.notebook("06-retrieval", run=base, quantiles=[1])\n'))


def test_a_study_that_is_being_made_is_not_made_twice(small):
    study = small()
    refused = pytest.raises(ReidlabError, match=f"process {os.getpid()} on .* is at it")
    with alone(study.results, "making it"), refused:
        steps.make(study, cores=1)


# The graph.


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout whose smoke results look finished, to plan in without training."""
    for name in ("reidlab", "pedestrians", "studies", "notebooks"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=lambda *_: {"__pycache__"})
    shutil.copy(paths.ROOT / "Snakefile", tmp_path)
    results = tmp_path / "results" / "smoke"
    files = [f".done/{mark}" for mark in [*everything(), "report"]]
    files += [f"notebooks/{name}.ipynb" for name in load("smoke").notebooks]
    for file in files:
        (results / file).parent.mkdir(parents=True, exist_ok=True)
        (results / file).write_text(file)
    shutil.copy(paths.ROOT / "results" / "published.csv", results.parent)
    return tmp_path


def everything():
    """All steps of the smoke study, as the graph marks them."""
    study = load("smoke")
    found = [f"data/{name}" for name in study.datasets]
    found += [f"run/{name}/{seed}" for name, run in study.runs.items() for seed in run.seeds]
    return found + [f"notebook/{name}" for name in study.notebooks]


def snakemake(folder, *arguments):
    """Run Snakemake on that copy of the checkout; the jobs that it names."""
    environment = {key: value for key, value in os.environ.items() if "REIDLAB" not in key}
    environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, "-m", "snakemake", "--config", "profile=smoke", "--cores", "1"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    jobs = re.findall(r"(?m)^Job \d+: (\w+) ([\w-]+)(?:, seed (\d+))?$", text)
    return sorted("/".join(filter(None, job)) for job in jobs)


def test_graph_covers_the_study_and_redoes_only_what_has_changed(checkout):
    assert snakemake(checkout, "--touch", "--forceall") == sorted(everything())

    file = checkout / "studies" / "smoke.py"
    text = file.read_text()
    changed = text.replace('"b-none", a_none,', '"b-none", a_none, lr=0.001,')
    assert changed != text
    file.write_text(changed)
    with open(checkout / "reidlab" / "evaluation" / "difficulty.py", "a") as stream:
        stream.write("# changed\n")

    runs = {"b-none", "b-on-a", "b-to-a"}  # the one that was changed, and what starts from it
    expected = {f"run/{name}/0" for name in runs}
    difficulty = paths.ROOT / "reidlab" / "evaluation" / "difficulty.py"
    for name, planned in load("smoke").notebooks.items():
        code = imported_by(paths.NOTEBOOKS / f"{name}.ipynb")
        if runs & set(planned.needs) or difficulty in code:
            expected.add(f"notebook/{name}")
    assert "notebook/06-retrieval" not in expected  # so the check below can fail
    assert snakemake(checkout, "--dry-run") == sorted(expected)
