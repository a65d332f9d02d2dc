"""From images to features, on whatever device there is."""

import pandas as pd
import torch
from torch import Tensor, nn

from reidlab.data.batches import normalise
from reidlab.data.images import decode
from reidlab.device import pick
from reidlab.metrics import FeatureSet
from reidlab.models.fold import fold_batch_norm
from reidlab.progress import track


@torch.inference_mode()
def extract(
    model: nn.Module,
    images: Tensor,
    batch_size: int = 32,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> Tensor:
    """Embeddings of images, in evaluation mode.

    Args:
        model: returns ``Features``. It is left as it is: a copy in evaluation mode, with its
            batch norms folded into its convolutions, does the work.
        images: (N, 3, H, W) uint8, as from :func:`reidlab.data.images.decode`.
        batch_size: images at a time; the result does not depend on it. 32 is fastest on a CPU.
        device: see :func:`reidlab.device.pick`.
        precision: see :func:`reidlab.device.pick`.
        progress: show a bar where somebody watches.

    Returns:
        (N, D) float32 on the CPU.
    """
    compute = pick(device, precision)
    model = compute.place(fold_batch_norm(model))
    starts = range(0, len(images), batch_size)
    parts = []
    for start in track(starts, "features") if progress else starts:
        batch = normalise(compute.send(images[start : start + batch_size]))
        with compute.autocast():
            embedding = model(batch).embedding
        parts.append(embedding.float().cpu())
    return torch.cat(parts)


def embed(
    model: nn.Module,
    frame: pd.DataFrame,
    height: int,
    width: int,
    device: str = "auto",
    precision: str = "auto",
) -> FeatureSet:
    """A split's table as features with their pids and camids, ready for ranking.

    Args:
        model: see :func:`extract`.
        frame: table with ``path``, ``pid``, ``camid``.
        height: input height in pixels.
        width: input width in pixels.
        device: see :func:`reidlab.device.pick`.
        precision: see :func:`reidlab.device.pick`.
    """
    images = decode(frame, height, width)
    return FeatureSet(
        extract(model, images, device=device, precision=precision),
        torch.tensor(frame.pid.to_numpy()),
        torch.tensor(frame.camid.to_numpy()),
    )
