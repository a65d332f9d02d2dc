"""Market-1501's layout: what is read, and what each bad folder says."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reidlab import data
from reidlab.common.errors import DataError, ReidlabError
from reidlab.metrics.scores import FeatureSet, evaluate
from tests.conftest import write_image


def test_layout_is_read_by_name(market_layout):
    dataset = data.load("market-layout", market_layout())
    assert [len(frame) for frame in dataset.splits().values()] == [24, 3, 8]
    assert sorted(dataset.train.pid.unique()) == [2, 7, 11, 1500]
    assert sorted(dataset.gallery.pid) == [0, 0, 1, 1, 3, 3, 5, 5], "distractors stay, junk goes"
    assert set(dataset.query.camid) == {1}
    first = dataset.train.iloc[0]
    assert Path(first.path).name.startswith(f"{first.pid:04d}_c{first.camid}s1_")
    assert list(dataset.train.path) == sorted(dataset.train.path)
    assert not dataset.may_be_shown


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
    junk = data.read_junk("market-layout", market_layout())
    assert list(junk.pid) == [-1] and list(junk.camid) == [1]


def test_file_managers_leftovers_are_ignored(market_layout):
    folder = market_layout()
    (folder / "query" / "Thumbs.db").write_bytes(b"x")
    assert len(data.load("market-layout", folder).query) == 3


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


def test_real_market1501_counts(real_data):
    summary = data.load("market1501", real_data).summary().set_index("split")
    assert summary.images.to_dict() == {"train": 12936, "query": 3368, "gallery": 15913}
    assert summary.identities.to_dict() == {"train": 751, "query": 750, "gallery": 750}
    assert summary.distractors["gallery"] == 2798
    assert len(data.read_junk("market1501", real_data)) == 3819


def test_real_set_with_one_image_missing(real_data, tmp_path):
    source = Path(data.load("market1501", real_data).train.path[0]).parents[1]
    copy = tmp_path / "Market-1501-v15.09.15"
    shutil.copytree(source, copy, copy_function=lambda a, b: Path(b).symlink_to(a))
    next((copy / "query").iterdir()).unlink()
    with pytest.raises(DataError, match="query images: found 3,367, published 3,368"):
        data.load("market1501", tmp_path)


# --- Folders as people have them -----------------------------------------------------------------


def first(folder: Path, part: str = "query") -> Path:
    return min((folder / part).iterdir())


def renamed(new: Callable[[Path], str | bytes], part: str = "query") -> Callable[[Path], None]:
    """The first file of a part gets another name."""

    def change(folder: Path) -> None:
        file = first(folder, part)
        os.rename(
            os.fsencode(file), os.path.join(os.fsencode(file.parent), os.fsencode(new(file)))
        )

    return change


def linked(target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = first(folder)
        file.unlink()
        file.symlink_to(target or file.name)

    return change


def by_person(folder: Path) -> None:
    for file in list((folder / "query").iterdir()):
        (folder / "query" / file.name[:4]).mkdir()
        file.rename(folder / "query" / file.name[:4] / file.name)


def renumbered(old: str, new: str, *parts: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for part in parts:
            for file in list((folder / part).glob(f"{old}*")):
                file.rename(file.with_name(new + file.name[len(old) :]))

    return change


def copied(start: str, part: str) -> Callable[[Path], None]:
    """Distractors or junk of the gallery, in another part, too."""

    def change(folder: Path) -> None:
        for file in (folder / "bounding_box_test").glob(f"{start}*"):
            shutil.copy(file, folder / part)

    return change


TEST = ("query", "bounding_box_test")
REFUSED = {
    "dangling link": (linked("../.git/annex/x1--00.jpg"), r"0001_c1.*\.jpg is a link to nothing"),
    "link to itself": (linked(""), r"0001_c1.*\.jpg is a link that cannot be followed \(Too many"),
    "latin-1": (renamed(lambda _: b"0002_c1s1_caf\xe9.jpg"), r"caf\\xe9\.jpg has a name that is"),
    "gbk": (renamed(lambda _: b"0002_c1s1_\xd0\xd0.jpg"), r"_\\xd0\\xd0\.jpg has a name .*convmv"),
    "folder": (lambda f: (f / "query" / "0999_c1s1_0.jpg").mkdir(), r"0999_.* is a folder, among"),
    "fifo": (lambda f: os.mkfifo(f / "query" / "0999_c1_0.jpg"), r"0999_.* is neither a file nor"),
    "a folder for each person": (by_person, r"query/000\d is a folder, among images"),
    "pid of 20 digits": (
        renamed(lambda _: f"{'9' * 20}_c1s1_1.jpg"),
        r"9999_c1s1_1\.jpg is not n",
    ),
    "camera of 20 digits": (renamed(lambda _: f"0001_c{'9' * 20}.jpg"), r"999\.jpg is not named"),
    "other digits": (renamed(lambda _: "٠٠٠٧_c٢s1_1.jpg"), r"_c٢s1_1\.jpg is not named"),
    "MARS": (renamed(lambda _: "0001C1T0001F001.jpg"), r"0001C1T0001F001\.jpg is not named like"),
    "part": (lambda f: (f / "query" / "0001_c1.jpg.part").touch(), r"jpg\.part is not named like"),
    "newline": (
        renamed(lambda f: f"{f.stem}\n.jpg"),
        r"0001_c1s1_000001_00\\n\.jpg has a line end or",
    ),
    "0 bytes": (lambda f: first(f).write_bytes(b""), r"0001_.*\.jpg is empty\. Put the image"),
    "split missing": (lambda f: shutil.rmtree(f / "query"), r"market-layout was not found"),
    "from 0": (renumbered("0001", "0000", *TEST), r"query/0000_.* has pid 0, as 1 of 3 .*from 1"),
    "train from 0": (
        renumbered("0002", "0000", "bounding_box_train"),
        r"pid 0, as 6 of 24 .*from",
    ),
    "junk in train": (copied("-1", "bounding_box_train"), r"-1_.* has pid -1, as 1 of 25 .*junk"),
    "junk in query": (copied("-1", "query"), r"-1_.* has pid -1, as 1 of 4 images of the query"),
    "distractors in train": (copied("0000", "bounding_box_train"), r"has pid 0, as 2 of 26 "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(market_layout, kind):
    change, message = REFUSED[kind]
    folder = market_layout()
    change(folder)
    with pytest.raises(DataError, match=message) as error:
        data.load("market-layout", folder)
    str(error.value).encode()  # a message that cannot be printed hides the mistake


READ = {
    "bmp": renamed(lambda f: f"{f.stem}.bmp"),
    "webp": renamed(lambda f: f"{f.stem}.webp"),
    "capitals": renamed(lambda f: f"{f.stem}.JPG"),
    "twice .jpg": renamed(lambda f: f"{f.name}.jpg"),
    "exFAT": lambda f: (f / "query" / f"._{first(f).name}").write_bytes(b"\0\5\x16\7"),
    "checkpoints": lambda f: (f / "query" / ".ipynb_checkpoints").mkdir(),
    "NFS": lambda f: (f / "query" / ".nfs000000000001").write_bytes(b"x"),
    "Windows": lambda f: (f / "query" / "desktop.ini").write_bytes(b"x"),
    "link": lambda f: first(f).rename(f / "x") and (f / "query" / "1_c1.jpg").symlink_to(f / "x"),
}


@pytest.mark.parametrize("kind", READ)
def test_read_alike(market_layout, kind):
    folder = market_layout()
    READ[kind](folder)
    dataset = data.load("market-layout", folder)
    assert [len(frame) for frame in dataset.splits().values()] == [24, 3, 8]
    assert sorted(dataset.query.pid) == [1, 3, 5]


def test_a_person_0_who_is_only_in_the_gallery_is_a_distractor(market_layout):
    folder = market_layout()
    renumbered("0001", "0000", "bounding_box_test")(folder)
    assert data.load("market-layout", folder).summary().distractors.tolist() == [0, 0, 4]


def test_people_who_are_trained_on_and_searched_for_are_said(market_layout):
    folder = market_layout()
    assert not data.load("market-layout", folder).note
    shutil.copy(first(folder), folder / "bounding_box_train")
    note = data.load("market-layout", folder).note
    assert re.match(r"1 of \d+ people who are searched for are trained on, too", note)


def test_a_root_whose_name_is_no_utf8(market_layout, tmp_path):
    folder = market_layout().rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for root in (folder, folder / "query"):
        with pytest.raises(DataError, match=r"/caf\\xe9.* has a name that is no UTF-8.*Rename"):
            data.load("market-layout", root)


def test_a_folder_in_a_folder_of_its_name(market_layout, tmp_path):
    market_layout(tmp_path / "Market-1501" / "Market-1501")
    with pytest.raises(DataError, match="published contents: train images: found 24"):
        data.load("market1501", tmp_path)


def test_message_when_all_matches_lie_in_the_querys_camera(market_layout):
    """The complaint met most: it must say what the same-camera rule did, and the remedy."""
    folder = market_layout()
    for file in list((folder / "bounding_box_test").glob("*_c2*")):
        file.rename(file.with_name(file.name.replace("_c2", "_c1")))
    dataset = data.load("market-layout", folder)
    sets = [
        FeatureSet(torch.randn(len(f), 4), torch.tensor(f.pid), torch.tensor(f.camid))
        for f in (dataset.query, dataset.gallery)
    ]
    with pytest.raises(ReidlabError) as error:
        evaluate(*sets)
    message = str(error.value)
    assert "none of the 3 queries has a true match in the gallery of 8 images" in message
    assert "pids of 0 queries are absent" in message and "those of 3 are there" in message
    assert "removed 6 images" in message and "gallery camids: 1, 3" in message
    assert "if the data has no cameras, pass same_camera_rule=False" in message
    assert evaluate(*sets, same_camera_rule=False).num_valid == 3
