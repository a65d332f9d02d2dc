"""DukeMTMC-reID, MSMT17 and LaST in their official layouts, small, and what may be wrong there."""

import shutil
import zipfile
from pathlib import Path

import pytest

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.readers import dukemtmc, last, msmt17
from tests.conftest import write_image


def zip_of(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{folder.name}/{path.relative_to(folder)}")
    return archive


def assert_same_split(ours, theirs):
    """A table of ours and a list of torchreid's: the same images, cameras, and people.

    torchreid counts cameras from 0 and numbers people as it likes; only who is who counts.
    """
    mine = {Path(row.path).name: (row.pid, row.camid) for row in ours.itertuples()}
    peer = {Path(row[0]).name: (row[1], row[2] + 1) for row in theirs}
    assert {name: camid for name, (_, camid) in mine.items()} == {
        name: camid for name, (_, camid) in peer.items()
    }
    pairs = {(mine[name][0], peer[name][0]) for name in mine}
    assert len(pairs) == len({pid for pid, _ in pairs}) == len({pid for _, pid in pairs})


# --- DukeMTMC-reID ------------------------------------------------------------------------------

DUKE_COUNTS = {
    "train images": 6,
    "train identities": 2,
    "query images": 2,
    "query identities": 2,
    "gallery images": 4,
    "cameras": 8,
}


@pytest.fixture
def duke(tmp_path, monkeypatch) -> Path:
    """A data root with dukemtmc-reid/DukeMTMC-reID: 2 people each, and a distractor of its own."""
    folder = tmp_path / "data" / "dukemtmc-reid" / "DukeMTMC-reID"
    for person in ("0001_c1", "0001_c6", "0001_c8", "0005_c1", "0005_c6", "0005_c7"):
        write_image(folder / "bounding_box_train" / f"{person}_f0046182.jpg", len(person))
    for pid in (2, 7):
        write_image(folder / "query" / f"{pid:04d}_c2_f0046182.jpg", pid)
        write_image(folder / "bounding_box_test" / f"{pid:04d}_c3_f0046183.jpg", pid)
    for camera in (4, 5):
        write_image(folder / "bounding_box_test" / f"0009_c{camera}_f0046184.jpg", camera)
    monkeypatch.setattr(dukemtmc, "PUBLISHED", DUKE_COUNTS)
    return tmp_path / "data"


def test_duke_is_read_as_torchreid_reads_it(duke):
    from torchreid.reid.data.datasets.image.dukemtmcreid import DukeMTMCreID

    ours, theirs = data.load("dukemtmc", duke), DukeMTMCreID(root=str(duke), verbose=False)
    for split, frame in ours.splits().items():
        assert_same_split(frame, getattr(theirs, split))


def test_duke_says_that_it_was_withdrawn(duke):
    dataset = data.load("dukemtmc", duke)
    assert "withdrawn" in dataset.note and dataset.note == dukemtmc.NOTE
    assert dataset.has_cameras and not dataset.may_be_shown


def test_duke_absent_offers_no_download(tmp_path):
    with pytest.raises(DataError, match=r"dukemtmc was not found.*withdrawn and cannot be had"):
        data.load("dukemtmc", tmp_path)


def test_duke_with_an_image_missing(duke):
    next(duke.rglob("query/*.jpg")).unlink()
    with pytest.raises(DataError, match="query images: found 1, published 2"):
        data.load("dukemtmc", duke)


def test_duke_zip(duke, own_cache):
    folder = duke / "dukemtmc-reid" / "DukeMTMC-reID"
    archive = zip_of(folder, duke / "DukeMTMC-reID.zip")
    from_folder = data.load("dukemtmc", folder).fingerprint
    shutil.rmtree(duke / "dukemtmc-reid")
    assert data.load("dukemtmc", duke).fingerprint == from_folder
    assert own_cache in data.locate("dukemtmc", archive).parents


def test_junk_only_where_there_can_be_any(duke, msmt, market_layout):
    assert list(data.read_junk("dukemtmc", duke).columns) == ["path", "pid", "camid"]
    assert data.read_junk("dukemtmc", duke).empty
    assert data.read_junk("msmt17", msmt()).empty
    assert len(data.read_junk("market-layout", market_layout())) == 1


# --- MSMT17 -------------------------------------------------------------------------------------

MSMT_COUNTS = {
    "train images": 6,
    "train identities": 3,
    "query images": 2,
    "gallery images": 4,
    "gallery identities": 2,
    "identities": 5,
    "cameras": 3,
}


@pytest.fixture
def msmt(tmp_path, monkeypatch):
    """Makes msmt17/MSMT17_V1 or _V2: 3 people to train on, 2 to test on, cameras 1, 12 and 15."""
    monkeypatch.setattr(msmt17, "PUBLISHED", MSMT_COUNTS)

    def make(version: str = "V1") -> Path:
        folder = tmp_path / "data" / "msmt17" / f"MSMT17_{version}"
        train, test = msmt17.IMAGE_FOLDERS[version]
        lists = {"train": [], "val": [], "query": [], "gallery": []}

        def add(part, images, pid, camera, shot):
            path = f"{pid:04d}/{pid:04d}_{shot:03d}_{camera:02d}_0303morning_0008_{shot}.jpg"
            write_image(folder / images / path, 10 * pid + shot)
            lists[part].append(f"{path} {pid}\n")

        for pid in range(3):
            add("train", train, pid, 12, 0)
            add("val" if pid else "train", train, pid, 1, 1)
        for pid in range(2):
            add("query", test, pid, 15, 0)
            add("gallery", test, pid, 1, 1)
            add("gallery", test, pid, 12, 2)
        for part, lines in lists.items():
            (folder / f"list_{part}.txt").write_text("".join(lines))
        return tmp_path / "data"

    return make


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize(
    ("name", "settings"), [("msmt17", {"combineall": True}), ("msmt17-list-train", {})]
)
def test_msmt17_is_read_as_torchreid_reads_it(msmt, version, name, settings):
    from torchreid.reid.data.datasets.image.msmt17 import MSMT17

    # torchreid's combineall also adds the test set to the training set: only the lists count.
    class ListsOnly(MSMT17):
        def combine_all(self):
            pass

    root = msmt(version)
    ours, theirs = data.load(name, root), ListsOnly(root=str(root), verbose=False, **settings)
    for split, frame in ours.splits().items():
        assert_same_split(frame, getattr(theirs, split))


def test_msmt17_pids_are_nobodys_twice(msmt):
    dataset = data.load("msmt17", msmt())
    assert sorted(set(dataset.train.pid)) == [1, 2, 3], "0 would mark distractors"
    assert sorted(set(dataset.query.pid)) == sorted(set(dataset.gallery.pid)) == [4, 5]
    assert sorted(set(dataset.gallery.camid)) == [1, 12]


def test_msmt17_training_lists_are_a_choice_by_name(msmt):
    root = msmt()
    both, alone = data.load("msmt17", root), data.load("msmt17-list-train", root)
    assert (len(both.train), len(alone.train)) == (6, 4)
    assert both.query.equals(alone.query) and both.gallery.equals(alone.gallery)
    assert both.fingerprint != alone.fingerprint
    assert "list_train and list_val" in both.note and "list_train alone" in alone.note


def test_msmt17_says_which_version(msmt):
    assert "faces blurred" in data.load("msmt17", msmt("V2")).note


def test_msmt17_both_versions_are_a_question(msmt):
    msmt("V1")
    root = msmt("V2")
    with pytest.raises(DataError, match=r"both versions are there.*MSMT17_V1.*MSMT17_V2.*differ"):
        data.load("msmt17", root)
    assert "V2" in data.load("msmt17", root / "msmt17" / "MSMT17_V2").note


def test_msmt17_zip(msmt, own_cache):
    root = msmt()
    expected = data.load("msmt17", root).fingerprint
    zip_of(root / "msmt17" / "MSMT17_V1", root / "MSMT17_V1.zip")
    shutil.rmtree(root / "msmt17")
    assert data.load("msmt17", root).fingerprint == expected


def test_msmt17_tar_is_named(tmp_path):
    (tmp_path / "MSMT17_V1.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"MSMT17_V1\.tar\.gz is there, but only zip.*unpack it"):
        data.load("msmt17", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0009/0009_000_01_x.jpg 9\n", r"names 1 of 5 images that are not there.*line 5: .*0009_"),
        ("0001/0001_000_01_0303morning_0008_0.jpg\n", r"list_gallery\.txt, line 5: found '0001/"),
        ("0001/0001_000_01_0303morning_0008_0.jpg one\n", r"line 5: .*expected a path and a pid"),
        ("0001/0001_000_01_0303morning_0008_0.jpg -1\n", r"line 5: .*expected a path and a pid"),
        ("0001/holiday.jpg 1\n", r"line 5: found '0001/holiday\.jpg 1'"),
    ],
)
def test_msmt17_bad_line(msmt, line, message):
    root = msmt()
    file = root / "msmt17" / "MSMT17_V1" / "list_gallery.txt"
    file.write_text(file.read_text() + line)
    with pytest.raises(DataError, match=message):
        data.load("msmt17", root)


@pytest.mark.parametrize("part", ["train", "val", "query", "gallery"])
def test_msmt17_list_missing_or_empty(msmt, part):
    root = msmt()
    file = root / "msmt17" / "MSMT17_V1" / f"list_{part}.txt"
    file.write_text("\n")
    with pytest.raises(DataError, match=rf"list_{part}\.txt is empty"):
        data.load("msmt17", root)
    file.unlink()
    with pytest.raises(DataError, match=rf"list_{part}\.txt is missing.*All four lists"):
        data.load("msmt17", root)


def test_msmt17_list_cut_short(msmt):
    root = msmt()
    file = root / "msmt17" / "MSMT17_V1" / "list_val.txt"
    file.write_text(file.read_text().splitlines()[0])
    with pytest.raises(DataError, match="train images: found 5, published 6"):
        data.load("msmt17-list-train", root)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\n", b"\r\n"), (b" ", b"\t"), (b"/", b"\\"), (b"0000/", b"\xef\xbb\xbf0000/")],
)
def test_msmt17_lists_of_other_editors(msmt, old, new):
    root = msmt()
    expected = data.load("msmt17", root).fingerprint
    for file in root.rglob("list_*.txt"):
        file.write_bytes(file.read_bytes().replace(old, new, 1 if b"\xef" in new else -1))
    assert data.load("msmt17", root).fingerprint == expected


def test_msmt17_in_a_folder_of_its_own_name_and_packed_on_a_mac(msmt, own_cache):
    root = msmt("V2")
    expected = data.load("msmt17", root).fingerprint
    outer, inner = root / "msmt17", root / "MSMT17_V2" / "MSMT17_V2"
    inner.parent.mkdir()
    (outer / "MSMT17_V2").rename(inner)
    assert data.load("msmt17", root).fingerprint == expected
    archive = zip_of(inner.parent, root / "MSMT17_V2.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/MSMT17_V2/._list_train.txt", b"\0\5\x16\7")
    shutil.rmtree(inner.parent)
    assert data.load("msmt17", root).fingerprint == expected


def test_msmt17_image_as_a_link_to_nothing(msmt):
    root = msmt()
    image = next((root / "msmt17/MSMT17_V1/test").rglob("*.jpg"))
    image.unlink()
    image.symlink_to("/nowhere")
    with pytest.raises(DataError, match=rf"names 1 of \d images that are not there.*{image.name}"):
        data.load("msmt17", root)


# --- LaST ---------------------------------------------------------------------------------------


@pytest.fixture
def last_root(tmp_path, monkeypatch):
    """Makes LaST/: 2 people to train on, 2 to test on and one who is only in the gallery."""
    small = {"train images": 4, "train identities": 2, "query images": 3, "query identities": 2}
    small |= {"gallery images": 5, "gallery identities": 3}
    monkeypatch.setattr(last, "PUBLISHED", {"last": small, "last-val": small})

    def make(first_pid: int = 1) -> Path:
        folder = tmp_path / "data" / "LaST"
        a, b, c, d, e = (f"{first_pid + number:06d}" for number in range(5))
        for pid in (a, b):
            for shot in range(2):
                write_image(folder / "train" / pid / f"{pid}_FFilm_{shot}_0_{shot}.jpg", shot)
        for part in ("val", "test"):
            for number, pid in enumerate((c, c, d)):
                write_image(folder / part / "query" / f"{pid}_FFilm_{number}_1_0.jpg", number)
            for number, pid in enumerate((c, c, d, d, e)):
                place = folder / part / "gallery" / pid
                write_image(place / f"{pid}_FFilm_{number}_2_0.jpg", number)
        return tmp_path / "data"

    return make


@pytest.mark.parametrize("name", ["last", "last-val"])
def test_last_is_read(last_root, name):
    dataset = data.load(name, last_root(7))
    assert [len(frame) for frame in dataset.splits().values()] == [4, 3, 5]
    assert sorted(dataset.query.pid) == [9, 9, 10]
    assert sorted(dataset.gallery.pid) == [9, 9, 10, 10, 11]
    part = {"last": "test", "last-val": "val"}[name]
    assert all(f"/{part}/" in path for path in [*dataset.query.path, *dataset.gallery.path])


def test_last_has_no_cameras(last_root):
    dataset = data.load("last", last_root())
    assert not dataset.has_cameras and "no cameras" in dataset.note
    camids = [camid for frame in dataset.splits().values() for camid in frame.camid]
    assert len(set(camids)) == len(camids) == 12, "every image has a camera id of its own"
    assert set(dataset.summary().cameras) == {0}


def test_last_person_0_is_nobodys_distractor(last_root):
    dataset = data.load("last", last_root(0))
    assert sorted(set(dataset.train.pid)) == [1, 2]
    assert sorted(set(dataset.gallery.pid)) == [3, 4, 5]
    assert set(dataset.summary().distractors) == {0}


def test_last_counts(last_root):
    root = last_root()
    next((root / "LaST" / "test" / "gallery").rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="gallery images: found 4, published 5"):
        data.load("last", root)
    assert len(data.load("last-val", root).gallery) == 5, "the other split is whole"


def test_last_names_and_empty_folders(last_root):
    root = last_root()
    write_image(root / "LaST" / "test" / "query" / "holiday.jpg")
    with pytest.raises(DataError, match=r"query/holiday\.jpg is not named like 000001_"):
        data.load("last", root)
    shutil.rmtree(root / "LaST" / "train")
    (root / "LaST" / "train").mkdir()
    with pytest.raises(DataError, match=r"train holds no image in a person's folder"):
        data.load("last", root)


def test_last_says_how_many_queries_lie_in_the_gallery(last_root):
    root = last_root()
    for number, file in enumerate(sorted((root / "LaST").rglob("*.jpg"))):
        write_image(file, number)
    assert "byte for byte" not in data.load("last", root).note
    for number, query in enumerate(sorted((root / "LaST/test/query").iterdir())[:2]):
        answer = sorted((root / "LaST/test/gallery").rglob(f"{query.name[:6]}_*.jpg"))[number]
        answer.write_bytes(query.read_bytes())
    assert "2 of 3 query images lie in the gallery, too" in data.load("last", root).note


# --- What holds for all of them -----------------------------------------------------------------


def test_published_counts_as_the_sources_state_them():
    """Worked sums over the sources' tables: parts that must add up to their totals."""
    assert msmt17.PUBLISHED["train images"] + 11_659 + 82_161 == 126_441  # Wei et al., boxes
    assert msmt17.PUBLISHED["identities"] == 1_041 + 3_060
    assert last.PUBLISHED["last"]["query images"] + 125_353 == 135_529  # LaST's README, test
    assert last.PUBLISHED["last-val"]["query images"] + 21_279 == 21_379  # and validation
    duke = dukemtmc.PUBLISHED
    assert duke["train images"] + duke["query images"] + duke["gallery images"] == 36_411
