"""The benchmark's harness: sides that do the same work, memory, and a table of what was measured.

No test measures speed.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import (
    corruptions,
    figures,
    memory,
    original,
    precision,
    ranking,
    run,
    startup,
    table,
)
from benchmarks.stages import SIZES, STAGES
from reidlab.common.errors import ReidlabError

# --- sides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ranking", "rerank"])
def test_sides_find_the_same_numbers(name):
    stage = STAGES[name]
    results = {which: make(**stage.sizes["tiny"])() for which, make in stage.sides.items()}
    assert 0.05 < results["reidlab"]["mAP"] < 0.95, "neither hopeless nor trivial"
    assert results["torchreid"].keys() == {"rank1", "mAP"}
    run.require_agreement(name, results, stage)


def test_ranking_with_distractors_agrees_with_torchreid_too():
    work = {"amount": 17_000, "queries": 10}
    ours = ranking.ranking_reidlab(**work)()
    assert ours == pytest.approx(ranking.ranking_torchreid(**work)(), rel=1e-6)
    assert ours["mAP"] < ranking.ranking_reidlab(amount=15_913, queries=10)()["mAP"]


def test_pairs_score_the_same_encoded_once_or_every_time():
    stage = STAGES["pairs"]
    results = {which: make(**stage.sizes["tiny"])() for which, make in stage.sides.items()}
    assert results["naive"]["mean"] != 0
    run.require_agreement("pairs", {side: results[side] for side in ("reidlab", "naive")}, stage)


def test_images_beyond_market_are_distractors():
    _, gallery = ranking.features(queries=1, gallery=16_913)
    assert (gallery.pids[:15_913] > 0).all() and (gallery.pids[15_913:] == 0).all()
    near, far = gallery.features[:15_913], gallery.features[15_913:]
    assert far.norm(dim=1).mean().item() == pytest.approx(near.norm(dim=1).mean().item(), rel=0.01)


def test_features_are_the_same_decoded_or_not_and_with_torchreid(monkeypatch):
    monkeypatch.setattr("benchmarks.images._NUM_WORKERS", 0)
    stage = STAGES["features-x0_25"]
    results = {}
    for which, make in stage.sides.items():
        results[which] = make(**stage.sizes["tiny"])()
        assert results[which].pop("seconds") > 0
    assert results["torchreid"].keys() == {"first", "last", "norm", "likeness"}
    run.require_agreement("features-x0_25", results, stage)
    assert results["decoded"] == pytest.approx(results["reidlab"], rel=1e-6)
    # Other images have other features, so the comparison tells them apart.
    assert results["reidlab"]["first"] != pytest.approx(results["reidlab"]["last"], rel=1e-3)


def test_training_sides_see_as_many_images(monkeypatch):
    monkeypatch.setattr("benchmarks.images._NUM_WORKERS", 0)
    stage = STAGES["training-x0_25"]
    work = stage.sizes["tiny"] | {"epochs": 2, "amount": 40}
    for make in stage.sides.values():
        result = make(**work)()
        assert result["images"] == 2 * 32, "two epochs of two whole batches of 16"
        assert result.get("seconds", 1) > 0


@pytest.mark.parametrize(("theirs", "shown"), [(0.51, "0.51"), (float("nan"), "nan")])
def test_unequal_work_is_refused(theirs, shown):
    results = {"reidlab": {"mAP": 0.5}, "torchreid": {"mAP": theirs}}
    with pytest.raises(ReidlabError, match=rf"mAP is 0.5 here and {shown} with torchreid"):
        run.require_agreement("ranking", results, STAGES["ranking"])


def test_every_size_of_every_stage_is_whole():
    for stage in STAGES.values():
        assert stage.sizes.keys() == stage.growth.amounts.keys() == set(SIZES)
        for size in SIZES:
            for side, amounts in stage.growth.amounts[size].items():
                assert side in stage.sides and amounts == sorted(amounts)
            work = stage.sizes[size] | {"dataset": "x"}
            assert stage.amount.format(**work)
    grown = STAGES["rerank"].growth.work({"amount": 3_000, "queries": 600}, 1_000)
    assert grown == {"amount": 1_000, "queries": 200}


# --- processes and memory ------------------------------------------------------------------------


def test_a_side_in_its_process_takes_turns_and_fails_aloud(monkeypatch):
    process = run.Side("ranking", "product")
    assert process.imported_mb > 50
    process.prepare({"amount": 20_000, "queries": 50})
    calls = [process.measure(), process.measure()]
    assert all(call["seconds"] > 0 and call["result"] == {} for call in calls)
    # The features, 41.1 MB, were made after the imports, and so was the product, 4 MB.
    assert 42 < calls[0]["peak_mb"] < 200
    with pytest.raises(ReidlabError, match=r"(?s)ranking, product: .*unexpected keyword"):
        process.prepare({"size": 1})

    process = run.Side("ranking", "product")
    # Some tenths of a second of work: on a busy machine less may be over before anybody looks.
    process.prepare({"amount": 20_000, "queries": 2_000})
    monkeypatch.setattr(run, "MAX_SECONDS", -1)
    monkeypatch.setattr(memory, "PAUSE", 0)
    monkeypatch.setattr(memory, "PAUSE_PER_LOOK", 0)
    with pytest.raises(run.Stopped, match=r"stopped after \d+ s, at 0\.\d GB"):
        process.measure()
    assert process.process.poll() is not None and not os.path.exists(process.scratch.name)


CHILD = """
import os, sys, time
def block(megabytes):
    pages = bytearray(megabytes * 1_000_000)
    pages[::4096] = b"x" * len(pages[::4096])
    return pages
mine = block(100)
print("before", flush=True); sys.stdin.readline()
{deed}
print("after", flush=True); sys.stdin.readline()
"""

SHARED = """
for _ in range(2):
    if not os.fork():
        sum(mine[::4096]); time.sleep(60)
time.sleep(0.3)
"""


def _peak_of(deed: str) -> tuple[float, float]:
    """Footprint before a deed and the peak during it, MB, looked at after it only."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD.format(deed=deed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            process.stdout.readline()
            before, peak = memory.footprint(process.pid), memory.Peak(process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            process.stdout.readline()
            peak.look()
            return before, peak.megabytes()
        finally:
            os.killpg(process.pid, 9)


def test_memory_counts_what_children_hold():
    before, peak = _peak_of("if os.fork():\n    time.sleep(60)\nmore = block(200)")
    assert 100 < before < 150
    assert before + 195 < peak < before + 240


def test_memory_counts_shared_pages_once():
    before, peak = _peak_of(SHARED)
    assert peak < before + 40, "the parent's 100 MB, which two children read, count once"


def test_memory_counts_a_peak_that_nobody_saw():
    before, peak = _peak_of("more = block(80); del more")
    assert before + 75 < peak < before + 120


def test_memory_of_a_process_that_is_gone_is_an_error():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(ReidlabError, match=r"process \d+ cannot be read: it has ended"):
        memory.Peak(process.pid)


# --- a run of several stages ---------------------------------------------------------------------


def test_a_stage_that_fails_does_not_hinder_the_others(tmp_path, monkeypatch, capsys):
    def measure(name, size):
        if name == "rerank":
            raise ReidlabError("mAP is 0.5 here")
        if name == "startup":
            raise OSError("no such thing")
        return content(name=name, size=size)

    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    assert run.main(["rerank", "ranking", "--full"]) == 1
    said = capsys.readouterr()
    assert said.err == "Error: rerank: mAP is 0.5 here\n"
    assert re.search(r"^rerank: \d+ s, FAILED\nranking: \d+ s\n", said.out)
    assert "| Ranking |" in said.out
    assert (tmp_path / "benchmarks" / "ranking.full.json").is_file()
    assert run.main(["startup", "ranking"]) == 1
    assert "Error: startup: Traceback" in capsys.readouterr().err
    assert (tmp_path / "benchmarks" / "ranking.quick.json").is_file()
    assert run.main(["rankin"]) == 1
    assert "no stage is called rankin. Known: ranking, " in capsys.readouterr().err


def test_a_side_that_takes_too_much_leaves_the_others_their_turns():
    class Fake:
        def __init__(self, calls):
            self.calls = calls

        def prepare(self, work):
            self.work = work

        def measure(self):
            self.calls -= 1
            if self.calls < 0:
                raise run.Stopped("stopped after 1,200 s, at 3.0 GB")
            return {"seconds": 1.0, "peak_mb": 50.0, "result": {}}

    sides = {"reidlab": Fake(9), "torchreid": Fake(1)}
    taken = run._rounds(STAGES["rerank"], sides, {"amount": 9}, "quick")
    assert len(taken["reidlab"]) == 3
    assert taken["torchreid"] == [{"stopped": "stopped after 1,200 s, at 3.0 GB"}]
    assert run._summary(taken["torchreid"], 10.0) == taken["torchreid"][0]
    summary = run._summary(taken["reidlab"], 10.0)
    assert summary == {"seconds": [1.0] * 3, "median": 1.0, "peak_mb": 40}


def test_growth_goes_on_to_what_the_rounds_measured():
    points = [
        {"side": side, "amount": amount, "seconds": 9.0, "peak_mb": 9}
        for side, amount in (("torchreid", 100), ("reidlab", 100), ("reidlab", 300))
    ]
    measured = {"median": 1.5, "peak_mb": 40, "seconds": [1.5]}
    sides = {"reidlab": measured, "torchreid": {"stopped": "after 1 s"}, "product": measured}
    found = run.with_rounds(points, sides, 200)
    assert [(point["side"], point["amount"]) for point in found] == [
        *(("product", 200), ("reidlab", 100), ("reidlab", 200), ("reidlab", 300)),
        ("torchreid", 100),
    ]
    assert found[2] == {"side": "reidlab", "amount": 200, "seconds": 1.5, "peak_mb": 40}
    assert run.with_rounds(points, sides, 100)[1]["seconds"] == 9.0, "measured once"


# --- table and figures ---------------------------------------------------------------------------


def content(name="ranking", size="quick", hardware="a processor", **changes) -> dict:
    """A JSON file's content; torchreid's time grows with the square of the amount."""
    points = [
        {"side": side, "amount": amount, "seconds": level * amount**power, "peak_mb": amount / 100}
        for side, level, power in (("reidlab", 1e-4, 1), ("torchreid", 1e-6, 2))
        for amount in (1_000, 2_000, 4_000)
    ]
    return {
        "format": table.FORMAT,
        "name": name,
        "size": size,
        "title": "Ranking",
        "amount": "337 queries, 15,913 gallery images",
        "work": {"amount": 15_913},
        "sides": {
            "reidlab": {"seconds": [1.0, 3.0, 2.0], "median": 2.0, "peak_mb": 40},
            "torchreid": {"seconds": [9.0, 8.0, 110.0], "median": 9.0, "peak_mb": 2000},
        },
        "growth": {"over": "amount", "axis": "gallery images", "points": points},
        "machine": {"hardware": hardware, "threads": 2, "python": "3.12.1"}
        | {"libraries": {"torch": "2.11.0"}},
    } | changes


def written(folder, *contents) -> str:
    for one in contents:
        (folder / f"{one['name']}.{one['size']}.json").write_text(json.dumps(one))
    table.write(folder)
    return (folder / "table.md").read_text()


def test_table_and_figure_from_files(tmp_path):
    text = written(tmp_path, content())
    row = "| Ranking | 337 queries, 15,913 gallery images | 4.5x | 2 (1 to 3) | 9 (8 to 110) |"
    assert row + " 40 / 2,000 | quick |" in text
    assert text.endswith("\na processor, 2 threads, Python 3.12.1, torch 2.11.0.\n")
    assert (tmp_path / "growth.png").stat().st_size > 5000


def test_full_results_take_the_place_of_quick_ones(tmp_path):
    sides = content()["sides"] | {"product": {"seconds": [1.5], "median": 1.5, "peak_mb": 1}}
    text = written(
        tmp_path,
        content("rerank", title="Re-ranking", hardware="another"),
        content(size="full", sides=sides),
        content(size="quick", title="not shown"),
    )
    (tmp_path / "training.json").write_text('{"title": "of an older format", "sides": {}}')
    assert table.markdown(tmp_path) == text
    first, second = text.splitlines()[2:4]
    assert first.startswith("| Ranking |") and first.endswith("| full [1] |")
    assert second.startswith("| Re-ranking |") and second.endswith("| quick [2] |")
    assert "not shown" not in text and "older" not in text
    assert "[1] a processor, 2 threads" in text and "[2] another, 2 threads" in text
    assert "images: 1.33 times the bare product of the features, 1.5 (1.5 to 1.5) s" in text
    assert "time grows as gallery^1.00." in text


def test_decoded_images_have_a_row_of_their_own(tmp_path):
    decoded = {"seconds": [0.5], "median": 0.5, "peak_mb": 30}
    text = written(tmp_path, content(sides=content()["sides"] | {"decoded": decoded}))
    assert "| Ranking, images already decoded | 337" in text
    assert "| 18.0x | 0.5 (0.5 to 0.5) | 9 (8 to 110) | 30 / 2,000 | quick |" in text


def test_what_was_stopped_is_extrapolated_and_says_so(tmp_path):
    sides = content()["sides"] | {"torchreid": {"stopped": "stopped after 1200 s, at 3.0 GB"}}
    stopped = content(sides=sides, work={"amount": 16_000})
    # 1e-6 · 16,000² s, and 16,000 / 100 MB.
    assert table.extrapolated(stopped) == pytest.approx((256.0, 160.0))
    text = written(tmp_path, stopped)
    assert "| ≈ 128.0x | 2 (1 to 3) | ≈ 256, extrapolated; stopped after 1200 s" in text
    assert "40 / ≈ 160" in text
    stopped["growth"]["points"] = stopped["growth"]["points"][:5]
    assert table.extrapolated(stopped) is None, "no line through two points"
    assert "|  | 2 (1 to 3) | stopped after 1200 s, at 3.0 GB | 40 |" in written(tmp_path, stopped)


def test_a_stage_without_torchreid_has_no_ratio(tmp_path):
    alone = {"reidlab": content()["sides"]["reidlab"]}
    assert "images |  | 2 (1 to 3) |  | 40 | quick |" in written(tmp_path, content(sides=alone))


def test_ticks_are_few_plain_numbers():
    assert figures.round_numbers(0.03, 0.6) == [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert figures.round_numbers(0.03, 60) == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert figures.spread_out([1, 2, 5, 10, 20, 50, 100]) == [1, 5, 20, 100]
    assert [figures.plain(value) for value in (0.02, 30, 4000, 15_913)] == [
        *("0.02", "30", "4k", "15.91k")
    ]
    drawn = figures.growth([content(name) for name in STAGES])
    shown = [axes for axes in drawn.axes if axes.axison]
    assert len(shown) == 2 * len(STAGES)
    assert all(len(axes.get_yticks()) <= figures.MOST_TICKS for axes in shown)


# --- what is no comparison of sides --------------------------------------------------------------


def test_loss_curves_start_together_and_differ_between_seeds(monkeypatch):
    monkeypatch.setitem(precision.SIZES, "tiny", precision.SIZES["tiny"] | {"steps": 6})
    content = precision.measure("tiny")
    curves = content["curves"]
    assert set(curves) == {"0", "1", "2"}
    for both in curves.values():
        assert len(both["reidlab"]) == len(both["float32"]) == 6
        # The same weights and the same batch: rounding alone tells the first losses apart.
        assert both["reidlab"][0] == pytest.approx(both["float32"][0], rel=0.02)
        assert np.ptp(both["float32"]) > 0.01, "it learns, or at least changes"
    assert len({both["float32"][0] for both in curves.values()}) == 3
    assert content["found"] == precision.compare(curves)
    assert "6 steps of 16 images of synthetic-tiny-a at 64x32, 3 seeds" in precision.statement(
        content
    )


def test_the_difference_of_curves_is_set_against_the_seeds(tmp_path):
    # Constant curves: the plain loop's at 1, 2, 3, ours 0.25 above at every seed.
    curves = {
        str(seed): {"float32": [level] * 8, "reidlab": [level + 0.25] * 8}
        for seed, level in enumerate((1.0, 2.0, 3.0))
    }
    found = precision.compare(curves)
    assert found == {
        **{"difference": 0.25, "seeds": 1.0},
        **{"end_ours": 2.25, "end_ours_sd": 1.0, "end_plain": 2.0, "end_plain_sd": 1.0},
        **{"end_difference": 0.25, "end_difference_se": 0.0},
    }
    measured = {"curves": curves, "found": found, "ours": "cpu, bfloat16", "amount": "8 steps"}
    assert precision.statement(measured).endswith(": within what another seed changes.")
    apart = measured | {"found": found | {"difference": 1.25}}
    assert precision.statement(apart).endswith(": **more than** what another seed changes.")
    text = written(tmp_path, content("precision", growth={}) | measured)
    assert "\n- Loss of the training step (cpu, bfloat16) beside" in text
    assert (tmp_path / "precision.png").stat().st_size > 5000


def test_corruptions_are_timed_beside_the_original_where_it_is(monkeypatch):
    def slow(image, kind, severity, rng):
        time.sleep(0.01)
        return image

    monkeypatch.setattr(corruptions, "KINDS", ["fog", "pixelate"])
    monkeypatch.setattr(original, "corrupt", slow)
    kinds = corruptions.measure("tiny")["kinds"]
    assert kinds.keys() == {"fog", "pixelate"}
    assert all(50 < speed["original"] < 100 for speed in kinds.values())
    monkeypatch.setattr(original, "corrupt", lambda *_: importlib.import_module("reidlab.nothing"))
    assert corruptions.measure("tiny")["kinds"]["fog"]["original"] is None

    speeds = {"fog": {"reidlab": 300.0, "original": 100.0}}
    speeds["pixelate"] = {"reidlab": 600.0, "original": 400.0}
    said = corruptions.statement({"height": 128, "width": 64, "kinds": speeds})
    # 2 / (1/300 + 1/600) = 400, beside 2 / (1/100 + 1/400) = 160.
    assert "fog 300 (3.0x), pixelate 600 (1.5x); drawn uniformly, 400 (2.5x)" in said
    speeds["fog"]["original"] = None
    assert corruptions.statement({"height": 128, "width": 64, "kinds": speeds}).endswith("400.")


def test_startup_imports_in_fresh_processes(monkeypatch):
    monkeypatch.setattr(startup, "MODULES", ("reidlab", "json"))
    measured = startup.measure("tiny")
    assert measured["seconds"].keys() == measured["median"].keys() == {"reidlab", "json"}
    monkeypatch.setattr(startup, "MODULES", ("reidlab.nothing",))
    with pytest.raises(ReidlabError, match=r"(?s)import reidlab.nothing failed: .*No module"):
        startup.measure("tiny")
    median = {"reidlab": 0.01, "reidlab.training": 2.0, "torch": 1.5, "torchreid.reid": 4.0}
    said = startup.statement({"median": median, "seconds": {"reidlab": [0.01] * 3}})
    assert said.startswith("Start-up: `import reidlab` 0.01 s, `import reidlab.training`")
