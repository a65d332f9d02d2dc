"""Mean colours and chance, against arithmetic by hand and against the ranking metrics."""

import numpy as np
import pandas as pd
import pytest
import torch

from reidlab.data import load, read_junk
from reidlab.data.store import decode
from reidlab.evaluation import difficulty
from reidlab.metrics.ranks import FeatureSet
from reidlab.metrics.scores import evaluate


def test_mean_colours_of_stripes_and_of_the_middle():
    images = torch.randint(0, 256, (5, 3, 16, 8), dtype=torch.uint8)
    whole = difficulty.mean_colours(images)
    assert torch.allclose(whole, images.float().mean((2, 3)) / 255, atol=1e-6)
    striped = difficulty.mean_colours(images, stripes=4, middle=0.5)
    for stripe in range(4):
        by_hand = images[:, :, 4 * stripe : 4 * stripe + 4, 2:6].float().mean((2, 3)) / 255
        assert torch.allclose(striped[:, 3 * stripe : 3 * stripe + 3], by_hand, atol=1e-6)


def test_mean_colours_refuses_stripes_of_unequal_height():
    with pytest.raises(ValueError, match=r"stripes is 5.*height of 16"):
        difficulty.mean_colours(torch.zeros(1, 3, 16, 8, dtype=torch.uint8), stripes=5)


def test_chance_level_is_what_random_features_score_on_average():
    rng = np.random.default_rng(0)
    query, gallery = (
        pd.DataFrame({"pid": rng.integers(low, 6, size), "camid": rng.integers(1, 4, size)})
        for low, size in ((1, 40), (0, 60))
    )
    query = pd.concat([query, pd.DataFrame({"pid": [99], "camid": [1]})])  # has no true match
    scores = []
    for seed in range(300):
        torch.manual_seed(seed)
        ranking = evaluate(
            FeatureSet.of(torch.randn(len(query), 4), query),
            FeatureSet.of(torch.randn(len(gallery), 4), gallery),
        )
        assert ranking.num_valid == 40
        scores.append((ranking.rank(1), ranking.mAP))
    spread = np.std(scores, axis=0) / np.sqrt(len(scores))
    expected = difficulty.chance_level(query, gallery)
    assert np.all(np.abs(np.mean(scores, axis=0) - expected) < 4 * spread)


def test_chance_level_of_a_sure_answer_is_one():
    query = pd.DataFrame({"pid": [3], "camid": [1]})
    gallery = pd.DataFrame({"pid": [3, 3], "camid": [1, 2]})  # the first is removed by the rule
    assert difficulty.chance_level(query, gallery) == (1.0, 1.0)


def test_difficulty_of_images_whose_colour_tells_the_person(tmp_path, own_cache):
    from PIL import Image

    colours = {1: (200, 30, 30), 2: (30, 200, 30), 3: (30, 30, 200)}
    for folder, camera in (("bounding_box_train", 1), ("query", 1), ("bounding_box_test", 2)):
        (tmp_path / folder).mkdir()
        for pid, colour in colours.items():
            file = tmp_path / folder / f"{pid:04d}_c{camera}s1_000001_00.jpg"
            Image.new("RGB", (64, 128), colour).save(file)
    table = difficulty.difficulty(load("market-layout", tmp_path)).set_index("feature")
    assert table.loc["mean colour", ["rank1", "mAP"]].tolist() == [100, 100]
    assert table.loc["mean colours of 8 stripes", "dimensions"] == 24
    assert table.loc["chance", "rank1"] == pytest.approx(33.33)
    assert table.loc["chance", "mAP"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3) / 3, abs=0.005)


def test_levelling_takes_a_tint_off_and_touches_nothing_else():
    gallery = FeatureSet.of(
        torch.tensor([[1.0, 2], [3, 2], [10, 10], [12, 14]]),
        pd.DataFrame({"pid": [1, 2, 1, 2], "camid": [1, 1, 2, 2]}),
    )
    query = FeatureSet.of(torch.tensor([[11.0, 12]]), pd.DataFrame({"pid": [1], "camid": [2]}))
    assert difficulty.level_cameras(query, gallery).features.tolist() == [[0, 0]]
    levelled = difficulty.level_cameras(gallery, gallery).features
    assert levelled.tolist() == [[-1, 0], [1, 0], [-1, -2], [1, 2]]
    assert gallery.features[0].tolist() == [1, 2]  # not written to


def test_camera_against_coat_in_a_world_where_the_camera_wins(tmp_path, own_cache):
    from PIL import Image

    (tmp_path / "bounding_box_train").mkdir()
    (tmp_path / "query").mkdir()
    (tmp_path / "bounding_box_test").mkdir()
    for camera, light in ((1, 0), (2, 100)):
        for pid, coat in ((1, 0), (2, 10)):
            for folder in ("bounding_box_train", "query", "bounding_box_test"):
                file = tmp_path / folder / f"{pid:04d}_c{camera}s1_000001_00.png"
                Image.new("RGB", (64, 128), (light + coat, 0, 0)).save(file)
    found = difficulty.camera_against_coat(load("market-layout", tmp_path), stripes=1)
    assert found["same person, other camera"] == pytest.approx(100 / 255, abs=1e-6)
    assert found["other person, same camera"] == pytest.approx(10 / 255, abs=1e-6)
    assert found["first answer, same camera"] == 100  # the other person, right here


def test_lookalikes_and_distinctive_identities():
    colours = pd.DataFrame(
        [[0.0, 0.0], [0.01, 0.0], [0.0, 0.01], [3.0, 0.0], [3.0, 0.2], [9.0, 9.0]],
        index=[4, 8, 15, 16, 23, 42],
    )
    assert difficulty.lookalikes(colours) == [4, 8, 15]
    assert difficulty.lookalikes(colours, size=2) in ([4, 8], [4, 15])
    assert difficulty.distinctive(colours, size=2) == [42, 16]


def test_identity_colours_weigh_cameras_alike_and_take_off_their_tint(market_layout, own_cache):
    dataset = load("market-layout", market_layout())
    colours = difficulty.identity_colours(dataset, stripes=2)
    assert colours.index.tolist() == [1, 2, 3, 5, 7, 11, 1500]  # all splits, no distractors
    assert colours.shape == (7, 6)
    # Everybody is seen by both cameras, so that the tints taken off leave a mean of zero.
    assert np.allclose(colours.mean(), 0, atol=1e-6)


def test_pick_samples_shows_every_kind_from_many_cameras(market_layout, own_cache):
    folder = market_layout()
    dataset, junk = load("market-layout", folder), read_junk("market-layout", folder)
    samples = difficulty.pick_samples(dataset, junk, people=2, views=3)
    counts = samples.groupby("row").size().to_dict()
    assert counts == {"distinctive": 6, "look-alike": 6, "distractor": 2, "junk": 1}
    people = samples[samples.pid > 0]
    assert (people.groupby(["row", "pid"]).camid.nunique() == 2).all()
    assert samples.equals(difficulty.pick_samples(dataset, junk, people=2, views=3))


def test_camera_light(market_layout, own_cache):
    dataset = load("market-layout", market_layout())
    table = difficulty.camera_light(dataset).set_index("camid")
    assert table.images.to_dict() == {1: 15, 2: 18, 3: 2}
    third = decode(dataset.gallery[dataset.gallery.camid == 3], 128, 64).float() / 255
    red, green, blue = third.mean((0, 2, 3)).tolist()
    assert table.warmth[3] == pytest.approx(red - blue, abs=1e-4)
    assert table.brightness[3] == pytest.approx(
        0.299 * red + 0.587 * green + 0.114 * blue, abs=1e-4
    )
