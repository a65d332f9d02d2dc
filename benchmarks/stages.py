"""What is measured: the stages of the study, each done by this package and by torchreid.

A stage has sides; a side is a function of the amount of work that prepares (not timed) and
returns what is timed. A call returns a dict of results: numbers under the same name have to agree
between the sides, or the comparison is worth nothing. torchreid is the package from PyPI, used as
its own engine uses it, with its own transforms and loaders.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

Call = Callable[[], dict]


@dataclass(frozen=True)
class Stage:
    """One stage that a user waits for.

    Attributes:
        title: what is done, for the table.
        unit: of the amount of work, e.g. ``images``; a rate is amount over seconds.
        sides: by name, ``reidlab`` first; each takes the settings of ``quick`` or ``full``.
        quick: the work of ``make bench``.
        full: the work of ``make bench FULL=1``.
        growth: values of ``amount`` to go through, by side, quick and full.
        tolerance: relative, between equal results of the sides.
    """

    title: str
    unit: str
    sides: dict[str, Callable[..., Call]]
    quick: dict
    full: dict
    growth: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    tolerance: float = 1e-6


# --- ranking -------------------------------------------------------------------------------------


def _features(queries: int, gallery: int, dim: int = 512):
    """Features of 751 people, noisy enough to be ranked neither well nor badly."""
    from reidlab.metrics import FeatureSet

    generator = torch.Generator().manual_seed(0)
    people = torch.randn(751, dim, generator=generator)

    def some(count: int) -> FeatureSet:
        # In turn, so that every person is there and a few true matches a query are to be found.
        pids = torch.arange(count) % 751
        camids = torch.arange(count) // 751 % 6
        noise = torch.randn(count, dim, generator=generator)
        return FeatureSet(people[pids] + 3 * noise, pids, camids)

    return some(queries), some(gallery)


def ranking_reidlab(amount: int, queries: int) -> Call:
    """Distances, CMC, both mAP and mINP, in blocks."""
    from reidlab.metrics import evaluate

    query, gallery = _features(queries, amount)

    def call() -> dict:
        ranking = evaluate(query, gallery)
        return {"rank1": ranking.rank(1), "mAP": ranking.mAP}

    return call


def ranking_torchreid(amount: int, queries: int) -> Call:
    """Distances, CMC and mAP."""
    from torchreid.reid import metrics

    query, gallery = _features(queries, amount)

    def call() -> dict:
        distmat = metrics.compute_distance_matrix(query.features, gallery.features).numpy()
        identities = (x.numpy() for x in (query.pids, gallery.pids, query.camids, gallery.camids))
        cmc, mean_ap = metrics.evaluate_rank(distmat, *identities)
        return {"rank1": float(cmc[0]), "mAP": float(mean_ap)}

    return call


def ranking_product(amount: int, queries: int) -> Call:
    """The bare product of the feature matrices, which every ranking has to make."""
    query, gallery = _features(queries, amount)

    def call() -> dict:
        torch.mm(query.features, gallery.features.T)
        return {}

    return call


# --- features ------------------------------------------------------------------------------------


def _dataset():
    """Market-1501 where it is, else generated people."""
    from reidlab import data, paths

    return data.load("market1501" if paths.data_root() else "synthetic-a")


def _pictures(count: int) -> pd.DataFrame:
    frame = _dataset().gallery
    return frame.iloc[np.arange(count) % len(frame)].reset_index(drop=True)


def features_reidlab(amount: int, model: str, height: int, width: int) -> Call:
    """From image files to features, nothing decoded beforehand."""
    from reidlab.features import embed
    from reidlab.models import build

    frame = _pictures(amount)
    torch.manual_seed(0)
    network = build(model)

    def call() -> dict:
        with _fresh_cache():
            embed(network, frame, height, width)
        return {}

    return call


def features_torchreid(amount: int, model: str, height: int, width: int) -> Call:
    """The engine's feature extraction, with its loader and 4 workers, its default."""
    engine = _engine(_pictures(amount), model, height, width, batch_size=100, train=False)

    @torch.no_grad()
    def call() -> dict:
        engine.set_model_mode("eval")
        features = []
        for batch in engine.test_loader:
            images, _, _ = engine.parse_data_for_eval(batch)
            features.append(engine.extract_features(images).cpu())
        torch.cat(features)
        return {}

    return call


# --- training ------------------------------------------------------------------------------------


def training_reidlab(amount: int, model: str, height: int, width: int, batch_size: int) -> Call:
    """An epoch of the report's recipe."""
    from reidlab.train import TrainConfig, fit

    folder = Path(tempfile.mkdtemp(prefix="reidlab-bench-"))
    atexit.register(shutil.rmtree, folder)
    whole = _dataset()
    person = whole.query.pid.iloc[0]
    for split, frame in (
        ("bounding_box_train", whole.train.iloc[:amount]),
        ("query", whole.query[whole.query.pid == person]),
        ("bounding_box_test", whole.gallery[whole.gallery.pid == person]),
    ):
        (folder / "data" / split).mkdir(parents=True)
        for path in frame.path:
            (folder / "data" / split / Path(path).name).symlink_to(path)
    config = TrainConfig(
        dataset="market-layout",
        model=model,
        height=height,
        width=width,
        batch_size=batch_size,
        epochs=2,
        schedule="cosine",
        val_fraction=0.0,
        eval_every=2,
    )

    def call() -> dict:
        run = folder / "run"
        history = fit(config, run, folder / "data").history
        shutil.rmtree(run)
        # The second epoch, as torchreid's: the first warms up, and decodes.
        return {"seconds": float(history.train_seconds.iloc[-1])}

    return call


def training_torchreid(amount: int, model: str, height: int, width: int, batch_size: int) -> Call:
    """An epoch of ImageSoftmaxEngine, with its loader and 4 workers, its default."""
    frame = _dataset().train.iloc[:amount]
    engine = _engine(frame, model, height, width, batch_size, train=True)

    def call() -> dict:
        engine.train(print_freq=10_000)
        return {}

    call()
    return call


# --- re-ranking ----------------------------------------------------------------------------------


def rerank_reidlab(amount: int, queries: int) -> Call:
    """k-reciprocal re-ranking, and the metrics of the result."""
    from reidlab.metrics import evaluate
    from reidlab.rerank import rerank

    query, gallery = _features(queries, amount)

    def call() -> dict:
        ranking = evaluate(query, gallery, distance=rerank(query, gallery))
        return {"rank1": ranking.rank(1), "mAP": ranking.mAP}

    return call


def rerank_torchreid(amount: int, queries: int) -> Call:
    """The same with torchreid: three distance matrices, ``re_ranking``, ``evaluate_rank``."""
    from torchreid.reid import metrics
    from torchreid.reid.utils import re_ranking

    query, gallery = _features(queries, amount)

    def call() -> dict:
        pairs = [(query, gallery), (query, query), (gallery, gallery)]
        distmats = [
            # torchreid squares what it is given, and its Euclidean distance is squared already.
            metrics.compute_distance_matrix(one.features, other.features).clamp(0).sqrt().numpy()
            for one, other in pairs
        ]
        identities = (x.numpy() for x in (query.pids, gallery.pids, query.camids, gallery.camids))
        cmc, mean_ap = metrics.evaluate_rank(re_ranking(*distmats), *identities)
        return {"rank1": float(cmc[0]), "mAP": float(mean_ap)}

    return call


# --- what several sides need ---------------------------------------------------------------------


class _fresh_cache:
    """A cache of decoded images that is empty before and gone afterwards."""

    def __enter__(self):
        self.before = os.environ.get("REIDLAB_CACHE")
        self.folder = tempfile.mkdtemp(prefix="reidlab-bench-")
        os.environ["REIDLAB_CACHE"] = self.folder

    def __exit__(self, *error):
        shutil.rmtree(self.folder)
        del os.environ["REIDLAB_CACHE"]
        if self.before is not None:
            os.environ["REIDLAB_CACHE"] = self.before


def _engine(
    frame: pd.DataFrame, model: str, height: int, width: int, batch_size: int, train: bool
):
    """The peer's ImageSoftmaxEngine on the images of a table."""
    import torchreid.reid as torchreid
    from torchreid.reid.data.datasets.dataset import ImageDataset
    from torchreid.reid.data.transforms import build_transforms

    labels = pd.factorize(frame.pid)[0]
    rows = [(path, int(label), 0, 0) for path, label in zip(frame.path, labels)]
    for_training, for_test = build_transforms(
        height, width, transforms=["random_flip", "random_crop"]
    )
    images = ImageDataset(
        rows,
        rows,
        rows,
        transform=for_training if train else for_test,
        mode="train",
        verbose=False,
    )
    loader = torch.utils.data.DataLoader(
        images, batch_size=batch_size, shuffle=train, num_workers=4, drop_last=train
    )
    manager = SimpleNamespace(
        train_loader=loader,
        test_loader=loader,
        num_train_pids=len(set(labels)),
        sources=[],
        targets=[],
    )
    torch.manual_seed(0)
    network = torchreid.models.build_model(
        model, num_classes=manager.num_train_pids, loss="softmax", pretrained=False, use_gpu=False
    )
    optimizer = torchreid.optim.build_optimizer(network, optim="adam", lr=3e-4)
    engine = torchreid.engine.ImageSoftmaxEngine(manager, network, optimizer, use_gpu=False)
    engine.epoch, engine.max_epoch, engine.writer = 0, 1, None
    return engine


_RANKING = {"reidlab": ranking_reidlab, "torchreid": ranking_torchreid}
_FEATURES = {"reidlab": features_reidlab, "torchreid": features_torchreid}
_TRAINING = {"reidlab": training_reidlab, "torchreid": training_torchreid}
_REPORT_SIZE = {"height": 256, "width": 128}

STAGES = {
    "ranking": Stage(
        title="Ranking at Market-1501's size: distances, CMC, mAP, mINP",
        unit="gallery images",
        sides=_RANKING | {"product": ranking_product},
        quick={"amount": 15_913, "queries": 337},
        full={"amount": 15_913, "queries": 3_368},
        growth={
            "reidlab": ([4_000, 16_000, 64_000], [16_000, 64_000, 256_000, 515_913]),
            "torchreid": ([4_000, 16_000], [16_000, 64_000]),
        },
    ),
    "features-x0_25": Stage(
        title="Features from image files, OSNet x0.25 at 256x128",
        unit="images",
        sides=_FEATURES,
        quick={"amount": 1_000, "model": "osnet_x0_25", **_REPORT_SIZE},
        full={"amount": 15_913, "model": "osnet_x0_25", **_REPORT_SIZE},
        growth={
            "reidlab": ([250, 500, 1_000], [1_000, 4_000, 16_000]),
            "torchreid": ([250, 500, 1_000], [1_000, 4_000]),
        },
    ),
    "features-x1_0": Stage(
        title="Features from image files, OSNet x1.0 at 256x128",
        unit="images",
        sides=_FEATURES,
        quick={"amount": 300, "model": "osnet_x1_0", **_REPORT_SIZE},
        full={"amount": 3_368, "model": "osnet_x1_0", **_REPORT_SIZE},
    ),
    "training-x0_25": Stage(
        title="Training, OSNet x0.25 at 256x128, batches of 16",
        unit="images",
        sides=_TRAINING,
        quick={"amount": 480, "model": "osnet_x0_25", "batch_size": 16, **_REPORT_SIZE},
        full={"amount": 3_200, "model": "osnet_x0_25", "batch_size": 16, **_REPORT_SIZE},
        growth={
            "reidlab": ([160, 320, 640], [800, 1_600, 3_200]),
            "torchreid": ([160, 320, 640], [800, 1_600, 3_200]),
        },
    ),
    "rerank": Stage(
        title="k-reciprocal re-ranking, metrics included",
        unit="gallery images",
        sides={"reidlab": rerank_reidlab, "torchreid": rerank_torchreid},
        quick={"amount": 3_000, "queries": 600},
        full={"amount": 15_913, "queries": 3_368},
        growth={
            "reidlab": ([1_000, 2_000, 4_000], [2_000, 4_000, 8_000, 16_000]),
            "torchreid": ([1_000, 2_000], [2_000, 4_000, 8_000]),
        },
        # Both in float32, summed in another order: a few of the ranks that nearly tie differ.
        tolerance=1e-3,
    ),
}
