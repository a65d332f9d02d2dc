"""The study: profiles, steps, the notebook runner, results."""

from reidlab.study.steps import *  # noqa: F403
