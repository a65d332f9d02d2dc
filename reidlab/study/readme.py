"""The main table of README.md and the table of speed in docs/, made from ``results/``.

``python -m reidlab readme`` writes them between their marks; a test holds the files against the
results that are committed with them.
"""

import re
from pathlib import Path

import numpy as np

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing
from reidlab.recipe.init import Init
from reidlab.recipe.study import load
from reidlab.runs.folder import is_complete, load_run, seed_folder
from reidlab.statistics.seeds import score_table, spread
from reidlab.study.results import piped

#: The rows that matter: profile and run, and the published number that they stand beside.
ROWS = (
    ("market1501", "table1-none", "35.5 / 18.6: OSNet x1.0 (OSNet report)"),
    ("market1501", "table1-imagenet", "70.1 / 44.2: OSNet x1.0 (OSNet report)"),
    ("market1501", "market-fast", "35.5 / 18.6: OSNet x1.0, 10 epochs (OSNet report)"),
    ("market1501", "published-market1501", "91.2 / 75.0: the same file (model zoo)"),
    ("embedded", "a-none", "–"),
    ("embedded", "a-on-b", "–"),
)
HEADINGS = ["run", "network", "from", "trained on → tested on", "size", "mirror", "epochs"]
HEADINGS += ["minutes", "training accuracy", "Rank-1", "mAP", "published beside it"]

README = paths.ROOT / "README.md", "Results: made by `python -m reidlab readme`, do not edit."
SPEED = (
    paths.ROOT / "docs" / "benchmarks.md",
    "Speed: made by `make bench` and `python -m reidlab readme`, do not edit.",
)


def main_table(results: Path) -> str:
    """The rows that matter, as Markdown; those that are not trained yet are left out.

    Args:
        results: the folder ``results/``.

    Raises:
        StudyError: none of them is there.
    """
    rows = [row for profile, name, beside in ROWS for row in _row(results, profile, name, beside)]
    if not rows:
        raise StudyError(f"{results} holds none of the main table's runs. Make one: make study")
    lines = [HEADINGS, ["---"] * 6 + ["--:"] * 5 + ["---"], *rows]
    return "\n".join(piped(lines))


def _row(results: Path, profile: str, name: str, beside: str) -> list[list[str]]:
    planned = load(profile)[name]
    folders = [seed_folder(results / profile / "runs", name, seed) for seed in planned.seeds]
    runs = [load_run(folder) for folder in folders if is_complete(folder)]
    if not runs:
        return []
    row = score_table({name: runs}).iloc[0]
    trained = [config["dataset"] for config in runs[0].lineage() if config["epochs"]]
    start = Init.parse(row.init)
    origin = {"none": "random weights", "synthetic": "the shipped weight", "imagenet": "ImageNet"}
    seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
    return [
        [
            f"`{name}`{seeds}",
            f"`{row.model}`",
            origin.get(start.kind, f"`{Path(start.name).name}`"),
            f"{trained[0] if trained else 'nothing here'} → {row.dataset}",
            row["size"].replace("x", "×"),
            "yes" if row.flip_test else "no",
            str(row.epochs),
            f"{row.minutes:.0f}" if row.epochs else "–",
            "–" if np.isnan(row.train_accuracy) else f"{row.train_accuracy:.0f}",
            spread(row.rank1, row.rank1_std),
            spread(row.mAP, row.mAP_std),
            beside,
        ]
    ]


def between(text: str, mark: str, content: str) -> str:
    """A text with other content between its marks.

    Raises:
        StudyError: it does not have both marks once, in order.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- End: {mark.partition(':')[0]}. -->"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if (text.count(begin), text.count(end), len(pattern.findall(text))) != (1, 1, 1):
        raise StudyError(
            f"the marks {begin} and {end} are needed, once each and in this order. Restore them "
            "from git."
        )
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text)


def write() -> None:
    """Renew both tables.

    Raises:
        StudyError: marks or results are missing.
    """
    results = paths.ROOT / "results"
    speed = results / "benchmarks" / "table.md"
    if not speed.is_file():
        raise StudyError(f"{speed} is missing. Make it: make bench")
    for (file, mark), content in (
        (README, main_table(results)),
        (SPEED, speed.read_text().strip()),
    ):
        text = between(file.read_text(), mark, content)
        with replacing(file) as scratch:
            scratch.write_text(text)
