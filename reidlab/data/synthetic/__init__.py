"""Synthetic pedestrians in Market-1501's layout: nobody's photographs, free to ship and show."""

from reidlab.data.synthetic.config import CONFIGS, GENERATOR_VERSION, SyntheticConfig
from reidlab.data.synthetic.dataset import Shot, generate, people, pid_of, plan, render
from reidlab.data.synthetic.figures import lookalikes, same_person_all_cameras, turntable

__all__ = [
    "CONFIGS",
    "GENERATOR_VERSION",
    "Shot",
    "SyntheticConfig",
    "generate",
    "lookalikes",
    "people",
    "pid_of",
    "plan",
    "render",
    "same_person_all_cameras",
    "turntable",
]
