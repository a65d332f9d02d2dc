"""Things that are made once: whole, by one process, whatever the others do."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reidlab import data
from reidlab.common import once
from reidlab.common.errors import DataError

pytestmark = pytest.mark.usefixtures("own_cache")  # where locks are


def write_folder(scratch: Path) -> None:
    (scratch / "in").mkdir(parents=True)
    (scratch / "in" / "a").write_text("new")
    (scratch / "b").write_text("new")


def test_file_and_folder_appear_whole_and_once(tmp_path, monkeypatch):
    made = []

    def write(scratch: Path) -> None:
        assert not (tmp_path / "x" / "one").exists()
        made.append(scratch.write_text("1"))

    target = tmp_path / "x" / "one"
    for _ in range(2):
        once.make(target, target.exists, write)
    assert target.read_text() == "1" and len(made) == 1
    folder = tmp_path / "x" / "folder"
    once.make(folder, folder.exists, write_folder)
    assert (folder / "in" / "a").read_text() == "new"
    monkeypatch.setattr(once, "alone", None)  # what is whole is read without a lock,
    monkeypatch.setattr(Path, "mkdir", None)  # and nothing is written
    once.make(target, target.exists, write)


def test_a_folder_that_lacks_files_keeps_the_others(tmp_path):
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "old").write_text("old")
    inode = folder.stat().st_ino
    once.make(folder, (folder / "b").exists, write_folder)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"in/old", "in/a", "b"} and folder.stat().st_ino == inode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing(tmp_path, error):
    def write(scratch: Path) -> None:
        write_folder(scratch)
        raise error

    with pytest.raises(error):
        once.make(tmp_path / "x", lambda: False, write)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


CODE = """
import sys, time
from pathlib import Path
from reidlab.common import once
target = Path(sys.argv[1])
def write(scratch):
    scratch.write_text("half")
    time.sleep(float(sys.argv[2]))
    scratch.write_text("whole")
    (target.parent / "made").open("a").write("x")
once.make(target, target.exists, write)
"""


def start(target: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CODE, str(target), str(seconds)])


def wait_for_scratch(target: Path) -> None:
    while not target.with_name(once.SCRATCH + target.name).exists():
        time.sleep(0.02)


def test_many_processes_make_it_once(tmp_path):
    processes = [start(tmp_path / "x", 0.3) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert (tmp_path / "x").read_text() == "whole" and (tmp_path / "made").read_text() == "x"


def test_the_holder_is_named_and_its_death_frees_the_lock(tmp_path, caplog):
    target = tmp_path / "x"
    victim = start(target, 60)
    wait_for_scratch(target)
    victim.kill()
    victim.wait()
    assert list(tmp_path.glob(f"{once.SCRATCH}*")), "what a kill leaves"
    # The next one who makes anything there takes it away, if it is nobody's any more.
    alive = start(tmp_path / "alive", 3)
    wait_for_scratch(tmp_path / "alive")
    once.make(tmp_path / "y", (tmp_path / "y").exists, lambda scratch: scratch.write_text("y"))
    assert [path.name for path in tmp_path.glob(f"{once.SCRATCH}*")] == [f"{once.SCRATCH}alive"]
    once.make(tmp_path / "alive", (tmp_path / "alive").exists, lambda _: pytest.fail("made twice"))
    assert alive.wait() == 0
    assert f"process {alive.pid} on" in caplog.text


def test_what_versions_without_locks_left_goes_after_a_day(tmp_path, own_cache):
    def leave(name: str, hours: float) -> Path:
        (tmp_path / name / "in").mkdir(parents=True)
        file = tmp_path / name / "in" / "a"
        file.write_text("half")
        for path in (file, file.parent, tmp_path / name):
            os.utime(path, (time.time() - 3600 * hours,) * 2)
        return file

    for name in (".unpacking-a", ".decoding-b", ".synthetic-c", "its-own"):
        leave(name, 30)
    os.utime(leave(".synthetic-alive", 30))  # somebody writes to one file of it
    leave(".unpacking-young", 20)
    once.make(tmp_path / "x", (tmp_path / "x").exists, lambda scratch: scratch.write_text("x"))
    left = {path.name for path in tmp_path.iterdir()} - {"cache", "x"}
    assert left == {".synthetic-alive", ".unpacking-young", "its-own"}
    folder = own_cache / "synthetic" / ".synthetic-old"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    data.load("synthetic-tiny-a")
    assert not folder.exists()


def test_a_place_that_is_a_file_closed_or_full_is_named(tmp_path, monkeypatch):
    (tmp_path / "a-file").write_text("a file")
    for place in (tmp_path / "a-file" / "x", tmp_path / "a-file" / "images" / "x"):
        with pytest.raises(DataError, match=r"a-file.* cannot be written: .*REIDLAB_CACHE to ano"):
            once.make(place, lambda: False, write_folder)

    def fails(number: int):
        def write(scratch: Path) -> None:
            raise OSError(number, os.strerror(number), str(scratch))

        return write

    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
        with pytest.raises(DataError, match=f"cannot be written: {os.strerror(number)}"):
            once.make(tmp_path / "y", lambda: False, fails(number))
    with pytest.raises(OSError, match="Input/output error"):  # no fault of the place's fullness
        once.make(tmp_path / "y", lambda: False, fails(errno.EIO))
    deep = tmp_path / ("n" * 300) / "y"
    for place in (Path("/proc/nobody/y"), deep):
        with pytest.raises(
            DataError, match=r"cannot be written: (No such file|File name too long)"
        ):
            once.make(place, place.exists, write_folder)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(once.shutil, "disk_usage", lambda _: usage._replace(free=1))
    with pytest.raises(DataError, match=r"no room for 3,000\.0 MB"):
        once.make(tmp_path / "y", lambda: False, write_folder, size=3 * 10**9)
