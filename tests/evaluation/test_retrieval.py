"""Reading ranked lists, against slow loops over pairs."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reidlab.common.errors import ReidlabError
from reidlab.evaluation import retrieval
from reidlab.metrics.scores import FeatureSet, evaluate


def random_sets(seed=0, queries=30, images=200, people=8, cameras=3):
    """Queries and a gallery with distractors (pid 0); features carry person and camera."""
    rng = np.random.default_rng(seed)

    def make(count, low):
        pids, camids = rng.integers(low, people + 1, count), rng.integers(1, cameras + 1, count)
        features = rng.normal(size=(count, 6)) + pids[:, None] / 2 + camids[:, None] / 3
        columns = torch.from_numpy(pids), torch.from_numpy(camids)
        return FeatureSet(torch.from_numpy(features).float(), *columns)

    return make(queries, 1), make(images, 0)


@pytest.fixture(scope="module")
def sets():
    return random_sets()


def distances_of(query, gallery):
    return torch.cdist(query.features.double(), gallery.features.double()).numpy()


def kind(query, gallery, i, j):
    """What gallery image j is to query i; None if the protocol removes it."""
    pid, camid = query.pids[i].item(), query.camids[i].item()
    same_camera = gallery.camids[j].item() == camid
    if gallery.pids[j].item() == pid:
        return None if same_camera else retrieval.MATCH
    if gallery.pids[j].item() == 0:
        return retrieval.DISTRACTOR
    return retrieval.SAME_CAMERA if same_camera else retrieval.OTHER_CAMERA


def test_answers_are_the_ranked_list(sets):
    query, gallery = sets
    table = retrieval.answers(query, gallery, 7)
    distances = distances_of(query, gallery)
    for i, rows in table.groupby("query"):
        kept = [j for j in range(200) if kind(query, gallery, i, j)]
        expected = sorted(kept, key=lambda j: distances[i, j])[:7]
        assert rows.gallery.tolist() == expected
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert rows.verdict.tolist() == [kind(query, gallery, i, j) for j in expected]
        assert rows.pid.tolist() == gallery.pids[expected].tolist()
        np.testing.assert_allclose(rows.distance, distances[i, expected], rtol=1e-4)


def test_triplets_are_the_nearest_of_each_kind(sets):
    query, gallery = sets
    table = retrieval.triplets(query, gallery)
    distances = distances_of(query, gallery)
    assert len(table) == len(query.pids)
    for row in table.itertuples():
        kinds = [kind(query, gallery, row.query, j) for j in range(200)]
        nearest = {}
        for j in np.argsort(distances[row.query]):
            nearest.setdefault(kinds[j], j)
        impostors = [nearest[name] for name in (retrieval.SAME_CAMERA, retrieval.OTHER_CAMERA)]
        assert row.match == nearest[retrieval.MATCH]
        assert row.impostor == min(impostors, key=lambda j: distances[row.query, j])
        assert row.impostor_pid not in (0, row.pid)
        assert row.match_camid != row.camid
        expected = distances[row.query, row.impostor] - distances[row.query, row.match]
        assert row.margin == pytest.approx(expected, abs=1e-3)


def test_a_query_without_match_has_no_triplet():
    query = FeatureSet(torch.tensor([[0.0], [1.0]]), torch.tensor([1, 2]), torch.tensor([1, 1]))
    gallery = FeatureSet(
        torch.tensor([[0.0], [2.0], [3.0]]), torch.tensor([1, 2, 0]), torch.tensor([1, 2, 2])
    )
    assert retrieval.triplets(query, gallery)["query"].tolist() == [1]


def margins(values):
    return pd.DataFrame({"query": range(len(values)), "pid": range(len(values)), "margin": values})


def test_telling_triplets_are_just_right_and_most_wrong():
    table = margins([0.5, -0.3, 0.1, -0.9, 0.2, -0.1])
    assert retrieval.telling_triplets(table, 4).margin.tolist() == [0.1, 0.2, -0.9, -0.3]


def test_telling_triplets_fill_up_from_the_other_sort():
    assert len(retrieval.telling_triplets(margins([-0.3, -0.2, -0.5, 0.1, -0.1]), 4)) == 4
    assert retrieval.telling_triplets(margins([0.3, 0.2]), 4).margin.tolist() == [0.2, 0.3]


def test_no_person_fills_the_triplets_alone():
    table = margins([-0.5, -0.4, -0.3, -0.2]).assign(pid=[7, 7, 7, 8])
    assert retrieval.telling_triplets(table, 4).pid.tolist() == [7, 8]


def scores(ap):
    count = len(ap)
    return pd.DataFrame(
        {"query": range(count), "pid": range(count), "ap": ap, "valid": [True] * count}
    )


def test_worst_and_cross_section():
    table = scores([0.5, 0.1, 0.9, 0.3, 0.7])
    assert retrieval.worst(table, 2) == [1, 3]
    assert retrieval.cross_section(table, (1.0, 0.5, 0.0)) == [2, 0, 1]
    assert retrieval.cross_section(table, (1.0, 1.0)) == [2]
    table.loc[1, "valid"] = False
    assert retrieval.worst(table, 1) == [3]


def test_first_answers_against_counting(sets):
    query, gallery = sets
    table = retrieval.first_answers(query, gallery, retrieval.answers(query, gallery, 3))
    distances = distances_of(query, gallery)
    first, chance = [], np.zeros(4)
    for i in range(len(query.pids)):
        kinds = [kind(query, gallery, i, j) for j in range(200)]
        kept = [name for name in kinds if name]
        first.append(min((d, name) for d, name in zip(distances[i], kinds) if name)[1])
        chance += np.array([kept.count(name) / len(kept) for name in retrieval.VERDICTS])
    share = [100 * first.count(name) / len(first) for name in retrieval.VERDICTS]
    np.testing.assert_allclose(table.share, share)
    np.testing.assert_allclose(table.by_chance, 100 * chance / len(first))
    assert table[["share", "by_chance"]].sum().tolist() == pytest.approx([100, 100])


def test_camera_pairs_against_a_gallery_cut_by_hand(sets):
    query, gallery = sets
    table = retrieval.camera_pairs(query, gallery).set_index(["query_camera", "gallery_camera"])
    assert set(table.index) == {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    asked, searched = query.camids == 3, gallery.camids == 1
    cut = (FeatureSet(*(c[asked] for c in query)), FeatureSet(*(c[searched] for c in gallery)))
    ranking = evaluate(*cut)
    assert table.loc[(3, 1), "mAP"] == pytest.approx(100 * ranking.mAP)
    assert table.loc[(3, 1), "rank1"] == pytest.approx(100 * ranking.rank(1))
    assert table.loc[(3, 1), "queries"] == ranking.num_valid


def test_a_pair_of_cameras_without_common_people_is_empty():
    query = FeatureSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([1, 2]))
    gallery = FeatureSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([2, 3]))
    table = retrieval.camera_pairs(query, gallery).set_index(["query_camera", "gallery_camera"])
    assert table.loc[(1, 2), "mAP"] == 100
    assert np.isnan(table.loc[(1, 3), "mAP"])
    assert table.loc[(1, 3), "queries"] == 0


def test_cameras_are_parts_of_the_whole(sets):
    ranking = evaluate(*sets)
    table = retrieval.by_camera(ranking.per_query)
    assert table.queries.sum() == ranking.num_valid
    assert np.average(table["mAP"], weights=table.queries) == pytest.approx(100 * ranking.mAP)
    assert np.average(table.rank1, weights=table.queries) == pytest.approx(100 * ranking.rank(1))


def test_pair_distances_are_all_pairs_of_each_kind(sets):
    query, gallery = sets
    matches, others = retrieval.pair_distances(query, gallery)
    distances = distances_of(query, gallery)
    kinds = np.array([[kind(query, gallery, i, j) for j in range(200)] for i in range(30)])
    expected = np.sort(distances[kinds == retrieval.MATCH])
    np.testing.assert_allclose(np.sort(matches), expected, rtol=1e-4)
    wrong = (kinds != retrieval.MATCH) & (kinds != None)  # noqa: E711 elementwise
    np.testing.assert_allclose(np.sort(others), np.sort(distances[wrong]), rtol=1e-4)


def test_pair_distances_of_a_few_queries(sets):
    matches, others = retrieval.pair_distances(*sets, most=2)
    all_matches, all_others = retrieval.pair_distances(*sets)
    assert 0 < len(matches) < len(all_matches)
    gap = np.abs(others[:, None] - all_others).min(axis=1)  # blocks round differently
    assert 0 < len(others) < len(all_others) and gap.max() < 1e-4
    with pytest.raises(ReidlabError, match="most is 0"):
        retrieval.pair_distances(*sets, most=0)


def test_pictures_only_where_they_may_be_shown(tmp_path):
    Image.new("RGB", (8, 16), (255, 0, 0)).save(tmp_path / "red.png")
    frame = pd.DataFrame({"path": [str(tmp_path / "red.png")] * 3})
    shown = retrieval.pictures(frame, [2, 0, 2])
    assert sorted(shown) == [0, 2]
    assert shown[0].shape == (128, 64, 3)
    assert retrieval.pictures(frame, [2, 0], shown=False) is None
