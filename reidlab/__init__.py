"""reidlab: a reproducible study of person re-identification with OSNet."""

__version__ = "0.1.0"
