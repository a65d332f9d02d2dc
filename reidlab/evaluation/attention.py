"""What a network looks at: activation maps, what makes two images alike, and where that lies.

Networks with OSNet's trunk have maps: OSNet, OSFA and MSPF. A map is small, a cell of conv5 stands
for 16x16 pixels, so all shares are those of cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError
from reidlab.metrics.distances import feature_blocks
from reidlab.metrics.ranks import FeatureSet

#: What a pixel of a generated image shows, as `pedestrians.mask` counts it.
REGIONS = ("person", "carried", "background")


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ReidlabError(
            f"{type(model).__name__} has no layer {name}; networks with OSNet's trunk have conv5, "
            "and blocks such as conv4.1"
        ) from error


def _maps(
    model: nn.Module, layers: Sequence[nn.Module], *batches: Tensor
) -> tuple[list, list[Tensor]]:
    """The outputs of layers for each batch in turn, and the embeddings."""
    kept: list = []
    handles = [m.register_forward_hook(lambda _, __, output: kept.append(output)) for m in layers]
    try:
        embeddings = [model(images).embedding for images in batches]
    finally:
        for handle in handles:
            handle.remove()
    return kept, embeddings


def energy(maps: Tensor) -> Tensor:
    """Where a layer is active: the sum of squares over channels, scaled to sum to 1.

    Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017; the OSNet paper's
    figure of activation maps is drawn so by its authors' code.

    Args:
        maps: (N, C, h, w).

    Returns:
        (N, h, w).
    """
    squares = maps.float().square().sum(1)
    return squares / squares.sum((1, 2), keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def activation_maps(model: nn.Module, images: Tensor) -> Tensor:
    """Where the end of the trunk, conv5, is active: :func:`energy`, (N, H/16, W/16).

    Args:
        model: the network; it is used in its present mode (call ``model.eval()`` first).
        images: (N, 3, H, W) normalised images.

    Raises:
        ReidlabError: a network without OSNet's trunk.
    """
    (maps,), _ = _maps(model, [_layer(model, "conv5")], images)
    return energy(maps)


@torch.no_grad()
def stream_maps(model: nn.Module, images: Tensor, block: str = "conv4.1") -> Tensor:
    """Where each stream of a block is active once the gate has weighed it.

    Args:
        model: see :func:`activation_maps`; of a trunk that runs twice, the first pass counts.
        images: (N, 3, H, W) normalised images.
        block: of OSNet, such as conv2.0 or conv4.1.

    Returns:
        (S streams, N, h, w), shallowest stream first, as :func:`energy`.

    Raises:
        ReidlabError: no such block.
    """
    module = _layer(model, block)
    streams, gate = module.streams, [module.gate] if module.gate is not None else []
    kept, _ = _maps(model, [*streams, *gate], images)
    gates = kept[len(streams)] if gate else [1.0] * len(streams)
    return torch.stack([energy(y * g) for y, g in zip(kept, gates)])


def shared_evidence(model: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Grad-CAM of a pair: which places of either image make the two alike.

    Of the cosine similarity s of the two embeddings and the maps A of conv5,

        ReLU(Σ_c α_c A_c),  α_c = mean over positions of ∂s/∂A_c

    after Selvaraju et al., "Grad-CAM" (ICCV 2017), with s in the place of a class score.

    Args:
        model: see :func:`activation_maps`.
        first: (N, 3, H, W) normalised images.
        second: (N, 3, H, W) the images that they are compared with.

    Returns:
        Similarities (N,), and the maps (N, H/16, W/16) of either, in units of s.

    Raises:
        ReidlabError: a network without OSNet's trunk.
    """
    with torch.enable_grad():
        batches = [images.detach().requires_grad_() for images in (first, second)]
        kept, embeddings = _maps(model, [_layer(model, "conv5")], *batches)
        similarity = F.cosine_similarity(*embeddings)
        slopes = torch.autograd.grad(similarity.sum(), kept)
    weights = [slope.mean((2, 3), keepdim=True) for slope in slopes]
    cams = (F.relu((w * x.detach()).sum(1)) for w, x in zip(weights, kept))
    return similarity.detach(), *cams


def cells(masks: Tensor, height: int, width: int) -> Tensor:
    """What the cells of a map show: (N, H, W, 3) masks -> (N, 3, height, width) shares."""
    return F.adaptive_avg_pool2d(masks.movedim(3, 1), (height, width))


def shares(maps: Tensor, masks: Tensor) -> Tensor:
    """How a map is divided between person, carried object and background.

    Args:
        maps: (N, h, w), not negative.
        masks: (N, H, W, 3) of `pedestrians.mask`, at any multiple of the map's size.

    Returns:
        (N, 3), rows sum to 1; NaN for a map that is zero throughout.

    >>> masks = torch.eye(3)[torch.tensor([[0, 2]])][None]  # left a person, right background
    >>> shares(torch.tensor([[[3.0, 1.0]]]), masks)
    tensor([[0.7500, 0.0000, 0.2500]])
    """
    parts = (maps[:, None] * cells(masks, *maps.shape[1:])).sum((2, 3))
    return parts / maps.sum((1, 2))[:, None]


def camera_neighbours(features: FeatureSet, distance: str = "euclidean") -> dict[str, float]:
    """How often the nearest image of somebody else was taken by the same camera.

    A network that knows people alone finds strangers in any camera. One's own images are left out:
    they come in passages before one camera.

    Args:
        features: of images of several people; distractors are people, too.
        distance: as in :func:`reidlab.metrics.distances.known_distance`.

    Returns:
        ``share``, and ``by_chance``: of a stranger's image that is drawn at random. In percent.
    """
    pids, camids = features.pids, features.camids
    near, chance, start = [], [], 0
    for block in feature_blocks(features.features, features.features, distance):
        rows = slice(start, start + len(block))
        start = rows.stop
        stranger = pids[rows, None] != pids
        same = camids[rows, None] == camids
        nearest = block.masked_fill(~stranger, torch.inf).argmin(1)
        near.append(same.gather(1, nearest[:, None])[:, 0])
        chance.append((same & stranger).sum(1) / stranger.sum(1))
    return {
        "share": 100 * float(torch.cat(near).float().mean()),
        "by_chance": 100 * float(torch.cat(chance).mean()),
    }
