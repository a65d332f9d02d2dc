"""Same person or not: pairs, error rates, thresholds and decisions, a learned head."""

from reidlab.verification.decisions import Decider, Decision, calibrate

__all__ = ["Decider", "Decision", "calibrate"]
