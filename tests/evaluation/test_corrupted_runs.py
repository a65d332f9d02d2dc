"""Scores on corrupted images that a run keeps: what is read, what is measured, what is refused."""

import dataclasses
import functools
import json
import math
from collections import namedtuple

import pandas as pd
import pytest
from scipy import stats

from reidlab.common.errors import ReidlabError, StudyError
from reidlab.common.files import write_json
from reidlab.data.readers import market1501
from reidlab.evaluation import corrupted_runs, robustness
from reidlab.evaluation.features import of_model
from reidlab.metrics.rerank import rerank
from reidlab.metrics.scores import evaluate
from reidlab.models import build
from reidlab.models.weights import save_weights
from reidlab.recipe import TrainConfig
from reidlab.runs import folder as runs

CONFIG = TrainConfig(
    dataset="market-layout", height=32, width=16, epochs=1, seed=0, distance="cosine"
)


@pytest.fixture
def dataset(market_layout):
    return market1501.read_layout("small", market_layout(), {})


@pytest.fixture
def run(tmp_path, dataset, monkeypatch, own_cache):
    """A run of random weights on the small set."""
    monkeypatch.setattr(corrupted_runs.data, "load", lambda name: dataset)
    folder = runs.seed_folder(tmp_path / "runs", "a", 0)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", dataclasses.asdict(CONFIG))
    model = build("osnet_x0_25")
    save_weights(model, folder / runs.WEIGHTS, {})
    history = pd.DataFrame(
        {"epoch": [1], "train_loss": [2.0], "train_accuracy": [55.0], "lr": [0.1]}
    )
    config = dataclasses.asdict(CONFIG)
    sets = [of_model(model, part, config) for part in (dataset.query, dataset.gallery)]
    runs.finish(folder, history, evaluate(*sets, distance="cosine"), {"dataset_fingerprint": "f"})
    return runs.load_run(folder)


def forbidden(*_args, **_kwargs):
    raise AssertionError("measured again")


def test_what_is_measured_is_kept_and_is_the_protocol(run, dataset, monkeypatch):
    assert not corrupted_runs.is_measured(run)
    table = corrupted_runs.protocol(run, repeats=3)
    assert corrupted_runs.is_measured(run)
    model = runs.load_model(run)
    searches = robustness.random_protocol(
        lambda frame, hurt: of_model(model, frame, run.config, hurt), dataset, range(3), "cosine"
    )
    every = robustness.scores(searches, ["setting", "seed"]).set_index(["setting", "seed"])
    found = table[table.by == "all"].set_index(["setting", "seed"])
    for score in robustness.SCORES:
        pd.testing.assert_series_equal(
            found[score].sort_index(),
            every[score].sort_index(),
            rtol=1e-4,
            check_dtype=False,
            check_index_type=False,
        )
    clean = found.loc["clean"].iloc[0]
    assert clean.mAP == pytest.approx(run.metrics["mAP"], rel=1e-4)
    groups = table[table.by == "person"]
    assert sorted(groups.pid) == sorted(dataset.query.pid.unique())
    monkeypatch.setattr(corrupted_runs.robustness, "random_protocol", forbidden)
    pd.testing.assert_frame_equal(corrupted_runs.protocol(run, repeats=3), table)
    fewer = corrupted_runs.comparison({"x": [run]}, repeats=2).iloc[0]
    two = every[every.index.get_level_values("seed") < 2]
    assert fewer.mAP_both == pytest.approx(two.loc["both"].mAP.mean(), rel=1e-4)
    assert fewer.mAP_both_std == pytest.approx(two.loc["both"].mAP.std(), rel=1e-3, abs=1e-3)
    assert fewer.train_accuracy == 55.0
    with pytest.raises(AssertionError, match="measured again"):
        corrupted_runs.protocol(run, repeats=4)


def test_rows_are_held_against_the_first_seed_by_seed(monkeypatch):
    """Of three seeds and two repeats, beside the paired t test of the means over the repeats."""
    both = {
        "base": [[10.0, 12.0], [11.0, 13.0], [12.0, 14.0]],
        "better": [[12.1, 14.1], [13.0, 15.0], [13.9, 15.9]],
        "once": [[30.0, 32.0]],
    }
    Trained = namedtuple("Trained", "name seed accuracy")
    monkeypatch.setattr(
        corrupted_runs.seeds,
        "training_of",
        lambda run: pd.DataFrame({"train_accuracy": [1.0, run.accuracy]}),
    )

    def protocol(run, _repeats, reranked):
        values = both["better" if reranked else run.name][run.seed]
        rows = [("all", "both", seed, v, v, v) for seed, v in enumerate(values)]
        rows.append(("all", "clean", -1, 50.0, 50.0, 50.0))
        return pd.DataFrame(rows, columns=["by", "setting", "seed", "rank1", "mAP", "mINP"])

    monkeypatch.setattr(corrupted_runs, "protocol", protocol)
    runs_of = {name: [Trained(name, s, 99.0) for s in range(len(v))] for name, v in both.items()}
    table = corrupted_runs.comparison(runs_of, 2).set_index("label")
    assert table.loc["base", ["mAP_both", "mAP_both_seeds", "mAP_clean"]].tolist() == [12, 1, 50]
    assert table["mAP_both_std"].tolist() == pytest.approx([2**0.5] * 3)
    assert math.isnan(table.loc["base", "difference"]) and table.loc["base", "verdict"] == ""
    test = stats.ttest_rel([13.1, 14.0, 14.9], [11.0, 12.0, 13.0])
    better = table.loc["better"]
    assert better.difference == pytest.approx(2.0)
    assert [better.low, better.high] == pytest.approx([*test.confidence_interval()])
    assert better.p_holm == pytest.approx(test.pvalue) and better.verdict == "gain"
    assert table.loc["once", "difference"] == 20.0
    assert table.loc["once", "verdict"] == "not shown: too few seeds"
    again = corrupted_runs.comparison(
        {"base": runs_of["base"], "again": runs_of["base"]}, 2, reranked=["again"]
    )
    assert again["difference"][1] == pytest.approx(2.0) and again["run"][1] == "base"
    runs_of["better"] = [one._replace(accuracy=94.0) for one in runs_of["better"]]
    table = corrupted_runs.comparison(runs_of, 2).set_index("label")
    assert table.loc["better", "verdict"] == "not shown: not converged"


def test_no_repeat_is_refused(run):
    with pytest.raises(StudyError, match="repeats is 0"):
        corrupted_runs.protocol(run, repeats=0)


def test_reranked_ranks_each_repeat_by_itself(run, dataset, monkeypatch):
    few = functools.partial(rerank, k1=4, k2=2)  # of eleven images
    monkeypatch.setattr(corrupted_runs, "rerank", few)
    table = corrupted_runs.protocol(run, repeats=1, reranked=True)
    model = runs.load_model(run)
    sets = [of_model(model, part, run.config) for part in (dataset.query, dataset.gallery)]
    expected = evaluate(*sets, distance=few(*sets, distance="cosine")).summary()
    assert table[table.setting == "clean"].mAP.iloc[0] == pytest.approx(expected["mAP"], rel=1e-4)
    assert not corrupted_runs.is_measured(run), "the plain protocol is another file"


def test_the_grid_is_every_kind_at_the_severities_asked_for(run, dataset, monkeypatch):
    cells = corrupted_runs.grid(run, people=1.0, severities=[2, 5])
    assert len(cells) == 1 + 2 * len(corrupted_runs.robustness.KINDS)
    assert set(cells.severity) == {0, 2, 5} and (cells.searches == 3).all()
    for severity in (0, 6):
        with pytest.raises(ReidlabError, match="severity"):
            corrupted_runs.grid(run, 1.0, [severity])
    monkeypatch.setattr(corrupted_runs.robustness, "grid", forbidden)
    pd.testing.assert_frame_equal(corrupted_runs.grid(run, 1.0, [2, 5]), cells)
    with pytest.raises(AssertionError, match="measured again"):
        corrupted_runs.grid(run, 1.0, [2])


def test_scores_of_other_weights_or_pixels_are_not_taken(run, monkeypatch):
    corrupted_runs.protocol(run, repeats=1)
    file = run.path / corrupted_runs.PROTOCOL
    first, _, rest = file.read_text().partition("\n")
    about = json.loads(first.removeprefix("# "))
    for change in ({"weights": "of another network"}, {"pixels": -1}):
        file.write_text(f"# {json.dumps(about | change)}\n{rest}")
        assert not corrupted_runs.is_measured(run)
    table = corrupted_runs.protocol(run, repeats=1)
    assert corrupted_runs.is_measured(run) and len(table)


def test_a_clone_without_weights_reads_and_says_how_to_measure(run):
    corrupted_runs.protocol(run, repeats=1)
    (run.path / runs.WEIGHTS).unlink()
    assert not run.has_weights
    assert len(corrupted_runs.protocol(run, repeats=1))
    with pytest.raises(StudyError, match=r"corrupted-grid.csv is missing .* reidlab corrupt"):
        corrupted_runs.grid(run)


@pytest.mark.parametrize("damage", ["", "# {\nby,mAP\n", "by,mAP\nall,3\n", "# {}\n"])
def test_a_damaged_file_is_named(run, damage):
    corrupted_runs.protocol(run, repeats=1)
    (run.path / corrupted_runs.PROTOCOL).write_text(damage)
    with pytest.raises(StudyError, match=r"corrupted.csv is damaged .*Delete it"):
        corrupted_runs.protocol(run, repeats=1)


def test_rank_correlation_is_spearmans_with_an_interval():
    clean, hurt = [50, 60, 61, 70, 72, 80], [10, 9, 13, 15, 14, 20]
    value, low, high = robustness.rank_correlation(clean, hurt)
    assert value == pytest.approx(stats.spearmanr(clean, hurt).statistic)
    assert -1 <= low < value < high <= 1
    assert robustness.rank_correlation(clean, clean)[0] == pytest.approx(1)
    assert all(map(pd.isna, robustness.rank_correlation(clean[:4], hurt[:4])))
