"""The networks of the study, by name."""

from collections.abc import Callable

from torch import nn

from reidlab.common.errors import StudyError
from reidlab.models import baseline, fpnn, idla, mcp, osnet
from reidlab.models.heads import make_heads
from reidlab.models.osnet import Features

__all__ = ["MODELS", "PAIR_MODELS", "Features", "build", "make_heads"]

#: Network name -> constructor. OSNet's take ``feature_dim``.
MODELS: dict[str, Callable[..., nn.Module]] = {
    constructor.__name__: constructor
    for constructor in (
        osnet.osnet_x1_0,
        osnet.osnet_x0_75,
        osnet.osnet_x0_5,
        osnet.osnet_x0_25,
        osnet.osnet_ibn_x1_0,
        osnet.osnet_ain_x1_0,
        osnet.osnet_ain_x0_75,
        osnet.osnet_ain_x0_5,
        osnet.osnet_ain_x0_25,
        baseline.resnet50,
        baseline.mobilenet_v3_large,
        baseline.osnet_x0_25_bnneck,
        baseline.resnet50_stride2,
        baseline.mobilenet_v3_large_sigmoid,
        baseline.resnet50_report,
        baseline.mobilenet_v3_large_report,
        baseline.osnet_x0_25_d1000,
        mcp.mcp,
        mcp.mcp_bn,
    )
}

#: Networks that look at two images at once (:mod:`reidlab.models.pairwise`).
PAIR_MODELS = {make.__name__: make for make in (idla.idla, idla.idla_bn, fpnn.fpnn, fpnn.fpnn_bn)}


def build(name: str, **options: int) -> nn.Module:
    """Make a network with random weights.

    Args:
        name: a key of `MODELS`.
        options: passed to the constructor, e.g. ``feature_dim=256``.

    Raises:
        StudyError: no network has this name.
    """
    known = MODELS | PAIR_MODELS
    if name not in known:
        raise StudyError(
            f"model: there is no network {name!r}; the known ones are {', '.join(known)}"
        )
    return known[name](**options)
