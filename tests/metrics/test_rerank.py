"""Re-ranking against the published algorithm, written out, and against torchreid."""

import warnings

import numpy as np
import pytest
import torch

from reidlab.common.errors import ReidlabError
from reidlab.metrics import distances
from reidlab.metrics.rerank import rerank
from reidlab.metrics.scores import FeatureSet, evaluate, retrieve


def published(q_g_dist, q_q_dist, g_g_dist, k1=20, k2=6, lambda_value=0.3):
    """Zhong et al.'s Python code, statement for statement, but for the stable sort."""
    num_query = len(q_g_dist)
    original = np.concatenate(
        [
            np.concatenate([q_q_dist, q_g_dist], axis=1),
            np.concatenate([q_g_dist.T, g_g_dist], axis=1),
        ]
    ).astype(np.float32)
    original = np.transpose(1.0 * original / np.max(original, axis=0))
    encoding = np.zeros_like(original)
    initial_rank = np.argsort(original, axis=1, kind="stable")
    count = len(original)

    def reciprocal(i, k):
        forward = initial_rank[i, : k + 1]
        backward = initial_rank[forward, : k + 1]
        return forward[np.where(backward == i)[0]]

    for i in range(count):
        near = expanded = reciprocal(i, k1)
        for candidate in near:
            nearer = reciprocal(candidate, int(np.around(k1 / 2.0)))
            if len(np.intersect1d(nearer, near)) > 2.0 / 3 * len(nearer):
                expanded = np.append(expanded, nearer)
        expanded = np.unique(expanded)
        weight = np.exp(-original[i, expanded])
        encoding[i, expanded] = weight / np.sum(weight)
    if k2 != 1:
        encoding = np.stack([encoding[initial_rank[i, :k2]].mean(axis=0) for i in range(count)])
    jaccard = np.zeros((num_query, count))
    for i in range(num_query):
        shared = np.minimum(encoding[i], encoding).sum(axis=1)
        jaccard[i] = 1 - shared / (2 - shared)
    final = jaccard * (1 - lambda_value) + original[:num_query] * lambda_value
    return final[:, num_query:]


def random_features(seed, num_query=25, num_gallery=90, dim=6, people=12, grid=None):
    """People that overlap; on a grid many distances are equal and some images the same."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, dim)) * 1.5
    sets = []
    for size in (num_query, num_gallery):
        pids = rng.integers(0, people, size)
        features = centres[pids] + rng.standard_normal((size, dim))
        if grid:
            features = np.round(features * grid)
        sets.append(
            FeatureSet(
                torch.tensor(features, dtype=torch.float32),
                torch.tensor(pids),
                torch.tensor(rng.integers(1, 4, size)),
            )
        )
    return sets


def squared(a, b):
    return ((a[:, None].double() - b[None].double()) ** 2).sum(-1).numpy()


def matrices(query, gallery, distance=squared):
    q, g = query.features, gallery.features
    return distance(q, g), distance(q, q), distance(g, g)


# --- against the published algorithm -------------------------------------------------------


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"),
    [
        (20, 6, 0.3),
        (5, 3, 0.0),
        (7, 1, 0.5),
        (1, 1, 0.3),
        (15, 15, 0.3),
        (30, 2, 1.0),
        (114, 6, 0),
    ],
)
@pytest.mark.parametrize("grid", [None, 1])
def test_equal_to_the_published_algorithm(k1, k2, lambda_value, grid):
    query, gallery = random_features(k1, grid=grid)
    given = matrices(query, gallery)
    if grid:  # ties are what is tested, and every distance is exact
        assert np.mean([len(np.unique(row)) for row in given[0]]) < 0.7 * given[0].shape[1]
    expected = published(*given, k1, k2, lambda_value)
    found = torch.cat(list(rerank(query, gallery, k1, k2, lambda_value)))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    # Re-ranking has changed something, unless told not to.
    original = given[0] / given[0].max()
    assert lambda_value == 1 or np.abs(found.numpy() - original).max() > 0.1


def test_more_copies_of_an_image_than_neighbours():
    # 30 of one, so that an image need not be among its own 11 nearest; and nobody else near.
    gallery = FeatureSet(torch.cat([torch.zeros(30, 2), torch.eye(2) * 9]), None, None)
    query = FeatureSet(torch.tensor([[0.0, 0.0], [0.0, 8.0]]), None, None)
    given = matrices(query, gallery)
    for k2 in (1, 4):
        found = torch.cat(list(rerank(query, gallery, k1=10, k2=k2)))
        np.testing.assert_allclose(found, published(*given, 10, k2), atol=2e-6)


def test_images_that_are_all_the_same():
    query, gallery = (FeatureSet(torch.ones(n, 3), None, None) for n in (2, 8))
    assert torch.isfinite(torch.cat(list(rerank(query, gallery, k1=3, k2=2)))).all()


@pytest.mark.parametrize("distance", ["cosine", "cityblock", "correlation", "minkowski"])
def test_other_distances_are_taken_as_they_are(distance):
    query, gallery = random_features(seed=2)
    prepare, _ = distances.DISTANCES[distance]

    def named(a, b):
        return prepare(b)(a).numpy()

    found = torch.cat(list(rerank(query, gallery, k1=8, k2=3, distance=distance)))
    expected = published(*matrices(query, gallery, named), k1=8, k2=3)
    np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize("lambda_value", [0.0, 0.3])
def test_equal_to_torchreid(lambda_value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("torchreid.reid.utils.rerank")
    query, gallery = random_features(seed=3, num_query=60, num_gallery=240, dim=16)
    given = matrices(query, gallery)
    # torchreid squares what it is given.
    expected = peer.re_ranking(*(np.sqrt(x) for x in given), lambda_value=lambda_value)
    found = torch.cat(list(rerank(query, gallery, lambda_value=lambda_value)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- how it is used ------------------------------------------------------------------------


def test_re_ranked_lists_are_scored_and_retrieved_like_any_other():
    query, gallery = random_features(seed=4, num_query=40, num_gallery=300)
    reranked = rerank(query, gallery)
    assert reranked.shape == (40, 300)
    expected = torch.cat(list(reranked)).numpy()
    for _ in range(2):  # any number of times
        ranking = evaluate(query, gallery, distance=reranked)
        assert ranking.mAP == evaluate(query, gallery, expected).mAP
    by_the_paper = evaluate(query, gallery, published(*matrices(query, gallery)))
    assert ranking.mAP == pytest.approx(by_the_paper.mAP, abs=1e-3)
    indices, values = retrieve(query, gallery, 5, reranked, same_camera_rule=False)
    assert indices.tolist() == np.argsort(expected, axis=1, kind="stable")[:, :5].tolist()
    np.testing.assert_array_equal(values, np.take_along_axis(expected, indices, 1))
    # People with several images each: neighbours help.
    assert ranking.mAP > evaluate(query, gallery).mAP + 0.02


@pytest.mark.parametrize(("block", "rows"), [(1, 1), (1000, 7), (10**8, 10**6)])
def test_block_sizes_do_not_show(monkeypatch, block, rows):
    query, gallery = random_features(seed=5, grid=2)
    whole = torch.cat(list(rerank(query, gallery)))
    monkeypatch.setattr(distances, "BLOCK", block)
    monkeypatch.setattr(distances, "MIN_ROWS", 1)
    monkeypatch.setattr("reidlab.metrics.rerank.ROWS", rows)
    assert torch.equal(torch.cat(list(rerank(query, gallery))), whole)


def test_inputs_are_left_as_they_were():
    query, gallery = random_features(seed=6)
    before = [s.features.clone() for s in (query, gallery)]
    torch.cat(list(rerank(query, gallery)))
    assert all(torch.equal(x, s.features) for x, s in zip(before, (query, gallery)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_features_give_the_same_distances():
    query, gallery = random_features(seed=10, grid=2)  # every distance is exact
    on_cuda = [s._replace(features=s.features.cuda()) for s in (query, gallery)]
    reranked = rerank(*on_cuda)
    torch.testing.assert_close(
        torch.cat(list(reranked)).cpu(), torch.cat(list(rerank(query, gallery)))
    )
    found = evaluate(query, gallery, distance=reranked)
    expected = evaluate(query, gallery, distance=rerank(query, gallery))
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-6)


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 115}, "k1 is 115; .* from 1 to 114.* 115 images"),
        ({"k1": 0, "k2": 0}, "k1 is 0"),
        ({"k1": 5, "k2": 6}, "k2 is 6; .* from 1 to k1, which is 5"),
        ({"k2": 0}, "k2 is 0"),
        ({"lambda_value": 1.01}, "lambda_value is 1.01.* from 0 to 1"),
        ({"lambda_value": float("nan")}, "lambda_value is nan"),
    ],
)
def test_parameters_out_of_range_are_named(settings, message):
    query, gallery = random_features(seed=7)
    with pytest.raises(ReidlabError, match=message):
        rerank(query, gallery, **settings)


def test_malformed_features_are_named():
    query, gallery = random_features(seed=8)
    with pytest.raises(ReidlabError, match=r"distance is 'manhattan'"):
        rerank(query, gallery, distance="manhattan")
    with pytest.raises(ReidlabError, match=r"query.* 5 dim.* 6: "):
        rerank(query._replace(features=query.features[:, 1:]), gallery)
    gallery.features[4, 2] = torch.nan
    with pytest.raises(ReidlabError, match=r"gallery\.features.* 1 of 90 rows.* row 4"):
        rerank(query, gallery)
