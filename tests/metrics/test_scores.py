"""The metrics against a naive loop, worked examples and torchreid."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from reidlab.common.errors import ReidlabError
from reidlab.metrics import distances, ranks
from reidlab.metrics.distances import DISTANCES
from reidlab.metrics.scores import (
    FeatureSet,
    average_precision,
    average_precision_trapezoid,
    evaluate,
    inverse_negative_penalty,
    retrieve,
)


@pytest.fixture(params=["by row", "at once"])
def counting(request, monkeypatch):
    """Counting as on a CPU, and as on a GPU."""
    if request.param == "at once":
        monkeypatch.setattr(ranks, "_count_by_row", ranks._count_at_once)


def feature_set(features, pids, camids) -> FeatureSet:
    return FeatureSet(
        torch.as_tensor(np.asarray(features, dtype=np.float32)),
        torch.as_tensor(np.asarray(pids, dtype=np.int64)),
        torch.as_tensor(np.asarray(camids, dtype=np.int64)),
    )


def random_sets(seed, num_query=40, num_gallery=300, num_pids=12, dim=8, grid=None):
    """Query and gallery with distractors (pid 0); `grid` rounds features and repeats some."""
    rng = np.random.default_rng(seed)

    def draw(size, low):
        features = rng.standard_normal((size, dim))
        if grid:
            features = np.round(features * grid)
        return features, rng.integers(low, num_pids, size), rng.integers(1, 5, size)

    query, gallery = draw(num_query, 1), draw(num_gallery, 0)
    if grid:
        gallery[0][num_gallery // 2 : num_gallery // 2 + 20] = gallery[0][:20]
    query[1][3] = num_pids + 5  # a person who is not in the gallery
    return feature_set(*query), feature_set(*gallery)


def pairwise(query, gallery, distance):
    """Every distance by its definition, in float64."""
    q, g = (s.features.double().numpy()[:, None] for s in (query, gallery))
    g = g.transpose(1, 0, 2)
    if distance in ("cosine", "correlation"):
        if distance == "correlation":
            q, g = q - q.mean(-1, keepdims=True), g - g.mean(-1, keepdims=True)
        norms = np.linalg.norm(q, axis=-1) * np.linalg.norm(g, axis=-1)
        return 1 - (q * g).sum(-1) / np.maximum(norms, 1e-12)
    order = {"euclidean": 2, "cityblock": 1, "minkowski": 3}[distance]
    return (np.abs(q - g) ** order).sum(-1) ** (1 / order)


def naive_lists(query, gallery, distmat, same_camera_rule=True):
    """For each query, its whole list of gallery positions after the same-camera rule."""
    lists = []
    for i in range(len(query.pids)):
        kept = []
        for j in np.argsort(distmat[i], kind="stable"):
            same_pid = query.pids[i] == gallery.pids[j]
            same_camera = query.camids[i] == gallery.camids[j]
            if not (same_camera_rule and same_pid and same_camera):
                kept.append(int(j))
        lists.append(kept)
    return lists


def naive_scores(query, gallery, lists, max_rank):
    """CMC, means and per-query scores, by walking down each list."""
    rows, cmc = [], np.zeros(max_rank)
    for i, answers in enumerate(lists):
        right = [int(gallery.pids[j]) == int(query.pids[i]) for j in answers]
        total = sum(right)
        if total == 0:
            rows.append((0, np.nan, np.nan, np.nan, np.nan))
            continue
        hits, ap, trapezoid, first, last = 0, 0.0, 0.0, None, None
        old_precision, old_recall = 1.0, 0.0
        for position, is_right in enumerate(right):
            hits += is_right
            precision, recall = hits / (position + 1), hits / total
            trapezoid += (recall - old_recall) * (old_precision + precision) / 2
            old_precision, old_recall = precision, recall
            if is_right:
                ap += precision / total
                first = first or position + 1
                last = position + 1
        cmc[first - 1 :] += 1
        rows.append((total, first, ap, trapezoid, total / last))
    frame = pd.DataFrame(rows, columns=["num_matches", "first_match", "ap", "ap_trapezoid", "inp"])
    return cmc / (frame["num_matches"] > 0).sum(), frame


def assert_agrees(ranking, cmc, frame, tolerance=1e-12):
    np.testing.assert_allclose(ranking.cmc, cmc, atol=tolerance)
    assert ranking.num_valid == (frame["num_matches"] > 0).sum()
    for name in frame.columns:
        np.testing.assert_allclose(
            ranking.per_query[name].astype(float), frame[name].astype(float), atol=tolerance
        )
    assert ranking.mAP == pytest.approx(frame["ap"].mean(), abs=tolerance)
    assert ranking.mAP_trapezoid == pytest.approx(frame["ap_trapezoid"].mean(), abs=tolerance)
    assert ranking.mINP == pytest.approx(frame["inp"].mean(), abs=tolerance)


def on_a_line(right, **kwargs):
    """One query at 0, gallery at 1, 2, 3, …; `right` holds the ranks of the true matches."""
    size = max(right) + 3
    pids = [7 if rank in right else 3 for rank in range(1, size + 1)]
    gallery = feature_set(np.arange(1, size + 1)[:, None], pids, [2] * size)
    return evaluate(feature_set([[0]], [7], [1]), gallery, **kwargs)


# --- worked examples -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "rectangular", "trapezoid"),
    [
        ([1, 2, 4, 7], 0.8304, 0.8110),
        ([2], 0.50, 0.25),
        ([5, 9, 30], 0.174, 0.119),
    ],
)
def test_both_average_precisions_of_worked_lists(right, rectangular, trapezoid):
    ranking = on_a_line(right)
    digits = 4 if rectangular == 0.8304 else 3
    assert round(ranking.mAP, digits) == rectangular
    assert round(ranking.mAP_trapezoid, digits) == trapezoid
    assert ranking.mINP == pytest.approx(len(right) / right[-1])
    assert ranking.per_query.loc[0, "first_match"] == right[0]
    assert ranking.rank(right[0]) == 1
    if right[0] > 1:
        assert ranking.rank(right[0] - 1) == 0


def test_lists_scored_together_equal_lists_scored_alone():
    rng = np.random.default_rng(0)
    lists = [np.sort(rng.choice(np.arange(1, 99), size, replace=False)) for size in range(1, 30)]
    together = np.full((len(lists), 29), np.inf)
    for row, right in zip(together, lists):
        row[: len(right)] = right
    for score in (average_precision, average_precision_trapezoid, inverse_negative_penalty):
        alone = [score(right) for right in lists]
        np.testing.assert_allclose(score(together), alone, rtol=1e-12)


def test_a_perfect_ranking_scores_one_everywhere():
    centres = np.eye(5) * 10
    pids = np.repeat(np.arange(1, 6), 4)
    gallery = feature_set(centres[pids - 1], pids, [2] * 20)
    ranking = evaluate(feature_set(centres, [1, 2, 3, 4, 5], [1] * 5), gallery)
    assert ranking.mAP == ranking.mAP_trapezoid == ranking.mINP == 1
    assert (ranking.cmc == 1).all()
    assert ranking.summary() == {
        "rank1": 100, "rank5": 100, "rank10": 100,
        "mAP": 100, "mAP_trapezoid": 100, "mINP": 100, "num_valid": 5,
    }  # fmt: skip


def test_same_camera_images_are_neither_right_nor_wrong():
    # By distance: the query's own camera, a distractor, someone else in that camera, the match.
    gallery = feature_set([[1], [2], [3], [4]], [7, 0, 8, 7], [1, 1, 1, 2])
    query = feature_set([[0]], [7], [1])
    assert evaluate(query, gallery).per_query.loc[0, "first_match"] == 3
    assert evaluate(query, gallery).mAP == pytest.approx(1 / 3)
    without = evaluate(query, gallery, same_camera_rule=False)
    assert without.mAP == pytest.approx((1 + 2 / 4) / 2)
    assert without.per_query.loc[0, "num_matches"] == 2


@pytest.mark.usefixtures("counting")
def test_equal_distances_keep_gallery_order():
    query = feature_set([[0]], [7], [1])
    for position in range(4):
        pids = [7 if i == position else 3 for i in range(4)]
        ranking = evaluate(query, feature_set([[5]] * 4, pids, [2] * 4))
        assert ranking.per_query.loc[0, "first_match"] == position + 1


# --- against the naive loop ----------------------------------------------------------------


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("same_camera_rule", [True, False])
def test_untied_lists_equal_the_naive_loop(distance, same_camera_rule):
    query, gallery = random_sets(seed=1)
    lists = naive_lists(query, gallery, pairwise(query, gallery, distance), same_camera_rule)
    ranking = evaluate(query, gallery, distance, 20, same_camera_rule)
    assert_agrees(ranking, *naive_scores(query, gallery, lists, 20))
    assert not ranking.per_query.loc[3, "valid"]


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("distance", ["euclidean", "cityblock"])
@pytest.mark.parametrize("sorted_per_match", [10**6, 0])  # sort every list; count in every list
@pytest.mark.parametrize("seed", range(3))
def test_tied_lists_equal_the_naive_loop(monkeypatch, distance, sorted_per_match, seed):
    # Features on a coarse integer grid: every distance is exact, and most are shared.
    query, gallery = random_sets(seed, dim=3, grid=1)
    distmat = pairwise(query, gallery, distance).round(9)
    assert np.mean([len(np.unique(row)) for row in distmat]) < 0.15 * distmat.shape[1]
    monkeypatch.setattr(ranks, "SORTED_PER_MATCH", sorted_per_match)
    lists = naive_lists(query, gallery, distmat)
    assert_agrees(evaluate(query, gallery, distance), *naive_scores(query, gallery, lists, 50))
    indices, values = retrieve(query, gallery, k=15, distance=distance)
    assert indices.tolist() == [answers[:15] for answers in lists]
    np.testing.assert_allclose(values, np.take_along_axis(distmat, indices, 1), atol=1e-5)


@pytest.mark.parametrize("distance", list(DISTANCES))
def test_retrieved_lists_and_distances(distance):
    query, gallery = random_sets(seed=4)
    distmat = pairwise(query, gallery, distance)
    for rule in (True, False):
        lists = naive_lists(query, gallery, distmat, rule)
        indices, values = retrieve(query, gallery, 7, distance, same_camera_rule=rule)
        assert indices.tolist() == [answers[:7] for answers in lists]
        np.testing.assert_allclose(values, np.take_along_axis(distmat, indices, 1), atol=1e-5)


def test_retrieve_pads_short_lists():
    gallery = feature_set([[1], [2], [3]], [7, 8, 9], [1, 1, 1])
    indices, values = retrieve(feature_set([[0]], [7], [1]), gallery, k=5)
    assert indices.tolist() == [[1, 2, -1, -1, -1]]
    assert values.tolist() == [[2, 3, np.inf, np.inf, np.inf]]


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("block", [1, 1000, 10**9])
@pytest.mark.parametrize("distance", list(DISTANCES))
def test_block_size_does_not_show(monkeypatch, block, distance):
    # Ties too, where distances on a grid are exact: elsewhere rounding may settle them.
    query, gallery = random_sets(seed=5, grid=None if distance in ("cosine", "correlation") else 2)
    whole = evaluate(query, gallery, distance)
    monkeypatch.setattr(distances, "BLOCK", block)
    monkeypatch.setattr(distances, "MIN_ROWS", 1)
    blocks = evaluate(query, gallery, distance)
    pd.testing.assert_frame_equal(whole.per_query, blocks.per_query)
    np.testing.assert_array_equal(whole.cmc, blocks.cmc)


def test_memory_is_bounded_by_the_block(monkeypatch):
    sizes, places = [], set()
    prepare, convert = DISTANCES["euclidean"]

    def spy(gf):
        block_distance = prepare(gf)

        def measured(qf, out):
            distmat = block_distance(qf, out)
            sizes.append(distmat.numel())
            places.add(distmat.data_ptr())
            return distmat

        return measured

    monkeypatch.setitem(DISTANCES, "euclidean", (spy, convert))
    monkeypatch.setattr(distances, "BLOCK", 1000)
    monkeypatch.setattr(distances, "MIN_ROWS", 1)
    query, gallery = random_sets(seed=6)
    evaluate(query, gallery)
    assert len(places) == 1  # every block in the same memory
    retrieve(query, gallery)
    assert max(sizes) <= 1000
    assert sum(sizes) == 2 * len(query.pids) * len(gallery.pids)


# --- against torchreid ---------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_untied_numbers_equal_torchreid(distance):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("torchreid.reid.metrics")
    query, gallery = random_sets(seed=7, num_query=150, num_gallery=900, num_pids=60, dim=32)
    # Persons that can be told apart, as far as real features allow.
    centres = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    query.features.add_(centres[query.pids])
    gallery.features.add_(centres[gallery.pids])
    distmat = peer.compute_distance_matrix(query.features, gallery.features, distance).numpy()
    cmc, mean_ap = peer.evaluate_rank(
        distmat,
        *(x.numpy() for x in (query.pids, gallery.pids, query.camids, gallery.camids)),
        max_rank=50,
        use_metric_cuhk03=False,
        use_cython=False,
    )
    ranking = evaluate(query, gallery, distance)
    np.testing.assert_allclose(ranking.cmc, cmc, atol=1e-6)
    assert ranking.mAP == pytest.approx(mean_ap, abs=1e-6)
    assert 0.2 < mean_ap < 0.95  # neither trivial nor hopeless


# --- edges and errors ----------------------------------------------------------------------


def test_gallery_smaller_than_max_rank():
    ranking = on_a_line([2], max_rank=50)
    assert ranking.cmc.tolist() == [0] + [1] * 49
    assert on_a_line([30], max_rank=3).cmc.tolist() == [0, 0, 0]
    assert set(on_a_line([30], max_rank=5).summary()) >= {"rank1", "rank5", "mAP"}
    with pytest.raises(ReidlabError, match=r"rank\(k=6\).*1 to 5.*max_rank=6"):
        on_a_line([30], max_rank=5).rank(6)


def test_a_query_without_a_match_is_left_out():
    gallery = feature_set([[1], [2]], [7, 8], [2, 2])
    query = feature_set([[0], [0], [0]], [7, 9, 8], [1, 1, 2])  # 9 is absent; 8: same camera
    ranking = evaluate(query, gallery)
    assert ranking.num_valid == 1
    assert ranking.mAP == 1
    assert ranking.per_query["valid"].tolist() == [True, False, False]
    assert ranking.per_query["num_matches"].tolist() == [1, 0, 0]
    assert ranking.per_query["first_match"].isna().tolist() == [False, True, True]
    assert ranking.per_query["ap"].isna().tolist() == [False, True, True]


def test_no_valid_query_is_explained():
    query = feature_set([[0], [0], [0]], [7, 8, 9], [1, 1, 1])
    gallery = feature_set([[1], [2], [3], [4]], [7, 7, 8, 0], [1, 1, 1, 4])
    with pytest.raises(ReidlabError) as caught:
        evaluate(query, gallery)
    message = str(caught.value)
    for part in (
        "none of the 3 queries has a true match in the gallery of 4 images",
        "the pids of 1 queries are absent",
        "those of 2 are there in the query's own camera only",
        "removed 3 images",
        "Query camids: 1;",
        "gallery camids: 1, 4.",
        "same_camera_rule=False",
    ):
        assert part in message
    assert evaluate(query, gallery, same_camera_rule=False).num_valid == 2
    # Where the rule removed nothing, switching it off is no remedy.
    absent = query._replace(pids=query.pids + 100)
    with pytest.raises(ReidlabError, match=r"pids of 3 queries are absent.*removed 0") as caught:
        evaluate(absent, gallery)
    assert "same_camera_rule=False" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q, g: (q._replace(features=q.features[:0]), g), "query is empty"),
        (lambda q, g: (q, g._replace(features=g.features[:0])), "gallery is empty"),
        (lambda q, g: (q, g._replace(pids=g.pids[1:])), r"gallery.pids has shape \(299,\).* 300"),
        (
            lambda q, g: (q._replace(camids=q.camids[1:]), g),
            r"query.camids has shape \(39,\).* 40",
        ),
        (lambda q, g: (q._replace(features=q.features[:, 1:]), g), "query.* 7 dim.* 8: "),
        (lambda q, g: (q._replace(features=q.features[0]), g), r"query.features.*\(8,\)"),
        (lambda q, g: (q._replace(features=q.features.long()), g), "query.features.*int64"),
        (
            lambda q, g: (q, g._replace(pids=g.pids + 0.5)),
            r"gallery.pids holds \d+\.5 in row 0.*whole numbers",
        ),
        (
            lambda q, g: (q._replace(camids=q.camids * torch.nan), g),
            r"query.camids holds nan in row 0",
        ),
        (
            lambda q, g: (q._replace(pids=[f"person {pid}" for pid in q.pids]), g),
            r"query.pids holds .*person \d.* in row 0.*number them",
        ),
        (
            lambda q, g: (q, g._replace(features=g.features.to_sparse())),
            r"gallery.features must be dense .*to_dense",
        ),
    ],
)
def test_malformed_input_is_named(make, message):
    query, gallery = make(*random_sets(seed=8))
    with pytest.raises(ReidlabError, match=message):
        evaluate(query, gallery)
    with pytest.raises(ReidlabError, match=message):
        retrieve(query, gallery)


def test_whole_numbers_may_come_as_floats():
    query, gallery = random_sets(seed=8)
    expected = evaluate(query, gallery)
    found = evaluate(query._replace(pids=query.pids.double()), gallery)
    pd.testing.assert_frame_equal(found.per_query, expected.per_query)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_named(value):
    query, gallery = random_sets(seed=9)
    gallery.features[17, 2] = value
    with pytest.raises(ReidlabError, match=r"gallery\.features.* 1 of 300 rows.* row 17"):
        evaluate(query, gallery)


def test_unknown_settings_are_refused():
    query, gallery = random_sets(seed=10)
    with pytest.raises(ReidlabError, match="'manhattan'; known are euclidean, cosine"):
        evaluate(query, gallery, distance="manhattan")
    with pytest.raises(ReidlabError, match="max_rank is 0"):
        evaluate(query, gallery, max_rank=0)
    with pytest.raises(ReidlabError, match="k is 0"):
        retrieve(query, gallery, k=0)


def test_inputs_are_left_as_they_were():
    query, gallery = random_sets(seed=11)
    before = [x.clone() for x in (*query, *gallery)]
    for distance in DISTANCES:
        evaluate(query, gallery, distance)
    assert all(torch.equal(x, y) for x, y in zip(before, (*query, *gallery)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("distance", list(DISTANCES))
def test_cuda_features_give_the_same_numbers(distance):
    query, gallery = random_sets(seed=12)
    on_cuda = [FeatureSet(*(x.cuda() for x in s)) for s in (query, gallery)]
    expected, found = evaluate(query, gallery, distance), evaluate(*on_cuda, distance)
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-6)
    np.testing.assert_allclose(found.cmc, expected.cmc, atol=1e-6)
