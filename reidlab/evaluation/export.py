"""A trained network as an ONNX file, checked against PyTorch.

    python -m reidlab.evaluation.export RUN_FOLDER [FILE]

The file holds the whole way from pixels to features, normalisation included, so that a program in
any language gets the study's features from an RGB image:

=============  ==============================================================================
input          ``images``: (N, height, width, 3) uint8, RGB, resized (bilinear); as Pillow and
               NumPy hold an image. With ``normalised=True`` instead (N, 3, height, width)
               float32, scaled to 0..1, ImageNet's mean subtracted, divided by its standard
               deviation: what torchreid's exports and most trackers feed.
output         ``embedding``: (N, D) float32, what the study's distances compare. It is not
               scaled to unit length: for the cosine distance do that first.
N              any number of images, or the one that ``batch`` fixes.
operator set   ONNX opset 18 (:data:`OPSET`).
=============  ==============================================================================

Batch norms are folded into the convolutions, the numbers are float32. What the network is, what
it was trained on and under which terms stands in the file's metadata.
"""

import argparse
import copy
import importlib
import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pedestrians import CONFIGS
from reidlab.common.errors import ReidlabError
from reidlab.data.batches import IMAGENET_MEAN, IMAGENET_STD, normalise
from reidlab.models.inference import fold_batch_norm
from reidlab.models.osnet import ChannelGate
from reidlab.runs.folder import Run, load_model, load_run, read_json

if TYPE_CHECKING:
    import onnx

log = logging.getLogger("reidlab.evaluation.export")  # also when it runs as __main__

#: Version of ONNX's operators: the oldest that PyTorch's exporter writes without translation.
OPSET = 18

PIXELS = "images: (N, height, width, 3) uint8, RGB; normalisation is part of the network"
NORMALISED = "images: (N, 3, height, width) float32, RGB, (x / 255 - mean) / std"

#: Largest difference between the file's features and PyTorch's, as a share of their length.
TOLERANCE = 1e-4


def to_onnx(
    source: Run | nn.Module,
    file: Path | str,
    height: int | None = None,
    width: int | None = None,
    *,
    batch: int | None = None,
    normalised: bool = False,
) -> Path:
    """Export a network as one ONNX file and hold the file's features against PyTorch's.

    Args:
        source: a finished run, or a network that returns ``Features``. It is left as it is.
        file: where to; its folder is made.
        height: input height in pixels; default the run's.
        width: input width in pixels; default the run's.
        batch: images at a time; None leaves it open. Some compilers for small devices want it
            fixed.
        normalised: the file takes normalised float32 images instead of uint8 pixels.

    Returns:
        The file. It appears whole and checked, or not at all.

    Raises:
        ReidlabError: the packages of the extra ``onnx`` are missing; no size; features that
            differ from PyTorch's by more than :data:`TOLERANCE`.
        WeightsError: the run's weights are not there.
    """
    require_packages()
    run = source if isinstance(source, Run) else None
    model = source if isinstance(source, nn.Module) else load_model(source)
    height, width = _input_size(run, height, width)
    if batch is not None and batch < 1:
        raise ReidlabError(f"batch={batch}: give a number of images, or None to leave it open.")
    pipeline = _Pipeline(_unstack_gates(fold_batch_norm(model).cpu().float()), normalised)
    example = pipeline.input_of(_images(batch or 2, height, width))
    proto = _convert(pipeline, example, any_batch=batch is None)
    _describe(proto, run, type(model).__name__, normalised)

    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(proto.SerializeToString())
        difference = parity(part, model, height, width)
        if not difference <= TOLERANCE:
            raise ReidlabError(
                f"{file} was not written: its features differ from PyTorch's by {difference:.1e} "
                f"of their length, more than {TOLERANCE:.0e}. The exporter of PyTorch "
                f"{torch.__version__} misreads this network; try another version of PyTorch."
            )
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    log.info(
        "%s: %.1f MB, input %dx%d, opset %d; features differ from PyTorch's by %.1e at most",
        *(file, file.stat().st_size / 1e6, height, width, OPSET, difference),
    )
    return file


def parity(file: Path | str, model: nn.Module, height: int, width: int) -> float:
    """How far the features of an exported file are from those of the network itself.

    Both see the same images, noise and plain colours, where the file leaves it open in two
    batches of different size.

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
    (given,) = session.get_inputs()
    batches = [given.shape[0]] if isinstance(given.shape[0], int) else [1, 5]
    reference = copy.deepcopy(model).cpu().float().eval()
    worst = 0.0
    for count in batches:
        images = _images(count, height, width)
        with torch.inference_mode():
            right = reference(normalise(images)).embedding.float()
        fed = _Pipeline(reference, given.type == "tensor(float)").input_of(images)
        (found,) = session.run(["embedding"], {"images": fed.numpy()})
        error = (torch.from_numpy(found) - right).norm(dim=1) / right.norm(dim=1).clamp_min(1e-9)
        worst = max(worst, error.max().item() if error.isfinite().all() else float("inf"))
    return worst


def learnt_from(run: Run) -> list[str]:
    """Everything that a run's weights have seen, the last first: data sets and weight files.

    Weight files go by their names, without folders. A run that starts from another run's
    weights has seen what that one saw.
    """
    seen, config = [], run.config
    while True:
        if config["epochs"]:
            seen.append(config["dataset"])
        init = config["init"]
        before = run.path.parent / init.removeprefix("run:") / "config.json"
        if not (init.startswith("run:") and before.is_file()):
            word, colon, file = init.partition(":")
            return seen if init == "none" else [*seen, word + colon + Path(file).name]
        config = read_json(before)


def terms(sources: list[str]) -> str:
    """Under which terms weights may be used that have learnt from these sources."""
    photographs = [name for name in sources if name != "synthetic" and name not in CONFIGS]
    if not photographs:
        return "MIT, as reidlab: no photograph was used"
    return (
        f"learnt from {', '.join(photographs)}: photographs, or weights that come from "
        "photographs, under terms of their own, most of them for research only. Look them up "
        "before any other use."
    )


def _input_size(run: Run | None, height: int | None, width: int | None) -> tuple[int, int]:
    if run is not None:
        height, width = height or run.config["height"], width or run.config["width"]
    if not height or not width or min(height, width) < 16:
        raise ReidlabError(
            f"height={height}, width={width}: give the size in pixels that the network was "
            "trained at, at least 16 each, e.g. 256 and 128; only a run knows it by itself."
        )
    return height, width


class _Pipeline(nn.Module):
    """From what the file takes to the embedding."""

    def __init__(self, model: nn.Module, normalised: bool) -> None:
        super().__init__()
        self.model, self.normalised = model, normalised

    def forward(self, images: Tensor) -> Tensor:
        """See the table at the top of this module -> (N, D) float32."""
        if not self.normalised:
            # Contiguous, or PyTorch's pooling of channels-last memory becomes part of the file.
            images = normalise(images.permute(0, 3, 1, 2).contiguous())
        return self.model(images).embedding

    def input_of(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> what the file takes."""
        if self.normalised:
            return normalise(images).contiguous()
        return images.permute(0, 2, 3, 1).contiguous()


class _Gate(nn.Module):
    """A channel gate, stream by stream.

    `ChannelGate` stacks the streams on the batch axis, and with the batch left open ONNX has no
    plain operator to take them apart again.
    """

    def __init__(self, gate: ChannelGate) -> None:
        super().__init__()
        self.fc1, self.fc2 = gate.fc1, gate.fc2

    def forward(self, streams: list[Tensor]) -> tuple[Tensor, ...]:
        """S tensors (N, C, H, W) -> S tensors (N, C, 1, 1)."""
        means = (stream.mean((2, 3), keepdim=True) for stream in streams)
        return tuple(torch.sigmoid(self.fc2(F.relu(self.fc1(mean)))) for mean in means)


def _unstack_gates(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, ChannelGate):
                setattr(module, name, _Gate(child))
    return model


def _convert(pipeline: _Pipeline, example: Tensor, any_batch: bool) -> "onnx.ModelProto":
    onnx = _import("onnx")
    shapes = ({0: torch.export.Dim.DYNAMIC if any_batch else torch.export.Dim.STATIC},)
    # Traced here and not by torch.onnx, which would rather fix the batch than say that it cannot
    # be left open.
    try:
        traced = torch.export.export(
            pipeline.eval(), (example,), dynamic_shapes=shapes, strict=False
        )
    except Exception as error:  # of many types, and most of them private to PyTorch
        raise ReidlabError(
            f"PyTorch {torch.__version__} cannot trace {type(pipeline.model).__name__} for "
            f"export: {error}"
            + ("\nA fixed batch is easier to trace: batch=1." if any_batch else "")
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
    if any_batch:
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


def _describe(proto: "onnx.ModelProto", run: Run | None, network: str, normalised: bool) -> None:
    """Write what a user of the file has to know: texts as they are, all else as JSON."""
    onnx = _import("onnx")
    given, out = (
        [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    )
    height, width = given[2:] if normalised else given[1:3]
    metadata: dict[str, Any] = {
        "model": run.config["model"] if run else network,
        "height": height,
        "width": width,
        "feature_dim": out[1],
        "input": NORMALISED if normalised else PIXELS,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
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
    onnx.helper.set_model_props(proto, texts)
    proto.producer_name, proto.producer_version = "reidlab", version("reidlab")
    proto.doc_string = "Features for person re-identification; see the metadata."


def _images(count: int, height: int, width: int) -> Tensor:
    """(count, 3, H, W) uint8: noise, but plain colours in every third image."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    images[2::3] = rng.integers(0, 256, (len(images[2::3]), 3, 1, 1), dtype=np.uint8)
    return torch.from_numpy(images)


def require_packages() -> None:
    """Raise a ReidlabError that names the command where the extra ``onnx`` is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ReidlabError(
            f"ONNX export needs the package {error.name}, which is not installed. In the "
            "checkout: make setup, or pip install -e '.[onnx]'."
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Command line of the export; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reidlab.evaluation.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("file", type=Path, nargs="?", help="default: model.onnx in that folder")
    parser.add_argument("--batch", type=int, help="fix the number of images; default: any")
    parser.add_argument("--normalised", action="store_true", help="take normalised float32 images")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        run, file = load_run(given.run), given.file or given.run / "model.onnx"
        to_onnx(run, file, batch=given.batch, normalised=given.normalised)
    except ReidlabError as error:
        sys.stderr.write(f"\nError: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
