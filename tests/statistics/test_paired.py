"""Paired differences: against worked cases, the normal approximation and a naive bootstrap."""

import numpy as np
import pandas as pd
import pytest

from reidlab.common.errors import StudyError
from reidlab.statistics.bootstrap import paired_difference


def per_query(ap, valid=True, people=None):
    count = len(ap)
    pid = np.arange(count) if people is None else people
    return pd.DataFrame(
        {"query": np.arange(count), "pid": pid, "camid": 1, "valid": valid, "ap": ap}
    )


@pytest.fixture
def noisy():
    rng = np.random.default_rng(3)
    first = rng.uniform(0.2, 0.8, 400)
    return per_query(first), per_query(first + rng.normal(0.02, 0.1, 400))


def test_mean_is_the_difference_of_the_two_maps(noisy):
    first, second = noisy
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(second["ap"].mean() - first["ap"].mean())
    assert list(found.per_query["first"]) == list(first["ap"])


def test_interval_is_that_of_the_normal_approximation(noisy):
    first, second = noisy
    found = paired_difference(first, second)
    differences = second["ap"] - first["ap"]
    error = differences.std() / np.sqrt(len(differences))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.06 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.06 * error)


def test_drawing_people_equals_a_naive_loop_over_people():
    people = np.repeat([4, 9, 11, 20], [1, 2, 3, 4])
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(2, len(people)))
    found = paired_difference(
        per_query(first, people=people), per_query(second, people=people), by="pid", samples=50
    )
    rng, means = np.random.default_rng(0), []
    for _ in range(50):
        drawn = [np.unique(people)[i] for i in rng.integers(4, size=4)]
        means.append(np.concatenate([(second - first)[people == pid] for pid in drawn]).mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_people_who_agree_with_themselves_widen_the_interval():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(50), 8)
    second = np.repeat(rng.normal(0, 0.1, 50), 8)  # one value a person: 50 draws, not 400
    queries = per_query(np.zeros(400), people=people), per_query(second, people=people)
    width = {by: (d := paired_difference(*queries, by=by)).high - d.low for by in ("query", "pid")}
    assert width["pid"] / width["query"] == pytest.approx(np.sqrt(8), rel=0.1)


def test_same_seed_same_interval_and_another_seed_another_one(noisy):
    one, again, other = (paired_difference(*noisy, samples=500, seed=s) for s in (0, 0, 1))
    assert (one.low, one.high) == (again.low, again.high)
    assert (one.low, one.high) != (other.low, other.high)


def test_invalid_queries_do_not_count():
    valid = np.array([True, False, True])
    found = paired_difference(
        per_query([0.1, np.nan, 0.3], valid), per_query([0.2, np.nan, 0.6], valid)
    )
    assert len(found.per_query) == 2
    assert found.mean == pytest.approx(0.2)


def test_clear_only_when_the_interval_leaves_out_zero(noisy):
    first, second = noisy
    assert paired_difference(first, second).is_clear
    assert paired_difference(second, first).is_clear
    assert not paired_difference(first, first).is_clear


@pytest.mark.parametrize("other", [per_query([0.1]), per_query([0.1, 0.2], people=[5, 6])])
def test_runs_on_different_queries_are_refused(other):
    with pytest.raises(StudyError, match="same data set"):
        paired_difference(per_query([0.1, 0.2]), other)
