"""The benchmarks' JSON files as a table and a figure."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from reidlab.plots.style import new_figure

PEER = "torchreid"


def rows(folder: Path) -> pd.DataFrame:
    """One row a stage: ratio, medians with their range, peak memory.

    Args:
        folder: ``results/benchmarks``.
    """
    table = []
    for file in sorted(folder.glob("*.json")):
        stage = json.loads(file.read_text())
        ours, peer = stage["sides"]["reidlab"], stage["sides"][PEER]
        table.append(
            {
                "stage": stage["title"],
                "amount": f"{stage['work']['amount']:,} {stage['unit']}",
                "faster": f"{peer['median'] / ours['median']:.1f}x",
                "reidlab": _seconds(ours),
                PEER: _seconds(peer),
                "memory, MB": f"{ours['peak_mb']:,} / {peer['peak_mb']:,}",
            }
        )
    return pd.DataFrame(table)


def markdown(folder: Path) -> str:
    """The table with the machine that it was measured on."""
    table = rows(folder)
    lines = [list(table.columns), ["---", "---:", "---:", "---:", "---:", "---:"]]
    lines += table.values.tolist()
    machines = {_machine(json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))}
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + (
        "\n\nSeconds: median (fastest to slowest). Memory: peak above what the process held "
        f"before, ours / torchreid's. {' '.join(sorted(machines))}\n"
    )


def write(folder: Path) -> None:
    """Write ``table.md`` and ``growth.png`` beside the JSON files."""
    (folder / "table.md").write_text(markdown(folder))
    grown = [
        stage
        for file in sorted(folder.glob("*.json"))
        if (stage := json.loads(file.read_text()))["growth"]
    ]
    if grown:
        growth(grown).savefig(folder / "growth.png", dpi=120, bbox_inches="tight")


def growth(stages: list[dict]) -> Figure:
    """Time and memory against the amount of work, a column a stage.

    Args:
        stages: contents of JSON files.
    """
    figure, axes = new_figure(5, 2, len(stages), sharex="col", squeeze=False)
    for column, stage in zip(axes.T, stages):
        points = pd.DataFrame(stage["growth"])
        for side, own in points.groupby("side"):
            column[0].plot(own.amount, own.seconds, "o-", label=side)
            column[1].plot(own.amount, own.peak_mb.clip(lower=1), "o-", label=side)
        column[0].set_title(stage["title"].partition(":")[0].partition(",")[0])
        column[1].set_xlabel(stage["unit"])
        for axis in column:
            axis.set(xscale="log", yscale="log")
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, MB")
    axes[0, 0].legend()
    return figure


def _seconds(side: dict) -> str:
    return f"{side['median']:.3g} ({min(side['seconds']):.3g} to {max(side['seconds']):.3g})"


def _machine(stage: dict) -> str:
    machine = stage["machine"]
    kind = "Full sizes." if stage["full"] else "Quick sizes."
    return (
        f"{kind} {machine['hardware']}, {machine['threads']} threads, Python {machine['python']}, "
        f"torch {machine['libraries']['torch']}."
    )
