"""Same person or not: pairs, error rates, thresholds and decisions, a learned head."""

from reidlab.verification.decisions import Decider, calibrate
from reidlab.verification.thresholds import Decision, Thresholds

__all__ = ["Decider", "Decision", "Thresholds", "calibrate"]
