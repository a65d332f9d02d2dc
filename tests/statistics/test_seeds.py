"""Recipes over seeds: statistics against SciPy's, tables, what rows change, and the verdicts."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reidlab.common.errors import ReidlabError, StudyError
from reidlab.common.files import write_json
from reidlab.recipe.config import TrainConfig
from reidlab.runs.folder import Run
from reidlab.statistics.bootstrap import paired_difference
from reidlab.statistics.seeds import (
    FEW_SEEDS,
    GAIN,
    LOSS,
    NOISE,
    NOT_CONVERGED,
    SCORES,
    ablation_table,
    changes,
    estimate,
    holm,
    in_words,
    score_table,
    seed_difference,
    shared_settings,
    training_of,
    verdict,
)


def run(name: str, gain: float = 0.0, seed: int = 0, accuracy: float = 99.0, **settings) -> Run:
    """A run of 40 queries with random APs, the better by ``gain``; it took two minutes."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng([seed, len(name)]).normal(size=40)
    ap = (0.1 + rng.random(40) * 0.5 + gain + 0.02 * own).clip(0, 1)
    per_query = pd.DataFrame({"query": range(40), "pid": np.arange(40) // 4, "camid": 0})
    per_query = per_query.assign(valid=True, ap=ap)
    metrics = {score: 100 * ap.mean() for score in SCORES}
    config = dataclasses.asdict(TrainConfig(seed=seed, **settings))
    history = pd.DataFrame({"train_seconds": [60.0, 60.0], "train_accuracy": [1.0, accuracy]})
    history = history[: 2 * bool(config["epochs"])]
    return Run(Path(f"runs/{name}/seed-{seed}"), config, history, metrics, per_query, {})


def family(name: str, gain: float = 0.0, seeds=(0, 1, 2), **settings) -> list[Run]:
    rng = np.random.default_rng(len(name))
    return [run(name, gain + 0.002 * rng.normal(), seed, **settings) for seed in seeds]


def rows():
    return {
        "plain": family("plain"),
        "erased": family("erased", 0.1, erase=0.5),
        "same": family("same", 0.1, erase=0.5, warmup_epochs=2, schedule="cosine"),
        "mirrored": family("mirrored", 0.05, erase=0.5, epochs=0, flip_test=True, init="run:same"),
    }


def test_table_holds_means_spreads_and_tests_of_its_rows():
    families = rows()
    table = ablation_table(families).set_index("row")
    scores = {name: [run.metrics["mAP"] for run in runs] for name, runs in families.items()}
    for name, values in scores.items():
        assert table.mAP[name] == pytest.approx(np.mean(values))
        assert table.mAP_std[name] == pytest.approx(np.std(values, ddof=1))
    for before, after in (("plain", "erased"), ("erased", "same"), ("same", "mirrored")):
        test = stats.ttest_rel(scores[after], scores[before])
        interval = test.confidence_interval()
        found = table.loc[after, ["low", "high", "p"]].to_list()
        assert found == pytest.approx([interval.low, interval.high, test.pvalue])
        assert table.against[after] == before
    assert table.against["plain"] == "" and np.isnan(table.difference["plain"])
    assert table.verdict.to_dict() == {
        "plain": "",
        "erased": GAIN,
        "same": NOISE,
        "mirrored": NOT_CONVERGED,  # nobody knows what was trained: its folder is not there
    }
    assert table.minutes.to_list() == [2, 2, 2, 0]
    assert table.change["erased"] == "random erasing, probability 0.5"
    assert table.change["same"] == "schedule = cosine; warm-up, epochs: 2"
    assert table.change["mirrored"] == "mean with the mirror image's features"
    assert (table.p_holm.dropna() >= table.p.dropna()).all()


def test_luck_of_the_queries_is_that_of_the_averaged_precision():
    families = rows()
    table = ablation_table(families).set_index("row")
    means = []
    for name in ("plain", "erased"):
        frames = [run.per_query for run in families[name]]
        ap = sum(frame["ap"] for frame in frames) / len(frames)
        means.append(frames[0].assign(ap=ap))
    luck = paired_difference(*means, by="pid")
    assert table.query_low["erased"] == pytest.approx(100 * luck.low)
    assert table.query_high["erased"] == pytest.approx(100 * luck.high)


def test_pairs_go_by_seed_and_not_by_order():
    families = {"plain": family("plain"), "erased": family("erased", 0.1, erase=0.5)}
    before = ablation_table(families)
    families["erased"].reverse()
    pd.testing.assert_frame_equal(ablation_table(families), before)


def test_chosen_comparisons_and_single_seeds():
    families = {"plain": family("plain", seeds=[0]), "slip": family("slip", 0.2, seeds=[0])}
    families["other"] = family("other", seeds=[0])
    table = ablation_table(families, {"slip": "plain"}).set_index("row")
    assert table.verdict.to_dict() == {"plain": "", "slip": FEW_SEEDS, "other": ""}
    assert table.query_low["slip"] > 0 and np.isnan(table.low["slip"])
    assert np.isnan(table.mAP_std["plain"])


def test_settings_that_are_not_trained_with_any_more_are_no_change():
    before = dataclasses.asdict(TrainConfig(epochs=9, lr=0.1))
    after = dataclasses.asdict(TrainConfig(epochs=0, flip_test=True, distance="cosine"))
    assert changes(before, after) == {"flip_test": True, "distance": "cosine"}


def test_slips_in_words():
    slip = {"optimizer": "sgd", "momentum": 0.95, "center_lr": 0.0, "triplet": "none"}
    expected = "centres never trained; SGD with momentum 0.95; without triplet loss"
    assert in_words(slip) == expected
    assert in_words({}) == ""


def test_run_older_than_a_setting_is_still_of_the_row():
    old, new = run("old"), run("new", seed=1)
    del old.config["center_lr"]
    assert shared_settings([old, new])["center_lr"] == 0.5


def test_unlike_rows_are_refused():
    with pytest.raises(StudyError, match=r"b \(seed 1\) and a \(seed 0\) differ in erase"):
        score_table({"mixed": [run("a"), run("b", seed=1, erase=0.5)]})
    with pytest.raises(StudyError, match="trained with different seeds"):
        ablation_table({"a": family("a", seeds=[0]), "b": family("b", seeds=[1])})
    with pytest.raises(StudyError, match="there is no row c"):
        ablation_table({"a": family("a")}, {"a": "c"})
    with pytest.raises(StudyError, match="at least one run"):
        score_table({"empty": []})


@pytest.mark.parametrize(
    ("p", "seeds", "accuracies", "expected"),
    [
        (0.04, 3, (95.0, 99.0), GAIN),
        (0.051, 3, (95.0, 99.0), NOISE),
        (0.04, 2, (95.0, 99.0), FEW_SEEDS),
        (np.nan, 1, (95.0, 99.0), FEW_SEEDS),
        (0.04, 3, (94.99, 99.0), NOT_CONVERGED),
        (0.04, 3, (99.0, np.nan), NOT_CONVERGED),
        (0.04, 3, (np.nan, 99.0), NOT_CONVERGED),
    ],
)
def test_verdict_asks_for_convergence_then_seeds_then_holm(p, seeds, accuracies, expected):
    assert verdict(1.0, p, seeds, accuracies) == expected
    assert verdict(-1.0, p, seeds, accuracies) == (LOSS if expected == GAIN else expected)


def test_verdict_is_by_the_corrected_p_of_its_table():
    first, second = ([run("r", seed=seed) for seed in range(3)] for _ in range(2))
    for runs, points in ((first, (50.0, 50.0, 50.0)), (second, (51.0, 51.2, 51.5))):
        for each, mAP in zip(runs, points):
            each.metrics["mAP"] = mAP
    alone = ablation_table({"a": first, "b": second}).iloc[1]
    assert alone.p < 0.05 and alone.verdict == GAIN
    several = ablation_table(
        {"a": first} | {f"b{i}": second for i in range(4)}, {f"b{i}": "a" for i in range(4)}
    )
    assert several.p_holm[1] == pytest.approx(4 * alone.p)
    assert set(several.verdict[1:]) == {NOISE}


def test_training_accuracy_of_an_evaluation_is_that_of_the_run_behind_it(tmp_path):
    trained, once, twice = (
        dataclasses.replace(run(name, **settings), path=tmp_path / name / "seed-0")
        for name, settings in {
            "trained": {},
            "once": {"epochs": 0, "init": "run:trained"},
            "twice": {"epochs": 0, "init": "run:once", "flip_test": True},
        }.items()
    )
    for each in (trained, once):
        each.path.mkdir(parents=True)
        write_json(each.path / "config.json", each.config)
        each.history.to_csv(each.path / "history.csv", index=False)
    table = score_table({each.name: [each] for each in (trained, once, twice)})
    assert table["train_accuracy"].to_list() == [99.0] * 3
    assert table["flip_test"].to_list() == [False, False, True]
    assert table["minutes"].to_list() == [2, 0, 0]
    assert not len(training_of(run("alone", epochs=0, init="imagenet")))


# Statistics over seeds


def scores(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = 50 + rng.normal(size=count)
    return first, first + 0.5 + 0.3 * rng.normal(size=count)


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_difference_is_the_paired_t_test(count, confidence):
    first, second = scores(count, count)
    found = seed_difference(first, second, confidence)
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval(confidence)
    assert found.mean == pytest.approx((second - first).mean())
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(test.pvalue)
    assert found.is_clear == (test.pvalue < 1 - confidence)
    assert found.count == count


def test_pairing_takes_out_what_a_seed_does_to_both():
    rng = np.random.default_rng(0)
    luck = rng.normal(scale=5, size=4)
    found = seed_difference(luck, luck + 1 + rng.normal(scale=0.1, size=4))
    assert found.is_clear
    assert stats.ttest_ind(luck, luck + 1).pvalue > 0.3  # which does not see it


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        found = seed_difference(np.zeros(3), rng.normal(1.0, 2.0, size=3))
        hits += found.low <= 1.0 <= found.high
    # of 2000, 1900 are expected, give or take 10
    assert 1900 - 4 * 10 < hits < 1900 + 4 * 10


def test_estimate_is_that_of_a_sample():
    values = [3.0, 4.5, 9.0, 1.0]
    found = estimate(values)
    assert (found.mean, found.std) == pytest.approx((np.mean(values), stats.tstd(values)))


def test_one_seed_says_nothing_about_luck():
    found = seed_difference([50.0], [52.0])
    assert found.mean == 2.0 and found.is_clear is None
    assert np.isnan([found.low, found.high, found.p, estimate([1.0]).std]).all()


def test_differences_without_spread():
    assert seed_difference([1.0, 2.0], [2.0, 3.0]).is_clear is True
    same = seed_difference([1.0, 2.0], [1.0, 2.0])
    assert (same.is_clear, same.p) == (False, 1.0)


def test_bad_input_is_named():
    with pytest.raises(ReidlabError, match="2 scores against 3"):
        seed_difference([1, 2], [1, 2, 3])
    with pytest.raises(ReidlabError, match="no score"):
        estimate([])


def test_holm_step_by_step():
    p = [0.02, 0.001, np.nan, 0.5, 0.012]
    # ascending: 0.001 x 4, 0.012 x 3, 0.02 x 2, 0.5 x 1
    expected = [0.04, 0.004, np.nan, 0.5, 0.036]
    np.testing.assert_allclose(holm(p), expected)
    rng = np.random.default_rng(2)
    for p in rng.random((50, 6)) ** 3:
        slow, running = {}, 0.0
        for k, value in enumerate(sorted(p)):
            running = max(running, min(1.0, (6 - k) * value))
            slow[value] = running
        np.testing.assert_allclose(holm(p), [slow[value] for value in p])
