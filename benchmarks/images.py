"""The sides of the stages that start from image files: features and training.

torchreid works as its own engine does, with its transforms and its loader of 4 processes, the
default. Both sides run on the CPU.
"""

import atexit
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

from reidlab.common import paths

Call = Callable[[], dict]

#: The network that is shipped. Read without `reidlab.models`, whose import would count as memory
#: of torchreid's side.
TRAINED = paths.ROOT / "reidlab" / "weights" / "osnet_x0_25_synthetic.safetensors"

_NUM_WORKERS = 4  # of torchreid's loaders


def default_dataset() -> str:
    """Market-1501 where it is, else generated people."""
    return "market1501" if paths.data_root() else "synthetic-a"


def _rows(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows; a small set is gone through again."""
    return frame.iloc[np.arange(count) % len(frame)].reset_index(drop=True)


# --- features ------------------------------------------------------------------------------------


def features_reidlab(amount: int, model: str, height: int, width: int, dataset: str) -> Call:
    """From image files to features, nothing decoded beforehand."""
    return _embed(amount, model, height, width, dataset, decoded=False)


def features_decoded(amount: int, model: str, height: int, width: int, dataset: str) -> Call:
    """The same for images that an earlier call has decoded."""
    return _embed(amount, model, height, width, dataset, decoded=True)


def _embed(amount: int, model: str, height: int, width: int, dataset: str, decoded: bool) -> Call:
    from reidlab import data
    from reidlab.evaluation.features import embed
    from reidlab.models import build

    frame = _rows(data.load(dataset).gallery, amount)
    network = build(model)
    set_weights(network)
    kept = _empty_folder()

    def call() -> dict:
        cache = kept if decoded else _empty_folder()
        with cache_in(cache):
            start = time.perf_counter()
            features = embed(network, frame, height, width, device="cpu").features
            seconds = time.perf_counter() - start
        if not decoded:
            shutil.rmtree(cache)
        return {"seconds": seconds} | summary(features)

    if decoded:
        call()
    return call


def features_torchreid(amount: int, model: str, height: int, width: int, dataset: str) -> Call:
    """The engine's feature extraction; its test loader takes 100 images at a time."""
    from reidlab import data

    frame = _rows(data.load(dataset).gallery, amount)
    engine = _engine(frame, model, height, width, batch_size=100, train=False)
    set_weights(engine.model)

    @torch.no_grad()
    def call() -> dict:
        start = time.perf_counter()
        engine.set_model_mode("eval")
        features = []
        for batch in engine.test_loader:
            images, _, _ = engine.parse_data_for_eval(batch)
            features.append(engine.extract_features(images).cpu())
        features = torch.cat(features)
        return {"seconds": time.perf_counter() - start} | summary(features)

    return call


def set_weights(network: nn.Module) -> None:
    """The same weights for networks whose parameters have the same names.

    The trained ones that are shipped, where they fit; else random ones.
    """
    trained = load_file(TRAINED)
    own = network.state_dict()
    if all(name in own and own[name].shape == value.shape for name, value in trained.items()):
        network.load_state_dict(trained, strict=False)
        return
    for name, value in network.named_parameters():
        if value.dim() > 1:
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            weights = torch.randn(value.shape, generator=generator)
            value.data.copy_(weights * (2 / value[0].numel()) ** 0.5)
    _settle(network)


@torch.no_grad()
def _settle(network: nn.Module) -> None:
    """Normalisation statistics from a batch of soft noise, as a training would have left some.

    Without them values grow from layer to layer, to millions, and so do rounding errors.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    before = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 1.0
    noise = torch.randn(32, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    noise = nn.functional.interpolate(noise, size=(128, 64), mode="bilinear")
    network.train()
    network(noise)
    network.eval()
    for module, momentum in zip(norms, before):
        module.momentum = momentum


def summary(features: torch.Tensor) -> dict[str, float]:
    """Numbers that two feature matrices of the same images in the same order have in common."""
    ends = features[[0, -1]] @ torch.linspace(0.5, 1.5, features.shape[1])
    neighbours = torch.cosine_similarity(features[1:], features[:-1])
    return {
        "first": ends[0].item(),
        "last": ends[1].item(),
        "norm": features.norm(dim=1).mean().item(),
        "likeness": neighbours.mean().item(),
    }


# --- training ------------------------------------------------------------------------------------


def training_reidlab(
    amount: int, epochs: int, model: str, height: int, width: int, batch_size: int, dataset: str
) -> Call:
    """Epochs of the report's recipe. The first one, which decodes, is not timed."""
    from reidlab.training.loop import TrainConfig, fit

    folder, scratch = subset(dataset, amount), _empty_folder()
    config = TrainConfig(
        dataset="market-layout",
        model=model,
        height=height,
        width=width,
        batch_size=batch_size,
        epochs=1 + epochs,
        schedule="cosine",
        val_fraction=0.0,
        eval_every=1 + epochs,
        device="cpu",
    )

    def call() -> dict:
        with cache_in(scratch / "cache"):
            run = fit(config, scratch / "run", folder)
        shutil.rmtree(scratch / "run")
        steps = run.provenance["train_images"] // batch_size
        seconds = float(run.history.train_seconds.iloc[1:].sum())
        return {"seconds": seconds, "images": epochs * steps * batch_size}

    return call


def training_torchreid(
    amount: int, epochs: int, model: str, height: int, width: int, batch_size: int, dataset: str
) -> Call:
    """Epochs of ImageSoftmaxEngine, after one that is not timed."""
    from reidlab import data

    frame = _rows(data.load(dataset).train, amount)
    engine = _engine(frame, model, height, width, batch_size, train=True)

    def call() -> dict:
        for _ in range(epochs):
            engine.train(print_freq=10_000)
        return {"images": epochs * len(engine.train_loader) * batch_size}

    engine.train(print_freq=10_000)
    return call


def subset(dataset: str, amount: int) -> Path:
    """A temporary folder in Market-1501's layout: so many training images, one query's person."""
    from reidlab import data

    whole = data.load(dataset)
    person = whole.query.pid.iloc[0]
    folder = _empty_folder()
    for split, frame in (
        ("bounding_box_train", _rows(whole.train, amount)),
        ("query", whole.query[whole.query.pid == person]),
        ("bounding_box_test", whole.gallery[whole.gallery.pid == person]),
    ):
        (folder / split).mkdir()
        for number, row in enumerate(frame.itertuples()):
            name = f"{row.pid:04d}_c{row.camid}s1_{number:06d}_00{Path(row.path).suffix}"
            (folder / split / name).symlink_to(row.path)
    return folder


# --- what several sides need ---------------------------------------------------------------------


def _empty_folder() -> Path:
    """A temporary folder that is gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="reidlab-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class cache_in:
    """Decoded images go to another folder; data sets, unpacked, are loaded before."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self):
        self.before = os.environ.get("REIDLAB_CACHE")
        os.environ["REIDLAB_CACHE"] = str(self.folder)

    def __exit__(self, *error):
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
        images, batch_size=batch_size, shuffle=train, num_workers=_NUM_WORKERS, drop_last=train
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
