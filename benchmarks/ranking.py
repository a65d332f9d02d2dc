"""The sides of the stages that work on features: ranking and re-ranking.

Features are generated: how long a ranking takes does not depend on whose they are.
"""

from collections.abc import Callable

import torch

Call = Callable[[], dict]

#: Gallery images of Market-1501; what a gallery has beyond that are distractors.
MARKET_GALLERY = 15_913
PEOPLE = 750
NOISE = 2.0


def given_mb(amount: int, queries: int, **_) -> float:
    """Memory of the features themselves, which the ranking is given."""
    return (amount + queries) * 512 * 4 / 1e6


def features(queries: int, gallery: int, dim: int = 512):
    """Features of 750 people, about as separable as a trained network's: 78 % mAP at full size.

    Returns:
        Query and gallery. A gallery beyond Market-1501's size goes on with distractors (pid 0),
        each of a person of its own, as the 500,000 published ones do.
    """
    from reidlab.metrics.scores import FeatureSet

    generator = torch.Generator().manual_seed(0)
    people = torch.randn(PEOPLE, dim, generator=generator)

    def some(count: int) -> FeatureSet:
        # In turn, so that every person is there and a few true matches a query are to be found.
        which = torch.arange(count)
        camids = which // PEOPLE % 6
        vectors = torch.randn(count, dim, generator=generator).mul_(NOISE)
        vectors[:MARKET_GALLERY] += people[which[:MARKET_GALLERY] % PEOPLE]
        # A distractor's person and noise together have this much more variance than noise alone.
        vectors[MARKET_GALLERY:] *= (1 + NOISE**-2) ** 0.5
        pids = torch.where(which < MARKET_GALLERY, which % PEOPLE + 1, 0)
        return FeatureSet(vectors, pids, camids)

    return some(queries), some(gallery)


def ranking_reidlab(amount: int, queries: int) -> Call:
    """Distances, CMC, both mAP and mINP, in blocks."""
    from reidlab.metrics.scores import evaluate

    query, gallery = features(queries, amount)

    def call() -> dict:
        ranking = evaluate(query, gallery)
        return {"rank1": ranking.rank(1), "mAP": ranking.mAP}

    return call


def ranking_torchreid(amount: int, queries: int) -> Call:
    """Distances, CMC and mAP."""
    from torchreid.reid import metrics

    query, gallery = features(queries, amount)

    def call() -> dict:
        distmat = metrics.compute_distance_matrix(query.features, gallery.features).numpy()
        identities = (x.numpy() for x in (query.pids, gallery.pids, query.camids, gallery.camids))
        cmc, mean_ap = metrics.evaluate_rank(distmat, *identities)
        return {"rank1": float(cmc[0]), "mAP": float(mean_ap)}

    return call


def product(amount: int, queries: int) -> Call:
    """The bare product of the feature matrices, which every ranking has to make."""
    query, gallery = features(queries, amount)

    def call() -> dict:
        torch.mm(query.features, gallery.features.T)
        return {}

    return call


def product_in_blocks(amount: int, queries: int) -> Call:
    """The same for a gallery whose product with all queries does not fit in memory."""
    query, gallery = features(queries, amount)

    def call() -> dict:
        block = torch.empty(64, amount)
        for rows in query.features.split(64):
            torch.mm(rows, gallery.features.T, out=block[: len(rows)])
        return {}

    return call


def rerank_reidlab(amount: int, queries: int) -> Call:
    """k-reciprocal re-ranking, and the metrics of the result."""
    from reidlab.metrics.rerank import rerank
    from reidlab.metrics.scores import evaluate

    query, gallery = features(queries, amount)

    def call() -> dict:
        ranking = evaluate(query, gallery, distance=rerank(query, gallery))
        return {"rank1": ranking.rank(1), "mAP": ranking.mAP}

    return call


def rerank_torchreid(amount: int, queries: int) -> Call:
    """The same with torchreid: three distance matrices, ``re_ranking``, ``evaluate_rank``."""
    from torchreid.reid import metrics
    from torchreid.reid.utils import re_ranking

    query, gallery = features(queries, amount)

    def call() -> dict:
        pairs = [(query, gallery), (query, query), (gallery, gallery)]
        distmats = [
            # torchreid squares what it is given, and its Euclidean distance is squared already.
            metrics.compute_distance_matrix(one.features, other.features).clamp_(0).sqrt_().numpy()
            for one, other in pairs
        ]
        identities = (x.numpy() for x in (query.pids, gallery.pids, query.camids, gallery.camids))
        cmc, mean_ap = metrics.evaluate_rank(re_ranking(*distmats), *identities)
        return {"rank1": float(cmc[0]), "mAP": float(mean_ap)}

    return call
