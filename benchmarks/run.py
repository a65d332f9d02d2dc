"""``make bench``: every stage and torchreid's in turn, and ``results/benchmarks/*.json``.

The sides of a stage wait in processes of their own and work one after another, round by round, so
that whatever else the machine does falls on all of them alike. Timings depend on the machine;
their ratio much less, so the ratio is what the table shows first.

A stage that fails does not hinder the others. Each leaves a file for each size; the table takes
the full size where there is one, so that full stages can be measured one by one.
"""

import argparse
import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import corruptions, precision, startup, table
from benchmarks.images import default_dataset
from benchmarks.memory import Peak, footprint
from benchmarks.stages import STAGES, Stage
from reidlab.common import paths
from reidlab.common.errors import ReidlabError
from reidlab.common.files import write_json
from reidlab.runs.provenance import environment

#: What a call may take before it is stopped. The table says so, and what the growth makes likely.
MAX_MB, MAX_SECONDS = 20_000, 20 * 60

#: What is no comparison of sides: a function of the size that returns a JSON file's content.
OTHERS: dict[str, Callable[[str], dict]] = {
    "precision": precision.measure,
    "startup": startup.measure,
    "corruptions": corruptions.measure,
}


class Stopped(ReidlabError):
    """A call took more time or memory than `MAX_SECONDS` or `MAX_MB`."""


class Side:
    """A side of a stage in its own process, ready to work.

    Attributes:
        imported_mb: what the process held after its imports.
    """

    def __init__(self, stage: str, side: str):
        self.name = f"{stage}, {side}"
        # Its temporary files go with it, however it ends.
        self.scratch = tempfile.TemporaryDirectory(
            prefix="reidlab-bench-", ignore_cleanup_errors=True
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", stage, side],
            cwd=paths.ROOT,
            env=os.environ | {"REIDLAB_BATCH": "1", "TMPDIR": self.scratch.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()
        self.imported_mb = footprint(self.process.pid)

    def prepare(self, work: dict) -> None:
        """Have it make data and network for these settings; what was there before is let go."""
        self._order({"prepare": work})
        self._answer()

    def measure(self) -> dict:
        """Let it work once.

        Returns:
            Seconds; results; `peak_mb`, the most that it and its children held during the call
            above what it held after its imports.

        Raises:
            Stopped: it took too much, and is gone.
        """
        peak = Peak(self.process.pid)
        start = time.perf_counter()
        self._order({"call": True})
        while not select.select([self.process.stdout], [], [], peak.pause)[0]:
            if self.process.poll() is not None:
                break  # and the answer will say so
            held, seconds = peak.look(), time.perf_counter() - start
            if held > _allowed_mb() or seconds > MAX_SECONDS:
                self.stop()
                raise Stopped(f"stopped after {seconds:.0f} s, at {held / 1000:.1f} GB")
        return self._answer() | {"peak_mb": peak.megabytes() - self.imported_mb}

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.scratch.cleanup()

    def _order(self, content: dict) -> None:
        try:
            self.process.stdin.write(json.dumps(content) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise ReidlabError(f"{self.name}: the process ended without a word") from error

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended without a word"}
        if "error" in answer:
            self.stop()
            raise ReidlabError(f"{self.name}: {answer['error']}")
        return answer


def _allowed_mb() -> float:
    """The limit of a call: what is agreed, or what the machine has."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(MAX_MB, 0.9 * pages / 1e6)


def compare(name: str, stage: Stage, work: dict, size: str) -> tuple[dict, list[dict]]:
    """Measure all sides of a stage: each at growing amounts of work, then all in turn.

    Returns:
        For each side the seconds of every round and the peak memory, or why it was stopped; and
        the points of the growth.

    Raises:
        ReidlabError: a side failed, or the sides found different results.
    """
    sides: dict[str, Side] = {}
    try:
        for side in stage.sides:
            sides[side] = Side(name, side)
        points = grow(name, stage, sides, work, size)
        taken = _rounds(stage, sides, work, size)
    finally:
        for process in sides.values():
            process.stop()
    results = {side: calls[0]["result"] for side, calls in taken.items() if "result" in calls[0]}
    require_agreement(name, results, stage)
    given = stage.given_mb(**work)
    summaries = {side: _summary(calls, given) for side, calls in taken.items()}
    return summaries, with_rounds(points, summaries, work[stage.growth.over])


def _rounds(stage: Stage, sides: dict[str, Side], work: dict, size: str) -> dict:
    """The calls of every side, made in turn."""
    for process in sides.values():
        process.prepare(work)
    taken: dict[str, list[dict]] = {side: [] for side in sides}
    for number in range(max(stage.num_rounds(size, side) for side in sides)):
        for side, process in sides.items():
            done = taken[side]
            if number >= stage.num_rounds(size, side) or (done and "stopped" in done[0]):
                continue
            try:
                done.append(process.measure())
            except Stopped as stopped:
                done[:] = [{"stopped": str(stopped)}]
    return taken


def _summary(calls: list[dict], given: float) -> dict:
    if "stopped" in calls[0]:
        return calls[0]
    return {
        "seconds": [round(call["seconds"], 4) for call in calls],
        "median": round(statistics.median(call["seconds"] for call in calls), 4),
        "peak_mb": round(max(call["peak_mb"] for call in calls) - given),
    }


def grow(name: str, stage: Stage, sides: dict[str, Side], work: dict, size: str) -> list[dict]:
    """Time and memory of each side against the amount of work; one call each.

    A side that takes too much grows no further, and is started afresh.
    """
    points = []
    for side, amounts in stage.growth.amounts[size].items():
        for amount in amounts:
            grown = stage.growth.work(work, amount)
            sides[side].prepare(grown)
            try:
                call = sides[side].measure()
            except Stopped:
                sides[side] = Side(name, side)
                break
            points.append(
                {
                    "side": side,
                    "amount": amount,
                    "seconds": round(call["seconds"], 4),
                    "peak_mb": round(call["peak_mb"] - stage.given_mb(**grown)),
                }
            )
    return points


def with_rounds(points: list[dict], sides: dict[str, dict], amount: int) -> list[dict]:
    """The points of the growth and, where it is not among them, what the rounds measured."""
    known = {(point["side"], point["amount"]) for point in points}
    added = [
        {"side": side, "amount": amount, "seconds": found["median"], "peak_mb": found["peak_mb"]}
        for side, found in sides.items()
        if "stopped" not in found and (side, amount) not in known
    ]
    return sorted(points + added, key=lambda point: (point["side"], point["amount"]))


def require_agreement(name: str, results: dict[str, dict], stage: Stage) -> None:
    """Refuse a comparison of sides that did not do the same.

    Raises:
        ReidlabError: two sides have different numbers under the same name.
    """
    ours = results["reidlab"]
    for side, theirs in results.items():
        for key in ours.keys() & theirs.keys():
            # Written so that a result that is no number does not pass.
            if not abs(ours[key] - theirs[key]) <= stage.tolerance * abs(theirs[key]):
                raise ReidlabError(
                    f"{name}: {key} is {ours[key]} here and {theirs[key]} with {side}: they did "
                    "not do the same work, so their times cannot be compared."
                )


def measure(name: str, size: str) -> dict:
    """Measure one stage.

    Returns:
        The content of its JSON file.
    """
    load = os.getloadavg()[0]
    content = OTHERS[name](size) if name in OTHERS else _compared(name, size)
    machine = environment(f"cpu, {torch.get_num_threads()} threads")
    about = {"format": table.FORMAT, "name": name, "size": size}
    return about | content | {"load_before": round(load, 2), "machine": machine}


def _compared(name: str, size: str) -> dict:
    stage = STAGES[name]
    work = dict(stage.sizes[size])
    if "{dataset}" in stage.amount:
        work.setdefault("dataset", default_dataset())
    sides, points = compare(name, stage, work, size)
    return {
        "title": stage.title,
        "amount": stage.amount.format(**work),
        "work": work,
        "sides": sides,
        "growth": {"over": stage.growth.over, "axis": stage.growth.axis, "points": points},
    }


def measure_all(names: list[str], size: str, folder: Path) -> list[str]:
    """Measure stages one after another, and renew the table after each.

    Returns:
        What went wrong, a line for each stage that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        start = time.perf_counter()
        try:
            content = measure(name, size)
        except ReidlabError as error:
            failed.append(f"{name}: {error}")
        except Exception:
            failed.append(f"{name}: {traceback.format_exc(limit=-6)}")
        else:
            write_json(folder / f"{name}.{size}.json", content)
            table.write(folder)
        _say(
            f"{name}: {time.perf_counter() - start:.0f} s" + ", FAILED" * (name in _names(failed))
        )
    return failed


def _names(failed: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in failed}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Measure the stages; returns the exit status."""
    known = [*STAGES, *OTHERS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"default: all of {', '.join(known)}")
    sizes = parser.add_mutually_exclusive_group()
    for size, what in (
        ("full", "full sizes: an hour rather than minutes"),
        ("tiny", "sizes that prove that it works; the times mean nothing"),
    ):
        sizes.add_argument(f"--{size}", action="store_const", dest="size", const=size, help=what)
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.stages if name not in known]:
        sys.stderr.write(
            f"Error: no stage is called {', '.join(unknown)}. Known: {', '.join(known)}.\n"
        )
        return 1
    folder = paths.results("benchmarks")
    failed = measure_all(chosen.stages or known, chosen.size or "quick", folder)
    if (folder / "table.md").is_file():
        sys.stdout.write("\n" + (folder / "table.md").read_text())
    for line in failed:
        sys.stderr.write(f"Error: {line}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
