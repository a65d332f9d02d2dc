"""The seed report's table again: its networks as the papers define them and as its code ran them.

A *form* of a network is one or the other. Notebook 11 names the families of runs; here they become
tables.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from reidlab.common.errors import StudyError
from reidlab.models import build
from reidlab.runs.folder import Run
from reidlab.statistics.ablation import score_table, shared_settings
from reidlab.statistics.published import DATASETS

PAPERS, REPORT = FORMS = ("as the papers define it", "as the report's code ran it")

#: The report's own rows in results/published.csv.
PUBLISHED = "the report, 120 epochs from ImageNet"
SOURCE = "report-siamese-reid"

#: Our networks, by the start of their names, as results/published.csv calls the report's.
REPORTED = {
    "resnet50": "resnet50",
    "mobilenet_v3_large": "mobilenetv3_large",
    "osnet_x0_25": "osnet_x0_25 with a 1000-d feature",
}

#: Network -> one pair of families for each data set, in the order of :data:`FORMS`.
Networks = dict[str, list[list[str]]]
Families = dict[str, Sequence[Run]]


def forms(networks: Networks) -> dict[str, tuple[str, str]]:
    """Each family's network and form.

    Raises:
        StudyError: something else than pairs of families.

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
            found |= {family: (network, form) for family, form in zip(pair, FORMS)}
    return found


def parameters(model: str) -> int:
    """Parameters of a network without its identity classifier: what computes the features.

    >>> parameters("osnet_x0_25_d1000")
    265792
    """
    with torch.device("meta"):  # sizes alone, no values
        return sum(parameter.numel() for parameter in build(model).parameters())


def network_table(networks: Networks, families: Families) -> pd.DataFrame:
    """Every network in both forms on every data set.

    Args:
        networks: which families there are.
        families: their runs.

    Returns:
        :func:`statistics.ablation.score_table`, a row a family in the order of the data sets, with
        ``network``, ``form``, and ``params``, without the classifier.
    """
    known = forms(networks)
    table = score_table({family: families[family] for family in known})
    names = pd.DataFrame([known[family] for family in table["row"]], columns=["network", "form"])
    table = pd.concat([names, table], axis="columns")
    table["params"] = [parameters(model) for model in table["model"]]
    order = {dataset: i for i, dataset in enumerate(dict.fromkeys(table["dataset"]))}
    table["place"] = table["dataset"].map(order)
    table = table.sort_values("place", kind="stable", ignore_index=True)
    return table.drop(columns="place")


def report_rows(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The report's published numbers on the table's data sets.

    Args:
        table: of :func:`network_table`.
        published: of :func:`reidlab.statistics.published.load_published`.

    Returns:
        network, dataset (as the table names them), rank1, mAP, params_M (as published.csv has
        it) and epochs; empty where the report has no such data set.
    """
    theirs = published[published["source"].str.contains(SOURCE)]
    rows = []
    pairs = table.drop_duplicates(["network", "dataset"])
    for row in pairs.itertuples():
        name = next((name for start, name in REPORTED.items() if row.model.startswith(start)), "")
        here = DATASETS.get(row.dataset, row.dataset)
        found = theirs[(theirs["network"] == name) & (theirs["dataset"] == here)]
        for one in found[["rank1", "mAP", "params_M", "epochs"]].to_dict("records"):
            rows.append({"network": row.network, "dataset": row.dataset} | one)
    columns = ["network", "dataset", "rank1", "mAP", "params_M", "epochs"]
    return pd.DataFrame(rows, columns=columns)


def gap_table(steps: dict[str, str], families: Families, published: pd.DataFrame) -> pd.DataFrame:
    """How much of the report's result with OSNet x0.25 other starts and budgets reach.

    Args:
        steps: what to call a family, and the family.
        families: their runs.
        published: of :func:`reidlab.statistics.published.load_published`.

    Returns:
        One row a family: ``step``, the columns of :func:`ablation.score_table`, ``init``,
        and ``rank1_gap`` and ``mAP_gap``, points above the report's (below it, negative).

    Raises:
        StudyError: the report has no result on the data set of a family.
    """
    theirs = published[
        published["source"].str.contains(SOURCE)
        & (published["network"] == REPORTED["osnet_x0_25"])
    ].set_index("dataset")
    table = score_table({family: families[family] for family in steps.values()})
    table.insert(0, "step", [*steps])
    table["init"] = [shared_settings(families[family])["init"] for family in table["row"]]
    names = [DATASETS.get(dataset, dataset) for dataset in table["dataset"]]
    if unknown := sorted({name for name in names if name not in theirs.index}):
        raise StudyError(f"the report has no OSNet x0.25 on {', '.join(unknown)}.")
    for score in ("rank1", "mAP"):
        table[f"{score}_gap"] = table[score] - theirs.loc[names, score].to_numpy()
    return table


def transfer_table(networks: Networks, transfer: list[str], families: Families) -> pd.DataFrame:
    """From one data set to another: as it is, fine-tuned, and trained there from the start.

    Args:
        networks: the families trained at home.
        transfer: families that start from one of them on another data set; those of 0 epochs are
            direct transfer.
        families: the runs of all of them.

    Returns:
        One row a network, form and direction: network, form, source, target, and for each of
        ``direct``, ``fine_tuned``, ``at_home`` (trained on the target alone) the family, its
        epochs, its Rank-1 and its mAP in percent, and their standard deviations over the seeds
        (``direct_mAP_std``); NaN where there is no such family, or one seed.

    Raises:
        StudyError: a family does not start from one of ``networks``.
    """
    known = forms(networks)
    home = {
        (*known[family], shared_settings(families[family])["dataset"]): family for family in known
    }
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for family in transfer:
        config = shared_settings(families[family])
        source = config["init"].removeprefix("run:")
        if source not in known:
            raise StudyError(
                f"transfer: {family} starts from {config['init']!r}, which is none of the "
                f"networks' families: {', '.join(known)}."
            )
        origin = shared_settings(families[source])["dataset"]
        key = (*known[source], origin, config["dataset"])
        rows.setdefault(key, {})["fine_tuned" if config["epochs"] else "direct"] = family
    table = []
    for key, ways in rows.items():
        network, form, source, target = key
        row = {"network": network, "form": form, "source": source, "target": target}
        ways["at_home"] = home.get((network, form, target))
        for way in ("direct", "fine_tuned", "at_home"):
            row |= _scored(way, ways.get(way), families)
        table.append(row)
    return pd.DataFrame(table)


def _scored(way: str, family: str | None, families: Families) -> dict[str, Any]:
    scores = score_table({family: families[family]}).iloc[0] if family else {}
    columns = ("epochs", "rank1", "rank1_std", "mAP", "mAP_std")
    return {way: family or ""} | {
        f"{way}_{column}": scores.get(column, float("nan")) for column in columns
    }
