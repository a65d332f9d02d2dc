"""From features to numbers: distances, ranked lists, CMC, mAP, mINP, re-ranking."""

from reidlab.metrics.ranks import FeatureSet
from reidlab.metrics.scores import (
    Ranking,
    average_precision,
    average_precision_trapezoid,
    evaluate,
    inverse_negative_penalty,
    retrieve,
)

__all__ = [
    "FeatureSet",
    "Ranking",
    "average_precision",
    "average_precision_trapezoid",
    "evaluate",
    "inverse_negative_penalty",
    "retrieve",
]
