"""Distances by a pairwise network against the whole network on every pair."""

import pytest
import torch

from reidlab.common.errors import DataError, ReidlabError
from reidlab.data.batches import normalise
from reidlab.evaluation import pair_scores
from reidlab.evaluation.pair_scores import pair_distances
from reidlab.metrics.scores import FeatureSet, evaluate
from reidlab.models import build
from reidlab.models.pairwise import PairNetwork
from reidlab.recipe.names import PAIR_MODELS


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 60, 40, 3), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def labels(count, camid):
    return FeatureSet(torch.empty(0), torch.arange(count) % 5 + 1, torch.full((count,), camid))


class Counting(PairNetwork):
    """Compares the means of images, and counts what it is asked."""

    def __init__(self):
        super().__init__(60, 40)
        self.encoded, self.held = [], 0

    def encode(self, images, view=0):
        self.encoded += [view] * len(images)
        return images.mean((1, 2, 3))[:, None]

    def compare(self, first, second):
        self.held = max(self.held, len(second))
        return -(first - second).abs()[:, 0]


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_every_pair_as_by_the_whole_network(name, monkeypatch):
    monkeypatch.setattr(pair_scores, "ROWS", 3)
    monkeypatch.setattr(pair_scores, "PAIRS", 4)
    torch.manual_seed(0)
    model = build(name, height=60, width=40)
    query, gallery = images(7, 1), images(9, 2)
    blocks = list(pair_distances(model, query, gallery))
    assert [tuple(block.shape) for block in blocks] == [(3, 9), (3, 9), (1, 9)]
    assert model.training  # as it was
    model.eval()
    with torch.no_grad():
        expected = torch.stack(
            [
                torch.cat([-model(normalise(q), normalise(g)) for g in gallery.split(1)])
                for q in query.split(1)
            ]
        )
    torch.testing.assert_close(torch.cat(blocks), expected)


def test_they_stream_into_the_ranking(monkeypatch):
    """Each image is encoded once, a query not before its block; no comparison holds many pairs."""
    monkeypatch.setattr(pair_scores, "ROWS", 4)
    monkeypatch.setattr(pair_scores, "PAIRS", 8)
    model = Counting()
    query, gallery = images(10, 3), images(30, 4)
    blocks = pair_distances(model, query, gallery)
    first = next(blocks)
    assert model.encoded == [1] * 30 + [0] * 4

    def all_of_them():
        yield first
        yield from blocks

    streamed = evaluate(labels(10, 1), labels(30, 2), distance=all_of_them())
    assert model.encoded.count(0) == 10 and model.encoded.count(1) == 30 and model.held == 8
    means = [normalise(each).mean((1, 2, 3)) for each in (query, gallery)]
    whole = evaluate(labels(10, 1), labels(30, 2), distance=(means[0][:, None] - means[1]).abs())
    assert streamed.mAP == pytest.approx(whole.mAP)


def test_bad_input_is_named():
    model = Counting()
    for query, gallery in ((images(0, 0), images(3, 1)), (images(3, 1), images(0, 0))):
        with pytest.raises(DataError, match="holds no images; expected at least one"):
            next(pair_distances(model, query, gallery))
    model.compare = lambda first, second: torch.full((len(second),), torch.nan)
    with pytest.raises(ReidlabError, match="distance holds NaN or infinite values in row 0"):
        evaluate(
            labels(5, 1), labels(5, 2), distance=pair_distances(model, images(5, 1), images(5, 2))
        )
