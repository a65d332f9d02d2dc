"""The bootstrap against a naive loop, SciPy's, and what an interval promises: coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reidlab.common.errors import StudyError
from reidlab.metrics.scores import evaluate
from reidlab.statistics import bootstrap
from reidlab.statistics.bootstrap import differences, intervals, query_scores, redrawn_means
from tests.metrics.test_scores import random_sets

SCORES = ["rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP"]


@pytest.fixture(scope="module")
def evaluations():
    """Three distances on the same queries, one of which has no match."""
    query, gallery = random_sets(seed=5, num_query=60, num_gallery=400, num_pids=15)
    names = ("euclidean", "cosine", "cityblock")
    tables = {name: evaluate(query, gallery, name).per_query for name in names}
    assert not tables["cosine"]["valid"].all()
    return tables


BY_HAND = {
    "rank1": lambda t: (t["first_match"] == 1).mean(),
    "rank5": lambda t: (t["first_match"] <= 5).mean(),
    "mAP": lambda t: t["ap"].mean(),
    "mAP_trapezoid": lambda t: t["ap_trapezoid"].mean(),
    "mINP": lambda t: t["inp"].mean(),
}


def drawn_by_hand(tables, by, samples, seed):
    """Each redrawn set as a table of its own, scored from the beginning."""
    groups = tables[0][by].to_numpy()
    rng, distinct = np.random.default_rng(seed), np.unique(groups)
    rows = {group: np.flatnonzero(groups == group) for group in distinct}
    for _ in range(samples):
        drawn = [distinct[i] for i in rng.integers(len(distinct), size=len(distinct))]
        kept = np.concatenate([rows[group] for group in drawn])
        yield [{s: f(t.iloc[kept]) for s, f in BY_HAND.items()} for t in tables]


@pytest.mark.parametrize("by", ["pid", "query"])
def test_intervals_and_differences_equal_a_naive_loop(evaluations, by):
    names = ["euclidean", "cosine"]
    tables = [evaluations[name] for name in names]
    tables = [table[table["valid"]].reset_index(drop=True) for table in tables]
    first, second = map(pd.DataFrame, zip(*drawn_by_hand(tables, by, 40, 3)))
    how = {"by": by, "samples": 40, "seed": 3}
    pairs = {
        "interval": (intervals(evaluations, **how), second),
        "difference": (differences(evaluations, "euclidean", **how), second - first),
    }
    for found, means in pairs.values():
        found = found.set_index(["evaluation", "score"])
        for score in BY_HAND:
            ends = 100 * np.quantile(means[score], [0.025, 0.975])
            assert list(found.loc[("cosine", score), ["low", "high"]]) == pytest.approx(list(ends))


def test_values_are_those_of_the_evaluation(evaluations):
    query, gallery = random_sets(seed=5, num_query=60, num_gallery=400, num_pids=15)
    found = intervals(evaluations).set_index(["evaluation", "score"])["value"]
    for name in evaluations:
        summary = evaluate(query, gallery, name).summary()
        assert [found[name, score] for score in SCORES] == pytest.approx(
            [summary[score] for score in SCORES]
        )


def test_differences_are_those_of_the_values(evaluations):
    values = intervals(evaluations).set_index(["evaluation", "score"])["value"]
    found = differences(evaluations, {"cosine": "cityblock", "euclidean": "cosine"})
    assert len(found) == 2 * len(SCORES)
    for row in found.itertuples():
        expected = values[row.evaluation, row.score] - values[row.reference, row.score]
        assert row.difference == pytest.approx(expected)


def test_better_and_worse_count_queries(evaluations):
    found = differences(evaluations, "euclidean").set_index(["evaluation", "score"])
    apart = evaluations["cosine"]["ap"] - evaluations["euclidean"]["ap"]
    row = found.loc[("cosine", "mAP")]
    assert (row["better"], row["worse"]) == ((apart > 0).sum(), (apart < 0).sum())
    ranks = [evaluations[name]["first_match"] for name in ("cosine", "euclidean")]
    row = found.loc[("cosine", "rank1")]
    assert row["better"] == ((ranks[0] == 1) & (ranks[1] > 1)).sum()
    assert row["worse"] == ((ranks[0] > 1) & (ranks[1] == 1)).sum()


def test_drawing_queries_agrees_with_scipy(evaluations):
    first, second = (query_scores(evaluations[n])["mAP"] for n in ("euclidean", "cosine"))
    expected = stats.bootstrap(
        (first.to_numpy(), second.to_numpy()),
        lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=40_000,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = differences(evaluations, "euclidean", by="query", samples=40_000)
    row = found.set_index(["evaluation", "score"]).loc[("cosine", "mAP")]
    width = 100 * (expected.high - expected.low)
    assert row["low"] == pytest.approx(100 * expected.low, abs=0.02 * width)
    assert row["high"] == pytest.approx(100 * expected.high, abs=0.02 * width)


def test_samples_in_parts_equal_samples_at_once(evaluations, monkeypatch):
    whole = intervals(evaluations, samples=101)
    monkeypatch.setattr(bootstrap, "COUNTS", 200)  # 13 samples of 15 people at a time
    pd.testing.assert_frame_equal(intervals(evaluations, samples=101), whole)


def coverage(by, experiments=250):
    """How often the 95 % interval holds the true mean, 0.5, of 60 people with 1 to 9 queries."""
    rng, hits = np.random.default_rng(11), 0
    for _ in range(experiments):
        sizes = rng.integers(1, 10, 60)
        people = np.repeat(np.arange(60), sizes)
        values = rng.uniform(0.1, 0.9, 60)[people] + rng.uniform(-0.1, 0.1, len(people))
        groups = people if by == "pid" else np.arange(len(people))
        low, high = bootstrap.percentiles(redrawn_means(values, groups, samples=400))
        hits += low <= 0.5 <= high
    return hits / experiments


def test_drawing_people_covers_as_promised_where_drawing_queries_does_not():
    assert 0.91 < coverage("pid") < 0.98
    assert coverage("query") < 0.75


def test_confidence_is_the_share_of_redrawn_means_inside():
    values = np.random.default_rng(2).uniform(size=200)
    redrawn = redrawn_means(values, np.arange(200), samples=4000)
    for confidence in (0.5, 0.8, 0.99):
        low, high = bootstrap.percentiles(redrawn, confidence)
        inside = ((redrawn >= low) & (redrawn <= high)).mean()
        assert inside == pytest.approx(confidence, abs=0.001)


def test_same_seed_same_interval_and_another_seed_another_one(evaluations):
    one, again, other = (intervals(evaluations, samples=300, seed=s) for s in (4, 4, 5))
    pd.testing.assert_frame_equal(one, again)
    assert not np.allclose(one["low"], other["low"])


def test_clear_is_an_interval_without_0(evaluations):
    lower = evaluations["cosine"].assign(ap=evaluations["cosine"]["ap"] * 0.9)
    both = {"cosine": evaluations["cosine"], "lower": lower}
    found = differences(both, "cosine").set_index("score")
    assert found.loc["mAP", "clear"] and found.loc["mAP", "high"] < 0
    assert not found.loc["mINP", "clear"]  # equal: from 0 to 0
    assert (found.loc["mINP", ["difference", "low", "high", "better", "worse"]] == 0).all()


def test_rows_of_another_index_are_still_the_same_queries(evaluations):
    shifted = {n: t.set_index(t.index + 7 * i) for i, (n, t) in enumerate(evaluations.items())}
    pd.testing.assert_frame_equal(intervals(shifted), intervals(evaluations))


def other_queries(tables):
    return tables | {"cosine": tables["cosine"].iloc[1:]}


def other_people(tables):
    return tables | {"cosine": tables["cosine"].assign(pid=tables["cosine"]["pid"] + 1)}


def without_ap(tables):
    return {"cosine": tables["cosine"].drop(columns="ap")}


def none_valid(tables):
    return {"cosine": tables["cosine"].assign(valid=False)}


def one_person(tables):
    table = tables["cosine"]
    return {"cosine": table[table["pid"] == table["pid"].mode()[0]]}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (other_queries, {}, r"euclidean and cosine answered different queries \(60 and 59\)"),
        (other_people, {}, "different queries.*same data set"),
        (without_ap, {}, "no column ap; it has query"),
        (none_valid, {}, "None of the 60 queries is valid"),
        (one_person, {}, "valid queries have the same pid.*by='query'"),
        (dict, {"by": "camid"}, "by is 'camid'; it must be 'pid'"),
        (dict, {"confidence": 95}, "confidence is 95; it must lie between 0 and 1"),
        (dict, {"samples": 0}, "samples is 0"),
        (lambda tables: {}, {}, "no evaluation"),
    ],
)
def test_malformed_arguments_are_named(evaluations, change, arguments, message):
    with pytest.raises(StudyError, match=message):
        intervals(change(evaluations), **arguments)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hamming", "no evaluation 'hamming' to compare; there are euclidean, cosine"),
        ({"cosine": "hamming"}, "no evaluation 'hamming'"),
        ({}, "nothing to compare"),
    ],
)
def test_a_reference_that_is_not_there_is_named(evaluations, reference, message):
    with pytest.raises(StudyError, match=message):
        differences(evaluations, reference)
