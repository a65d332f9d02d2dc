"""What tests of trainings share: the smallest recipe, and the data that it is trained on."""

import pytest

from reidlab.recipe.config import TrainConfig

TINY = TrainConfig(
    dataset="market-layout",
    height=32,
    width=16,
    batch_size=4,
    epochs=2,
    pad=2,
    val_fraction=0.2,
    device="cpu",
    precision="float32",
)


@pytest.fixture
def root(market_layout, own_cache):
    return market_layout()
