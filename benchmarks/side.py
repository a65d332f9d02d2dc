"""One side of one stage, in a process of its own: it works when told to, and says what it took.

    python -m benchmarks.side STAGE SIDE '{"amount": 100}'

The process prepares, prints a line of JSON, and then does the work once for every line that it
reads: so two sides can take turns on the same machine, each with its own memory to measure.
"""

import contextlib
import json
import logging
import sys
import time
import traceback
import warnings
from pathlib import Path


def main() -> int:
    """Serve one side; returns the exit status."""
    stage, side, work = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    answers = sys.stdout
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    # The peer prints; only answers may go where the other process reads them.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            from benchmarks.stages import STAGES

            call = STAGES[stage].sides[side](**work)
            _answer(answers, {"ready": True})
            for _ in sys.stdin:
                _answer(answers, _measured(call))
        except Exception:
            _answer(answers, {"error": traceback.format_exc(limit=-6)})
            return 1
    return 0


def _measured(call) -> dict:
    before = _reset_peak()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    # A side that times a part of its call, an epoch without the evaluation, says so itself.
    seconds = result.pop("seconds", seconds)
    return {"seconds": seconds, "peak_mb": _peak() - before, "result": result}


def _status(field: str) -> float:
    """A memory figure of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {field} in /proc/self/status: memory is measured on Linux only")


def _reset_peak() -> float:
    """Start a new peak; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _answer(stream, content: dict) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
