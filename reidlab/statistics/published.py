"""Published numbers, and this study's own beside them.

``results/published.csv`` holds one row for each published result, with its source and with how
the number was come by. :func:`beside` sets each of our runs next to the published rows that are
nearest to it, and names everything in which the two differ. :func:`network_table` and those below
it set the Siamese report's table up again: a *form* of a network is as the papers define it, or as
the report's code ran it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from reidlab.common import paths
from reidlab.common.errors import DataError, StudyError
from reidlab.models import build
from reidlab.recipe.init import Init, lineage
from reidlab.statistics.seeds import Runs, score_table, shared_settings

FILE = paths.ROOT / "results" / "published.csv"

TEXTS = ["system", "network", "trained_on", "dataset", "protocol", "init", "distance"]
TEXTS += ["optimizer", "mirror_image", "source"]
SCORES = ["rank1", "rank5", "rank10", "mAP", "mINP"]
COLUMNS = [*TEXTS, "kind", "evidence", "note", *SCORES]
COLUMNS += ["epochs", "height", "width", "params_M", "multadds_M"]

#: What sort of row it is.
KINDS = {
    "paper": "the paper's own result",
    "model zoo": "a network that its authors trained and offer for download",
    "seed report": "a student report that this study sets out from",
    "third party": "somebody's repeat of the paper, told in an issue",
    "ablation": "the paper's network with one part of the block changed",
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

#: Our names of real data sets, as the literature writes them; CUHK03 with the new protocol.
DATASETS = {
    "market1501": "Market-1501",
    "cuhk03-detected": "CUHK03 detected",
    "cuhk03-labeled": "CUHK03 labeled",
    "dukemtmc": "DukeMTMC-reID",
    "msmt17": "MSMT17",
    "last-val": "LaST, validation split",
}

#: Published checkpoints that runs start from, and how their authors trained them (the model zoo's
#: configuration files).
CHECKPOINTS = {
    f"osnet_x0_25_{name}.pth": {
        "trained_on": data,
        "init": "imagenet",
        "epochs": 180,
        "optimizer": "amsgrad",
    }
    for name, data in (
        ("market1501", "Market-1501"),
        ("msmt17", "MSMT17 (1,041 training ids)"),
    )
}

#: What one of our runs and a published row are compared in, in order of weight.
SETTINGS = ["network", "trained_on", "init", "epochs", "size", "distance"]
SETTINGS += ["optimizer", "mirror_image"]

OURS, THEIRS, NOBODY = "this study", "its authors", "nobody"

PAPERS, REPORT = FORMS = ("as the papers define it", "as the report's code ran it")

#: The Siamese report's own rows in results/published.csv.
PUBLISHED = "the report, 120 epochs from ImageNet"
SOURCE = "report-siamese-reid"

#: Our networks, by the start of their names, as results/published.csv calls the report's.
REPORTED = {
    "resnet50": "resnet50",
    "mobilenet_v3_large": "mobilenetv3_large",
    "osnet_x0_25": "osnet_x0_25 with a 1000-d feature",
}

#: Network -> a pair of recipes for each data set, in the order of :data:`FORMS`.
Networks = Mapping[str, Sequence[Sequence[str]]]

#: How a network comes to a target data set.
WAYS = ("direct", "fine_tuned", "at_home")


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


def settings(runs: Runs) -> pd.DataFrame:
    """Our recipes in the words of the literature, with their mean scores.

    A recipe of 0 epochs evaluates what it starts from: its data, epochs and optimiser are those of
    the training behind it. One that starts from another recipe or a checkpoint has as ``init`` the
    set that this was trained on.

    Args:
        runs: recipes by name; those that others start from must be among them.

    Returns:
        One row a recipe: run, network, trained_on, dataset, init, epochs (NA: not known), size,
        distance, optimizer, trained_by, mirror_image, rank1, mAP.
    """
    recipes = {name: shared_settings(some) for name, some in runs.items()}
    ours = []
    for (name, recipe), row in zip(recipes.items(), score_table(runs).to_dict("records")):
        origin = _origin(lineage(recipe, recipes.get))
        ours.append(
            {"run": name, "network": row["model"], "trained_on": origin["trained_on"]}
            | {"dataset": DATASETS.get(row["dataset"], row["dataset"]), "init": origin["init"]}
            | {"epochs": origin["epochs"], "size": row["size"], "distance": recipe["distance"]}
            | {"optimizer": origin["optimizer"], "trained_by": origin["trained_by"]}
            | {"mirror_image": "yes" if recipe["flip_test"] else "no"}
            | {score: row[score] for score in ("rank1", "mAP")}
        )
    return pd.DataFrame(ours).astype({"epochs": "Int64"})


def _origin(chain: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the weights of a run came to be, from the run and those that it descends from."""
    first = Init.parse(chain[-1]["init"])
    origin = {"trained_on": "nothing", "init": first.kind, "epochs": pd.NA}
    trained_by = {"reid": THEIRS, "run": OURS}.get(first.kind, NOBODY)
    origin |= {"optimizer": NOT_STATED, "trained_by": trained_by}
    if first.name and first.kind != "imagenet":  # a checkpoint, or a run that is not known here
        file = first.name.replace("\\", "/").rpartition("/")[2]
        origin |= {"trained_on": f"data of {file}", "init": NOT_STATED}
        origin |= CHECKPOINTS.get(file, {})
    for config in reversed(chain):
        if config["epochs"]:
            before = origin["trained_on"]
            origin = {
                "trained_on": DATASETS.get(config["dataset"], config["dataset"]),
                "init": origin["init"] if before == "nothing" else before,
                "epochs": config["epochs"],
                "optimizer": config["optimizer"],
                "trained_by": OURS,
            }
    return origin


def differences(ours: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Settings in which one of our runs and a published row differ: ``<name> ours, not theirs``.

    What one of the two does not state counts as no difference, except for epochs, and for mirror
    images that ours used: a number without its training budget is not the same experiment.
    """
    words = []
    for name in SETTINGS:
        mine, theirs = ours[name], row[name]
        label = name.replace("_", " ")
        if pd.isna(mine) or mine == NOT_STATED:
            continue
        if pd.isna(theirs) or (theirs == NOT_STATED and (name, mine) == ("mirror_image", "yes")):
            words.append(f"{label} {mine}, theirs {NOT_STATED}")
        elif theirs not in (mine, NOT_STATED):
            words.append(f"{label} {mine}, not {theirs}")
    return words


def beside(
    runs: Runs,
    published: pd.DataFrame,
    kinds: tuple[str, ...] = ("paper", "model zoo", "seed report"),
) -> pd.DataFrame:
    """Each of our runs beside the nearest published row of each kind.

    Only rows of the same data set and split, and of the same task, are set beside each other:
    a network that has seen training images of the target stands beside such, direct transfer
    beside direct transfer. Nearest is what differs in the fewest settings.

    Args:
        runs: see :func:`settings`.
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
    for mine in settings(runs).to_dict("records"):
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
    """Sorting key: how many settings differ; pretrained or not; how sure; then which settings.

    Optimiser and mirror image are no reason to prefer another network or start.
    """
    words = differences(ours, row)
    which = [any(word.startswith(name.replace("_", " ")) for word in words) for name in SETTINGS]
    pretrained = [side["init"] not in ("none", NOT_STATED) for side in (ours, row)]
    sure = list(EVIDENCE).index(row["evidence"])
    return sum(which[:-2]), pretrained[0] != pretrained[1], sure, which


def forms(networks: Networks) -> dict[str, tuple[str, str]]:
    """Each recipe's network and form.

    Raises:
        StudyError: something else than pairs of recipes.

    >>> forms({"OSNet": [["o", "o-report"]]})["o-report"]
    ('OSNet', "as the report's code ran it")
    """
    found = {}
    for network, pairs in networks.items():
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != len(FORMS):
                raise StudyError(
                    f"networks[{network!r}] holds {pair!r}: expected pairs of families, one "
                    f"{FORMS[0]} and one {FORMS[1]}."
                )
            found |= {recipe: (network, form) for recipe, form in zip(pair, FORMS)}
    return found


def parameters(model: str) -> int:
    """Parameters of a network without its identity classifier: what computes the features.

    >>> parameters("osnet_x0_25_d1000")
    265792
    """
    with torch.device("meta"):  # sizes alone, no values
        return sum(parameter.numel() for parameter in build(model).parameters())


def network_table(networks: Networks, runs: Runs) -> pd.DataFrame:
    """Every network in both forms on every data set.

    Args:
        networks: which recipes there are.
        runs: their runs.

    Returns:
        :func:`reidlab.statistics.seeds.score_table` in the order of the data sets, with
        ``network``, ``form``, and ``params``, without the classifier.
    """
    known = forms(networks)
    table = score_table({recipe: runs[recipe] for recipe in known})
    names = pd.DataFrame([*known.values()], columns=["network", "form"])
    table = pd.concat([names, table], axis="columns").assign(params=table["model"].map(parameters))
    return table.sort_values(
        "dataset", key=lambda names: pd.factorize(names)[0], kind="stable", ignore_index=True
    )


def report_rows(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The Siamese report's published numbers for networks and data sets of a table.

    Args:
        table: columns network, model and dataset.
        published: of :func:`load_published`.

    Returns:
        network, dataset (as the table names them), rank1, mAP, params_M (as published.csv has
        it) and epochs; nothing where the report has no such network or data set.
    """
    pairs = table.drop_duplicates(["network", "dataset"])
    starts = {
        model: next((name for start, name in REPORTED.items() if model.startswith(start)), "")
        for model in pairs["model"]
    }
    keys = {"theirs": pairs["model"].map(starts), "there": pairs["dataset"].replace(DATASETS)}
    found = pairs[["network", "dataset"]].assign(**keys)
    theirs = published[published["source"].str.contains(SOURCE)]
    theirs = theirs.rename(columns={"network": "theirs", "dataset": "there"})
    columns = ["rank1", "mAP", "params_M", "epochs"]
    found = found.merge(theirs[["theirs", "there", *columns]], on=["theirs", "there"])
    return found[["network", "dataset", *columns]]


def gap_table(steps: Mapping[str, str], runs: Runs, published: pd.DataFrame) -> pd.DataFrame:
    """How much of the report's result with OSNet x0.25 other starts and budgets reach.

    Args:
        steps: what to call a recipe, and the recipe.
        runs: their runs.
        published: of :func:`load_published`.

    Returns:
        One row a recipe: ``step``, :func:`reidlab.statistics.seeds.score_table`, and
        ``rank1_gap`` and ``mAP_gap``, points above the report's (below it, negative).

    Raises:
        StudyError: the report has no result on the data set of a recipe.
    """
    table = score_table({recipe: runs[recipe] for recipe in steps.values()})
    table.insert(0, "step", [*steps])
    theirs = report_rows(table.assign(network="OSNet", model="osnet_x0_25"), published)
    theirs = theirs.set_index("dataset")[["rank1", "mAP"]].reindex(table["dataset"])
    if unknown := sorted({*theirs.index[theirs["mAP"].isna()]}):
        raise StudyError(f"the report has no OSNet x0.25 on {', '.join(unknown)}.")
    for score in theirs:
        table[f"{score}_gap"] = table[score] - theirs[score].to_numpy()
    return table


def transfer_table(networks: Networks, transfer: Sequence[str], runs: Runs) -> pd.DataFrame:
    """From one data set to another: as it is, fine-tuned, and trained there from the start.

    Args:
        networks: the recipes trained at home.
        transfer: recipes that start from one of them on another data set; those of 0 epochs are
            direct transfer.
        runs: the runs of all of them.

    Returns:
        One row a network, form and direction: network, form, source, target, and for each of
        :data:`WAYS` (``at_home``: trained on the target alone) the recipe, its epochs, its Rank-1
        and mAP in percent, and their standard deviations over the seeds (``direct_mAP_std``);
        empty and NaN where there is no such recipe, or one seed.

    Raises:
        StudyError: a recipe does not start from one of ``networks``.
    """
    home = network_table(networks, runs).set_index("row", drop=False)
    moved = score_table({recipe: runs[recipe] for recipe in transfer})
    if not len(moved):
        return moved
    moved["before"] = [Init.parse(init).run for init in moved["init"]]
    for row in moved.itertuples():
        if row.before not in home.index:
            raise StudyError(
                f"transfer: {row.row} starts from {row.init!r}, which is none of the "
                f"networks' families: {', '.join(home.index)}."
            )
    came = home.loc[moved["before"]].reset_index(drop=True)
    moved = moved.rename(columns={"dataset": "target"}).assign(
        network=came["network"],
        form=came["form"],
        source=came["dataset"],
        way=["fine_tuned" if epochs else "direct" for epochs in moved["epochs"]],
    )
    keys = ["network", "form", "source", "target"]
    table = moved[keys].drop_duplicates(ignore_index=True)
    at_home = home.rename(columns={"dataset": "target"}).reset_index(drop=True)
    at_home = table[keys].merge(at_home, on=["network", "form", "target"]).assign(way="at_home")
    everything = pd.concat([moved, at_home])
    for way in WAYS:
        some = everything[everything["way"] == way].set_index(keys)
        some = some[["row", "epochs", "rank1", "rank1_std", "mAP", "mAP_std"]]
        some.columns = [way, *(f"{way}_{column}" for column in some.columns[1:])]
        table = table.join(some, on=keys)
    return table.fillna(dict.fromkeys(WAYS, ""))
