"""The Makefile: its help, and what it says when something is missing."""

import os
import re
import shutil
import subprocess

import pytest

from reidlab.common import paths

TEXT = (paths.ROOT / "Makefile").read_text()


def make(*arguments, folder=paths.ROOT):
    """Run make as a person would: not as a part of the make that runs these tests."""
    hidden = ("MAKE", "REIDLAB")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment["PATH"] = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_make_alone_lists_every_verb_with_a_line_of_help():
    done = make()
    assert done.returncode == 0, done.stderr
    phony = re.search(r"^\.PHONY: (.+)$", TEXT, re.MULTILINE)[1].split()
    listed = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(listed) == set(phony)
    assert {"study", "test", "lab", "smoke", "lint", "clean"} <= set(listed)
    assert "embedded" in done.stdout and "market1501" in done.stdout


@pytest.fixture
def fresh(tmp_path):
    """What the set-up needs of a checkout, and no environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(paths.ROOT / name, tmp_path)
    return tmp_path


def test_old_python_is_refused_with_its_version(fresh):
    old = fresh / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make("study", f"PYTHON={old}", folder=fresh)
    assert done.returncode != 0
    assert f"reidlab needs Python 3.11 or newer; {old} is Python 3.9.2." in done.stdout
    assert "make PYTHON=/path/to/python3.12 study" in done.stdout
    assert not (fresh / ".venv").exists()


@pytest.mark.parametrize(
    "place",
    [
        "my data",
        "~/x",
        "my.zip",
        "a$b",
        "`touch X`",
        "$(touch X)",
        'q"uote',
        "it's",
        "back\\slash",
    ],
)
def test_names_and_paths_reach_the_study_as_they_were_given(fresh, place):
    with open(fresh / "Makefile", "a") as stream:
        stream.write('\nshow:\n\t@printf "%s|%s" "$$REIDLAB_DATA" "$$REIDLAB_PROFILE"\n')
    shown = make("show", f"DATA={place}", f"PROFILE={place}", folder=fresh).stdout
    assert shown == f"{place}|{place}"
    assert make("show", folder=fresh).stdout == "|embedded"
    assert not (fresh / "X").exists()
