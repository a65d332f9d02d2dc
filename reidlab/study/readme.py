"""The tables of README.md, of results and of speed, made from ``results/``.

``python -m reidlab readme`` writes them between their marks; a test holds README.md against the
tables that are committed with it.
"""

import json
import re
import sys
from pathlib import Path

import pandas as pd

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError
from reidlab.statistics.published import described
from reidlab.statistics.seeds import estimate, interval, spread
from reidlab.study.results import piped

BEGIN = "<!-- Results: made by `python -m reidlab readme`, do not edit. -->"
END = "<!-- End of results. -->"
SPEED_BEGIN = "<!-- Speed: made by `make bench` and `python -m reidlab readme`, do not edit. -->"
SPEED_END = "<!-- End of speed. -->"

#: Profiles whose results the first screen shows, each with its heading.
SHOWN = {
    "embedded": "Generated people, what `make study` makes",
    "market1501": "Real people, `make study PROFILE=market1501 DATA=…`",
}

HEADINGS = ["run", "trained on", "from", "epochs", "tested on", "Rank-1", "mAP"]


#: How names of runs with the recipe `fast` begin, in market1501, and what it is measured by.
FAST = "market-fast"
BAR = "the seed report's 10 epochs, from ImageNet weights, on a T4: 70.1 / 44.2"

#: What a network started from, in words.
STARTS = {"none": "scratch", "imagenet": "ImageNet", "synthetic": "the shipped weight"}


def render(results: Path) -> str:
    """The tables of all profiles that have one, as Markdown.

    Args:
        results: the folder ``results/``.

    Raises:
        StudyError: no profile has a comparison table.
    """
    parts = []
    for profile, heading in SHOWN.items():
        folder = results / profile
        if (folder / "tables" / "comparison.csv").is_file():
            parts += [f"**{heading}**", "", *_table(folder), ""]
            for more in (_fast, _tricks, _networks):
                if lines := more(folder):
                    parts += [*lines, ""]
    if not parts:
        raise StudyError(f"{results} holds no tables/comparison.csv yet. Make one: make study")
    return "\n".join(parts).strip()


def _table(folder: Path) -> list[str]:
    scores = pd.read_csv(folder / "tables" / "comparison.csv")
    ours = described(scores)
    beside = _beside(folder)
    varied = len(ours[["size", "distance"]].drop_duplicates()) > 1
    headings = (
        HEADINGS[:5] + ["at"] * varied + HEADINGS[5:] + ["published beside it"] * bool(beside)
    )
    rows = [headings, ["---"] * (5 + varied) + ["--:"] * 2 + ["---"] * bool(beside)]
    for row, init, own in zip(ours.to_dict("records"), scores["init"], scores["epochs"]):
        epochs, start = str(row["epochs"]), STARTS.get(row["init"], row["init"])
        if own == 0:  # nothing was trained: what is evaluated, and not its start
            epochs, start = "–", _evaluated(init)
        cells = [f"`{row['run']}`", row["trained_on"], start, epochs, row["dataset"]]
        cells += [f"{row['size'].replace('x', '×')}, {row['distance']}"] * varied
        cells += [f"{row[score]:.1f}" for score in ("rank1", "mAP")]
        rows.append(cells + [beside.get(row["run"], "–")] * bool(beside))
    return [*piped(rows), "", _caption(folder, scores)]


def _fast(folder: Path) -> list[str]:
    """The recipe `fast` over its seeds, as a table; nothing where it has not been trained."""
    runs = [file.parent for file in sorted((folder / "runs").glob(f"{FAST}*/metrics.json"))]
    if not runs:
        return []
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    metrics = pd.DataFrame([json.loads((run / "metrics.json").read_text()) for run in runs])
    minutes = [pd.read_csv(run / "history.csv").train_seconds.sum() / 60 for run in runs]
    machines = [json.loads((run / "provenance.json").read_text()) for run in runs]
    config, sizes = configs[0], [*configs[0]["sizes"]]
    left = config["epochs"] - sum(epochs for epochs, _, _ in sizes)
    steps = [f"{epochs} at {h}×{w}" for epochs, h, w in [*sizes, [left, *_size(config)]]]
    headings = ["network", "epochs", "minutes of training", "Rank-1", "mAP"]
    cells = [
        config["model"],
        " and ".join(steps),
        str(estimate(minutes)),
        *(str(estimate(metrics[score])) for score in ("rank1", "mAP")),
    ]
    where = _listed(pd.Series([f"{m['device']}, {m['threads']} threads" for m in machines]))
    seeds = _listed(pd.Series([each["seed"] for each in configs]))
    return [
        "**From scratch in twenty minutes: the recipe `fast` on Market-1501**",
        "",
        *piped([headings, ["---", "---", "--:", "--:", "--:"], cells]),
        "",
        f"Mean ± standard deviation over seeds {seeds}; single query, {config['distance']} "
        f"distance; {where}. For comparison, {BAR}. The recipe was chosen on training identities "
        "that were held out, never on query and gallery.",
    ]


def _tricks(folder: Path) -> list[str]:
    """What each trick adds on real people, as notebook 10 has measured it; nothing elsewhere."""
    table = _real(folder / "tables" / "tricks.csv")
    if table is None:
        return []
    rows = [["trick", "Rank-1", "mAP", "difference in mAP", "verdict"]]
    rows.append(["---", "--:", "--:", "--:", "---"])
    for row in table.to_dict("records"):
        spreads = [spread(row[s], row[f"{s}_std"]) for s in ("rank1", "mAP")]
        compared = ["", ""]
        if pd.notna(row["difference"]):
            found = f"{row['difference']:+.1f} ({interval(row['low'], row['high'])})"
            compared = [found, row["verdict"]]
        rows.append([row["row"], *spreads, *compared])
    first = table.iloc[0]
    return [
        "**What each trick is worth, on top of those above it** (notebook 10)",
        "",
        *piped(rows),
        "",
        f"{first.model}, {_budget(folder, first, first.family)}; mean ± standard deviation over "
        f"{first.seeds} seeds, and the 95 % interval of the paired difference.",
    ]


def _networks(folder: Path) -> list[str]:
    """Three networks in two forms on real people, as notebook 11 has them; nothing elsewhere."""
    table = _real(folder / "tables" / "networks.csv")
    if table is None:
        return []
    forms = [*dict.fromkeys(table["form"])]
    rows = [["network", "data set", "parameters", *forms]]
    rows.append(["---", "---", "--:", *["--:"] * len(forms)])
    for (dataset, network), some in table.groupby(["dataset", "network"], sort=False):
        both = {
            row.form: f"{spread(row.rank1, row.rank1_std)} / {spread(row.mAP, row.mAP_std)}"
            for row in some.itertuples()
        }
        count = f"{some['params'].iloc[0]:,}"
        rows.append([network, dataset, count, *(both.get(form, "–") for form in forms)])
    first, most = table.iloc[0], table["seeds"].max()
    several = f"; ± is the standard deviation over {most} seeds" if most > 1 else ""
    if several and table["seeds"].min() == 1:
        several += ", a number without it is of one seed"
    own_split = (
        " `cuhk03-market-layout` has a split of its own: no published number is comparable."
        if (table["dataset"] == "cuhk03-market-layout").any()
        else ""
    )
    return [
        "**The seed report's three networks, with one budget** (notebook 11)",
        "",
        *piped(rows),
        "",
        f"Rank-1 / mAP, {_budget(folder, first, first.row)}{several}; parameters of the papers' "
        f"form, without classifier.{own_split} What each slip of the code cost and what is "
        "missing to the report's numbers: the notebook.",
    ]


def _budget(folder: Path, row: pd.Series, family: str) -> str:
    """What the numbers of a table depend on, in words, from the first run of a family."""
    run = min((folder / "runs").glob(f"{family}-s*"))
    config = json.loads((run / "config.json").read_text())
    device = json.loads((run / "provenance.json").read_text())["device"]
    word, _, source = config["init"].partition(":")
    if word == "run":
        before = json.loads((folder / "runs" / source / "config.json").read_text())
        start = f"each network's own {before['epochs']} on {before['dataset']}"
    else:
        start = STARTS.get(word, config["init"])
    return (
        f"{row['dataset']} at {row['size'].replace('x', '×')}, {row['epochs']} epochs from "
        f"{start}, single query, {config['distance']} distance, {device}"
    )


def _real(file: Path) -> pd.DataFrame | None:
    """A table of results, unless there is none or it is of generated people."""
    table = pd.read_csv(file) if file.is_file() else None
    generated = table is None or table["dataset"].str.startswith("synthetic-").any()
    return None if generated else table


def _size(config: dict) -> tuple[int, int]:
    return config["height"], config["width"]


def _evaluated(init: str) -> str:
    """The weights of a run of 0 epochs, in words."""
    word, _, name = init.partition(":")
    return f"`{name}` as it is" if name else f"{STARTS[word]} as it is"


def _beside(folder: Path) -> dict[str, str]:
    """For each run the nearest published number that is no recollection, if there is one."""
    file = folder / "tables" / "beside-published.csv"
    if not file.is_file():
        return {}
    pairs = pd.read_csv(file).dropna(subset=["published_mAP"])
    pairs = pairs[pairs.evidence != "memory"].drop_duplicates("run")
    return {
        row.run: f"{row.published_rank1:.1f} / {row.published_mAP:.1f}, {row.published}"
        for row in pairs.itertuples()
        if _same_training_set(row.differs)
    }


def _same_training_set(differs: str) -> bool:
    """Whether two results come from one data set, be it from different parts of it."""
    sets = re.search(r"trained on (\w+)[^;]*, not (\w+)", differs)
    return sets is None or sets[1] == sets[2]


def _caption(folder: Path, scores: pd.DataFrame) -> str:
    """What else a number depends on: network, size, seeds, distance, device."""
    networks, seeds = _listed(scores.model), _listed(scores.seed)
    sizes = _listed(scores.height.astype(str) + "×" + scores.width.astype(str))
    notes = [f"{networks} at {sizes}", f"seed {seeds}", "single query, percent"]
    notes.append(f"{_listed(scores.distance)} distance")
    devices = {
        json.loads(file.read_text())["device"]
        for file in (folder / "runs" / name / "provenance.json" for name in scores.run)
        if file.is_file()
    }
    if devices:
        notes.append(f"computed on {_listed(pd.Series(sorted(devices)))}")
    caption = "; ".join(notes) + "."
    if 0 in set(scores.epochs):
        caption += " As it is: evaluated without further training."
    if _beside(folder):
        caption += (
            " Published beside it: Rank-1 / mAP of the nearest published result, which may be of "
            "a wider network or a longer training; notebook 07 names every difference."
        )
    return caption


def _listed(values: pd.Series) -> str:
    return " and ".join(str(value) for value in dict.fromkeys(values))


def with_results(text: str, tables: str) -> str:
    """README.md with other result tables between their marks.

    Raises:
        StudyError: it does not have each mark once, in order.
    """
    return _between(text, BEGIN, END, tables)


def with_speed(text: str, results: Path) -> str:
    """README.md with the benchmarks' table between its marks.

    Args:
        text: of README.md.
        results: the folder ``results/``.

    Raises:
        StudyError: the marks are not there, or there is no table to put between them.
    """
    table = results / "benchmarks" / "table.md"
    if not table.is_file():
        raise StudyError(f"{table} is missing. Make it: make bench")
    return _between(text, SPEED_BEGIN, SPEED_END, table.read_text().strip())


def _between(text: str, opening: str, closing: str, content: str) -> str:
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end or opening in rest or closing in after:
        raise StudyError(
            f"README.md needs the marks {opening} and {closing}, once each and in this order. "
            "Restore them from git."
        )
    return f"{before}{opening}\n\n{content}\n\n{closing}{after}"


def main() -> int:
    """Renew the tables of README.md; returns the exit status."""
    file, results = paths.ROOT / "README.md", paths.ROOT / "results"
    try:
        file.write_text(with_speed(with_results(file.read_text(), render(results)), results))
    except ReidlabError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
