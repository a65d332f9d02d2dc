"""A share of the people who are searched for."""

import numpy as np
import pytest

from reidlab import data
from reidlab.common.errors import DataError, ReidlabError
from reidlab.data.holdout import some_people
from reidlab.data.readers import market1501


@pytest.fixture
def dataset(market_layout):
    return market1501.read_layout("small", market_layout(), {})


def test_some_people_keep_all_their_images(dataset):
    some = some_people(dataset, 0.67, seed=1)
    pids = set(some.query.pid)
    assert len(pids) == 2
    assert set(some.gallery.pid) - {0} == pids
    whole = dataset.gallery[dataset.gallery.pid.isin(pids)]
    assert some.gallery[some.gallery.pid != 0].path.tolist() == whole.path.tolist()
    assert len(some_people(dataset, 1.0).gallery) == len(dataset.gallery)
    for share in (0, 1.5, np.nan):
        with pytest.raises(ReidlabError, match="expected more than 0, and 1 at most"):
            some_people(dataset, share)


def test_a_twentieth_of_market1501_is_of_the_set_whose_counts_are_checked(
    market_layout, monkeypatch
):
    root = market_layout()
    whole = data.load("market-layout", root)
    monkeypatch.setattr(market1501, "PUBLISHED", {"market1501": {"train images": 99}})
    with pytest.raises(DataError, match="99"):
        data.load("market1501-twentieth", root)
    monkeypatch.setattr(market1501, "PUBLISHED", {})
    monkeypatch.setattr(market1501, "SHARES", {"market1501-twentieth": 0.34})
    some = data.load("market1501-twentieth", root)
    assert some.train.equals(whole.train) and some.query.pid.nunique() == 1
    assert some.query.path.tolist() == some_people(whole, 0.34).query.path.tolist()
    assert some.fingerprint != whole.fingerprint and "34%" in some.note
