"""Statistics over seeds, held against SciPy's and worked examples."""

import numpy as np
import pytest
from scipy import stats

from reidlab.common.errors import ReidlabError
from reidlab.statistics.seeds import estimate, holm, seed_difference


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
