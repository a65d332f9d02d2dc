"""Memory of a process and of all that it started, seen from outside.

The measured process does nothing for it. The kernel keeps the peak of a process by itself; only
where a process has children, as torchreid's data loaders have, somebody has to look now and then.
Pages that parent and child share count once.
"""

import time
from pathlib import Path

from reidlab.common.errors import ReidlabError

PROC = Path("/proc")

#: Seconds between two looks at a process with children, at least; and how many times longer than
#: the look itself the pause is, so that looking takes a small part of one core.
PAUSE, PAUSE_PER_LOOK = 0.05, 30


def tree(pid: int) -> list[int]:
    """The process, its children, theirs, and so on: those that are alive."""
    found = [pid]
    for each in found:
        for children in (PROC / str(each) / "task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:  # it ended since
                continue
    return found


def footprint(pid: int) -> float:
    """What a process and its descendants hold, in MB.

    Anonymous and shared memory is divided among those that map it, so that the sum over the
    processes counts it once. Of mapped files, libraries for the most part, the most that any of
    them maps is counted: they map the same ones.

    Raises:
        ReidlabError: the process is gone, or this is not Linux.
    """
    processes = tree(pid)
    if len(processes) == 1:
        return _figures(pid, "status", ["VmRSS"])[0]
    own, files = 0.0, 0.0
    for each in processes:
        try:
            own += sum(_figures(each, "smaps_rollup", ["Pss_Anon", "Pss_Shmem"]))
            files = max(files, *_figures(each, "status", ["RssFile"]))
        except ReidlabError:
            if each == pid:
                raise
    return own + files


class Peak:
    """The highest footprint of a process and its descendants from now on.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int):
        self.pid = pid
        self.highest = 0.0
        self.pause = PAUSE
        try:
            (PROC / str(pid) / "clear_refs").write_text("5")  # the kernel's own peak starts anew
        except OSError as error:
            raise ReidlabError(_unknown(pid)) from error

    def look(self) -> float:
        """Take note of the present footprint; to be called every `pause` seconds."""
        start = time.perf_counter()
        now = footprint(self.pid)
        self.highest = max(self.highest, now)
        self.pause = max(PAUSE, PAUSE_PER_LOOK * (time.perf_counter() - start))
        return now

    def megabytes(self) -> float:
        """The peak so far. That of the process alone is exact, however short it was."""
        return max(self.highest, *_figures(self.pid, "status", ["VmHWM"]))


def _figures(pid: int, file: str, fields: list[str]) -> list[float]:
    """Lines of a file of /proc as MB, in the order asked for."""
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except OSError as error:
        raise ReidlabError(_unknown(pid)) from error
    values = {line.partition(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    if missing := [field for field in fields if field not in values]:
        raise ReidlabError(f"{', '.join(missing)} missing in /proc/{pid}/{file}: {_unknown(pid)}")
    return [int(values[field]) * 1024 / 1e6 for field in fields]


def _unknown(pid: int) -> str:
    return (
        f"the memory of process {pid} cannot be read: it has ended, or this is not Linux. The "
        "benchmarks measure memory in /proc, on Linux 5.4 or newer."
    )
