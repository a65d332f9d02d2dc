"""``make bench``: every stage and torchreid's in turn, and ``results/benchmarks/*.json``.

The sides of a stage wait in processes of their own and work one after another, round by round, so
that whatever else the machine does falls on all of them alike. Timings depend on the machine;
their ratio much less, so the ratio is what the table shows first.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import torch

from benchmarks import table
from benchmarks.stages import STAGES, Stage
from reidlab import paths
from reidlab.errors import ReidlabError
from reidlab.runs import environment, write_json

QUICK_ROUNDS, FULL_ROUNDS = 3, 5


class Side:
    """A side of a stage in its own process, ready to work."""

    def __init__(self, stage: str, side: str, work: dict):
        self.name = f"{stage}, {side}, {work}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", stage, side, json.dumps(work)],
            cwd=paths.ROOT,
            env=os.environ | {"REIDLAB_BATCH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def measure(self) -> dict:
        """Let it work once: seconds, peak memory in MB above what it held before, results."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended without a word"}
        if "error" in answer:
            self.process.kill()
            raise ReidlabError(f"{self.name}: {answer['error']}")
        return answer


def compare(name: str, stage: Stage, work: dict, rounds: int) -> dict:
    """Let the sides of a stage take turns.

    Returns:
        What the table needs: for each side the seconds of every round, and the peak memory.

    Raises:
        ReidlabError: a side failed, or the sides found different results.
    """
    sides = {side: Side(name, side, work) for side in stage.sides}
    taken: dict[str, list[dict]] = {side: [] for side in sides}
    try:
        for _ in range(rounds):
            for side, process in sides.items():
                taken[side].append(process.measure())
    finally:
        for process in sides.values():
            process.close()
    require_agreement(name, {side: calls[0]["result"] for side, calls in taken.items()}, stage)
    return {
        side: {
            "seconds": [round(call["seconds"], 4) for call in calls],
            "median": round(statistics.median(call["seconds"] for call in calls), 4),
            "peak_mb": round(max(call["peak_mb"] for call in calls)),
        }
        for side, calls in taken.items()
    }


def require_agreement(name: str, results: dict[str, dict], stage: Stage) -> None:
    """Refuse a comparison of sides that did not do the same.

    Raises:
        ReidlabError: two sides have different numbers under the same name.
    """
    ours = results["reidlab"]
    for side, theirs in results.items():
        for key in ours.keys() & theirs.keys():
            if abs(ours[key] - theirs[key]) > stage.tolerance * abs(theirs[key]):
                raise ReidlabError(
                    f"{name}: {key} is {ours[key]} here and {theirs[key]} with {side}: they did "
                    "not do the same work, so their times cannot be compared."
                )


def grow(name: str, stage: Stage, work: dict, full: bool) -> list[dict]:
    """Time and memory of each side against the amount of work; one call each."""
    points = []
    for side, amounts in stage.growth.items():
        for amount in amounts[full]:
            process = Side(name, side, work | {"amount": amount})
            call = process.measure()
            process.close()
            points.append(
                {
                    "side": side,
                    "amount": amount,
                    "seconds": round(call["seconds"], 4),
                    "peak_mb": round(call["peak_mb"]),
                }
            )
    return points


def main() -> int:
    """Measure the stages; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"default: all of {', '.join(STAGES)}")
    parser.add_argument(
        "--full", action="store_true", help="full sizes: an hour rather than ten minutes"
    )
    arguments = parser.parse_args()
    folder = paths.results("benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in arguments.stages or STAGES:
            if name not in STAGES:
                raise ReidlabError(f"no stage is called {name!r}. Known: {', '.join(STAGES)}.")
            measure(name, arguments.full)
    except ReidlabError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    table.write(folder)
    sys.stdout.write((folder / "table.md").read_text())
    return 0


def measure(name: str, full: bool) -> None:
    """Measure one stage and write its JSON file."""
    stage = STAGES[name]
    work = stage.full if full else stage.quick
    sys.stdout.write(f"{stage.title} ...\n")
    sys.stdout.flush()
    load = os.getloadavg()[0]
    sides = compare(name, stage, work, FULL_ROUNDS if full else QUICK_ROUNDS)
    machine = environment(f"cpu, {torch.get_num_threads()} threads")
    write_json(
        paths.results("benchmarks") / f"{name}.json",
        {
            "title": stage.title,
            "unit": stage.unit,
            "work": work,
            "full": full,
            "sides": sides,
            "growth": grow(name, stage, work, full),
            "load_before": round(load, 2),
            "machine": machine,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
