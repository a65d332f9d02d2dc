"""Files that are whole or absent, whoever is killed while writing them."""

import subprocess
import sys

import pytest

from reidlab.common.errors import ReidlabError
from reidlab.common.files import replacing

KILLED = """
import os, signal, sys
from pathlib import Path
from reidlab.common.files import replacing
with replacing(Path(sys.argv[1])) as scratch:
    scratch.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_what_a_killed_writer_leaves_is_taken_away_by_the_next(tmp_path):
    file = tmp_path / "a[1].json"
    file.write_text("old")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
        assert len(names(tmp_path)) == 2 and file.read_text() == "old"
    with replacing(file) as scratch:
        scratch.write_text("new")
    assert names(tmp_path) == ["a[1].json"] and file.read_text() == "new"


def test_a_writer_that_is_at_it_keeps_its_scratch(tmp_path):
    file = tmp_path / "a.json"
    with replacing(file) as first:
        first.write_text("first")
        with replacing(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"
    assert names(tmp_path) == ["a.json"] and file.read_text() == "first"
    assert file.stat().st_mode & 0o777 == 0o644


def test_an_error_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(KeyError), replacing(file):
        raise KeyError
    assert names(tmp_path) == ["a.json"] and file.read_text() == "old"
    with (
        pytest.raises(ReidlabError, match=r"b\.json could not be written"),
        replacing(file / "b.json"),
    ):
        pass
