"""Run folders: what a training leaves, and how it is read."""

from reidlab.runs.folder import Run, is_complete, load_model, load_run, runs_table

__all__ = ["Run", "is_complete", "load_model", "load_run", "runs_table"]
