"""Distances of all queries to all gallery images by a network that looks at pairs.

Every image is encoded once; then each query is compared with the gallery, some images at a time.
The result comes in blocks of rows, which :func:`reidlab.metrics.scores.evaluate` takes as
distances, so that no matrix of all of them need be in memory: what is held are the gallery's codes
(for IDLA 44 kB an image), and a block.

    distances = pair_distances(model, query_images, gallery_images)
    ranking = evaluate(query, gallery, distance=distances)
"""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from reidlab.common.device import pick
from reidlab.common.errors import DataError
from reidlab.common.parallel import in_order
from reidlab.data.batches import normalise
from reidlab.models.pairwise import PairNetwork

#: Images encoded, and pairs compared, at a time.
IMAGES, PAIRS = 32, 64
#: Queries whose distances are handed out together.
ROWS = 16


def pair_distances(
    model: PairNetwork, query: Tensor, gallery: Tensor, device: str = "auto"
) -> Iterator[Tensor]:
    """Distances by a pairwise network, in blocks of queries.

    The distance is -z, with z the logit of "same person": the order of the probabilities, without
    the ties that rounding them near 0 and 1 would make.

    Args:
        model: used in evaluation mode, and left as it was.
        query: (Q, 3, H, W) uint8, as from :func:`reidlab.data.store.decode`.
        gallery: (G, 3, H, W) uint8.
        device: see :func:`reidlab.common.device.pick`; computed in float32.

    Yields:
        (B, G) float32 distances of the next B queries, on the CPU.

    Raises:
        DataError: there are no queries or no gallery images.
    """
    for name, images in (("query", query), ("gallery", gallery)):
        if not len(images):
            raise DataError(f"{name} holds no images; expected at least one")
    where = pick(device, "float32").device
    was_training, threads = model.training, torch.get_num_threads()
    model.eval().to(where)
    # A thread a row does more than several on one: the operations are small.
    workers = threads if where.type == "cpu" else 1
    alone = functools.partial(torch.set_num_threads, max(1, threads // workers))
    try:
        codes = encode(model, gallery, 1, where)
        for block in query.split(ROWS):
            rows = encode(model, block, 0, where).split(1)
            compare = functools.partial(compare_one, model, gallery=codes)
            yield torch.stack(list(in_order(compare, rows, workers, alone)))
    finally:
        torch.set_num_threads(threads)
        model.train(was_training)


@torch.inference_mode()
def encode(model: PairNetwork, images: Tensor, view: int, device: torch.device) -> Tensor:
    """Codes of uint8 images, (N, ...), each computed once."""
    parts = (normalise(part.to(device)) for part in images.split(IMAGES))
    return torch.cat([model.encode(part, view) for part in parts])


@torch.inference_mode()
def compare_one(model: PairNetwork, query: Tensor, gallery: Tensor) -> Tensor:
    """Distances (G,) of one query's code, (1, ...), to the gallery's codes, (G, ...)."""
    return -torch.cat([model.compare(query, part) for part in gallery.split(PAIRS)]).cpu()
