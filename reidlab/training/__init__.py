"""The training loop, what it minimises, and with which optimiser."""

from reidlab.training.loop import fit

__all__ = ["fit"]
