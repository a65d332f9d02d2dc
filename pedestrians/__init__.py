"""Synthetic pedestrians in Market-1501's layout: nobody's photographs, free to ship and show."""

from pedestrians.config import CONFIGS, GENERATOR_VERSION, SyntheticConfig
from pedestrians.dataset import (
    Shot,
    generate,
    is_whole,
    mask,
    people,
    pid_of,
    plan,
    record,
    render,
)
from pedestrians.figures import lookalikes, same_person_all_cameras, turntable

__all__ = [
    "CONFIGS",
    "GENERATOR_VERSION",
    "Shot",
    "SyntheticConfig",
    "generate",
    "is_whole",
    "lookalikes",
    "mask",
    "people",
    "pid_of",
    "plan",
    "record",
    "render",
    "same_person_all_cameras",
    "turntable",
]
