"""The ledger: what the seed documents claim, what was measured here, and what follows.

``results/claims.toml`` holds the claims. Each says how it is held against the study, by one of

    reaches    a run, beside a published row: does it get there?
    gains      a run over another: is it better, by `reidlab.statistics.seeds.verdict`?
    same       a run and another, which differ in what should not matter: are they equal?
    quantity   a number that is counted, not measured: of parameters, of images
    published  a difference of two published rows: does the document quote them rightly?
    read       what reading the sources shows; the entry says which
    untested   why it cannot be tested here

No verdict stands in the file but for those of ``read``: they follow from runs and counts. ``if``
and ``else`` name the condition under which one holds, or does not.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.models import variant
from reidlab.models.as_coded import report_counts
from reidlab.models.osnet import FullConv3x3, LiteConv3x3
from reidlab.statistics.published import load_published
from reidlab.statistics.seeds import (
    CONVERGED,
    GAIN,
    LOSS,
    Runs,
    ablation_table,
    holm,
    interval,
    score_table,
    spread,
    verdict,
)

FILE = paths.ROOT / "results" / "claims.toml"

HOLDS, HOLDS_NOT, CANNOT = "holds", "does not hold", "cannot be tested here"

#: Points within which two evaluations of like networks are called the same.
REPEATED = 0.5
#: Relative difference up to which a counted number is the claimed one.
COUNTED = 0.05


@dataclass(frozen=True)
class Claim:
    """One sentence of a seed document.

    Attributes:
        seed: the document.
        where: place in it.
        claim: what it says.
        notebook: of the study, which asks.
        check: kind -> its settings, one of those that the module describes.
    """

    seed: str
    where: str
    claim: str
    notebook: str
    check: tuple[str, dict[str, Any]]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs that it takes."""
        kind, given = self.check
        names = (given.get(key) for key in ("run", "over", "like"))
        return tuple(name for name in names if name and kind in ("reaches", "gains", "same"))


def load_claims(file: Path = FILE) -> list[Claim]:
    """Read the claims.

    Raises:
        DataError: the file is missing or damaged, or an entry lacks a field or has no known check.
    """
    try:
        entries = tomllib.loads(file.read_text())["claim"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} holds no claims ({error}). Restore it from git.") from error
    texts, claims = ("seed", "where", "claim", "notebook"), []
    for number, entry in enumerate(entries, 1):
        kinds = [kind for kind in KINDS if kind in entry]
        if missing := [name for name in texts if not isinstance(entry.get(name), str)]:
            raise DataError(f"{file}, claim {number}: {', '.join(missing)} is missing.")
        if len(kinds) != 1:
            raise DataError(f"{file}, claim {number}: give one check of {', '.join(KINDS)}.")
        check = (kinds[0], entry[kinds[0]])
        claims.append(Claim(*(entry[name] for name in texts), check))
    return claims


def ledger(claims: list[Claim], runs: Runs) -> pd.DataFrame:
    """Every claim with its measurement and verdict.

    Args:
        claims: of :func:`load_claims`.
        runs: the finished runs among those that the claims take; each with its seeds.

    Returns:
        One row a claim: seed, where, claim, measured, verdict, notebook, runs.
    """
    adjusted = _holm_over_all(claims, runs)
    rows = []
    for claim in claims:
        kind, given = claim.check
        if missing := [name for name in claim.runs if not runs.get(name)]:
            found = "–", f"waits for {', '.join(f'`{name}`' for name in missing)}"
        else:
            found = KINDS[kind](given, runs, adjusted)
        rows.append(
            {"seed": claim.seed, "where": claim.where, "claim": claim.claim}
            | {"measured": found[0], "verdict": found[1]}
            | {"notebook": claim.notebook, "runs": ", ".join(claim.runs)}
        )
    return pd.DataFrame(rows)


def kind_of_verdict(text: str) -> str:
    """A verdict without its conditions.

    >>> [kind_of_verdict(text) for text in ("holds, with the classifier", "waits for `a`")]
    ['holds', 'open']
    """
    known = ("holds for", HOLDS, HOLDS_NOT, CANNOT)
    found = next((kind for kind in known if text.startswith(kind)), "open")
    return "holds in part" if found == "holds for" else found


#: Pairs of runs, and scores -> p of their difference, raised for all of the ledger's together.
Adjusted = Mapping[tuple[str, str, str], float]


def _compared(given: Mapping[str, Any], runs: Runs) -> pd.Series:
    """The row of the run that is compared, with as many seeds as both have."""
    names = given.get("over") or given["like"], given["run"]
    seeds = set.intersection(*({run.seed for run in runs[name]} for name in names))
    some = {name: [run for run in runs[name] if run.seed in seeds] for name in names}
    return ablation_table(some, score=given.get("score", "mAP")).iloc[1]


def _key(given: Mapping[str, Any]) -> tuple[str, str, str]:
    return given["run"], given["over"], given.get("score", "mAP")


def _holm_over_all(claims: list[Claim], runs: Runs) -> Adjusted:
    pairs = {}
    for claim in claims:
        kind, given = claim.check
        if kind == "gains" and all(runs.get(name) for name in claim.runs):
            pairs[_key(given)] = _compared(given, runs).p
    return dict(zip(pairs, holm([*pairs.values()])))


def _gains(given: Mapping[str, Any], runs: Runs, adjusted: Adjusted) -> tuple[str, str]:
    row = _compared(given, runs)
    accuracies = score_table({name: runs[name] for name in (given["run"], given["over"])})
    found = verdict(
        row.difference, adjusted[_key(given)], row.seeds, accuracies.train_accuracy.tolist()
    )
    score = {"mAP": "mAP", "rank1": "Rank-1"}[given.get("score", "mAP")]
    measured = f"{row.difference:+.1f} {score} ({_seeds(row.seeds)}"
    measured += ")" if np.isnan(row.low) else f"; {interval(row.low, row.high)})"
    if found not in (GAIN, LOSS):
        return measured, found
    low, high = given.get("by", (0, np.inf))
    if found == GAIN and low <= row.difference <= high:
        return measured, given.get("if", HOLDS)
    return measured, HOLDS_NOT


def _same(given: Mapping[str, Any], runs: Runs, _: Adjusted) -> tuple[str, str]:
    row, points = _compared(given, runs), given.get("points", 0.05)
    measured = f"{row.difference:+.2f} mAP ({_seeds(row.seeds)})"
    return measured, HOLDS if abs(row.difference) <= points else given.get("else", HOLDS_NOT)


def _reaches(given: Mapping[str, Any], runs: Runs, _: Adjusted) -> tuple[str, str]:
    row = score_table({given["run"]: runs[given["run"]]}).iloc[0]
    wanted = _published(given)
    measured = (
        f"{spread(row.rank1, row.rank1_std)} / {spread(row.mAP, row.mAP_std)} ({_seeds(row.seeds)}"
        f", {row.model}, {row['size']}, {row.epochs} epochs) beside "
        f"{wanted.rank1:.1f} / {wanted.mAP:.1f}"
    )
    short = max(wanted[score] - row[score] for score in ("rank1", "mAP"))
    if short <= REPEATED:
        return measured, given.get("if", HOLDS)
    if row.train_accuracy < CONVERGED:
        return measured, f"not shown: training accuracy {row.train_accuracy:.0f} %"
    return measured, f"not reached: {short:.1f} points short"


def _published(given: Mapping[str, Any]) -> pd.Series:
    """The one published row of a system, further told apart by data set, start or protocol."""
    rows = load_published()
    for column in ("system", "dataset", "init", "protocol"):
        if column in given:
            rows = rows[rows[column] == given[column]]
    if len(rows) != 1:
        raise DataError(f"{dict(given)} names {len(rows)} rows of results/published.csv, not one.")
    return rows.iloc[0]


def _difference(given: Mapping[str, Any], _: Runs, __: Adjusted) -> tuple[str, str]:
    score = given.get("score", "rank1")
    first, second = _published(given["of"]), _published(given["minus"])
    found = first[score] - second[score]
    label = {"mAP": "mAP", "rank1": "Rank-1"}[score]
    measured = f"published: {first[score]:.1f} − {second[score]:.1f} = {found:+.1f} {label}"
    low, high = given["says"]
    holds = low <= round(found, 2) <= high
    if first.protocol != second.protocol:
        return measured + "; by different protocols", HOLDS_NOT
    return measured, HOLDS if holds else HOLDS_NOT


def _quantity(given: Mapping[str, Any], _: Runs, __: Adjusted) -> tuple[str, str]:
    found, says = QUANTITIES[given["name"]](), given["says"]
    near = abs(found - says) <= given.get("within", COUNTED) * says
    return f"{found:,.4g}" if isinstance(found, float) else f"{found:,}", (
        given.get("if", HOLDS) if near else HOLDS_NOT
    )


def _read(given: Mapping[str, Any], _: Runs, __: Adjusted) -> tuple[str, str]:
    return given["why"], given["verdict"]


def _untested(given: Mapping[str, Any], _: Runs, __: Adjusted) -> tuple[str, str]:
    return given["why"], CANNOT


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


#: Check -> what it measures, and its verdict.
KINDS: dict[str, Callable[[Mapping[str, Any], Runs, Adjusted], tuple[str, str]]] = {
    "reaches": _reaches,
    "gains": _gains,
    "same": _same,
    "quantity": _quantity,
    "published": _difference,
    "read": _read,
    "untested": _untested,
}


def _ratio(larger: str, smaller: str) -> float:
    return variant(larger).params / variant(smaller).params


def _counted(model: str) -> int:
    return int(report_counts().set_index("model").counted[model])


def _lite(channels: int = 64) -> float:
    """Weights of a full 3x3 convolution over those of a lite one, normalisation left out."""
    sizes = [
        sum(weight.numel() for name, weight in module.named_parameters() if "conv" in name)
        for module in (FullConv3x3(channels), LiteConv3x3(channels))
    ]
    return sizes[0] / sizes[1]


QUANTITIES: dict[str, Callable[[], float]] = {
    "OSNet x1.0, million parameters": lambda: variant("osnet_x1_0").params / 1e6,
    "OSNet x1.0, million multiply-adds": lambda: variant("osnet_x1_0").multadds / 1e6,
    "ResNet50 / OSNet x1.0, parameters": lambda: _ratio("resnet50", "osnet_x1_0"),
    "ResNet50 / OSNet x0.25, parameters with classifiers": lambda: (
        _counted("resnet50_report") / _counted("osnet_x0_25_d1000")
    ),
    "ResNet50 baseline, counted": lambda: _counted("resnet50_report"),
    "MobileNetV3, counted": lambda: _counted("mobilenet_v3_large_report"),
    "OSNet x0.25, counted": lambda: _counted("osnet_x0_25_d1000"),
    "full / lite 3x3 of 64 channels": _lite,
}
