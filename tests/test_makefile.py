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


#: Names that checkouts have, or that break a shell's words.
PLACES = ["my study", "it's", 'say "hi"', "study (copy)", "a&b", "a;b", "a$b", "a$(touch X)"]
PLACES += [
    "`touch X`",
    "back\\slash",
    "100%",
    "#1",
    "[a]*?",
    "{a,b}",
    "-a",
    "~a",
    "a|b>c<d",
    "été",
]

#: Stands for a program of the environment: says its arguments, one a line.
SAYS = '#!/bin/sh\nprintf "%s\\n" "$0" "$@" >> "$SAID"\n'


@pytest.fixture
def odd(fresh, tmp_path, monkeypatch):
    """Moves what the set-up needs into a folder of a name; uv and Python only say what they do."""

    def move(name):
        checkout = fresh / "in" / name
        checkout.mkdir(parents=True)
        for file in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copy(paths.ROOT / file, checkout)
        for program in ("uv", "python3"):
            file = fresh / "programs" / program
            file.parent.mkdir(exist_ok=True)
            file.write_text(SAYS if program == "uv" else MAKES_VENV)
            file.chmod(0o755)
        return checkout

    return move


MAKES_VENV = """#!/bin/sh
[ "$1" = -c ] && exit 0
for last; do :; done
mkdir -p "$last/bin"
printf '#!/bin/sh\\nprintf "%%s\\\\n" "$@" >> "$SAID"\\n' > "$last/bin/python"
chmod +x "$last/bin/python"
"""


def make_in(checkout, *arguments):
    """Run make with the programs beside a checkout: how it ended, and what they said."""
    said = checkout.parents[1] / "said"
    said.unlink(missing_ok=True)
    programs = checkout.parents[1] / "programs"
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "SAID": str(said), "HOME": "/nowhere"}
    done = subprocess.run(
        ["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True
    )
    return done, said.read_text().splitlines() if said.exists() else []


@pytest.mark.parametrize("name", PLACES)
def test_a_checkout_may_have_any_name(odd, name):
    checkout = odd(name)
    done, said = make_in(checkout, "setup")
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / ".ready").is_file()
    assert said.count("--editable") == 1 and said[-1] == "."
    for verb, first in (
        (["study", f"PROFILE={name}"], ["-m", "reidlab", "study", name]),
        (["lint"], ["-m", "ruff", "check", "."]),
        (["lab", "OPTIONS=--port=8900"], ["-m", "jupyterlab"]),
        (["bench", "STAGE=busy"], ["-m", "benchmarks.run", "busy"]),
    ):
        done, said = make_in(checkout, *verb)
        assert done.returncode == 0, done.stderr
        assert said[: len(first)] == first
        if verb[0] == "lab":  # the whole checkout, with options, also as root in a container
            assert said[-2:] == ["--port=8900", "."]
            assert ("--allow-root" in said) == (os.getuid() == 0)
    assert sorted(file.name for file in (checkout.parents[1]).iterdir()) == [
        "Makefile", "in", "programs", "pyproject.toml", "requirements.lock", "said",
    ]  # fmt: skip
    assert not list(checkout.parents[1].rglob("X"))


def test_a_colon_in_the_path_is_refused_before_anything_is_made(odd):
    checkout = odd("a:b")
    done, said = make_in(checkout, "setup")
    assert done.returncode != 0 and not said and not (checkout / ".venv").exists()
    assert "holds a colon" in done.stdout and str(checkout) in done.stdout
