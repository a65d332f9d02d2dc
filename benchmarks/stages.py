"""What is measured: the stages of the study, each done by this package and by torchreid.

A stage has sides; a side is a function of the amount of work that prepares (not timed) and
returns what is timed. A call returns a dict of results: numbers under the same name have to agree
between the sides, or the comparison is worth nothing. torchreid is the package from PyPI, used as
its own engine uses it, with its own transforms and loaders.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import images, pairs, ranking

#: ``tiny`` proves that a stage works, in seconds: its times mean nothing.
SIZES = ("tiny", "quick", "full")

#: What each side imports before its memory counts.
IMPORTS = {
    "reidlab": ["reidlab.training.loop", "reidlab.metrics.rerank"],
    "decoded": ["reidlab.training.loop"],
    "torchreid": ["torchreid.reid"],
    "product": ["torch"],
    "naive": ["reidlab.models", "reidlab.data.batches"],
}


@dataclass(frozen=True)
class Growth:
    """The amounts of work that the sides go through.

    Attributes:
        over: the setting that grows.
        axis: its name in the figure.
        amounts: by size and side, ascending; the rounds add the amount of the size itself.
        along: settings that grow in proportion.
    """

    over: str
    axis: str
    amounts: dict[str, dict[str, list[int]]]
    along: tuple[str, ...] = ()

    def work(self, work: dict, amount: int) -> dict:
        """The settings of another amount of work."""
        factor = amount / work[self.over]
        return (
            work | {name: round(work[name] * factor) for name in self.along} | {self.over: amount}
        )


@dataclass(frozen=True)
class Stage:
    """One stage that a user waits for.

    Attributes:
        title: what is done, for the table.
        amount: of work, with the names of settings in braces.
        sides: by name, ``reidlab`` first; each takes the settings of a size.
        sizes: settings, by size.
        growth: time and memory against the amount of work.
        rounds: how often a side works, by size and side, where it is not `ROUNDS`.
        tolerance: relative, between equal results of the sides.
        given_mb: memory of what a side is given and nobody counts, from the settings.
    """

    title: str
    amount: str
    sides: dict[str, Callable[..., Callable[[], dict]]]
    sizes: dict[str, dict]
    growth: Growth
    rounds: dict[str, dict[str, int]] = field(default_factory=dict)
    tolerance: float = 1e-6
    given_mb: Callable[..., float] = lambda **_: 0.0

    def num_rounds(self, size: str, side: str) -> int:
        """How often a side works."""
        return self.rounds.get(size, {}).get(side, ROUNDS[size][side == "torchreid"])


#: Rounds of our sides, and of torchreid, which takes most of the time.
ROUNDS = {"tiny": (2, 1), "quick": (3, 2), "full": (5, 3)}


def _features_stage(model: str, title: str, sizes: dict, growth: dict, rounds: dict) -> Stage:
    whole = {"model": model, "height": 256, "width": 128}
    small = {"model": model, "height": 64, "width": 32, "dataset": "synthetic-tiny-a"}
    return Stage(
        title=f"Features from image files, {title}",
        amount="{amount:,} images of {dataset} at {height}x{width}",
        sides={
            "reidlab": images.features_reidlab,
            "torchreid": images.features_torchreid,
            "decoded": images.features_decoded,
        },
        sizes={"tiny": small | {"amount": 12}}
        | {size: whole | {"amount": amount} for size, amount in sizes.items()},
        growth=Growth(
            over="amount",
            axis="images",
            amounts={"tiny": {"reidlab": [4, 8], "torchreid": [4]}} | growth,
        ),
        rounds=rounds,
        # Ours computes in bfloat16 where the processor does, torchreid in float32.
        tolerance=0.02,
    )


STAGES = {
    "ranking": Stage(
        title="Ranking: distances, CMC, mAP, mINP",
        amount="{queries:,} queries, {amount:,} gallery images",
        sides={
            "reidlab": ranking.ranking_reidlab,
            "torchreid": ranking.ranking_torchreid,
            "product": ranking.product,
        },
        sizes={
            "tiny": {"amount": 1_600, "queries": 20},
            "quick": {"amount": 15_913, "queries": 337},
            "full": {"amount": 15_913, "queries": 3_368},
        },
        growth=Growth(
            over="amount",
            axis="gallery images",
            amounts={
                "tiny": {"reidlab": [900], "torchreid": [900], "product": [900]},
                "quick": {
                    "reidlab": [4_000, 8_000, 32_000],
                    "torchreid": [2_000, 4_000, 8_000],
                    "product": [4_000, 8_000, 32_000],
                },
                "full": {
                    "reidlab": [2_000, 4_000, 8_000, 32_000],
                    "torchreid": [2_000, 4_000, 8_000],
                    "product": [2_000, 4_000, 8_000, 32_000],
                },
            },
        ),
        rounds={"full": {"torchreid": 2, "reidlab": 7, "product": 7}},
        given_mb=ranking.given_mb,
    ),
    "ranking-distractors": Stage(
        title="Ranking with distractors",
        amount="{queries:,} queries, {amount:,} gallery images",
        sides={"reidlab": ranking.ranking_reidlab, "product": ranking.product_in_blocks},
        sizes={
            "tiny": {"amount": 20_000, "queries": 20},
            "quick": {"amount": 115_913, "queries": 337},
            "full": {"amount": 515_913, "queries": 3_368},
        },
        growth=Growth(
            over="amount",
            axis="gallery images",
            amounts={
                "tiny": {"reidlab": [16_000, 18_000], "product": [16_000]},
                "quick": {side: [16_000, 32_000, 64_000] for side in ("reidlab", "product")},
                "full": {
                    side: [16_000, 64_000, 128_000, 256_000] for side in ("reidlab", "product")
                },
            },
        ),
        rounds={"full": {"reidlab": 3, "product": 3}},
        given_mb=ranking.given_mb,
    ),
    "features-x0_25": _features_stage(
        "osnet_x0_25",
        "OSNet x0.25",
        sizes={"quick": 600, "full": 4_000},
        growth={
            "quick": {"reidlab": [150, 300], "torchreid": [150, 300], "decoded": [150, 300]},
            "full": {side: [500, 1_000, 2_000] for side in ("reidlab", "torchreid", "decoded")},
        },
        rounds={},
    ),
    "features-x1_0": _features_stage(
        "osnet_x1_0",
        "OSNet x1.0",
        sizes={"quick": 160, "full": 2_000},
        growth={
            "quick": {"reidlab": [40, 80], "torchreid": [40, 80], "decoded": [40, 80]},
            "full": {side: [250, 500, 1_000] for side in ("reidlab", "torchreid", "decoded")},
        },
        rounds={"full": {"torchreid": 2, "reidlab": 3, "decoded": 3}},
    ),
    "training-x0_25": Stage(
        title="Training, OSNet x0.25",
        amount="{epochs} epoch of {amount:,} images of {dataset} at {height}x{width}, "
        "batches of {batch_size}",
        sides={"reidlab": images.training_reidlab, "torchreid": images.training_torchreid},
        sizes={
            "tiny": {"amount": 32, "epochs": 1, "model": "osnet_x0_25", "batch_size": 16}
            | {"height": 64, "width": 32, "dataset": "synthetic-tiny-a"},
            "quick": {"amount": 240, "epochs": 1, "model": "osnet_x0_25", "batch_size": 16}
            | {"height": 256, "width": 128},
            "full": {"amount": 1_600, "epochs": 1, "model": "osnet_x0_25", "batch_size": 16}
            | {"height": 256, "width": 128},
        },
        growth=Growth(
            over="epochs",
            axis="epochs",
            amounts={
                "tiny": {"reidlab": [2], "torchreid": []},
                "quick": {"reidlab": [3], "torchreid": [2]},
                "full": {"reidlab": [2, 4], "torchreid": [2, 4]},
            },
        ),
        rounds={"full": {"reidlab": 3}},
    ),
    "rerank": Stage(
        title="k-reciprocal re-ranking, metrics included",
        amount="{queries:,} queries, {amount:,} gallery images",
        sides={"reidlab": ranking.rerank_reidlab, "torchreid": ranking.rerank_torchreid},
        sizes={
            "tiny": {"amount": 1_500, "queries": 40},
            "quick": {"amount": 3_000, "queries": 635},
            "full": {"amount": 15_913, "queries": 3_368},
        },
        growth=Growth(
            over="amount",
            along=("queries",),
            axis="gallery images",
            amounts={
                "tiny": {"reidlab": [1_000, 1_200], "torchreid": [1_000]},
                "quick": {"reidlab": [1_000, 2_000, 4_000], "torchreid": [1_000, 2_000]},
                "full": {
                    "reidlab": [1_000, 2_000, 4_000, 8_000],
                    "torchreid": [1_000, 2_000, 4_000, 8_000],
                },
            },
        ),
        rounds={"full": {"reidlab": 3, "torchreid": 1}},
        # Both in float32, summed in another order: a few of the ranks that nearly tie differ.
        tolerance=1e-3,
        given_mb=ranking.given_mb,
    ),
    "pairs": Stage(
        title="Scoring pairs by a network, IDLA",
        amount="{queries:,} queries, {amount:,} gallery images at 160x60",
        sides={
            "reidlab": pairs.pairs_reidlab,
            "naive": pairs.pairs_naive,
            "product": ranking.product,
        },
        sizes={
            "tiny": {"amount": 6, "queries": 2},
            "quick": {"amount": 300, "queries": 6},
            "full": {"amount": 900, "queries": 16},
        },
        growth=Growth(
            over="amount",
            axis="gallery images",
            amounts={
                "tiny": {"reidlab": [3], "naive": [3], "product": [3]},
                "quick": {"reidlab": [75, 150], "naive": [75], "product": [75, 150]},
                "full": {
                    "reidlab": [225, 450, 1_800, 5_332],
                    "naive": [225, 450],
                    "product": [225, 450, 1_800, 5_332],
                },
            },
        ),
        rounds={"quick": {"naive": 1}, "full": {"naive": 1, "reidlab": 3}},
        tolerance=1e-4,
        given_mb=pairs.given_mb,
    ),
}
