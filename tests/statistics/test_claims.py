"""The ledger of claims: every kind of check, and the file itself against study and notebooks."""

import numpy as np
import pytest

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.recipe.study import load
from reidlab.statistics import claims
from reidlab.statistics.claims import Claim, kind_of_verdict, ledger, load_claims
from reidlab.statistics.seeds import NOISE, NOT_CONVERGED, ablation_table, holm
from tests.statistics.test_seeds import family

RUNS = {
    "plain": family("plain"),
    "better": family("better", 0.1, erase=0.5),
    "like": family("like", 0.0, erase=0.5),
    "raw": family("raw", 0.1, accuracy=60.0),
    "single": family("single", 0.1, seeds=(0,)),
}


def check(kind, **given):
    claim = Claim("a document", "Table I", "something", "10-tricks", (kind, given))
    return ledger([claim], RUNS).iloc[0]


def test_a_gain_follows_the_rule_of_the_study():
    row = check("gains", run="better", over="plain")
    table = ablation_table({name: RUNS[name] for name in ("plain", "better")})
    assert row.verdict == "holds" and row.runs == "better, plain"
    assert f"{table.difference[1]:+.1f} mAP (3 seeds" in row.measured
    assert check("gains", run="plain", over="better").verdict == "does not hold"
    assert check("gains", run="like", over="plain").verdict == NOISE
    assert check("gains", run="raw", over="plain").verdict == NOT_CONVERGED
    assert check("gains", run="single", over="plain").verdict == "not shown: too few seeds"


def test_a_gain_of_another_size_than_claimed_does_not_hold():
    assert check("gains", run="better", over="plain", by=[5, 15]).verdict == "holds"
    assert check("gains", run="better", over="plain", by=[20, 30]).verdict == "does not hold"


def test_gains_share_one_correction():
    """Two claims of the same pair count once; the p of each is raised as Holm does."""
    pairs = [("better", "plain"), ("like", "plain"), ("raw", "plain")]
    entries = [
        Claim("d", "w", "c", "n", ("gains", {"run": run, "over": over}))
        for run, over in [*pairs, pairs[0]]
    ]
    p = [ablation_table({over: RUNS[over], run: RUNS[run]}).p[1] for run, over in pairs]
    adjusted = claims._holm_over_all(entries, RUNS)
    np.testing.assert_allclose([adjusted[*pair, "mAP"] for pair in pairs], holm(p))


def test_what_is_not_trained_is_waited_for():
    row = check("gains", run="better", over="nowhere")
    assert row.verdict == "waits for `nowhere`" and row.measured == "–"
    assert kind_of_verdict(row.verdict) == "open"


def test_equal_scores():
    assert check("same", run="like", like="plain", points=100).verdict == "holds"
    apart = check("same", run="better", like="plain", **{"else": "holds for one of them"})
    assert apart.verdict == "holds for one of them"
    assert kind_of_verdict(apart.verdict) == "holds in part"


def test_a_published_score_is_reached_within_half_a_point():
    low = {"system": "OSNet x1.0 (seed report)", "init": "none"}  # 35.5 / 18.6
    high = {"system": "OSNet x1.0 (paper)", "init": "none", "dataset": "Market-1501"}
    row = check("reaches", run="better", **low)  # 46 / 46
    assert row.verdict == "holds" and row.measured.endswith("beside 35.5 / 18.6")
    row = check("reaches", run="better", **high)
    ours = np.mean([run.metrics["rank1"] for run in RUNS["better"]])
    assert row.verdict == f"not reached: {93.6 - ours:.1f} points short"
    assert check("reaches", run="raw", **high).verdict == "not shown: training accuracy 60 %"
    with pytest.raises(DataError, match="names 0 rows"):
        check("reaches", run="plain", system="nobody's")


def test_differences_of_published_numbers():
    swapped = {
        "of": {"system": "IDLA", "dataset": "CUHK03 labeled"},
        "minus": {"system": "FPNN", "dataset": "CUHK03 labeled"},
    }
    assert check("published", **swapped, says=[34.0, 34.2]).verdict == "holds"
    assert check("published", **swapped, says=[37.0, 37.2]).verdict == "does not hold"
    mixed = {
        "of": {"system": "MCP-CNN", "dataset": "CUHK01"},
        "minus": {"system": "FPNN", "dataset": "CUHK01"},
    }
    row = check("published", **mixed, says=[25.7, 25.9])
    assert row.verdict == "does not hold" and "different protocols" in row.measured


def test_counted_numbers():
    row = check("quantity", name="OSNet x1.0, million parameters", says=2.2)
    assert (row.measured, row.verdict) == ("2.17", "holds")
    assert check("quantity", name="OSNet x0.25, counted", says=10**6, within=0.0).verdict == (
        "does not hold"
    )
    # 9 c² weights against c² + 9 c.
    assert claims.QUANTITIES["full / lite 3x3 of 64 channels"]() == 9 * 64**2 / (64**2 + 9 * 64)


def test_every_entry_of_the_file_names_what_exists():
    study, entries = load("market1501"), load_claims()
    notebooks = {file.stem for file in paths.NOTEBOOKS.glob("*.ipynb")}
    assert len(entries) > 30
    for claim in entries:
        assert claim.notebook in notebooks, claim
        assert all(name in study.runs for name in claim.runs), claim
    table = ledger(entries, {})
    waiting = table.verdict.str.startswith("waits for")
    assert waiting.tolist() == [bool(claim.runs) for claim in entries]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no claims"),
        ("[[claim]\n", "holds no claims"),
        ('[[claim]]\nseed = "a"\n', "claim 1: where, claim, notebook is missing"),
        (
            '[[claim]]\nseed="a"\nwhere="b"\nclaim="c"\nnotebook="d"\n',
            "claim 1: give one check of reaches",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, says):
    file = tmp_path / "claims.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=says):
        load_claims(file)
    with pytest.raises(DataError, match="nowhere"):
        load_claims(tmp_path / "nowhere.toml")
