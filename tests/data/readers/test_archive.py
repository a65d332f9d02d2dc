"""Zips of many kinds: read alike, or one error that names the archive and a remedy."""

import errno
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reidlab import data
from reidlab.common.errors import DataError
from reidlab.data.readers import market1501
from reidlab.data.readers.archive import unpack
from tests.conftest import write_image


def zip_of(folder: Path, archive: Path, inside: str = "Market-1501-v15.09.15") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{inside}/{path.relative_to(folder)}")
    return archive


def test_zip_and_folder_are_the_same_set(market_layout, tmp_path, own_cache):
    folder = market_layout()
    archive = zip_of(folder, tmp_path / "any-name.zip")
    from_zip = market1501.load("some", archive)
    from_folder = market1501.load("some", folder)
    assert from_zip.fingerprint == from_folder.fingerprint
    assert np.array_equal(from_zip.train.pid, from_folder.train.pid)
    assert own_cache in Path(from_zip.train.path[0]).parents


def test_unpacking_happens_once(market_layout, tmp_path, own_cache):
    archive = zip_of(market_layout(), tmp_path / "set.zip")
    first = unpack(archive)
    marker = next(first.rglob("*.jpg"))
    when = marker.stat().st_mtime_ns
    assert unpack(archive) == first
    assert marker.stat().st_mtime_ns == when


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
    with pytest.raises(DataError, match=r"set\.zip, '.*jpg', cannot be unpacked"):
        data.load("market-layout", archive)
    assert not list(own_cache.rglob("*.jpg"))


def test_a_full_disk_is_not_the_archives_fault(market_layout, tmp_path, own_cache, monkeypatch):
    archive = zip_of(market_layout(), tmp_path / "set.zip")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match=r"cache/archives cannot be written: No space left on dev"):
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


# --- Purged, and shared by users -----------------------------------------------------------------


def test_purged_files_are_restored(market_layout, tmp_path, own_cache, caplog):
    archive = zip_of(market_layout(), tmp_path / "set.zip")
    before = data.load("market-layout", archive)
    gone, cut, *others = map(Path, before.train.path)
    when = others[0].stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    shutil.rmtree(Path(before.query.path[0]).parent)
    after = data.load("market-layout", archive)
    assert after.fingerprint == before.fingerprint and len(after.query) == 3
    assert others[0].stat().st_mtime_ns == when, "what is there stays"
    assert "lacks 5 files: restored" in caplog.text
    assert not list(own_cache.rglob(".making-*"))


def test_unpacked_files_are_for_everybody_whom_the_umask_allows(
    market_layout, tmp_path, own_cache
):
    archive = zip_of(market_layout(), tmp_path / "set.zip")
    folder = unpack(archive)
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


# --- Kinds of zips -------------------------------------------------------------------------------


@pytest.fixture
def kinds(market_layout, tmp_path, own_cache) -> Callable[..., Path]:
    """Makes the small set as a zip: with a method, other names, more members, changed bytes."""
    folder = market_layout()

    def make(
        method: int = zipfile.ZIP_DEFLATED,
        rename: Callable[[str], str] = str,
        extra: dict[str, bytes] | None = None,
        change: Callable[[bytearray], object] | None = None,
    ) -> Path:
        out = tmp_path / "some.zip"
        with zipfile.ZipFile(out, "w", method) as file:
            for path in sorted(folder.rglob("*.jpg")):
                name = rename(f"mine/{path.relative_to(folder).as_posix()}")
                file.writestr(name, path.read_bytes())
            for name, content in (extra or {}).items():
                file.writestr(name, content)
        if change:
            content = bytearray(out.read_bytes())
            change(content)
            out.write_bytes(content)
        return out

    return make


def headers(content: bytearray, magic: bytes) -> list[int]:
    """Where the headers of members begin, local (PK 3 4) or central (PK 1 2)."""
    found, at = [], content.find(magic)
    while at >= 0:
        found.append(at)
        at = content.find(magic, at + 30)
    return found


def claims(method: int = 8, flags: int = 0) -> Callable[[bytearray], None]:
    """Members that say that they are compressed or encrypted otherwise."""

    def change(content: bytearray) -> None:
        for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            for start in headers(content, magic):
                content[start + at] |= flags
                content[start + at + 2 : start + at + 4] = struct.pack("<H", method)

    return change


def spoil(offset: int, count: int = 4, value: int = 0xFF) -> Callable[[bytearray], None]:
    """Other bytes in the sixth member's stream."""

    def change(content: bytearray) -> None:
        start = headers(content, b"PK\3\4")[5]
        name, more = struct.unpack("<HH", content[start + 26 : start + 30])
        first = start + 30 + name + more + offset
        content[first : first + count] = bytes([value]) * count

    return change


def local_name(content: bytearray) -> None:
    content[headers(content, b"PK\3\4")[5] + 35] ^= 0x20


def nul(content: bytearray) -> None:
    content[:] = content.replace(b"NULL", b"\0ULL")  # a name ends there


def mac_copies(folder: str = "__MACOSX/mine") -> dict[str, bytes]:
    return {f"{folder}/query/._0001_c1s1_000001_00.jpg": b"\0\5\x16\7" + bytes(60)}


READ = {
    "plain": {},
    "bzip2": {"method": zipfile.ZIP_BZIP2},
    "lzma": {"method": zipfile.ZIP_LZMA},
    "backslashes": {"rename": lambda name: name.replace("/", "\\")},
    "packed on a Mac": {"extra": mac_copies()},
    "copied from exFAT": {"extra": mac_copies("mine")},
    "desktop.ini": {"extra": {"mine/query/desktop.ini": b"x", "mine/query/Thumbs.db": b"x"}},
    "Chinese folder": {"rename": lambda name: name.replace("mine", "行人")},
    "case twins": {"extra": {"Mine/query/x.txt": b"x"}},
    "five folders deep": {"rename": "a/b/c/d/".__add__},
    "no folder around": {"rename": lambda name: name.removeprefix("mine/")},
}


@pytest.mark.parametrize("kind", READ)
def test_read_alike(kinds, own_cache, kind):
    dataset = data.load("market-layout", kinds(**READ[kind]))
    assert [len(frame) for frame in dataset.splits().values()] == [24, 3, 8]
    assert not list(own_cache.rglob(".making-*"))


BZ2, LZMA = zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
REFUSED = {
    "deflate64": ({"change": claims(9)}, r"compressed with deflate64: .*7-Zip"),
    "zstd": ({"change": claims(93)}, r"compressed with Zstandard: .*7-Zip"),
    "AES": ({"change": claims(99, 1)}, r"encrypted with a password: .*7-Zip"),
    "password": ({"change": claims(flags=1)}, r"encrypted with a password: .*7-Zip"),
    "other method": ({"change": claims(77)}, r"compressed with method 77: .*7-Zip"),
    "deflate spoilt": ({"change": spoil(0)}, r"\.jpg', cannot be unpacked \(.*fetch it again"),
    "one byte": ({"change": spoil(200, 1)}, r"\.jpg', cannot be unpacked \(.*fetch it again"),
    "zeros": ({"change": spoil(0, 4096, 0)}, r"\.jpg', cannot be unpacked \(.*fetch it again"),
    "bz2 spoilt": ({"method": BZ2, "change": spoil(20, 64)}, r"\.jpg', cannot be unpacked"),
    "lzma spoilt": ({"method": LZMA, "change": spoil(20, 64)}, r"\.jpg', cannot be unpacked"),
    "local name": ({"change": local_name}, r"cannot be unpacked \(File name in directory"),
    "long name": ({"extra": {"mine/" + "n" * 300: b"x"}}, r"too long for a file \(300 bytes"),
    "six folders around": ({"rename": "z/y/x/w/v/u/".__add__}, r"is not in Market"),
    "deep": ({"extra": {"d/" * 1000 + "x": b"x"}}, r"1000 folders deep.*Repack"),
    "a dot": ({"extra": {"mine/.": b"x"}}, r"'mine/\.', a member without a name"),
    "deeper": ({"extra": {"deep/" * 1000 + "x": b"x"}}, r"1000 folders deep.*Repack"),
    "no name": ({"extra": {"NULL": b"x"}, "change": nul}, r"a member without a name"),
    "clash": ({"extra": {"mine/query": b"x"}}, r"'mine/query' as a file and as a folder"),
    "half": ({"change": lambda c: c.__delitem__(slice(len(c) // 2, None))}, r"not a zip: fetch"),
    "last part": ({"change": lambda c: c.__delitem__(slice(len(c) // 2))}, r"cannot be unpacked"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kinds, own_cache, kind):
    settings, message = REFUSED[kind]
    with pytest.raises(DataError, match=rf"(?s)some\.zip.*({message})"):
        data.load("market-layout", kinds(**settings))
    assert not list(own_cache.rglob(".making-*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><title>Virus scan warning</title>", r"it is a web page.*\. Open the"),
        (b"\n<html>quota exceeded</html>", r"it is a web page.*\. Open the address"),
        (b"\x1f\x8b\x08" + bytes(100), r"it is a gzip file, perhaps tar\.gz\)\. Unpack it"),
        (b"Not Found\n", r"it is a text that begins 'Not Found'\)\. Open the address"),
        (b"x" * 257 + b"ustar" + bytes(300), r"it is a tar archive\)\. Unpack it"),
        (b"Rar!\x1a\x07\x01\0" + bytes(200), r"it is a RAR archive\)\. Unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(200), r"it is a 7z archive\)\. Unpack it"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            r"it is a pointer of Git LFS\)\. Run git lfs pull",
        ),
    ],
)
def test_what_is_called_zip_and_is_none(tmp_path, own_cache, content, message):
    (tmp_path / "some.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"some\.zip cannot be unpacked \({message}"):
        data.load("market-layout", tmp_path / "some.zip")


def test_a_zip_in_a_zip(kinds, tmp_path):
    inner = kinds()
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as file:
        file.write(inner, "mine.zip")
    with pytest.raises(DataError, match=r"outer\.zip is not in .*Unpack it, and name mine\.zip"):
        data.load("market-layout", tmp_path / "outer.zip")
