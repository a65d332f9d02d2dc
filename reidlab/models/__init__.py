"""The networks of the study, by name. A network's file is imported when it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from reidlab.common.errors import StudyError
from reidlab.models.base import Branch, Features, Variant, make_heads
from reidlab.recipe.config import TrainConfig
from reidlab.recipe.names import MODELS, PAIR_MODELS, is_pairwise

__all__ = ["Branch", "Features", "Variant", "build", "make_heads", "size_of", "variant"]


def variant(name: str) -> Variant:
    """What is known of a network, from the table ``VARIANTS`` of its file.

    Raises:
        StudyError: no network of `reidlab.recipe.names`, of images or of pairs, has this name.
    """
    known = MODELS | PAIR_MODELS
    if name not in known:
        raise StudyError(
            f"model: there is no network {name!r}; the known ones are {', '.join(known)}"
        )
    return import_module(f"reidlab.models.{known[name]}").VARIANTS[name]


def size_of(config: Mapping[str, Any] | TrainConfig) -> dict[str, int]:
    """What `build` is told of a recipe's images: nothing, unless the network fits one size only.

    Args:
        config: a recipe, or its fields.
    """
    settings = config if isinstance(config, Mapping) else vars(config)
    sides = ("height", "width") if is_pairwise(settings["model"]) else ()
    return {side: settings[side] for side in sides}


def build(name: str, **options: int) -> nn.Module:
    """Make a network with random weights.

    Args:
        name: a key of `reidlab.recipe.names.MODELS` or `PAIR_MODELS`.
        options: passed to the constructor, e.g. ``feature_dim=256``; see `size_of`.

    Raises:
        StudyError: no network has this name.
    """
    return variant(name).make(**options)
