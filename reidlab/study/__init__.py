"""The study: finished runs for notebooks, and where tables and figures go."""

import importlib

_HOME = {"Results": "results", "planned": "notebooks"} | dict.fromkeys(
    ("finished", "network", "run_folder", "runs", "whole"), "steps"
)

__all__ = ["Results", "finished", "network", "planned", "run_folder", "runs", "whole"]


def __getattr__(name: str) -> object:
    """Import what is asked for: a plan is made without torch, and training is not."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
