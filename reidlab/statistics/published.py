"""Published numbers, and this study's own beside them.

``results/published.csv`` holds one row for each published result, with its source and with how
the number was come by. :func:`beside` sets each of our runs next to the published rows that are
nearest to it, and names everything in which the two differ.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from reidlab.common import paths
from reidlab.common.errors import DataError

FILE = paths.ROOT / "results" / "published.csv"

TEXTS = ["system", "network", "trained_on", "dataset", "protocol", "init", "distance", "source"]
SCORES = ["rank1", "rank5", "rank10", "mAP", "mINP"]
COLUMNS = [*TEXTS, "kind", "evidence", "note", *SCORES]
COLUMNS += ["epochs", "height", "width", "params_M", "multadds_M"]

#: What sort of row it is.
KINDS = {
    "paper": "the paper's own result",
    "model zoo": "a network that its authors trained and offer for download",
    "seed report": "a student report that this study sets out from",
    "third party": "somebody's repeat of the paper, told in an issue",
    "context": "another method, for orientation",
    "predecessor": "a network before OSNet that the seed report speaks of",
}

#: How the number was come by.
EVIDENCE = {
    "read": "read at the source named",
    "quoted": "read where somebody quotes the source",
    "memory": "recalled, not checked: treat it as a hypothesis",
}

NOT_STATED = "not stated"

#: Our names of real data sets, as the literature writes them. CUHK03 is used here with a split of
#: its own, so that no published row belongs to it.
DATASETS = {
    "market1501": "Market-1501",
    "cuhk03-market-layout": "CUHK03, own split",
    "dukemtmc": "DukeMTMC-reID",
    "last-val": "LaST, validation split",
}

#: Published checkpoints that runs start from: what they were trained on, from which weights.
CHECKPOINTS = {
    "osnet_x0_25_market1501.pth": ("Market-1501", "imagenet"),
    "osnet_x0_25_msmt17.pth": ("MSMT17 (1,041 training ids)", "imagenet"),
}

#: What one of our runs and a published row are compared in, in order of weight.
SETTINGS = ["network", "trained_on", "init", "epochs", "size", "distance"]


def load_published(file: Path = FILE) -> pd.DataFrame:
    """Read the published rows and check them.

    Args:
        file: the CSV.

    Returns:
        One row a result; scores in percent, ``params_M`` and ``multadds_M`` in millions, epochs,
        height and width as nullable integers, and ``size`` as text (``256x128``).

    Raises:
        DataError: the file is missing, lacks a column, or has a row without source, with an
            unknown kind or evidence, or with a score that is no percentage.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing: it is part of the study. Restore it from git.")
    frame = pd.read_csv(file, keep_default_na=False, na_values=[""])
    if missing := [name for name in COLUMNS if name not in frame]:
        raise DataError(f"{file} has no column {', '.join(missing)}. It has: {', '.join(frame)}.")
    for line, row in enumerate(frame.to_dict("records"), 2):
        if problem := _problem(row):
            raise DataError(f"{file}, line {line} ({row['system']}): {problem}")
    counts = dict.fromkeys(("epochs", "height", "width"), "Int64")
    frame = frame.fillna({"note": ""}).astype(counts)
    return frame.assign(size=_size(frame))


def _problem(row: dict[str, Any]) -> str | None:
    for name in TEXTS:
        if not isinstance(row[name], str):
            return f"{name} is empty; write it, or {NOT_STATED!r}."
    for name, known in (("kind", KINDS), ("evidence", EVIDENCE)):
        if row[name] not in known:
            return f"{name} is {row[name]!r}; known: {', '.join(known)}."
    for name in SCORES:
        if not pd.isna(row[name]) and not 0 <= row[name] <= 100:
            return f"{name} is {row[name]}; expected percent, 0 to 100."
    if pd.isna(row["rank1"]) and pd.isna(row["mAP"]):
        return "it has neither rank1 nor mAP."
    return None


def _size(frame: pd.DataFrame) -> pd.Series:
    size = frame.height.astype("string") + "x" + frame.width.astype("string")
    return size.fillna(NOT_STATED).astype(object)


def settings(scores: pd.DataFrame) -> pd.DataFrame:
    """Our runs in the words of the literature.

    A run of 0 epochs evaluates what it starts from: it was trained on that one's data. A run that
    starts from another run or checkpoint has as ``init`` the set that this was trained on.

    Args:
        scores: :func:`reidlab.runs.folder.runs_table`; runs that others start from must be in it.

    Returns:
        One row a run: run, network, trained_on, dataset, init, epochs (NA: none of our own),
        size, distance, rank1, mAP.
    """
    rows = {row["run"]: row for row in scores.to_dict("records")}
    ours = []
    for name, row in rows.items():
        trained_on, init = _origin(name, rows)
        ours.append(
            {
                "run": name,
                "network": row["model"],
                "trained_on": trained_on,
                "dataset": _dataset(row["dataset"]),
                "init": init,
                "epochs": row["epochs"] or pd.NA,
                "size": f"{row['height']}x{row['width']}",
                "distance": row["distance"],
                "rank1": row["rank1"],
                "mAP": row["mAP"],
            }
        )
    return pd.DataFrame(ours).astype({"epochs": "Int64"})


def _origin(name: str, rows: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """What a run was trained on, and from which weights."""
    row = rows[name]
    word, _, rest = row["init"].partition(":")
    before = None
    if word == "run":
        before = _origin(rest, rows)
    elif word == "reid":
        file = rest.replace("\\", "/").rpartition("/")[2]
        before = CHECKPOINTS.get(file, (f"data of {file}", NOT_STATED))
    if row["epochs"] == 0:
        return before or ("nothing", word)
    return _dataset(row["dataset"]), before[0] if before else word


def _dataset(name: str) -> str:
    return DATASETS.get(name, name)


def differences(ours: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Settings in which one of our runs and a published row differ: ``<name> ours, not theirs``.

    What one of the two does not state counts as no difference, except for the epochs: a number
    without its training budget is not the same experiment.
    """
    words = []
    for name in SETTINGS:
        mine, theirs = ours[name], row[name]
        label = name.replace("_", " ")
        if pd.isna(mine) or mine == NOT_STATED:
            continue
        if pd.isna(theirs):
            words.append(f"{label} {mine}, theirs {NOT_STATED}")
        elif theirs not in (mine, NOT_STATED):
            words.append(f"{label} {mine}, not {theirs}")
    return words


def beside(
    scores: pd.DataFrame,
    published: pd.DataFrame,
    kinds: tuple[str, ...] = ("paper", "model zoo", "seed report"),
) -> pd.DataFrame:
    """Each of our runs beside the nearest published row of each kind.

    Only rows of the same data set and split, and of the same task, are set beside each other:
    a network that has seen training images of the target stands beside such, direct transfer
    beside direct transfer. Nearest is what differs in the fewest settings.

    Args:
        scores: :func:`reidlab.runs.folder.runs_table`.
        published: :func:`load_published`.
        kinds: of :data:`KINDS`, those to choose from.

    Returns:
        One row a pair, nearest first: run, rank1, mAP, published, published_rank1,
        published_mAP, rank1_minus, mAP_minus (ours minus theirs, percentage points), differs,
        evidence. A run without any row of its kind stands alone.
    """
    columns = ["run", "rank1", "mAP", "published", "published_rank1", "published_mAP"]
    columns += ["rank1_minus", "mAP_minus", "differs", "evidence"]
    candidates = published[published.kind.isin(kinds)].to_dict("records")
    pairs = []
    for mine in settings(scores).to_dict("records"):
        own = {name: mine[name] for name in ("run", "rank1", "mAP")}
        found = _nearest_of_each_kind(mine, candidates)
        if not found:
            pairs.append(own | {"published": "none"})
        for row in found:
            pairs.append(
                own
                | {"published": row["system"], "evidence": row["evidence"]}
                | {f"published_{name}": row[name] for name in ("rank1", "mAP")}
                | {f"{name}_minus": mine[name] - row[name] for name in ("rank1", "mAP")}
                | {"differs": "; ".join(differences(mine, row)) or "nothing stated"}
            )
    return pd.DataFrame(pairs, columns=columns)


def _nearest_of_each_kind(
    ours: dict[str, Any], candidates: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = [row for row in candidates if _same_task(ours, row)]
    nearest: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: _farness(ours, row)):
        nearest.setdefault(row["kind"], row)
    return list(nearest.values())


def _same_task(ours: dict[str, Any], row: dict[str, Any]) -> bool:
    transfer = [side["trained_on"] != side["dataset"] for side in (ours, row)]
    return ours["dataset"] == row["dataset"] and transfer[0] == transfer[1]


def _farness(ours: dict[str, Any], row: dict[str, Any]) -> tuple[Any, ...]:
    """Sorting key: how many settings differ; pretrained or not; how sure; then which settings."""
    words = differences(ours, row)
    which = [any(word.startswith(name.replace("_", " ")) for word in words) for name in SETTINGS]
    pretrained = [side["init"] not in ("none", NOT_STATED) for side in (ours, row)]
    sure = list(EVIDENCE).index(row["evidence"])
    return len(words), pretrained[0] != pretrained[1], sure, which
