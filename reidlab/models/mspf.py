"""MSPF: OSFA beside OSNets that look at patches of the image.

Paper:
    Multi-Scale and Multi-Patch Feature Fusion Network for person re-identification.
    Journal of Intelligent & Fuzzy Systems, JIFS-237113.

Two things are new over OSFA. Its attention is CBAM's, channels first and then positions, after the
second stage alone. And the image is cut into patches on several levels, "P1" with 2 and "P2" with
4; each level has an OSNet of its own with a global maximum behind it, and the finer level's output
is added to the coarser's. The sum stands beside OSFA's global feature, end to end.

The paper contradicts itself: "the 1-th level is of half patch size of the 2-th level", but with 2
patches where the second has 4, its patches are twice as large. The numbers of patches are read as
meant, since the ablation names them too ("2-4 patches"). Not said, and chosen here: patches are
horizontal stripes (`levels` takes any grid); the patches of a level share its OSNet, as batch; a
level's output is the maximum over all positions of all its patches; what is added are these
vectors, and no layer follows them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from reidlab.common.errors import ReidlabError
from reidlab.models.attention import cbam
from reidlab.models.base import Variant
from reidlab.models.osfa import OSFA
from reidlab.models.osnet import WIDTHS, Trunk, initialise


class MSPF(OSFA):
    """OSFA with CBAM after its second stage, and an OSNet for each level of patches.

    Args:
        channels: of the stem and of the three stages, in all trunks.
        feature_dim: of OSFA's part of the global feature.
        levels: (rows, columns) of patches, the coarsest level first; empty for none.
        order: of CBAM's modules, see `reidlab.models.attention.cbam`.
        options: of `OSFA`.

    Raises:
        ReidlabError: unknown options.
    """

    def __init__(
        self,
        channels: Sequence[int],
        feature_dim: int = 512,
        *,
        levels: Sequence[tuple[int, int]] = ((2, 1), (4, 1)),
        order: str = "channel-spatial",
        **options: Any,
    ) -> None:
        options.setdefault("attention", {2: partial(cbam, order=order)} if order != "none" else {})
        super().__init__(channels, feature_dim, **options)
        self.grids = tuple(levels)
        self.levels = nn.ModuleList(Trunk(channels) for _ in levels).apply(initialise)
        local = self.branches[1].id_dim
        self._make_necks(feature_dim + (channels[3] if levels else 0), local)

    def adopt(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Read a checkpoint of OSNet or OSFA: its trunk goes to the levels, too, if they lack."""
        for prefix, level in self.levels.named_children():
            trunk = {key: state[key] for key in level.state_dict() if key in state}
            level_keys = {f"levels.{prefix}.{key}": value for key, value in trunk.items()}
            if not level_keys.keys() & state.keys():
                state = state | level_keys
        return super().adopt(state)

    def global_feature(self, images: Tensor, top: Tensor) -> Tensor:
        """OSFA's (N, D), and beside it the (N, C) sum over the levels of patches."""
        feature = super().global_feature(images, top)
        if not self.grids:
            return feature
        outputs = [
            level.featuremaps(patches(images, rows, columns))
            .amax((2, 3))
            .unflatten(0, (-1, rows * columns))
            .amax(1)
            for level, (rows, columns) in zip(self.levels, self.grids)
        ]
        return torch.cat([feature, sum(outputs)], 1)


def patches(images: Tensor, rows: int, columns: int) -> Tensor:
    """Cut images into a grid; the patches of an image follow each other, row by row.

    Args:
        images: (N, C, H, W).
        rows: of the grid.
        columns: of the grid.

    Returns:
        (N · rows · columns, C, H / rows, W / columns).

    Raises:
        ReidlabError: height or width does not divide, or patches get too small for OSNet.

    >>> patches(torch.zeros(2, 3, 64, 32), 4, 1).shape
    torch.Size([8, 3, 16, 32])
    """
    height, width = images.shape[2:]
    if height % rows or width % columns or min(height // rows, width // columns) < 16:
        raise ReidlabError(
            f"MSPF: an image of {height}x{width} pixels does not divide into {rows}x{columns} "
            "patches of at least 16x16, the least that OSNet's trunk takes; give a height that is "
            f"a multiple of {rows} and a width of {columns}, or fewer patches"
        )
    # Of stripes of channels-last images this is a view.
    cut = images.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # (N, C, r, h, c, w)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


# --- variants ----------------------------------------------------------------------------------

#: Suffix of a name -> options: the paper's network, then the rows of its tables 5 and 6, then
#: patches as a grid.
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "_patches_none": {"levels": ()},
    "_patches_2": {"levels": ((2, 1),)},
    "_patches_2_4_8": {"levels": ((2, 1), (4, 1), (8, 1))},
    "_attention_none": {"order": "none"},
    "_attention_spatial": {"order": "spatial"},
    "_attention_channel": {"order": "channel"},
    "_attention_spatial_channel": {"order": "spatial-channel"},
    "_grid": {"levels": ((2, 1), (2, 2))},
}

VARIANTS = {
    f"mspf_{width}{suffix}": Variant(
        partial(MSPF, WIDTHS[width], **options), like=f"osnet_{width}", fresh=OSFA.fresh
    )
    for width in WIDTHS
    for suffix, options in OPTIONS.items()
    if not suffix or width == "x0_25"
}
