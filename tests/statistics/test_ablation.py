"""Recipes side by side: rows of several seeds, what they change, and the verdicts."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reidlab.common.errors import StudyError
from reidlab.plots.ablation import difference_plot, kind_dots, seed_plot
from reidlab.recipe.config import TrainConfig
from reidlab.runs.folder import Run
from reidlab.statistics.ablation import (
    SCORES,
    ablation_table,
    changes,
    in_words,
    score_table,
    shared_settings,
)
from reidlab.statistics.compare import paired_difference


def run(name: str, gain: float = 0.0, seed: int = 0, **settings) -> Run:
    """A run of 40 queries with random APs, the better by ``gain``."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng([seed, len(name)]).normal(size=40)
    ap = (0.1 + rng.random(40) * 0.5 + gain + 0.02 * own).clip(0, 1)
    per_query = pd.DataFrame({"query": range(40), "pid": np.arange(40) // 4, "camid": 0})
    per_query = per_query.assign(valid=True, ap=ap)
    metrics = {score: 100 * ap.mean() for score in SCORES}
    config = dataclasses.asdict(TrainConfig(seed=seed, **settings))
    return Run(Path(f"{name}-s{seed}"), config, pd.DataFrame(), metrics, per_query, {})


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
        "erased": "gain",
        "same": "within noise",
        "mirrored": "loss",
    }
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
    assert table.verdict.to_dict() == {"plain": "", "slip": "one seed", "other": ""}
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


def test_source_of_the_same_seed_is_no_difference():
    runs = [run("tuned", seed=seed, init=f"run:home-s{seed}") for seed in (0, 3)]
    assert shared_settings(runs)["init"] == "run:home"


def test_run_older_than_a_setting_is_still_of_the_row():
    old, new = run("old"), run("new", seed=1)
    del old.config["center_lr"]
    assert shared_settings([old, new])["center_lr"] == 0.5


def test_unlike_rows_are_refused():
    with pytest.raises(StudyError, match=r"b-s1 and a-s0 differ in erase"):
        score_table({"mixed": [run("a"), run("b", seed=1, erase=0.5)]})
    with pytest.raises(StudyError, match="trained with different seeds"):
        ablation_table({"a": family("a", seeds=[0]), "b": family("b", seeds=[1])})
    with pytest.raises(StudyError, match="there is no row c"):
        ablation_table({"a": family("a")}, {"a": "c"})
    with pytest.raises(StudyError, match="at least one run"):
        score_table({"empty": []})


def test_figure_shows_every_seed_and_interval(tmp_path):
    families = rows()
    table = ablation_table(families)
    seeds = {name: [run.metrics["mAP"] for run in runs] for name, runs in families.items()}
    figure = seed_plot(table, seeds)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == [*families]
    dots = [line.get_xdata() for line in left.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.concatenate(dots), np.concatenate([*seeds.values()]))
    ends = [path.vertices[:, 0] for bars in right.collections for path in bars.get_paths()]
    expected = [(row.query_low, row.query_high) for row in table[1:].itertuples()]
    expected += [(row.low, row.high) for row in table[1:].itertuples()]
    np.testing.assert_allclose(sorted(map(tuple, ends)), sorted(expected))
    figure.savefig(tmp_path / "seeds.png")
    alone = difference_plot(table).axes[0]
    assert [text.get_text() for text in alone.get_yticklabels()] == [*families][1:]


def test_dots_are_where_their_labels_are():
    table = pd.DataFrame(
        [("a", "x", 10.0), ("a", "y", 20.0), ("b", "x", np.nan), ("b", "y", 40.0)],
        columns=["label", "kind", "value"],
    )
    axes = kind_dots(table).axes[0]
    where = {text.get_text(): text.get_position()[1] for text in axes.get_yticklabels()}
    found = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert found == {
        "x": [[10.0, where["a"]]],
        "y": [[20.0, where["a"]], [40.0, where["b"]]],
    }


def test_dots_carry_their_standard_deviations():
    table = pd.DataFrame({"label": ["a", "b"], "kind": "x", "value": [10.0, 20.0]})
    axes = kind_dots(table.assign(std=[1.5, np.nan])).axes[0]
    assert "standard deviation" in axes.get_xlabel()
    ends = [path.vertices.tolist() for bars in axes.collections for path in bars.get_paths()]
    assert [[8.5, 1.0], [11.5, 1.0]] in ends
    assert "standard" not in kind_dots(table.assign(std=np.nan)).axes[0].get_xlabel()
