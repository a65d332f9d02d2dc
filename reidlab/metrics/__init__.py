"""From features to numbers: distances, ranked lists, CMC, mAP, mINP, re-ranking."""

from reidlab.metrics.scores import *  # noqa: F403
