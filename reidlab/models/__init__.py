"""The networks of the study, by name. A network's file is imported when it is asked for."""

from importlib import import_module

from torch import nn

from reidlab.common.errors import StudyError
from reidlab.models.base import Branch, Features, Variant, make_heads
from reidlab.recipe.names import MODELS, PAIR_MODELS

__all__ = ["Branch", "Features", "Variant", "build", "make_heads", "variant"]


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


def build(name: str, **options: int) -> nn.Module:
    """Make a network with random weights.

    Args:
        name: a key of `reidlab.recipe.names.MODELS`.
        options: passed to the constructor, e.g. ``feature_dim=256``.

    Raises:
        StudyError: no network has this name.
    """
    return variant(name).make(**options)
