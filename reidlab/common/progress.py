"""Progress for people, silence for batch runs."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def is_batch() -> bool:
    """Whether nobody watches: a batch execution sets ``REIDLAB_BATCH=1``."""
    return bool(os.environ.get("REIDLAB_BATCH"))


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar where somebody is watching.

    Bars appear on a terminal and in a live notebook. In a batch re-execution log lines tell the
    progress, and saved notebooks stay readable.

    Args:
        items: what to iterate over.
        what: the bar's label.
        total: number of items, when ``items`` has no length.
    """
    in_notebook = "ipykernel" in sys.modules
    watched = (in_notebook or sys.stderr.isatty()) and not is_batch()
    return iter(tqdm(items, desc=what, total=total, leave=False, disable=not watched))
