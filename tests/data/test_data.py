"""Readers: counts, names, archives, and what each bad input says."""

import errno
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.readers.archive import unpack
from reidlab.data.readers.market1501 import load_market_layout, read_junk
from tests.conftest import write_image


def zip_of(folder: Path, archive: Path, inside: str = "Market-1501-v15.09.15") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{inside}/{path.relative_to(folder)}")
    return archive


def test_layout_is_read_by_name(market_layout):
    dataset = data.load("market-layout", market_layout())
    assert [len(frame) for frame in dataset.splits().values()] == [24, 3, 8]
    assert sorted(dataset.train.pid.unique()) == [2, 7, 11, 1500]
    assert sorted(dataset.gallery.pid) == [0, 0, 1, 1, 3, 3, 5, 5], "distractors stay, junk goes"
    assert set(dataset.query.camid) == {1}
    first = dataset.train.iloc[0]
    assert Path(first.path).name.startswith(f"{first.pid:04d}_c{first.camid}s1_")
    assert list(dataset.train.path) == sorted(dataset.train.path)
    assert not dataset.images_are_public


def test_labels_follow_sorted_pids(market_layout):
    dataset = data.load("market-layout", market_layout())
    expected = {2: 0, 7: 1, 11: 2, 1500: 3}
    assert list(dataset.train_labels()) == [expected[pid] for pid in dataset.train.pid]


def test_summary_counts(market_layout):
    summary = data.load("market-layout", market_layout()).summary().set_index("split")
    assert summary.loc["train"].to_dict() == {
        "images": 24,
        "identities": 4,
        "cameras": 2,
        "distractors": 0,
    }
    assert summary.loc["gallery"].to_dict() == {
        "images": 8,
        "identities": 3,
        "cameras": 2,
        "distractors": 2,
    }


def test_junk_is_listed_apart(market_layout):
    junk = read_junk("market-layout", market_layout())
    assert list(junk.pid) == [-1] and list(junk.camid) == [1]


def test_zip_and_folder_are_the_same_set(market_layout, tmp_path, own_cache):
    folder = market_layout()
    archive = zip_of(folder, tmp_path / "any-name.zip")
    from_zip = load_market_layout("some", archive)
    from_folder = load_market_layout("some", folder)
    assert from_zip.fingerprint == from_folder.fingerprint
    assert np.array_equal(from_zip.train.pid, from_folder.train.pid)
    assert own_cache in Path(from_zip.train.path[0]).parents


def test_fingerprint_sees_a_changed_image(market_layout):
    folder = market_layout()
    before = data.load("market-layout", folder).fingerprint
    assert data.load("market-layout", folder).fingerprint == before
    file = next((folder / "query").iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    assert data.load("market-layout", folder).fingerprint != before


def test_unpacking_happens_once(market_layout, tmp_path, own_cache):
    archive = zip_of(market_layout(), tmp_path / "set.zip")
    first = unpack(archive)
    marker = next(first.rglob("*.jpg"))
    when = marker.stat().st_mtime_ns
    assert unpack(archive) == first
    assert marker.stat().st_mtime_ns == when


def test_file_managers_leftovers_are_ignored(market_layout):
    folder = market_layout()
    (folder / "query" / "Thumbs.db").write_bytes(b"x")
    assert len(data.load("market-layout", folder).query) == 3


@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_truncated_zip(market_layout, tmp_path, own_cache, keep):
    archive = zip_of(market_layout(), tmp_path / "Market-1501-v15.09.15.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"Market-1501-v15\.09\.15\.zip cannot be unpacked.*fetch"):
        data.load("market1501", tmp_path)
    assert not list(own_cache.rglob("*.jpg")), "nothing half-unpacked may stay"


def test_damaged_member(market_layout, tmp_path, own_cache):
    archive = zip_of(market_layout(), tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    content[200:260] = bytes(60)  # inside the first member's data: its CRC no longer agrees
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip cannot be unpacked"):
        data.load("market-layout", archive)
    assert not list(own_cache.rglob("*.jpg"))


def test_a_full_disk_is_not_the_archives_fault(market_layout, tmp_path, own_cache, monkeypatch):
    archive = zip_of(market_layout(), tmp_path / "set.zip")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(DataError, match=r"set\.zip .* No space left on device\. Make room"):
        unpack(archive)


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "a/../../evil.jpg", "..\\evil.jpg"])
def test_zip_that_writes_outside_its_folder(tmp_path, own_cache, name):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(DataError, match="outside its folder"):
        unpack(archive)
    assert not list(tmp_path.rglob("evil.jpg"))


def test_zip_with_a_link(tmp_path, own_cache):
    archive = tmp_path / "set.zip"
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"link\.jpg.*outside its folder"):
        unpack(archive)


def test_not_a_zip(tmp_path, own_cache):
    archive = tmp_path / "set.zip"
    archive.write_text("<html>quota exceeded</html>")
    with pytest.raises(DataError, match="cannot be unpacked"):
        data.load("market-layout", archive)


def test_zip_of_something_else(tmp_path, own_cache):
    write_image(tmp_path / "holiday" / "beach.jpg")
    archive = zip_of(tmp_path / "holiday", tmp_path / "set.zip", inside="holiday")
    with pytest.raises(DataError, match=r"not in Market-1501's layout: it holds holiday"):
        data.load("market-layout", archive)


def test_missing_and_extra_image_against_published_counts(market_layout):
    with pytest.raises(DataError) as error:
        data.load("market1501", market_layout())
    message = str(error.value)
    assert "train images: found 24, published 12,936" in message
    assert "gallery distractors: found 2, published 2,798" in message
    assert "unpack the original archive afresh" in message


def test_name_outside_the_pattern(market_layout):
    folder = market_layout()
    write_image(folder / "query" / "john_smith.jpg")
    with pytest.raises(DataError, match=r"query/john_smith\.jpg is not named like 0002_c1s1"):
        data.load("market-layout", folder)


def test_empty_split(market_layout):
    folder = market_layout()
    shutil.rmtree(folder / "query")
    (folder / "query").mkdir()
    with pytest.raises(DataError, match=r"query holds no image of the query split"):
        data.load("market-layout", folder)


def test_absent_set_names_where_it_looked(tmp_path):
    with pytest.raises(DataError, match=r"(?s)Market-1501-v15\.09\.15\.zip.*make study DATA="):
        data.load("market1501", tmp_path)


def test_real_set_without_a_root(monkeypatch):
    monkeypatch.delenv("REIDLAB_DATA", raising=False)
    with pytest.raises(DataError, match="REIDLAB_DATA"):
        data.load("market1501")


def test_unknown_name():
    with pytest.raises(DataError, match=r"'market1502'. Known: market1501, cuhk03-market-layout"):
        data.load("market1502")


def test_real_market1501_counts(real_data):
    summary = data.load("market1501", real_data).summary().set_index("split")
    assert summary.images.to_dict() == {"train": 12936, "query": 3368, "gallery": 15913}
    assert summary.identities.to_dict() == {"train": 751, "query": 750, "gallery": 750}
    assert summary.distractors["gallery"] == 2798
    assert len(data.read_junk("market1501", real_data)) == 3819


def test_real_cuhk03_counts(real_data):
    summary = data.load("cuhk03-market-layout", real_data).summary().set_index("split")
    assert summary.images.to_dict() == {"train": 7355, "query": 1400, "gallery": 5342}


def test_real_set_with_one_image_missing(real_data, tmp_path):
    source = Path(data.load("market1501", real_data).train.path[0]).parents[1]
    copy = tmp_path / "Market-1501-v15.09.15"
    shutil.copytree(source, copy, copy_function=lambda a, b: Path(b).symlink_to(a))
    next((copy / "query").iterdir()).unlink()
    with pytest.raises(DataError, match="query images: found 3,367, published 3,368"):
        data.load("market1501", tmp_path)
