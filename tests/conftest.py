"""Shared fixtures."""

from pathlib import Path

import pytest

from reidlab import paths


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets and weights; tests that need it are skipped without it."""
    root = paths.data_root()
    if root is None:
        pytest.skip("REIDLAB_DATA is not set: no real data on this machine")
    return root
