"""Error rates of a threshold: by hand, against scikit-learn, and against redrawing by loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from reidlab.common.errors import ReidlabError
from reidlab.metrics.scores import FeatureSet
from reidlab.verification import rates as v
from reidlab.verification.pairs import count_by_identity, count_pairs, count_values
from tests.verification.test_pairs import images, naive, values


def test_rates_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    # Rounded, so that there are ties within and between the kinds.
    genuine, impostor = rng.normal(1, 1, 200).round(1), rng.normal(3, 1, 900).round(1)
    curve = v.error_rates(count_values(genuine, impostor))
    truth = np.repeat([1, 0], [200, 900])
    scores = -np.concatenate([genuine, impostor])
    fpr, tpr, cuts = roc_curve(truth, scores, drop_intermediate=False)
    # scikit-learn accepts a score at its threshold; here one below: the same steps, in order.
    assert np.allclose(curve.fmr, fpr) and np.allclose(1 - curve.fnmr, tpr)
    assert np.allclose(curve.threshold[:-1], -cuts[1:])
    area = v.roc_area(count_values(genuine, impostor))
    assert area == pytest.approx(roc_auc_score(truth, scores))


def test_histogram_and_all_values_give_the_same_area_and_rates():
    first, second = images(1, 80), images(2, 120)
    exact = count_values(*map(values, naive(first, second)))
    counted = count_pairs(first, second)
    assert v.roc_area(counted) == pytest.approx(v.roc_area(exact), abs=1e-4)
    assert v.equal_error_rate(counted)[0] == pytest.approx(v.equal_error_rate(exact)[0], abs=5e-3)


def test_equal_error_rate_by_hand():
    counts = count_values(np.arange(1.0, 11), np.arange(8.0, 18))
    rate, threshold = v.equal_error_rate(counts)
    # Below 9: one impostor of ten, and 9 and 10 of the genuine are missed. Below 10: two, and one.
    assert rate == pytest.approx(0.15) and threshold == 9.0


def test_separable_pairs_have_no_errors():
    counts = count_values(np.array([0.1, 0.2]), np.array([0.5, 0.6]))
    assert v.equal_error_rate(counts) == (0.0, 0.5)
    assert v.roc_area(counts) == 1.0


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.005])
def test_threshold_is_the_largest_that_keeps_the_promise(rate):
    rng = np.random.default_rng(1)
    impostor = rng.normal(3, 1, 300).round(2)
    counts = count_values(rng.normal(1, 1, 50), impostor)
    threshold = v.threshold_at(counts, rate)
    assert np.mean(impostor < threshold) <= rate
    larger = counts.thresholds[counts.thresholds > threshold]
    assert np.mean(impostor < larger[0]) > rate


def test_too_few_pairs_give_no_threshold_but_exactly_enough_do():
    counts = count_values(np.array([1.0]), np.arange(2.0, 102))
    assert np.isnan(v.threshold_at(counts, 0.001))
    assert v.threshold_at(counts, 0.01) == 3.0  # 2 passes, 3 does not
    with pytest.raises(ReidlabError, match="between 0 and 1"):
        v.threshold_at(counts, 1.0)


def test_rates_at_thresholds_of_other_people_are_exact():
    """Also at thresholds outside the histogram of the people on whom they are used."""
    one, two, third = images(3, 70, lowest=1), images(4, 70, lowest=1), images(5, 90, lowest=1)
    wide = count_pairs(two._replace(features=two.features * 9))
    narrow = count_pairs(one, third)
    cuts = np.append(wide.thresholds[:: len(wide.thresholds) // 9], np.nan)
    fmr, fnmr = v.rates_at(narrow, cuts)
    genuine, impostor = map(values, naive(one, third))
    assert cuts[0] < impostor.min() or cuts[-2] > impostor.max()
    assert fmr[:-1] == pytest.approx([np.mean(impostor < t) for t in cuts[:-1]])
    assert fnmr[:-1] == pytest.approx([np.mean(genuine >= t) for t in cuts[:-1]])
    assert np.isnan(fmr[-1]) and np.isnan(fnmr[-1])


def test_redrawn_rates_are_those_of_a_loop_over_redrawn_people():
    people = images(6, 50, people=5, lowest=1)
    cuts = np.array([1.5, 2.5])
    counts = count_by_identity(cuts, people)
    fmr, fnmr = v.redrawn_rates(counts, samples=5, seed=3)
    genuine, impostor = naive(people)
    drawn = np.random.default_rng(3).multinomial(5, np.full(5, 0.2), 5)
    for sample, weights in enumerate(drawn):
        times = dict(zip(counts.pids.tolist(), weights.tolist()))
        near = np.zeros(2), np.zeros(2)
        total = [0, 0]
        for kind, pairs in enumerate((genuine, impostor)):
            for distance, pid, other in pairs:
                weight = times[pid] * times[other] if kind else times[pid]
                near[kind][:] += weight * (distance < cuts)
                total[kind] += weight
        assert fmr[sample] == pytest.approx(near[1] / total[1])
        assert fnmr[sample] == pytest.approx(1 - near[0] / total[0])


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Fifty worlds of 60 people from one population: its EER is in about 95 % of intervals."""

    def world(seed, count=60):
        rng = np.random.default_rng(seed)
        pids = np.repeat(np.arange(1, count + 1), 4)
        centres = rng.normal(size=(count, 4)).repeat(4, axis=0)
        features = torch.from_numpy(centres + 0.5 * rng.normal(size=centres.shape)).float()
        camids = torch.arange(4).repeat(count)
        return FeatureSet(features, torch.from_numpy(pids), camids)

    truth, _ = v.equal_error_rate(count_pairs(world(999, 1000)))
    hits = 0
    for seed in range(50):
        rate, low, high = v.eer_interval(world(seed), samples=200)
        assert low <= rate <= high
        hits += low <= truth <= high
    assert hits >= 42  # fewer than 43 of 50 at 95 % happen once in a thousand


def test_threshold_table_promises_and_measures():
    calibration = count_pairs(images(7, 100, people=9, lowest=1))
    query, gallery = images(8, 50, people=9, lowest=1), images(9, 100, people=9)
    table = v.threshold_table(calibration, query, gallery, rates=(0.1, 0.01, 1e-6), samples=100)
    assert table.point.tolist() == ["10 %", "1 %", "0.0001 %", "EER"]
    assert table.threshold.isna().tolist() == [False, False, True, False]
    kept = table.dropna(subset="wanted_fmr").iloc[:2]
    assert (kept.calibration_fmr <= kept.wanted_fmr).all()
    genuine, impostor = map(values, naive(query, gallery))
    for row in table.dropna(subset="threshold").itertuples():
        assert row.fmr == pytest.approx(np.mean(impostor < row.threshold))
        assert row.fnmr == pytest.approx(np.mean(genuine >= row.threshold))
        assert row.fmr_low <= row.fmr <= row.fmr_high
        assert row.fnmr_low <= row.fnmr <= row.fnmr_high
    own = v.threshold_at(count_pairs(query, gallery), 0.1)
    assert table.own_fnmr[0] == pytest.approx(np.mean(genuine >= own))
    again = v.threshold_table(calibration, query, gallery, rates=(0.1, 0.01, 1e-6), samples=100)
    assert table.equals(again)


def test_thinned_curve_keeps_its_ends_and_lies_on_the_whole():
    counts = count_pairs(images(1, 120), images(2, 150))
    curve, whole = v.thinned(counts, 200), v.error_rates(counts)
    assert len(curve) <= 200 < len(whole)
    assert curve.iloc[[0, -1]].to_numpy().tolist() == whole.iloc[[0, -1]].to_numpy().tolist()
    assert curve.merge(whole).equals(curve)


def test_halves_divide_people_alike_in_two_sets():
    query, gallery = images(1, 80, people=30, lowest=1), images(2, 200, people=30)
    one, two = v.halves(query), v.halves(gallery)
    people = [set(part.pids.tolist()) for part in (*one, *two)]
    assert people[0] | people[1] == set(query.pids.tolist()) and not people[0] & people[1]
    assert not people[0] & people[3] and not people[1] & people[2]
    assert min(map(len, people)) > 5
    assert v.halves(query, seed=1)[0].pids.tolist() != one[0].pids.tolist()


def test_miss_difference_is_paired_and_of_whole_people():
    pids = np.repeat([1, 2, 3, 4], [1, 2, 3, 4])
    first, second = pids == 4, pids >= 3
    difference, low, high = v.miss_difference(first, second, pids, samples=400, seed=2)
    assert difference == pytest.approx(0.3) and low < 0.3 < high
    drawn = np.random.default_rng(2).multinomial(4, np.full(4, 0.25), 400)
    by_hand = [3 * w[2] / (w @ [1, 2, 3, 4]) for w in drawn]
    assert (low, high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))
    assert v.miss_difference(first, first, pids) == (0, 0, 0)


def test_measures_are_compared_at_their_own_thresholds():
    rng = np.random.default_rng(0)
    genuine = np.arange(1000) < 100
    good = np.where(genuine, 0.0, 3.0) + rng.normal(size=1000)
    worse = good + 2 * rng.normal(size=1000)
    pids = rng.integers(1, 20, 1000)
    table = v.compare_measures(
        {"good": good, "scaled": 7 * good + 1, "worse": worse}, genuine, pids, (0.1, 0.01, 1e-4)
    )
    rows = {name: group.set_index("wanted_fmr") for name, group in table.groupby("measure")}
    for rate in (0.1, 0.01):
        cut = np.sort(good[~genuine])[round(rate * 900)]
        assert rows["good"].fnmr[rate] == pytest.approx(np.mean(good[genuine] >= cut))
        assert rows["scaled"].difference[rate] == 0
        assert rows["worse"].low[rate] > 0
        change = rows["worse"].fnmr[rate] - rows["good"].fnmr[rate]
        assert rows["worse"].difference[rate] == pytest.approx(change)
    assert table[table.wanted_fmr == 1e-4].fnmr.isna().all()


def test_thresholds_of_measures_are_carried_to_other_people():
    rng = np.random.default_rng(1)
    counts, values = {}, {}
    for people, shift in (("calibration", 3.0), ("test", 2.0)):  # strangers come nearer
        genuine, impostor = rng.normal(size=300), shift + rng.normal(size=4000)
        values[people] = genuine, impostor
        counts[people] = {
            "plain": count_values(genuine, impostor),
            "scaled": count_values(7 * genuine + 1, 7 * impostor + 1),
        }
    table = v.carried_thresholds(counts["calibration"], counts["test"], (0.1, 0.01, 1e-4))
    assert table.measure.tolist() == ["plain"] * 3 + ["scaled"] * 3
    for row in table[table.measure == "plain"][:2].itertuples():
        cut = np.sort(values["calibration"][1])[round(row.wanted_fmr * 4000)]
        genuine, impostor = values["test"]
        assert row.threshold == cut
        assert row.fmr == pytest.approx(np.mean(impostor < cut))
        assert row.fnmr == pytest.approx(np.mean(genuine >= cut))
        assert row.fmr > row.wanted_fmr
    assert table[table.wanted_fmr == 1e-4][["threshold", "fmr", "fnmr"]].isna().all(axis=None)
    plain, scaled = (table[table.measure == name] for name in ("plain", "scaled"))
    columns = ["fmr", "fnmr"]
    np.testing.assert_allclose(plain[columns], scaled[columns], atol=2 / 300)
