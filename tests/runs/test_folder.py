"""Run folders: what is written is what is read, and what is damaged is named."""

import dataclasses
import json
from itertools import product

import pandas as pd
import pytest

from reidlab.common.errors import StudyError
from reidlab.common.files import write_json
from reidlab.metrics.scores import evaluate
from reidlab.models import build
from reidlab.models.weights import save_weights
from reidlab.recipe import TrainConfig
from reidlab.runs import folder as runs
from tests.metrics.test_scores import random_sets

CONFIG = TrainConfig(dataset="synthetic-a", epochs=1, val_fraction=0.0, schedule="onecycle")
HISTORY = pd.DataFrame({"epoch": [1], "lr": [0.1], "train_loss": [2.0], "train_accuracy": [50.0]})


@pytest.fixture
def finished(tmp_path):
    """A finished training as the loop leaves it."""
    folder = runs.seed_folder(tmp_path / "runs", "a", 0)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", dataclasses.asdict(CONFIG))
    save_weights(build("osnet_x0_25"), folder / runs.WEIGHTS, {})
    runs.finish(folder, HISTORY, ranking(), {"dataset_fingerprint": "f"})
    return folder


def ranking():
    return evaluate(*random_sets(0))


def test_what_is_read_is_what_was_written(finished):
    run = runs.load_run(finished)
    assert (run.name, run.seed, run.config) == ("a", 0, dataclasses.asdict(CONFIG))
    pd.testing.assert_frame_equal(run.history, HISTORY)
    before = ranking().per_query
    assert {True, False} == set(before.valid), "some queries have no match"
    for column in ("query", "pid", "camid", "valid", "num_matches", "first_match", "ap", "inp"):
        expected = before[column]
        pd.testing.assert_series_equal(run.per_query[column], expected, check_dtype=False)
    assert run.metrics["mAP"] == pytest.approx(100 * before.ap.mean())
    assert runs.why_not_current(finished, CONFIG, "f") is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(["history.csv", "per_query.parquet"], ["empty", "cut", "missing", "another"]),
        *product(["config.json"], ["empty", "cut", "missing"]),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(finished, name, damage):
    file = finished / name
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        changed = {"empty": b"", "cut": content[: len(content) // 2], "another": content + b"\n"}
        file.write_bytes(changed[damage])
    with pytest.raises(StudyError, match=rf"{name} .*delete the folder .*seed-0") as error:
        runs.load_run(finished)
    assert "git restore" in str(error.value)


@pytest.mark.parametrize("name", ["metrics.json", "provenance.json"])
@pytest.mark.parametrize("content", ["", '{"rank1": 1', "[1]", "nan?"])
def test_json_that_is_none_is_named(finished, name, content):
    (finished / name).write_text(content)
    with pytest.raises(
        StudyError, match=rf"^\S+{name} (is not what|cannot be read) .*delete the folder"
    ):
        runs.load_run(finished)


def test_a_history_that_lost_a_row_and_weights_of_another_are_not_taken_for_the_runs(finished):
    folder = runs.seed_folder(finished.parents[1], "b", 0)
    folder.mkdir(parents=True)
    for file in finished.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    save_weights(build("osnet_x0_25"), folder / runs.WEIGHTS, {})
    run = runs.load_run(folder)  # scores and curves are its own
    with pytest.raises(StudyError, match=r"model.safetensors belongs to another training"):
        runs.load_model(run)
    runs.load_model(runs.load_run(finished))
    (folder / runs.WEIGHTS).unlink()
    with pytest.raises(
        StudyError, match=r"model.safetensors is not here.*run PROFILE b --weights"
    ):
        runs.load_model(run)
    lines = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(StudyError, match=r"history.csv is not what the training has written"):
        runs.load_run(folder)


def test_settings_and_images_decide_whether_a_run_is_current(finished, tmp_path):
    changed = dataclasses.replace(CONFIG, lr=0.5, erase=0.25)
    assert runs.why_not_current(finished, changed) == "other settings (erase, lr differ)"
    said = runs.why_not_current(finished, CONFIG, "g")
    assert said == "other images (synthetic-a had fingerprint f, now g)"
    assert runs.why_not_current(finished, CONFIG) is None  # nothing here to compare with
    assert runs.why_not_current(tmp_path / "none", CONFIG, "g") is None
    # A setting that is younger than the run had its default then.
    old = json.loads((finished / "config.json").read_text())
    del old["corrupt"]
    (finished / "config.json").write_text(json.dumps(old))
    assert runs.why_not_current(finished, CONFIG) is None


def test_a_run_starts_from_its_own_seed_or_the_only_one(tmp_path):
    place = tmp_path / "runs"
    for name, seeds in (("many", (0, 1)), ("one", (5,))):
        for seed in seeds:
            runs.seed_folder(place, name, seed).mkdir(parents=True)
    mine = runs.seed_folder(place, "mine", 1)
    assert runs.source_folder(mine, "many", 1) == runs.seed_folder(place, "many", 1)
    assert runs.source_folder(mine, "one", 1) == runs.seed_folder(place, "one", 5)
    # Outside a study a run lies beside the one that starts from it.
    assert runs.source_folder(tmp_path / "after", "before", 0) == tmp_path / "before"
