"""The benchmarks' JSON files as a table, its notes, and figures."""

import json
from pathlib import Path

import numpy as np

from benchmarks import corruptions, figures, precision, startup
from benchmarks.stages import SIZES, STAGES
from reidlab.study.results import piped

PEER = "torchreid"

#: Files of another format measured other things, memory in particular, and are left out.
FORMAT = 2

HEADINGS = ["stage", "work", "faster", "reidlab, s", "torchreid, s", "memory, MB", "size"]

#: Rows beside that of ``reidlab``: side, and what the stage's title then goes on with.
MORE_ROWS = {"decoded": ", images already decoded"}


def read(folder: Path) -> list[dict]:
    """The largest size of each stage that was measured, in the order of the stages.

    Args:
        folder: ``results/benchmarks``.
    """
    found: dict[str, dict] = {}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        if content.get("format") != FORMAT:
            continue
        known = found.get(content["name"])
        if known is None or SIZES.index(content["size"]) > SIZES.index(known["size"]):
            found[content["name"]] = content
    order = [*STAGES, "precision", "startup", "corruptions"]
    return sorted(found.values(), key=lambda content: order.index(content["name"]))


def rows(contents: list[dict]) -> list[list[str]]:
    """One row a stage, two where images may be decoded already, as cells of text."""
    machines = _machines(contents)
    table = []
    for content in contents:
        if "sides" not in content:
            continue
        size = content["size"] + (f" [{machines[_machine(content)]}]" if len(machines) > 1 else "")
        for side in ("reidlab", *MORE_ROWS):
            if side in content["sides"]:
                title = content["title"] + MORE_ROWS.get(side, "")
                table.append([title, content["amount"], *_beside_peer(content, side), size])
    return table


def _beside_peer(content: dict, side: str) -> list[str]:
    """Ratio, seconds of both, memory of both."""
    ours, peer = content["sides"][side], content["sides"].get(PEER)
    if peer is None:
        return ["", _seconds(ours), "", f"{ours['peak_mb']:,}"]
    if "stopped" in peer:
        likely = extrapolated(content)
        if likely is None:
            return ["", _seconds(ours), peer["stopped"], f"{ours['peak_mb']:,}"]
        seconds, megabytes = likely
        return [
            f"≈ {seconds / ours['median']:.1f}x",
            _seconds(ours),
            f"≈ {seconds:,.0f}, extrapolated; {peer['stopped']}",
            f"{ours['peak_mb']:,} / ≈ {megabytes:,.0f}",
        ]
    return [
        f"{peer['median'] / ours['median']:.1f}x",
        _seconds(ours),
        _seconds(peer),
        f"{ours['peak_mb']:,} / {peer['peak_mb']:,}",
    ]


def extrapolated(content: dict) -> tuple[float, float] | None:
    """Seconds and MB that torchreid would take, from how it grew; None from fewer than 3 points.

    Both are taken to go on along the line, in logarithms, through the last 3 points.
    """
    likely = []
    for measured in ("seconds", "peak_mb"):
        fitted = growth_fit(content, PEER, measured)
        if fitted is None:
            return None
        slope, level = fitted
        amount = content["work"][content["growth"]["over"]]
        likely.append(float(np.exp(level + slope * np.log(amount))))
    return likely[0], likely[1]


def growth_fit(content: dict, side: str, measured: str) -> tuple[float, float] | None:
    """Exponent p and constant c of measured = exp(c) · amount^p, through the last 3 points."""
    points = [
        (point["amount"], max(1e-9, point[measured]))
        for point in content["growth"]["points"]
        if point["side"] == side
    ]
    if len(points) < 3:
        return None
    amounts, values = np.log(np.array(points[-3:])).T
    slope, level = np.polyfit(amounts, values, 1)
    return float(slope), float(level)


def notes(contents: list[dict]) -> list[str]:
    """What the table does not say, computed from the same files."""
    said = []
    for content in contents:
        sides = content.get("sides", {})
        if "product" in sides:
            ratio = sides["reidlab"]["median"] / sides["product"]["median"]
            line = (
                f"{content['title']}, {content['amount']}: {ratio:.2f} times the bare product of "
                f"the features, {_seconds(sides['product'])} s"
            )
            if fitted := growth_fit(content, "reidlab", "seconds"):
                line += f"; time grows as gallery^{fitted[0]:.2f}"
            said.append(line + ".")
        if "naive" in sides:
            pairs = content["work"]["amount"] * content["work"]["queries"]
            ours, naive, product = (
                sides[side]["median"] for side in ("reidlab", "naive", "product")
            )
            said.append(
                f"{content['title']}: {naive / ours:.1f} times as fast as the whole network on "
                f"every pair. Pairs a second: {pairs / ours:,.0f}, naively {pairs / naive:,.0f}; "
                f"by OSNet's features, once they are there, {pairs / product:,.0f}."
            )
        if content["name"] == "precision":
            said.append(precision.statement(content))
        if content["name"] == "startup":
            said.append(startup.statement(content))
        if content["name"] == "corruptions":
            said.append(corruptions.statement(content))
    return said


def markdown(folder: Path) -> str:
    """The table, what its columns mean, its notes, and the machine that it was measured on."""
    contents = read(folder)
    lines = [HEADINGS, ["---", "---", "---:", "---:", "---:", "---:", "---"], *rows(contents)]
    machines = _machines(contents)
    named = (
        [f"[{number}] {machine}." for machine, number in machines.items()]
        if len(machines) > 1
        else [f"{machine}." for machine in machines]
    )
    text = "\n".join(piped(lines))
    text += (
        "\n\nSeconds: median (fastest to slowest). Memory: peak of the process and its children "
        "above what it held after its imports, ours / torchreid's; features that a ranking is "
        "given do not count, decoded images that are mapped from a file do.\n\n"
    )
    text += "".join(f"- {note}\n" for note in notes(contents))
    return text + ("\n" if notes(contents) else "") + "\n".join(named) + "\n"


def write(folder: Path) -> None:
    """Write ``table.md``, ``growth.png`` and ``precision.png`` beside the JSON files."""
    contents = read(folder)
    (folder / "table.md").write_text(markdown(folder))
    grown = [content for content in contents if content.get("growth", {}).get("points")]
    if grown:
        figures.save(figures.growth(grown), folder / "growth.png")
    for content in contents:
        if content["name"] == "precision":
            figures.save(precision.figure(content), folder / "precision.png")


def _seconds(side: dict) -> str:
    fastest, slowest = min(side["seconds"]), max(side["seconds"])
    return f"{_short(side['median'])} ({_short(fastest)} to {_short(slowest)})"


def _short(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}"


def _machines(contents: list[dict]) -> dict[str, int]:
    """The machines in the order of the rows, numbered from 1."""
    return {
        machine: number
        for number, machine in enumerate(dict.fromkeys(map(_machine, contents)), start=1)
    }


def _machine(content: dict) -> str:
    machine = content["machine"]
    return (
        f"{machine['hardware']}, {machine['threads']} threads, Python {machine['python']}, "
        f"torch {machine['libraries']['torch']}"
    )
