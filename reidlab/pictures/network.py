"""A network for one's own pictures: the shipped weight, a run, a checkpoint or an ONNX file.

What is known of it is read without torch, which takes seconds to import: a search whose features
are all kept never needs it.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reidlab.common.errors import ReidlabError, StudyError, WeightsError
from reidlab.common.files import read_json, sha256
from reidlab.recipe.names import is_pairwise

SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "osnet_x0_25_synthetic.safetensors"
ONNX_BATCH = 64

Extract = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Network:
    """What makes features of pictures.

    Attributes:
        name: what pages and messages call it.
        weights: hash of the file of its weights.
        key: hash of its weights and of all that decides about features.
        height: of its images, in pixels.
        width: of its images, in pixels.
        dataset: on which it was evaluated; None where nobody has said.
        learnt: the data sets and weight files that it has seen; None where nobody has said.
        thresholds: the file in which those of its own calibration are, or would be; None where
            there is no place for one.
        load: gives what takes (N, height, width, 3) uint8 images to (N, D) float32 features.
    """

    name: str
    weights: str
    key: str
    height: int
    width: int
    dataset: str | None
    learnt: Callable[[], list[str] | None]
    thresholds: Path | None
    load: Callable[[], Extract]


def find_network(
    source: Path | None = None,
    model: str | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Network:
    """A network by where it lies.

    Args:
        source: a run's folder, a checkpoint, a file of ``python -m reidlab export``; None is the
            weight that is shipped.
        model: the checkpoint's network, e.g. ``osnet_x0_25``.
        height: of a checkpoint's images, in pixels; default 256.
        width: of a checkpoint's images, in pixels; default 128.

    Raises:
        StudyError: no finished run, or one of a network that looks at pairs.
        WeightsError: no weights, or a checkpoint whose network is not named.
        ReidlabError: no ONNX file of the study's.
    """
    if source is None:
        return _shipped()
    if source.is_dir():
        return _run(source)
    if not source.is_file():
        raise WeightsError(
            f"{source} does not exist. Name a run's folder, a checkpoint or an ONNX file; without "
            "--network the weight that is shipped is taken."
        )
    if source.suffix == ".onnx":
        return _onnx(source)
    if model is None:
        raise WeightsError(f"{source} is a checkpoint: name its network with --model.")
    config = {"model": model, "height": height or 256, "width": width or 128}
    return _of_torch(
        f"{model} of {source.name}", source, config, lambda: _checkpoint(source, model)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command on one's own pictures takes."""
    parser.add_argument(
        "--network",
        type=Path,
        metavar="PLACE",
        help="a run's folder, a checkpoint or an exported ONNX file; default: the shipped weight",
    )
    parser.add_argument("--model", help="a checkpoint's network, e.g. osnet_x0_25")
    parser.add_argument("--height", type=int, help="of a checkpoint's images; default: 256")
    parser.add_argument("--width", type=int, help="of a checkpoint's images; default: 128")


def _shipped() -> Network:
    note = read_json(SHIPPED.with_suffix(".json"), "Check the file out again.")
    model = note["config"]["model"]
    return _of_torch(
        f"{model}, the shipped weight, which has seen generated people only",
        *(SHIPPED, note["config"], lambda: _checkpoint(SHIPPED, model)),
        learnt=lambda: [note["config"]["dataset"]],
        thresholds=SHIPPED.with_suffix(".thresholds.json"),
    )


def _run(folder: Path) -> Network:
    if not (folder / "config.json").is_file():  # a run's, not one of its seeds'
        folder = next(iter(sorted(folder.glob("seed-*"))), folder)
    if not (folder / "metrics.json").is_file():
        raise StudyError(
            f"{folder} holds no finished run (no metrics.json). Name the folder of one, such as "
            "results/<profile>/runs/<run>/seed-0."
        )
    config = read_json(folder / "config.json", "Delete the run's folder; it is trained again.")

    def load() -> Any:
        from reidlab.runs.folder import load_model, load_run

        return load_model(load_run(folder))

    def learnt() -> list[str]:
        from reidlab.evaluation.export import learnt_from
        from reidlab.runs.folder import load_run

        return learnt_from(load_run(folder))

    name = f"{config['model']} of run {folder.parent.name}, {folder.name}"
    weights = folder / "model.safetensors"
    return _of_torch(name, weights, config, load, learnt, folder / "calibration.json")


def _of_torch(
    name: str,
    weights: Path,
    config: Mapping[str, Any],
    load: Callable[[], Any],
    learnt: Callable[[], list[str] | None] = lambda: None,
    thresholds: Path | None = None,
) -> Network:
    if is_pairwise(config["model"]):
        raise StudyError(
            f"{weights}: {config['model']} looks at pairs; a picture alone has no features. Take "
            "another network."
        )
    if not weights.is_file():
        raise WeightsError(f"{weights} is missing (weights are not in git): train the run again.")
    settings = {key: config.get(key) for key in ("model", "flip_test", "precision")}
    size = config["height"], config["width"]

    def ready() -> Extract:
        import torch

        from reidlab.evaluation.features import extract, how

        model = load()

        def features(images: np.ndarray) -> np.ndarray:
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
            return extract(model, pixels, progress=False, **how(config)).numpy()

        return features

    keys = _keys(weights, settings, *size)
    return Network(name, *keys, *size, config.get("dataset"), learnt, thresholds, ready)


def _checkpoint(file: Path, model: str) -> Any:
    from reidlab.models import build
    from reidlab.models.weights import load_weights

    network = build(model)
    load_weights(network, file)
    return network.eval()


def _onnx(file: Path) -> Network:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ReidlabError(
            f"{file} needs the package onnxruntime: in the checkout, make setup."
        ) from error
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # of types that are private to onnxruntime
        raise ReidlabError(f"{file} cannot be read as an ONNX file ({error}).") from error
    taken = session.get_inputs()[0]
    if taken.name != "images" or taken.type != "tensor(uint8)" or taken.shape[3:] != [3]:
        raise ReidlabError(
            f"{file} takes {taken.name}: {taken.type} of {taken.shape}; expected images: uint8 of "
            "(N, height, width, 3), as python -m reidlab export writes it."
        )
    _, height, width, _ = taken.shape
    notes = session.get_modelmeta().custom_metadata_map
    learnt = json.loads(notes["learnt_from"]) if "learnt_from" in notes else None

    def features(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), ONNX_BATCH)
        parts = [session.run(None, {"images": images[n : n + ONNX_BATCH]})[0] for n in starts]
        return np.concatenate(parts)

    return Network(
        *(f"{notes.get('model', 'the network')} of {file.name}", *_keys(file, {}, height, width)),
        *(height, width, notes.get("evaluated_on"), lambda: learnt, None, lambda: features),
    )


def _keys(weights: Path, settings: Mapping[str, Any], height: int, width: int) -> tuple[str, str]:
    """Hash of the weights, and of all that decides about features."""
    found = sha256(weights)
    parts = [found, json.dumps(settings, sort_keys=True), f"{height}x{width}"]
    return found, hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
