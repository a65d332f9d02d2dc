"""A training watched in a terminal: its curves, epoch by epoch, and the time that is left."""

import argparse
import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.common.files import read_json
from reidlab.recipe.study import load

#: Column of history.csv -> what the table calls it; accuracies and scores are percent.
CURVES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "rank1": "Rank-1, test people",
    "mAP": "mAP, test people",
}
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # of a curve, in characters
LATELY = 5  # epochs that the time left is reckoned from


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """A curve as text, from its least value to its largest; gaps (NaN) are left out.

    Of more values than there is room for, the last of each stretch is shown.

    >>> sparkline([1, 2, math.nan, 3, 8]), sparkline([5, 5]), sparkline(range(100), 5)
    ('▁▂▃█', '▁▁', '▁▃▅▆█')
    """
    known = [value for value in values if not math.isnan(value)]
    count = min(len(known), width)
    shown = [known[(place + 1) * len(known) // count - 1] for place in range(count)]
    low, span = min(shown, default=0), max(shown, default=0) - min(shown, default=0)
    steps = len(BARS) - 1
    return "".join(BARS[round(steps * (value - low) / span) if span else 0] for value in shown)


def left(history: Sequence[dict[str, float]], epochs: int) -> float:
    """Seconds that the epochs to come will take, if each takes what the latest have taken."""
    latest = [row["train_seconds"] + row["eval_seconds"] for row in history[-LATELY:]]
    return sum(latest) / len(latest) * (epochs - len(history)) if latest else math.nan


def picture(folder: Path) -> str:
    """What is known of one training, as lines of text.

    Args:
        folder: of a run's seed.

    Raises:
        ReidlabError: its settings are damaged.
    """
    name = f"{folder.parent.name}, {folder.name}" if folder.name[:5] == "seed-" else folder.name
    if not (folder / "config.json").is_file():
        return f"{name}: has not begun"
    config = read_json(folder / "config.json", "Delete the run's folder; it is trained again.")
    what = f"{name}: {config['model']} on {config['dataset']}"
    if _is_complete(folder):
        scores = read_json(folder / "metrics.json", "Delete the file; the run is trained again.")
        ends = f"complete: Rank-1 {scores['rank1']:.1f}, mAP {scores['mAP']:.1f}"
    history, epochs = _history(folder), config["epochs"]
    if not history:
        return f"{what}, {ends if _is_complete(folder) else 'in its first epoch'}"
    if not _is_complete(folder):
        ends = f"epoch {len(history)} of {epochs}, {_duration(left(history, epochs))} left"
        quiet = time.time() - (folder / "history.csv").stat().st_mtime
        if quiet > 60 + 3 * max(row["train_seconds"] + row["eval_seconds"] for row in history):
            ends += f"; nothing new for {_duration(quiet)}: has it stopped?"
    lines = [f"{what}, {ends}"]
    for column, label in CURVES.items():
        values = [row[column] for row in history if not math.isnan(row[column])]
        if len(values) > 1:  # a point is no curve
            lines.append(
                f"  {label:20} {sparkline(values):{WIDTH}} {values[0]:7.2f} → {values[-1]:.2f}"
            )
        elif values:
            lines.append(f"  {label:20} {'':{WIDTH}} {values[0]:17.2f}")
    return "\n".join(lines)


def watch(folders: Sequence[Path], once: bool = False, every: float = 2) -> None:
    """Show trainings until all are complete: on a terminal in place, else each time anew.

    Args:
        folders: of the seeds of one run; what has not begun is waited for.
        once: show them as they are, and end.
        every: seconds between two looks.
    """
    live, shown = sys.stdout.isatty(), ""
    while True:
        complete = [_is_complete(folder) for folder in folders]
        parts = [picture(folder) for folder in folders]
        if not all(complete):  # of those that have ended a line: a terminal is not high
            parts = [part.split("\n")[0] if done else part for part, done in zip(parts, complete)]
        text = "\n".join(parts) + "\n"
        if text != shown:
            # Back to where the last picture began, and what is below it away.
            above = f"\x1b[{shown.count(chr(10))}F\x1b[J" if live and shown else ""
            sys.stdout.write(above + text)
            sys.stdout.flush()
            shown = text
        if once or all(complete):
            return
        time.sleep(every)


def find(place: Path, name: str | None = None) -> list[Path]:
    """The folders of a run's trainings.

    Args:
        place: a run's folder, or that of one of its seeds; with ``name``, a profile.
        name: a run of that profile: all seeds that are planned, begun or not.

    Raises:
        StudyError: no such run.
    """
    if name is not None:
        study = load(str(place))
        folder = paths.results(study.name) / "runs" / name
        return [folder / f"seed-{seed}" for seed in study[name].seeds]
    found = [place, *sorted(place.glob("seed-*"), key=lambda one: (len(one.name), one.name))]
    if begun := [folder for folder in found if (folder / "config.json").is_file()]:
        return begun
    raise StudyError(
        f"{place} holds no training (no config.json). Name a run's folder, such as "
        "results/<profile>/runs/<run>, or a profile and a run, such as embedded a-none."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m reidlab watch`` takes."""
    parser.add_argument("place", type=Path, help="a run's folder; or a profile, before its run")
    parser.add_argument("name", nargs="?", help="a run of that profile")
    parser.add_argument("--once", action="store_true", help="show it as it is now, and end")


def run(given: argparse.Namespace) -> None:
    """The command; Ctrl-C ends the watching, not the training."""
    try:
        watch(find(given.place, given.name), given.once)
    except KeyboardInterrupt:
        sys.stdout.write("\n")


def _is_complete(folder: Path) -> bool:
    return (folder / "metrics.json").is_file()


def _history(folder: Path) -> list[dict[str, float]]:
    """One row an epoch; an empty cell is NaN, a column that is missing too."""
    file = folder / "history.csv"
    if not file.is_file():
        return []
    columns = [*CURVES, "train_seconds", "eval_seconds"]
    with file.open(newline="") as stream:
        return [
            {column: float(row.get(column) or "nan") for column in columns}
            for row in csv.DictReader(stream)
        ]


def _duration(seconds: float) -> str:
    """As people say it.

    >>> _duration(59), _duration(600), _duration(5 * 3600 + 60)
    ('59 s', '10 min', '5 h 1 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
