"""Market-1501-C's protocol and the grid, against rankings made one by one."""

import math

import pandas as pd
import pytest
import torch

from reidlab.data.corrupted import CorruptedImages
from reidlab.data.corruptions import Corruption
from reidlab.data.readers import market1501
from reidlab.data.store import ImageStore
from reidlab.evaluation import features as features_module
from reidlab.evaluation import robustness
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.models import build


def pixels(frame: pd.DataFrame, corruption: Corruption | None) -> FeatureSet:
    """Features that are the pixels: near enough for people who are patches of colour."""
    if corruption is None:
        store = ImageStore(frame, 16, 8, keep=False)
    else:
        store = CorruptedImages(frame, corruption, 16, 8, keep=False)
    values = store.read(slice(0, len(frame))).flatten(1).float()
    return FeatureSet(values, torch.tensor(frame.pid), torch.tensor(frame.camid))


@pytest.fixture
def dataset(market_layout):
    return market1501.read_layout("small", market_layout(), {})


def test_a_repeat_is_its_three_rankings(dataset):
    searches = robustness.random_protocol(pixels, dataset, seeds=[4, 7])
    table = robustness.scores(searches, ["setting", "seed"]).set_index(["setting", "seed"])
    clean = [pixels(frame, None) for frame in (dataset.query, dataset.gallery)]
    expected = {("clean", -1): evaluate(*clean)}
    for seed in (4, 7):
        hurt = [pixels(f, Corruption(seed=seed)) for f in (dataset.query, dataset.gallery)]
        expected["both", seed] = evaluate(*hurt)
        expected["query", seed] = evaluate(hurt[0], clean[1])
        expected["gallery", seed] = evaluate(clean[0], hurt[1])
    assert set(table.index) == set(expected)
    for which, ranking in expected.items():
        row, summary = table.loc[which], ranking.summary()
        assert row.searches == ranking.num_valid == 3
        for score in robustness.SCORES:
            assert row[score] == pytest.approx(summary[score])
    assert table.loc["clean"].mAP.iloc[0] > table.loc["both"].mAP.mean()
    drawn = Corruption(seed=7).drawn(dataset.query.path)
    both = searches[(searches.setting == "both") & (searches.seed == 7)]
    assert both.kind.tolist() == drawn.kind.tolist()
    assert both.severity.tolist() == drawn.severity.tolist()
    assert set(searches[searches.setting.isin(["clean", "gallery"])].kind) == {"clean"}


def test_searches_without_a_match_are_left_out(dataset):
    lonely = dataset.query.assign(pid=[1, 3, 999])
    searches = robustness.random_protocol(
        pixels, dataset.__class__("d", dataset.train, lonely, dataset.gallery), seeds=[0]
    )
    assert set(searches.pid) == {1, 3} and not searches.ap.isna().any()


def test_grid_has_a_ranking_for_each_cell(dataset):
    searches = robustness.grid(pixels, dataset, ["fog", "pixelate"], [1, 5], seed=2)
    table = robustness.scores(searches, ["kind", "severity"]).set_index(["kind", "severity"])
    assert len(table) == 4
    corruption = Corruption("fog", 5, seed=2)
    ranking = evaluate(*(pixels(f, corruption) for f in (dataset.query, dataset.gallery)))
    assert table.loc[("fog", 5)].mAP == pytest.approx(100 * ranking.mAP)
    assert table.loc[("fog", 5)].mINP == pytest.approx(100 * ranking.mINP)


#: Two repeats of three searches, by hand.
SEARCHES = pd.DataFrame(
    [
        ("clean", -1, 0, 8, 1, "clean", 1, 1.0, 1.0),
        ("clean", -1, 1, 8, 2, "clean", 1, 0.6, 0.2),
        ("clean", -1, 2, 9, 1, "clean", 2, 0.5, 0.5),
        ("query", 0, 0, 8, 1, "fog", 1, 0.8, 0.4),
        ("query", 0, 1, 8, 2, "rain", 4, 0.2, 0.1),
        ("query", 0, 2, 9, 1, "fog", 5, 0.2, 0.2),
        ("query", 1, 0, 8, 1, "rain", 2, 0.4, 0.4),
        ("query", 1, 1, 8, 2, "rain", 1, 0.6, 0.2),
        ("query", 1, 2, 9, 1, "rain", 1, 1.0, 1.0),
    ],
    columns=["setting", "seed", "query", "pid", "camid", "kind", "first_match", "ap", "inp"],
)


def test_losses_are_beside_the_same_searches_clean():
    table = robustness.losses(SEARCHES, ["camid", "kind"]).set_index(["camid", "kind"])
    fog = table.loc[(1, "fog")]  # searches 0 and 2 of repeat 0
    assert fog.searches == 2
    assert (fog.rank1_clean, fog.rank1, fog.rank1_loss) == (50, 50, 0)
    assert (fog.mAP_clean, fog.mAP, fog.mAP_loss) == pytest.approx((75, 50, 25))
    rain = table.loc[(2, "rain")]  # search 1 of both
    assert (rain.mAP_clean, rain.mAP) == pytest.approx((60, 40))
    people = robustness.losses(SEARCHES, "pid").set_index("pid")
    assert people.loc[9].mINP_clean == 50 and people.loc[9].mINP == pytest.approx(60)
    assert people.searches.tolist() == [4, 2]


def test_repeats_have_a_mean_and_a_deviation():
    table = robustness.over_repeats(robustness.scores(SEARCHES, ["setting", "seed"])).set_index(
        ["setting", "score"]
    )
    row = table.loc[("query", "mAP")]  # 40 and 66.67
    assert (row["mean"], row["std"]) == pytest.approx((160 / 3, 80 / 3 / math.sqrt(2)))
    assert row.repeats == 2 and math.isnan(table.loc[("clean", "mAP")]["std"])


def test_a_network_sees_corrupted_images(dataset, own_cache):
    model = build("osnet_x0_25")
    corruption = Corruption(seed=1)
    found = features_module.embed(model, dataset.query, 64, 32, corruption=corruption)
    images = CorruptedImages(dataset.query, corruption, 64, 32).read(slice(0, 3))
    expected = features_module.extract(model, images)
    torch.testing.assert_close(found.features, expected, rtol=0.02, atol=0.02)
    clean = features_module.embed(model, dataset.query, 64, 32).features
    assert (found.features - clean).norm() > 5 * (found.features - expected).norm()
