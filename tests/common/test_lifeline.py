"""Processes that end with the one that they work for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reidlab.common.lifeline import VARIABLE, anchor, end_with_study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfd is Linux's")

WORK = """
import time
from reidlab.common.lifeline import end_with_study
end_with_study()
print(1, flush=True)
time.sleep(600)
"""
#: A study whose job is a shell that calls Python, as Snakemake's are.
STUDY = f"""
import os, subprocess, sys
from reidlab.common.lifeline import anchor
job = ["bash", "-c", 'set -e; true; "$0" -c "$1"; true', sys.executable, {WORK!r}]
subprocess.run(job, env={{**os.environ, **anchor()}})
"""


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid, within=20):
    """Whether a process ends in so many seconds."""
    end = time.monotonic() + within
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def children(pid):
    """Processes that one has started, from whichever of its threads."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def test_a_killed_studys_jobs_end_even_behind_a_shell():
    study = subprocess.Popen([sys.executable, "-c", STUDY], stdout=subprocess.PIPE, text=True)
    assert study.stdout.readline() == "1\n"
    (shell,) = children(study.pid)
    (job,) = children(shell)
    study.send_signal(signal.SIGKILL)
    study.wait()
    assert gone(job) and gone(shell)


def test_a_job_that_comes_after_its_studys_death_ends_at_once():
    dead = subprocess.Popen(["true"])
    dead.wait()
    environment = {
        **os.environ,
        VARIABLE: anchor()[VARIABLE].replace(str(os.getpid()), str(dead.pid)),
    }
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("named", ["", "another-machine:1", "nonsense"])
def test_nobody_here_is_named(monkeypatch, named):
    monkeypatch.setenv(VARIABLE, named)
    end_with_study()  # and this process goes on
