"""Loading by name: the table of names, the readers and the generator agree."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

import pedestrians
from reidlab import data
from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.data.table import fingerprint
from reidlab.recipe import names


def test_names_readers_and_generator_agree():
    readers = {file.stem for file in (paths.ROOT / "reidlab/data/readers").glob("*.py")}
    for file in {*names.DATASETS.values(), "market1501"}:
        assert file in readers
        reader = import_module(f"reidlab.data.readers.{file}")
        assert callable(reader.load) and callable(reader.locate)
    assert set(names.GENERATED) == set(pedestrians.CONFIGS)
    assert set(names.SPLITS) <= set(names.DATASETS)
    assert all(names.reader(name) for name in data.names())
    assert len(data.names()) == len(set(data.names()))


def test_only_generated_people_may_be_shown(own_cache, market_layout):
    shown = [name for name in data.names() if names.may_be_shown(name)]
    assert shown == list(names.GENERATED)
    assert data.load("synthetic-tiny-a").may_be_shown
    assert not data.load("market-layout", market_layout()).may_be_shown


@pytest.mark.parametrize("name", [name for name in names.DATASETS if name != "own"])
def test_every_set_says_where_it_looked(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name} was not found.*{tmp_path}.*make study DATA="):
        data.locate(name, tmp_path)


@pytest.mark.parametrize("name", ["market1502", "cuhk03-classic-labeled-20", "synthetic"])
def test_unknown_name_lists_the_sets_in_short(name):
    known = r"Known: market1501.*own.*synthetic.*classic-detected-0 to -19"
    with pytest.raises(DataError, match=rf"'{name}'. {known}") as error:
        data.load(name)
    assert len(str(error.value)) < 600


def test_real_set_without_a_root(monkeypatch):
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    with pytest.raises(DataError, match="REIDLAB_DATA"):
        data.load("market1501")


def test_fingerprint_sees_a_changed_image(market_layout):
    folder = market_layout()
    before = data.load("market-layout", folder).fingerprint
    assert data.load("market-layout", folder).fingerprint == before
    file = next((folder / "query").iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    assert data.load("market-layout", folder).fingerprint != before


def test_generated_people_who_were_purged_are_drawn_again(own_cache):
    before = data.load("synthetic-tiny-a")
    whole = fingerprint(before.splits())
    kept, *purged = map(Path, before.train.path)
    pixels, when = purged[0].read_bytes(), kept.stat().st_mtime_ns
    for file in purged[:5]:
        file.unlink()
    purged[5].write_bytes(b"")
    shutil.rmtree(Path(before.query.path[0]).parent)
    assert fingerprint(data.load("synthetic-tiny-a").splits()) == whole
    assert purged[0].read_bytes() == pixels and kept.stat().st_mtime_ns == when


def test_a_generated_set_is_known_by_what_it_is_drawn_from(own_cache, monkeypatch):
    """Processors round differently: a JPEG of other bytes is the same image of the same person."""
    here = data.fingerprint_here("synthetic-tiny-a", None)
    dataset = data.load("synthetic-tiny-a")
    file = Path(dataset.query.path[0])
    file.write_bytes(file.read_bytes() + b"\0")
    assert data.load("synthetic-tiny-a").fingerprint == dataset.fingerprint == here
    assert here != data.fingerprint_here("synthetic-tiny-b", None)
    data.fingerprint_here.cache_clear()
    monkeypatch.setattr("pedestrians.dataset.GENERATOR_VERSION", -1)
    assert data.fingerprint_here("synthetic-tiny-a", None) != here
    data.fingerprint_here.cache_clear()


def test_the_docstring_of_names_is_the_one_table():
    """No reader keeps a list of data sets of its own, from which the table could differ."""
    for file in (paths.ROOT / "reidlab/data").rglob("*.py"):
        assert not re.search(r"^(DATASETS|READERS|REAL|NUMBERED) =", file.read_text(), re.M), file
