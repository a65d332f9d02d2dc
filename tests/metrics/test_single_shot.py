"""Single-gallery-shot CMC against every gallery that could be drawn, and torchreid."""

import itertools

import numpy as np
import pytest
import torch

from reidlab.metrics.scores import FeatureSet, evaluate
from tests.metrics.test_scores import pairwise, random_sets


def single_shot_cmc(query, gallery, distance="euclidean", max_rank=50, same_camera_rule=True):
    settings = distance, max_rank, same_camera_rule
    return evaluate(query, gallery, *settings, single_shot=True).single_shot


def over_all_galleries(query, gallery, distmat, max_rank, same_camera_rule):
    """The mean over every choice of one image a person, list by list."""
    curves = []
    for i in range(len(query.pids)):
        images = {}
        for j in range(len(gallery.pids)):
            pid = int(gallery.pids[j])
            same = pid == query.pids[i] and gallery.camids[j] == query.camids[i]
            if pid > 0 and not (same_camera_rule and same):
                images.setdefault(pid, []).append(j)
        if int(query.pids[i]) not in images:
            continue
        found = []
        for chosen in itertools.product(*images.values()):
            ranked = sorted(chosen, key=lambda j: (distmat[i, j], j))
            at = [int(gallery.pids[j]) for j in ranked].index(int(query.pids[i]))
            found.append([at < k for k in range(1, max_rank + 1)])
        curves.append(np.mean(found, axis=0))
    return np.mean(curves, axis=0)


@pytest.mark.parametrize("same_camera_rule", [True, False])
@pytest.mark.parametrize(("distance", "ties"), [("euclidean", False), ("cityblock", True)])
def test_mean_over_every_gallery(same_camera_rule, distance, ties):
    query, gallery = random_sets(seed=21, num_query=15, num_gallery=22, num_pids=5, dim=2)
    if ties:
        query, gallery = (s._replace(features=s.features.round()) for s in (query, gallery))
    expected = over_all_galleries(
        *(query, gallery, pairwise(query, gallery, distance), 8, same_camera_rule)
    )
    found = single_shot_cmc(query, gallery, distance, 8, same_camera_rule)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0 < found[0] < found[-1] == pytest.approx(1)


def test_one_image_a_person_is_the_usual_curve():
    query, gallery = random_sets(seed=22, num_query=30, num_gallery=40, num_pids=40)
    gallery = gallery._replace(pids=torch.arange(1, 41), camids=torch.full((40,), 9))
    np.testing.assert_allclose(
        single_shot_cmc(query, gallery, max_rank=60), evaluate(query, gallery, max_rank=60).cmc
    )


def test_torchreids_draws_are_around_it():
    eval_cuhk03 = pytest.importorskip("torchreid.reid.metrics.rank").eval_cuhk03
    query, gallery = random_sets(seed=23, num_query=60, num_gallery=400, num_pids=40)
    known = gallery.pids > 0
    gallery = FeatureSet(*(column[known] for column in gallery))
    labels = [s.numpy() for s in (query.pids, gallery.pids, query.camids, gallery.camids)]
    np.random.seed(0)
    distmat = pairwise(query, gallery, "euclidean")
    draws = np.array([eval_cuhk03(distmat, *labels, 20)[0] for _ in range(30)])
    found = single_shot_cmc(query, gallery, max_rank=20)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(found - draws.mean(0)) < 4 * error + 1e-6).all()
