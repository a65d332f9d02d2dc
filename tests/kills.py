"""Kill a study again and again, at any moment, and see that its results are those of a quiet one.

    python -m tests.kills --rounds 20

makes the smoke study once undisturbed; then from nothing, in an empty cache, killing a random
process of it (the command, Snakemake, a job, a notebook's kernel) after a random time, as often
as asked. The same command then goes on, with no other step in between. At the end every table and
every score must be the same byte for byte, and nothing half made may be left.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reidlab.common import paths
from tests.common.test_lifeline import children, gone


def main() -> int:
    """Carry it out; 0 where everything is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--longest", type=float, default=90, help="seconds before a kill")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="reidlab-kills-") as folder:
        quiet, killed = Path(folder, "quiet"), Path(folder, "killed")
        start = time.monotonic()
        if start_study(quiet, given.cores).wait():
            return say("the undisturbed study has failed: see its log above")
        say(f"undisturbed: {time.monotonic() - start:.0f} s")
        for number in range(1, given.rounds + 1):
            study = start_study(killed, given.cores)
            wait = chance.uniform(1, given.longest)
            try:
                study.wait(wait)
                say(f"round {number}: the study was done before it could be killed")
                break
            except subprocess.TimeoutExpired:
                pass
            tree = descendants(study.pid)
            victim, what = chance.choice(tree)
            say(f"round {number}: after {wait:.0f} s, of {len(tree)} processes: {what}")
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            study.wait()
            if alive := [what for pid, what in tree if not gone(pid)]:
                return say(f"processes go on after their study's end: {alive}")
        if start_study(killed, given.cores).wait():
            return say("the study did not recover: see its log above")
        return compare(quiet, killed)


def start_study(folder: Path, cores: int) -> subprocess.Popen:
    """Begin or go on with the study in a folder; its log goes beside it."""
    folder.mkdir(exist_ok=True)
    own = {"REIDLAB_RESULTS": folder / "results", "REIDLAB_CACHE": folder / "cache"}
    environment = os.environ | {name: str(place) for name, place in own.items()}
    command = [sys.executable, "-m", "reidlab", "study", "smoke", "--cores", str(cores)]
    with open(folder / "log", "a") as log:
        return subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=log, stderr=log)


def descendants(pid: int) -> list[tuple[int, str]]:
    """A process and all that it has started: number, and what it is."""
    found = []
    for one in [pid]:
        try:
            line = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            below = children(one)
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((one, line.strip()[:120].replace("\n", " ")))
        for child in below:
            found += descendants(child)
    return found


def compare(quiet: Path, killed: Path) -> int:
    """Tables and scores byte for byte, and no leftovers."""
    kinds = ("tables/*.csv", "runs/*/*/metrics.json", "runs/*/*/per_query.parquet")
    kinds += ("figures/*.png", "runs/*/*/model.safetensors")
    different, count = [], 0
    for kind in kinds:
        names = {
            file.relative_to(folder)
            for folder in (quiet, killed)
            for file in folder.glob(f"results/smoke/{kind}")
        }
        names -= {Path("results/smoke/figures/02-convolutions.png")}  # what a clock measured
        count += len(names)
        for name in sorted(names):
            contents = [(folder / name) for folder in (quiet, killed)]
            one, two = (file.read_bytes() if file.exists() else None for file in contents)
            if one != two:
                different.append(str(name))
    half = sorted(map(str, _hidden(killed) - _hidden(quiet)))
    if different or half or not count:
        return say(f"of {count} files different: {different}; left behind: {half}")
    say(f"{count} tables, figures, scores and networks are the same; nothing was left behind")
    return 0


def _hidden(folder: Path) -> set[Path]:
    """What is half made or failed, and the notes that every study leaves, below a folder."""
    found = [*folder.rglob(".*"), *folder.rglob("*.failed.ipynb"), *folder.rglob("*.part*")]
    return {file.relative_to(folder) for file in found}


def say(text: str) -> int:
    """Print a line; returns the exit status of a failure."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
