"""Processes that end with the one that they work for, however it ends."""

import os
import platform
import select
import signal
import threading

#: Whom the jobs and kernels of a study work for: machine and process.
VARIABLE = "REIDLAB_LIFELINE"


def anchor() -> dict[str, str]:
    """The environment by which processes that are started from here can :func:`end_with` it."""
    return {VARIABLE: f"{platform.node()}:{os.getpid()}"}


def end_with_study() -> None:
    """End this process at once when the one dies that the environment names.

    A process that is killed ends nobody: its jobs would go on, hold their runs, and the next
    ``make study`` would find them taken. Works on Linux; elsewhere, on another machine, or where
    nobody is named, nothing is done.
    """
    node, _, pid = os.environ.get(VARIABLE, "").rpartition(":")
    if node != platform.node() or not hasattr(os, "pidfd_open"):
        return
    try:
        watched = os.pidfd_open(int(pid))
    except ProcessLookupError:
        _end()
    except OSError:  # an old kernel
        return
    threading.Thread(target=_wait, args=(watched,), daemon=True).start()


def _wait(watched: int) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.poll()
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
