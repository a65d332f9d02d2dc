"""The benchmark's harness: sides that do the same work, and a table that says what was measured.

No test measures speed.
"""

import json

import pytest

from benchmarks import run, side, table
from benchmarks.stages import STAGES
from reidlab.errors import ReidlabError


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("ranking", {"amount": 1600, "queries": 20}),
        ("rerank", {"amount": 760, "queries": 40}),
    ],
)
def test_sides_find_the_same_numbers(name, work):
    stage = STAGES[name]
    results = {which: make(**work)() for which, make in stage.sides.items()}
    assert 0.05 < results["reidlab"]["mAP"] < 0.95, "neither hopeless nor trivial"
    assert results["torchreid"].keys() == {"rank1", "mAP"}
    run.require_agreement(name, results, stage)


@pytest.mark.parametrize("name", ["features-x0_25", "training-x0_25"])
def test_sides_work_on_images(name, monkeypatch):
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    monkeypatch.setattr("benchmarks.stages._dataset", _tiny)
    work = STAGES[name].quick | {"amount": 16, "height": 64, "width": 32}
    for make in STAGES[name].sides.values():
        assert make(**work)().get("seconds", 1) > 0


def _tiny():
    from reidlab import data

    return data.load("synthetic-tiny-a")


def test_unequal_work_is_refused():
    results = {"reidlab": {"mAP": 0.5}, "torchreid": {"mAP": 0.51}}
    with pytest.raises(ReidlabError, match=r"mAP is 0.5 here and 0.51 with torchreid"):
        run.require_agreement("ranking", results, STAGES["ranking"])


def test_a_side_in_its_process_takes_turns_and_fails_aloud():
    process = run.Side("ranking", "product", {"amount": 2000, "queries": 50})
    calls = [process.measure(), process.measure()]
    process.close()
    assert all(call["seconds"] > 0 and call["result"] == {} for call in calls)
    with pytest.raises(ReidlabError, match=r"(?s)ranking, product, .*unexpected keyword"):
        run.Side("ranking", "product", {"size": 1})


def test_peak_memory_is_that_of_the_call():
    def call():
        block = bytearray(80_000_000)
        block[::4096] = b"x" * len(block[::4096])
        return {}

    first = side._measured(call)["peak_mb"]
    assert 75 < first < 120
    assert side._measured(dict)["peak_mb"] < 20


def test_table_and_figure_from_files(tmp_path):
    machine = {"hardware": "a processor", "threads": 2, "python": "3.12.1"}
    stage = {
        "title": "Ranking: distances",
        "unit": "gallery images",
        "work": {"amount": 15913},
        "full": False,
        "sides": {
            "reidlab": {"seconds": [1.0, 3.0, 2.0], "median": 2.0, "peak_mb": 40},
            "torchreid": {"seconds": [9.0, 8.0, 10.0], "median": 9.0, "peak_mb": 2000},
        },
        "growth": [
            {"side": who, "amount": amount, "seconds": amount / 1e3, "peak_mb": 5}
            for who in ("reidlab", "torchreid")
            for amount in (1000, 2000)
        ],
        "machine": machine | {"libraries": {"torch": "2.11.0"}},
    }
    (tmp_path / "ranking.json").write_text(json.dumps(stage))
    table.write(tmp_path)
    text = (tmp_path / "table.md").read_text()
    row = "| Ranking: distances | 15,913 gallery images | 4.5x | 2 (1 to 3) | 9 (8 to 10) |"
    assert row + " 40 / 2,000 |" in text
    assert "Quick sizes. a processor, 2 threads, Python 3.12.1, torch 2.11.0." in text
    assert (tmp_path / "growth.png").stat().st_size > 5000
