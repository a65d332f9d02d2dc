"""One side of one stage, in a process of its own: it works when told to, and says what it took.

    python -m benchmarks.side STAGE SIDE

The process imports what the side needs and says so, and then obeys one line of JSON after the
other: ``{"prepare": WORK}`` makes data and network ready for an amount of work, ``{"call": true}``
does the work and answers with the seconds. So two sides can take turns on the same machine, and
whoever gives the orders knows what the process held before it had data.
"""

import contextlib
import importlib
import json
import logging
import sys
import time
import traceback
import warnings


def main() -> int:
    """Serve one side; returns the exit status."""
    stage, side = sys.argv[1:]
    answers = sys.stdout
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    # The peer prints; only answers may go where the other process reads them.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            from benchmarks.stages import IMPORTS, STAGES

            for module in IMPORTS[side]:
                importlib.import_module(module)
            _answer(answers, {"imported": True})
            for line in sys.stdin:
                order = json.loads(line)
                if "prepare" in order:
                    call = None  # what was prepared before may go
                    call = STAGES[stage].sides[side](**order["prepare"])
                    _answer(answers, {"ready": True})
                else:
                    _answer(answers, timed(call))
        except Exception:
            _answer(answers, {"error": traceback.format_exc(limit=-6)})
            return 1
    return 0


def timed(call) -> dict:
    """Seconds and results of a call."""
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    # A side that times a part of its call, an epoch without the evaluation, says so itself.
    return {"seconds": result.pop("seconds", seconds), "result": result}


def _answer(stream, content: dict) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
