"""Running a profile: its data, its runs, its graph."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from reidlab.common import paths
from reidlab.common.errors import DataError, StudyError
from reidlab.study import steps as study
from reidlab.study.profiles import load_profile
from reidlab.study.sources import imported_by


def test_real_data_are_asked_for_before_anything_starts(tmp_path, monkeypatch):
    profile = load_profile("market1501")
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    with pytest.raises(
        StudyError, match=r"needs market1501.*make study PROFILE=market1501 DATA=/"
    ):
        study.require_data(profile)
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(StudyError, match=r"looked in .*nowhere, which does not exist"):
        study.require_data(profile)
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"market1501 was not found.*{tmp_path}"):
        study.require_data(profile)
    study.require_data(load_profile("embedded"))  # needs none


def test_missing_checkpoint_is_named(tmp_path, monkeypatch):
    text = "datasets: [synthetic-tiny-a]\nruns: {x: {dataset: synthetic-tiny-a, init: INIT}}"
    (tmp_path / "mine.yaml").write_text(text.replace("INIT", "'reid:$DATA/w/a.pth'"))
    monkeypatch.setenv("REIDLAB_DATA", str(tmp_path))
    profile = load_profile("mine", tmp_path)
    with pytest.raises(StudyError, match=f"checkpoint {tmp_path}/w/a.pth, which is missing"):
        study.require_data(profile)
    # A relative name starts in notebooks/, where the training runs, and needs no data root.
    monkeypatch.delenv("REIDLAB_DATA")
    (tmp_path / "mine.yaml").write_text(text.replace("INIT", "'reid:b.pth'"))
    with pytest.raises(StudyError, match=r"checkpoint .*/notebooks/b.pth, .*config/mine.yaml\.$"):
        study.require_data(load_profile("mine", tmp_path))


def test_ensure_runs_trains_what_is_missing_and_only_that(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    (run,) = study.ensure_runs("smoke", ["a-on-b"])  # trains its source first
    source = study.run_folder("smoke", "a-none")
    assert run.path == study.run_folder("smoke", "a-on-b")
    assert run.config == study.run_configs("smoke")["a-on-b"]
    assert sorted(path.name for path in source.parent.iterdir()) == ["a-none", "a-on-b"]

    metrics = source / "metrics.json"
    before, scores = metrics.stat().st_mtime_ns, json.loads(metrics.read_text())
    study.ensure_runs("smoke", ["a-none", "a-on-b"])
    assert metrics.stat().st_mtime_ns == before

    # As after a clone: scores are in git, weights are not.
    (source / "model.safetensors").unlink()
    study.ensure_runs("smoke", ["a-none"])
    assert metrics.stat().st_mtime_ns == before
    study.ensure_runs("smoke", ["a-none"], weights=True)
    assert (source / "model.safetensors").is_file()
    assert json.loads(metrics.read_text()) == scores  # digit for digit

    with pytest.raises(StudyError, match=r"no run 'c'. It has: a-none"):
        study.ensure_runs("smoke", ["c"])


def test_family_is_trained_run_by_run_and_before_it_what_it_starts_from(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    text = """
    datasets: [synthetic-tiny-a]
    defaults: {dataset: synthetic-tiny-a, height: 32, width: 16, epochs: 0, pad: 0}
    runs:
      base: {seeds: [2, 1]}
      after: {like: base, init: "run:base"}
    """
    (tmp_path / "mine.yaml").write_text(text)
    profile = load_profile("mine", tmp_path)
    monkeypatch.setattr(study, "load_profile", lambda name: profile)
    study.train_run(profile, "after")
    made = sorted(folder.name for folder in (tmp_path / "mine" / "runs").iterdir())
    assert made == ["after-s1", "after-s2", "base-s1", "base-s2"]
    marks = sorted(mark.name for mark in (tmp_path / "mine" / ".done" / "run").iterdir())
    assert marks == made
    assert not (tmp_path / "mine" / "notebooks").exists()

    families = study.ensure_families("mine", ["after", "base-s1"])
    assert {name: [run.name for run in runs] for name, runs in families.items()} == {
        "after": ["after-s2", "after-s1"],
        "base-s1": ["base-s1"],
    }
    assert [run.config["seed"] for run in families["after"]] == [2, 1]
    base = study.ensure_runs("mine", ["base"])
    assert [run.metrics for run in base] == [run.metrics for run in families["after"]]
    assert base[0].metrics != base[1].metrics
    assert study.ensure_runs("mine") == []  # families are asked for by name
    with pytest.raises(StudyError, match=r"no run 'c'\. It has: base, after"):
        study.ensure_families("mine", ["c"])


@pytest.fixture
def finished(tmp_path):
    """A run folder as the graph leaves it, and what it rests on."""
    folder, config = tmp_path / "runs" / "x", load_profile("smoke").runs["a-none"]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("metrics.json", "model.safetensors"):
        (folder / name).write_text("{}")
    study.make_room(folder, config, {"code": "1"})
    return folder, config


def test_finished_run_stays_while_what_it_rests_on_is_the_same(finished):
    folder, config = finished
    study.make_room(folder, config, {"code": "1"})
    assert (folder / "metrics.json").is_file()
    # A setting that is younger than the run had its default then.
    old = {key: value for key, value in config.items() if key != "distance"}
    (folder / "config.json").write_text(json.dumps(old))
    study.make_room(folder, config, {"code": "1"})
    assert (folder / "metrics.json").is_file()


@pytest.mark.parametrize("change", ["setting", "code", "weights"])
def test_run_makes_room_when_what_it_rests_on_has_changed(finished, change):
    folder, config = finished
    if change == "weights":  # they are not in git: a fresh clone lacks them
        (folder / "model.safetensors").unlink()
    rests_on = {"code": "2" if change == "code" else "1"}
    study.make_room(folder, config | {"lr": 1.0} if change == "setting" else config, rests_on)
    assert [path.name for path in folder.iterdir()] == [".rests-on.json"]
    assert (folder.parents[1] / ".replaced" / "x" / "metrics.json").is_file()


def test_interrupted_run_is_kept_to_be_resumed(finished):
    folder, config = finished
    (folder / "metrics.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "checkpoint.pt").touch()
    study.make_room(folder, config, {"code": "1"})
    assert (folder / "checkpoint.pt").is_file()


def test_unknown_names_on_the_command_line_exit_with_one_clear_error(capsys):
    assert study.main(["notebook", "smoke", "08-x"]) == 1
    assert "Profile smoke has no notebook '08-x'. It has: 01-data" in capsys.readouterr().err
    assert study.main(["run", "smoke", "a"]) == 1
    assert "Profile smoke has no run 'a'. It has: a-none" in capsys.readouterr().err
    assert study.main(["check", "nosuch"]) == 1
    assert "There is no profile 'nosuch'" in capsys.readouterr().err
    assert study.main(["profiles"]) == 0
    assert "embedded " in capsys.readouterr().out


# The graph.


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout whose smoke results look finished, to plan in without training."""
    for name in ("reidlab", "config", "notebooks"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=lambda *_: {"__pycache__"})
    shutil.copy(paths.ROOT / "Snakefile", tmp_path)
    results = tmp_path / "results" / "smoke"
    marks = [*everything("smoke"), "report"]
    notebooks = [f"03-training/{name}" for name in load_profile("smoke").single]
    notebooks += load_profile("smoke").notebooks
    files = [f".done/{mark}" for mark in marks] + [f"notebooks/{name}.ipynb" for name in notebooks]
    for file in files:
        (results / file).parent.mkdir(parents=True, exist_ok=True)
        (results / file).write_text(file)
    shutil.copy(paths.ROOT / "results" / "published.csv", results.parent)
    return tmp_path


def everything(name):
    """All steps of a profile, as the graph marks them."""
    profile = load_profile(name)
    steps = {"data": profile.datasets, "run": profile.runs, "notebook": profile.notebooks}
    return [f"{kind}/{step}" for kind, names in steps.items() for step in names]


def snakemake(folder, *arguments):
    """Run Snakemake on that copy of the checkout; the jobs that it names."""
    environment = {key: value for key, value in os.environ.items() if "REIDLAB" not in key}
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
    return sorted(
        f"{kind}/{name}" for kind, name in re.findall(r"(?m)^Job \d+: (\w+) (\S+)$", text)
    )


def test_graph_covers_the_profile_and_redoes_only_what_has_changed(checkout):
    assert snakemake(checkout, "--touch", "--forceall") == sorted(everything("smoke"))

    file = checkout / "config" / "smoke.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["runs"]["b-none"]["lr"] = 0.001
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    with open(checkout / "reidlab" / "difficulty.py", "a") as stream:
        stream.write("# changed\n")

    runs = {"b-none", "b-on-a", "b-to-a"}  # the one that was changed, and what starts from it
    expected = {f"run/{name}" for name in runs}
    for name, step in load_profile("smoke").notebooks.items():
        code = imported_by(paths.NOTEBOOKS / f"{name}.ipynb")
        if runs & set(step.needs) or paths.ROOT / "reidlab" / "difficulty.py" in code:
            expected.add(f"notebook/{name}")
    assert "notebook/06-retrieval" not in expected  # so the check below can fail
    assert snakemake(checkout, "--dry-run") == sorted(expected)
