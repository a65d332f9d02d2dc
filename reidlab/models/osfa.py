"""OSFA: omni-scale feature aggregation, and the middle layers of OSNet put to use.

Paper:
    Li, Liu, Zhu, Zhang. Person re-identification based on multi-scale feature learning (OSFA).
    Knowledge-Based Systems 228, 107281, 2021.

OSNet's trunk runs on two paths through the same layers. On one, attention follows the stages, and
its end gives the *global* feature. On the other there is no attention; its stage outputs are
aligned to one width, fused, cut into horizontal parts and pooled: the *local* feature ("smooth
aggregation module"). Each has a batch normalisation and a classifier of its own.

The authors' repository lacks the file of the network. Their training logs have its layers and two
counts, of the last code and of a variant of February 2021, and both are met to the unit; they
count parameters by use, so a stage that runs on both paths counts twice. What the logs do not say
was chosen here, and each choice is an option of the class:

==========  ====================================================================================
`fusion`    how neighbouring maps are united. The local feature's size, 4096 in the last code and
            6144 before, leaves two maps or three: sums of neighbours, or none
`pooling`   of the parts: average, as in the code that theirs began as; or maximum; or both
paths       the global feature comes from the path with attention, as MSPF's text has it
==========  ====================================================================================

The first map has twice the height and width of the others and is averaged down to them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError
from reidlab.models.attention import osfa_attention
from reidlab.models.base import BNNeck, Branch, Features, Variant
from reidlab.models.osnet import WIDTHS, Trunk, initialise

#: The maps of the three stages, aligned to one size -> those that are cut into parts.
FUSIONS: dict[str, Callable[..., list[Tensor]]] = {
    "none": lambda first, second, third: [first, second, third],
    "neighbours": lambda first, second, third: [first + second, second + third],
    "all": lambda first, second, third: [first + second + third],
}
#: (N, C, parts, positions) -> (N, C, parts), one for each pooling.
POOLINGS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "avg": [lambda parts: parts.mean(3)],
    "max": [lambda parts: parts.amax(3)],
    "avg-max": [lambda parts: parts.mean(3), lambda parts: parts.amax(3)],
}


class OSFA(Trunk):
    """OSNet's trunk with attention on one path and smooth aggregation on the other.

    Parameters of the trunk are called as OSNet's, so that its checkpoints fit.

    Args:
        channels: of the stem and of the three stages.
        feature_dim: D of the global feature.
        attention: stage -> its attention, made from a number of channels. Stages are counted as
            the paper does, 1 to 3; attention follows what reduces the map behind stages 1 and 2.
        fusion: one of `FUSIONS`.
        pooling: of the parts, one of `POOLINGS`.
        parts: horizontal parts of the local feature.

    Raises:
        ReidlabError: no such stage, fusion or pooling.
    """

    #: Modules that OSNet has not, or otherwise.
    fresh = ("attention", "align", "fc", "necks")

    def __init__(
        self,
        channels: Sequence[int],
        feature_dim: int = 512,
        *,
        attention: Mapping[int, Callable[[int], nn.Module]] | None = None,
        fusion: str = "neighbours",
        pooling: str = "avg",
        parts: int = 4,
    ) -> None:
        super().__init__(channels)
        self.apply(initialise)
        attention = {1: osfa_attention, 2: osfa_attention} if attention is None else attention
        for option, given, known in (
            *(("attention after stage", stage, (1, 2, 3)) for stage in attention),
            ("fusion", fusion, FUSIONS),
            ("pooling", pooling, POOLINGS),
        ):
            if given not in known:
                raise ReidlabError(
                    f"OSFA: {option} {given!r} does not exist; choose of "
                    f"{', '.join(map(str, known))}"
                )
        self.attention = nn.ModuleDict(
            {str(stage): make(channels[stage]) for stage, make in sorted(attention.items())}
        )
        width = channels[3]
        self.align = nn.ModuleList(nn.Conv2d(c, width, 1, bias=False) for c in channels[1:3])
        self.fuse, self.poolings, self.parts = FUSIONS[fusion], POOLINGS[pooling], parts
        self.fc = nn.Linear(width, feature_dim)
        initialise(self.fc)
        maps = {"none": 3, "neighbours": 2, "all": 1}[fusion]
        self._make_necks(feature_dim, width * maps * parts * len(self.poolings))

    def _make_necks(self, *dims: int) -> None:
        self.branches = [Branch(dim, dim) for dim in dims]
        # Their bias is trained, as that of an ordinary batch normalisation.
        self.necks = nn.ModuleList(BNNeck(dim, shift=True) for dim in dims)

    def adopt(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Read a checkpoint of OSNet as one of this network: its trunk fits, all else is dropped.

        Args:
            state: a checkpoint.

        Returns:
            The checkpoint in this network's names, and the modules that it has nothing for. One
            of this network's own comes back as it is, and has everything.
        """
        names = self.state_dict().keys()
        if any(key in names and key.split(".")[0] in self.fresh for key in state):
            return state, ()
        return {key: value for key, value in state.items() if key in names}, self.fresh

    def paths(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The stage outputs without attention, and conv5's with it: (N, C, H/16, W/16)."""
        plain = attended = self.maxpool(self.conv1(images))
        maps = []
        for number, stage in enumerate((self.conv2, self.conv3, self.conv4), start=1):
            same = attended is plain  # until the first attention
            plain = stage(plain)
            attended = plain if same else stage(attended)
            maps.append(plain)
            if str(number) in self.attention:
                attended = self.attention[str(number)](attended)
        return maps, self.conv5(attended)

    def global_feature(self, images: Tensor, top: Tensor) -> Tensor:
        """(N, 3, H, W) images and (N, C, h, w) conv5 -> (N, D): maximum over positions, fc."""
        return self.fc(top.amax((2, 3)))

    def local_feature(self, maps: list[Tensor]) -> Tensor:
        """Smooth aggregation: the outputs of three stages -> (N, fused maps · C · parts)."""
        first, second = (align(x) for align, x in zip(self.align, maps))
        fused = self.fuse(F.avg_pool2d(first, 2), second, maps[2])
        # Distances are compared on this vector: it is not rounded to the maps' half precision.
        single = torch.promote_types(fused[0].dtype, torch.float32)
        cut = [x.to(single).unflatten(2, (self.parts, -1)).flatten(3) for x in fused]
        return torch.cat([pool(x).flatten(1) for x in cut for pool in self.poolings], 1)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, H, W) normalised images -> Features; the same type in training mode.

        Raises:
            ReidlabError: a height that does not divide into the parts.
        """
        if images.shape[2] % (16 * self.parts):
            raise ReidlabError(
                f"OSFA: an image height of {images.shape[2]} does not divide into {self.parts} "
                f"parts; give a multiple of {16 * self.parts} pixels"
            )
        maps, top = self.paths(images)
        metric = [self.global_feature(images, top), self.local_feature(maps)]
        ids = [neck(feature) for neck, feature in zip(self.necks, metric)]
        return Features(torch.cat([F.normalize(x) for x in ids], 1), ids, metric)


# --- variants ----------------------------------------------------------------------------------

#: Suffix of a name -> options. The first is the last code, the second what the authors ran in
#: February 2021; then one change a row.
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "_feb2021": {"attention": {2: osfa_attention}, "fusion": "none"},
    "_attention_none": {"attention": {}},
    "_attention_1": {"attention": {1: osfa_attention}},
    "_attention_2": {"attention": {2: osfa_attention}},
    "_fusion_none": {"fusion": "none"},
    "_fusion_all": {"fusion": "all", "pooling": "avg-max"},
    "_pooling_max": {"pooling": "max"},
}

VARIANTS = {
    f"osfa_{width}{suffix}": Variant(
        partial(OSFA, WIDTHS[width], **options), like=f"osnet_{width}", fresh=OSFA.fresh
    )
    for width in WIDTHS
    for suffix, options in OPTIONS.items()
    if not suffix or width == "x0_25"
}
