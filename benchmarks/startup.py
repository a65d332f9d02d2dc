"""How long imports take, each in a fresh process."""

import statistics
import subprocess
import sys

from reidlab.common import paths
from reidlab.common.errors import ReidlabError

#: ``torch`` is the part of the other times that nobody can do without.
MODULES = ("reidlab", "reidlab.training", "torch", "torchreid.reid")
REPEATS = {"tiny": 1, "quick": 3, "full": 7}

PROGRAM = """
import sys, time
start = time.perf_counter()
import {module}
sys.stderr.write("seconds %f" % (time.perf_counter() - start))
"""


def measure(size: str) -> dict:
    """Import each of `MODULES` in fresh processes, in turn.

    Raises:
        ReidlabError: one of them cannot be imported.
    """
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for _ in range(REPEATS[size]):
        for module, taken in seconds.items():
            taken.append(round(_import(module), 3))
    return {
        "title": "Start-up",
        "seconds": seconds,
        "median": {module: statistics.median(taken) for module, taken in seconds.items()},
    }


def _import(module: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )
    _, found, seconds = done.stderr.rpartition("seconds ")
    if done.returncode or not found:
        raise ReidlabError(f"import {module} failed: {done.stderr.strip()[-500:]}")
    return float(seconds)


def statement(content: dict) -> str:
    """What was measured, for the notes of the table."""
    median = content["median"]
    repeats = len(content["seconds"]["reidlab"])
    return (
        f"Start-up: `import reidlab` {median['reidlab']:.2f} s, `import reidlab.training`, which "
        f"trains, extracts and ranks, {median['reidlab.training']:.2f} s, of which torch alone "
        f"{median['torch']:.2f} s; `import torchreid.reid` {median['torchreid.reid']:.2f} s "
        f"(medians of {repeats} fresh processes)."
    )
