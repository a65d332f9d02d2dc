"""A trained network as an ONNX file, checked against PyTorch.

    python -m reidlab export RUN_FOLDER [FILE]
    python -m reidlab export osnet.pth osnet.onnx --model osnet_x0_25 --height 256 --width 128

The file holds the whole way from pixels to features, normalisation included, so that a program in
any language gets the study's features from RGB images: from ``images``, (N, height, width, 3)
uint8 for any N, resized (bilinear), as Pillow and NumPy hold them, to ``embedding``, (N, D)
float32, what the study's distances compare. It is not scaled to unit length: for the cosine
distance do that first.

Batch norms are folded into the convolutions, the numbers are float32. What the network is, what it
was trained on and under which terms stands in the file's metadata.
"""

import argparse
import copy
import importlib
import json
import logging
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError
from reidlab.common.files import replacing
from reidlab.data.batches import normalise
from reidlab.models import build
from reidlab.models.inference import fold_batch_norm
from reidlab.models.weights import load_weights
from reidlab.recipe.init import Init
from reidlab.recipe.names import may_be_shown
from reidlab.runs.folder import Run, load_model, load_run

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

#: Version of ONNX's operators: the oldest that PyTorch's exporter writes without translation.
OPSET = 18

#: Largest difference between the file's features and PyTorch's, as a share of their length.
TOLERANCE = 1e-4


def to_onnx(
    source: Run | nn.Module,
    file: Path | str,
    height: int | None = None,
    width: int | None = None,
) -> Path:
    """Export a network as one ONNX file and hold the file's features against PyTorch's.

    Args:
        source: a finished run, or a network that returns ``Features``. It is left as it is.
        file: where to; its folder is made.
        height: input height in pixels; default the run's.
        width: input width in pixels; default the run's.

    Returns:
        The file. It appears whole and checked, or not at all.

    Raises:
        ReidlabError: the packages of the extra ``onnx`` are missing; no size; features that
            differ from PyTorch's by more than :data:`TOLERANCE`.
        WeightsError: the run's weights are not there.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _import(name)
    file, run = Path(file), source if isinstance(source, Run) else None
    if run is not None:
        height, width = height or run.config["height"], width or run.config["width"]
    if not height or not width or min(height, width) < 16:
        raise ReidlabError(
            f"height={height}, width={width}: give the size in pixels that the network was "
            "trained at, at least 16 each, e.g. 256 and 128; only a run knows it by itself."
        )
    model = load_model(run) if run is not None else source
    proto = _convert(model, _images(2, height, width))
    _describe(proto, run, type(model).__name__)
    with replacing(file) as scratch:
        scratch.write_bytes(proto.SerializeToString())
        difference = parity(scratch, model, height, width)
        if not difference <= TOLERANCE:
            raise ReidlabError(
                f"{file} was not written: its features differ from PyTorch's by {difference:.1e} "
                f"of their length, more than {TOLERANCE:.0e}. The exporter of PyTorch "
                f"{torch.__version__} misreads this network; try another version of PyTorch."
            )
    log.info(
        "%s: %.1f MB, input %dx%d, opset %d; features differ from PyTorch's by %.1e at most",
        *(file, file.stat().st_size / 1e6, height, width, OPSET, difference),
    )
    return file


def parity(file: Path | str, model: nn.Module, height: int, width: int) -> float:
    """How far the features of an exported file are from those of the network itself.

    Both see the same images, noise and plain colours, in two batches of different size.

    Args:
        file: written by :func:`to_onnx`.
        model: the network that it was written from.
        height: of the images, in pixels.
        width: of the images, in pixels.

    Returns:
        max over images of ‖exported − PyTorch‖ / ‖PyTorch‖, float32 on the CPU.
    """
    runtime = _import("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    reference = _Pipeline(copy.deepcopy(model).cpu().float().eval())
    worst = 0.0
    for count in (1, 5):
        images = _images(count, height, width)
        with torch.inference_mode():
            right = reference(images).float()
        (found,) = session.run(["embedding"], {"images": images.numpy()})
        error = (torch.from_numpy(found) - right).norm(dim=1) / right.norm(dim=1).clamp_min(1e-9)
        worst = max(worst, error.max().item() if error.isfinite().all() else float("inf"))
    return worst


def learnt_from(run: Run) -> list[str]:
    """Everything that a run's weights have seen, the last first: data sets and weight files.

    Weight files go by their names, without folders. A run that starts from another run's
    weights has seen what that one saw.
    """
    chain = run.lineage()
    seen = [config["dataset"] for config in chain if config["epochs"]]
    start = Init.parse(chain[-1]["init"])
    return seen if start.kind == "none" else [*seen, str(Init(start.kind, Path(start.name).name))]


def terms(sources: list[str]) -> str:
    """Under which terms weights may be used that have learnt from these sources."""
    photographs = [name for name in sources if name != "synthetic" and not may_be_shown(name)]
    if not photographs:
        return "MIT, as reidlab: no photograph was used"
    return (
        f"learnt from {', '.join(photographs)}: photographs, or weights that come from "
        "photographs, under terms of their own, most of them for research only. Look them up "
        "before any other use."
    )


class _Pipeline(nn.Module):
    """From pixels to the embedding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, D) float32."""
        # Contiguous, or PyTorch's pooling of channels-last memory becomes part of the file.
        return self.model(normalise(images.permute(0, 3, 1, 2).contiguous())).embedding


def _convert(model: nn.Module, example: Tensor) -> "onnx.ModelProto":
    onnx = _import("onnx")
    pipeline = _Pipeline(fold_batch_norm(model).cpu().float()).eval()
    # Traced here and not by torch.onnx, which would rather fix the batch than say that it cannot
    # be left open.
    try:
        traced = torch.export.export(
            pipeline, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
        )
    except Exception as error:  # of many types, and most of them private to PyTorch
        raise ReidlabError(
            f"PyTorch {torch.__version__} cannot trace {type(model).__name__} for export, with "
            f"any number of images: {error}"
        ) from error
    proto = torch.onnx.export(
        traced,
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["embedding"],
        external_data=False,
        verbose=False,
    ).model_proto
    _strip(proto)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _strip(proto: "onnx.ModelProto") -> None:
    """Remove what the exporter notes for its own developers: stack traces with paths."""
    graph = proto.graph
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _describe(proto: "onnx.ModelProto", run: Run | None, network: str) -> None:
    """Write what a user of the file has to know: texts as they are, all else as JSON."""
    sizes = [
        [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    ]
    metadata: dict[str, Any] = {
        "model": run.config["model"] if run else network,
        "height": sizes[0][1],
        "width": sizes[0][2],
        "feature_dim": sizes[1][1],
        "input": "images: (N, height, width, 3) uint8, RGB; normalised inside",
        "output": "embedding: (N, feature_dim) float32, not scaled to unit length",
        "opset": OPSET,
        "torch": str(torch.__version__),
        "licence": "that of the images which the weights have learnt from",
    }
    if run is not None:
        metadata |= {
            "run": run.name,
            "commit": run.provenance.get("commit", "unknown"),
            "learnt_from": learnt_from(run),
            "licence": terms(learnt_from(run)),
            "distance": run.config["distance"],
            "evaluated_on": run.config["dataset"],
            "rank1": run.metrics["rank1"],
            "mAP": run.metrics["mAP"],
        }
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    _import("onnx").helper.set_model_props(proto, texts)
    proto.producer_name, proto.producer_version = "reidlab", version("reidlab")
    proto.doc_string = "Features for person re-identification; see the metadata."


def _images(count: int, height: int, width: int) -> Tensor:
    """(count, H, W, 3) uint8: noise, but plain colours in every third image."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    images[2::3] = rng.integers(0, 256, (len(images[2::3]), 1, 1, 3), dtype=np.uint8)
    return torch.from_numpy(images)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ReidlabError(
            f"ONNX export needs the package {error.name}, which is not installed. In the "
            "checkout: make setup, or pip install -e '.[onnx]'."
        ) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("source", type=Path, help="a finished run's folder, or a checkpoint")
    parser.add_argument("file", type=Path, nargs="?", help="default: beside the source's weights")
    parser.add_argument("--model", help="the checkpoint's network, e.g. osnet_x0_25")
    parser.add_argument("--height", type=int, help="of the images, in pixels; default: the run's")
    parser.add_argument("--width", type=int, help="of the images, in pixels; default: the run's")


def run(given: argparse.Namespace) -> None:
    """The command."""
    if given.model is None:
        if given.source.is_file():
            raise ReidlabError(f"{given.source} is a file: name its network with --model.")
        source, file = load_run(given.source), given.source / "model.onnx"
    else:
        source, file = build(given.model), given.source.with_suffix(".onnx")
        load_weights(source, given.source)
    to_onnx(source, given.file or file, given.height, given.width)
