"""A training watched: what stands in its growing history is what the terminal shows."""

import json
import os
import re
import sys
import threading

import pytest

from reidlab.__main__ import main
from reidlab.common import paths
from reidlab.study import watch as w

HEADER = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,rank1,mAP,"
HEADER += "train_seconds,eval_seconds\n"
ROWS = ["1,0.1,6,1,,,,,10,0\n", "2,0.1,4,50,,,30,20,10,4\n", "3,0.1,2,99,,,,,12,0\n"]


@pytest.fixture
def training(tmp_path):
    """Makes a training of four epochs that has come so far."""
    folder = tmp_path / "results" / "smoke" / "runs" / "a-none" / "seed-0"
    folder.mkdir(parents=True)
    config = {"model": "osnet_x0_25", "dataset": "synthetic-a", "epochs": 4}
    (folder / "config.json").write_text(json.dumps(config))

    def come(epochs, complete=False):
        (folder / "history.part").write_text(HEADER + "".join(ROWS[:epochs]))
        (folder / "history.part").rename(folder / "history.csv")
        if complete:
            (folder / "metrics.json").write_text(json.dumps({"rank1": 55.5, "mAP": 44.4}))
        return folder

    return come


def test_the_curves_and_the_time_left_are_those_of_the_history(training):
    shown = w.picture(training(3)).splitlines()
    # The latest epochs took 10, 14 and 12 seconds: 12 on average, one is left.
    assert shown[0] == "a-none, seed-0: osnet_x0_25 on synthetic-a, epoch 3 of 4, 12 s left"
    curves = {line[2:22].strip(): line[22:].split() for line in shown[1:]}
    assert curves == {
        "training loss": ["█▅▁", "6.00", "→", "2.00"],  # 4 is halfway: 3.5 of 7 steps
        "training accuracy": ["▁▅█", "1.00", "→", "99.00"],
        "Rank-1, test people": ["30.00"],  # a point is no curve
        "mAP, test people": ["20.00"],
    }


def test_what_has_begun_stopped_or_ended_is_said(training, tmp_path):
    folder = training(0)
    assert w.picture(folder).endswith("synthetic-a, in its first epoch")
    assert w.picture(tmp_path / "b" / "seed-1") == "b, seed-1: has not begun"
    folder = training(2)

    os.utime(folder / "history.csv", (0, 0))
    assert re.search(r"nothing new for \d+ h \d+ min: has it stopped", w.picture(folder))
    training(3, complete=True)
    assert "complete: Rank-1 55.5, mAP 44.4\n" in w.picture(folder)


def test_a_growing_history_is_followed_to_its_end(training, capsys):
    folder = training(0)
    watching = threading.Thread(target=w.watch, args=([folder],), kwargs={"every": 0.01})
    watching.start()
    shown = ""
    for epochs, complete, awaited in (
        (0, False, "first epoch"),
        (1, False, "epoch 1 of 4, 30 s left"),
        (2, False, "epoch 2 of 4, 24 s left"),
        (3, True, "complete"),
    ):
        training(epochs, complete)
        for _ in range(1000):
            shown += capsys.readouterr().out
            if awaited in shown:
                break
            watching.join(0.01)
        assert awaited in shown
    watching.join(10)
    assert not watching.is_alive() and "\x1b" not in shown  # no terminal
    heads = re.findall(r"(?m)^a-none.*", shown)
    assert len(heads) == len(set(heads))  # what has not changed is not said again


def test_on_a_terminal_each_picture_takes_the_place_of_the_last(training, capsys, monkeypatch):
    folder = training(2)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(w.time, "sleep", lambda seconds: training(3, complete=True))
    w.watch([folder])
    before, after = capsys.readouterr().out.split("\x1b[J")
    assert before.endswith(f"\x1b[{before.count(chr(10))}F") and "complete" in after


def test_the_command_takes_a_folder_or_a_profile_and_a_run(
    training, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path / "results"))
    folder = training(2)
    for place in (["smoke", "a-none"], [str(folder)], [str(folder.parent)]):
        assert main(["watch", *place, "--once"]) == 0
        assert "a-none, seed-0: osnet_x0_25 on synthetic-a, epoch 2" in capsys.readouterr().out
    for place, complaint in (
        (["smoke", "a-nine"], "run 'a-nine' is not known. Did you mean a-none"),
        (["smok", "a-none"], "profile 'smok' is not known"),
        ([str(tmp_path)], "holds no training (no config.json). Name a run's folder"),
    ):
        assert main(["watch", *place, "--once"]) == 1
        assert complaint in capsys.readouterr().err


def test_a_run_with_seeds_shows_all_and_ends(capsys):
    """Of the study itself: three finished seeds, whose curves end where their history does."""
    runs = paths.ROOT / "results" / "market1501" / "runs" / "market-fast"
    assert main(["watch", str(runs)]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"market-fast, seed-(\d)", shown) == ["0", "1", "2"]
    last = (runs / "seed-0" / "history.csv").read_text().splitlines()[-1].split(",")
    assert f"→ {float(last[3]):.2f}\n" in shown
