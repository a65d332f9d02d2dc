"""Where images come from: ``load(name, root)`` gives any dataset of the study."""

from pathlib import Path

import pandas as pd

from reidlab import paths
from reidlab.data import market1501
from reidlab.data.table import Dataset
from reidlab.errors import DataError

REAL = {
    "market1501": "Market-1501, official archive or folder (research use only)",
    "cuhk03-market-layout": "CUHK03 detected crops in Market-1501's layout, split of our own",
    "market-layout": "any folder or zip in Market-1501's layout",
}


def names() -> list[str]:
    """Every name that :func:`load` knows."""
    from reidlab.data.synthetic import CONFIGS

    return [*REAL, *CONFIGS]


def load(name: str, root: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Args:
        name: one of :func:`names`.
        root: for real sets the folder or archive (default: ``REIDLAB_DATA``). Generated sets live
            in the cache whatever it says.

    Raises:
        DataError: an unknown name, or data that are absent or not what they should be.
    """
    folder = _folder(name, root)
    if name in REAL:
        return market1501.load_market_layout(name, folder)
    return market1501.load_market_layout(name, folder, images_are_public=True)


def read_junk(name: str, root: str | Path | None = None) -> pd.DataFrame:
    """The junk images (pid -1) of a set, columns as in :class:`Dataset`."""
    return market1501.read_junk(name, _folder(name, root))


def _folder(name: str, root: str | Path | None) -> Path:
    if name in REAL:
        chosen = Path(root) if root is not None else paths.data_root()
        if chosen is None:
            raise DataError(
                f"{name} needs its files: give root=, or set REIDLAB_DATA (make study DATA=...) "
                "to the folder that holds the official archive."
            )
        return chosen
    from reidlab.data.synthetic import CONFIGS, generate

    if name not in CONFIGS:
        raise DataError(f"no dataset is called {name!r}. Known: {', '.join(names())}.")
    # Generated sets live in the cache, never among somebody's archives.
    return generate(CONFIGS[name], paths.cache() / "synthetic" / name)


__all__ = ["REAL", "Dataset", "load", "names", "read_junk"]
