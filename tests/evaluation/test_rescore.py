"""Ranking a run's features in other ways: against evaluate and rerank themselves."""

import shlex

import nbformat
import pandas as pd
import pytest
import torch

from reidlab.__main__ import main
from reidlab.common import paths
from reidlab.common.errors import ReidlabError
from reidlab.evaluation import rescore
from reidlab.evaluation.rescore import RunFeatures, Way, rank
from reidlab.metrics.rerank import rerank
from reidlab.metrics.scores import evaluate
from reidlab.statistics.bootstrap import differences, intervals
from reidlab.study import steps
from tests.metrics.test_scores import random_sets


@pytest.fixture
def sets():
    """Features of very different lengths, so that normalising changes their order."""
    sets = random_sets(seed=31)
    generator = torch.Generator().manual_seed(0)
    return tuple(
        s._replace(features=s.features * torch.rand(len(s.pids), 1, generator=generator).exp())
        for s in sets
    )


def same(found, expected):
    pd.testing.assert_frame_equal(found.per_query, expected.per_query)


@pytest.mark.parametrize("distance", ["euclidean", "correlation", "minkowski:1.5"])
def test_a_distance_is_that_of_evaluate(sets, distance):
    same(rank(RunFeatures(*sets), Way(distance)), evaluate(*sets, distance))


def test_normalised_features_have_length_1(sets):
    scaled = [s._replace(features=s.features / s.features.norm(dim=1)[:, None]) for s in sets]
    found = rank(RunFeatures(*sets), Way("cityblock", normalised=True))
    same(found, evaluate(*scaled, "cityblock"))
    assert not found.per_query["ap"].equals(evaluate(*sets, "cityblock").per_query["ap"])


def test_euclidean_on_normalised_features_ranks_as_cosine(sets):
    features = RunFeatures(*sets)
    scaled = rank(features, Way(normalised=True)).per_query["ap"]
    cosine, plain = (rank(features, Way(name)).per_query["ap"] for name in ("cosine", "euclidean"))
    assert (scaled - cosine).abs().max() < 1e-3
    assert (scaled - plain).abs().max() > 0.01


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_reranked_is_that_of_rerank(sets, distance):
    way = Way(distance, reranked=True, k1=12, k2=3, lambda_value=0.4)
    expected = evaluate(*sets, rerank(*sets, 12, 3, 0.4, distance))
    same(rank(RunFeatures(*sets), way), expected)


def test_the_same_camera_rule_is_the_data_sets(sets):
    found = rank(RunFeatures(*sets, same_camera_rule=False), Way("cosine"))
    same(found, evaluate(*sets, "cosine", same_camera_rule=False))


def test_fewer_queries_are_taken_evenly_and_score_as_before(sets):
    features = RunFeatures(*sets)
    fewer = features.fewer(14)
    assert len(fewer.query.pids) == 14 and len(fewer.gallery.pids) == 300
    whole = rank(features, Way()).per_query
    kept = torch.linspace(0, 39, 14).round().long().tolist()
    some = rank(fewer, Way()).per_query
    pd.testing.assert_series_equal(
        some["ap"], whole["ap"].iloc[kept].reset_index(drop=True), check_exact=False
    )
    assert len(features.fewer(1000).query.pids) == 40


def test_names_and_commands():
    assert Way().name == "euclidean"
    assert Way("cosine", reranked=True).name == "cosine, re-ranked"
    way = Way("minkowski:4", normalised=True, reranked=True, k1=5)
    assert way.command("smoke", "a-none") == (
        "python -m reidlab rescore smoke a-none minkowski:4 --normalise --rerank --k1 5"
    )
    assert Way("cosine").command("smoke", "a-none", "query", "euclidean", 40) == (
        "python -m reidlab rescore smoke a-none cosine --by query --against euclidean --queries 40"
    )


@pytest.fixture
def a_run(monkeypatch, sets):
    """Features in place of those of a run."""
    monkeypatch.setattr(steps, "network", lambda *_: "the run")
    monkeypatch.setattr(rescore, "run_features", lambda run: RunFeatures(*sets))


@pytest.mark.parametrize(
    "way",
    [
        Way("cityblock"),
        Way("minkowski:4", normalised=True),
        Way("cosine", reranked=True, k1=9, k2=2, lambda_value=0.5),
    ],
)
def test_the_command_of_a_way_prints_its_scores(a_run, sets, way, capsys):
    words = shlex.split(way.command("smoke", "a-none"))
    assert words[:4] == ["python", "-m", "reidlab", "rescore"]
    assert main(words[3:]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith(f"a-none, {way.name}, ")
    found = {words[0]: words[1:] for words in map(str.split, lines[2:])}
    table = intervals({"it": rank(RunFeatures(*sets), way).per_query})
    for row in table.itertuples():
        numbers = [float(text) for text in found[row.score]]
        assert numbers == pytest.approx([row.value, row.low, row.high], abs=0.006)


@pytest.mark.parametrize("queries", [None, 20])
def test_the_command_of_a_difference_prints_it(a_run, sets, queries, capsys):
    way, other = Way("cosine", reranked=True), Way("cosine")
    words = shlex.split(way.command("smoke", "a-none", "query", other.distance, queries))
    assert main(words[3:]) == 0
    lines = capsys.readouterr().out.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line == "minus cosine, points")
    found = {line.split()[0]: line.split()[1:] for line in lines[start + 3 :]}
    features = RunFeatures(*sets)
    features = features.fewer(queries) if queries else features
    both = {one.name: rank(features, one).per_query for one in (way, other)}
    table = differences(both, other.name, by="query")
    assert len(table) == 6
    for row in table.itertuples():
        numbers = [float(text) for text in found[row.score]]
        expected = [row.difference, row.low, row.high, row.better, row.worse]
        assert numbers == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke", "a-none", "cosine", "--against", "hamming"], "distance is 'hamming'"),
        (["smoke", "a-none", "cosine", "--against", "cosine"], "that is the way itself"),
        (["smoke", "a-none", "cosine", "--queries", "0"], "--queries 0: at least one"),
        (["smoke", "a-none", "hamming"], "distance is 'hamming'; known are euclidean"),
        (["smoke", "a-none", "minkowski:0"], "must be a number from 0.1 up"),
        (["smoke", "a-nine", "cosine"], "profile smoke: run 'a-nine' is not known"),
        (["nowhere", "a-none", "cosine"], "nowhere"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_computed(
    arguments, message, capsys, monkeypatch
):
    monkeypatch.setattr(rescore, "run_features", lambda run: pytest.fail("features computed"))
    assert main(["rescore", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_bad_settings_of_the_reranking_and_the_bootstrap_are_named(a_run, capsys):
    assert main(["rescore", "smoke", "a-none", "cosine", "--rerank", "--k1", "999"]) == 1
    assert "k1 is 999; it must be from 1 to 339" in capsys.readouterr().err
    assert main(["rescore", "smoke", "a-none", "cosine", "--by", "camid"]) == 1
    assert "by is 'camid'" in capsys.readouterr().err


def test_an_unknown_distance_is_named_in_a_way(sets):
    with pytest.raises(ReidlabError, match="known are euclidean"):
        rank(RunFeatures(*sets), Way("hamming", reranked=True))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("distances = ['euclidean', 'hamming']", "'hamming'; known are euclidean"),
        ("orders = [2, 0]", "'minkowski:0': the order .* must be a number from 0.1 up"),
        ("orders = [-1]", "'minkowski:-1'"),
        ("runs = ['a-nine']", "profile smoke: run 'a-nine' is not known"),
        ("profile = 'nowhere'", "nowhere"),
    ],
)
def test_the_notebook_refuses_bad_parameters_before_it_computes(parameters, message, monkeypatch):
    monkeypatch.setattr("reidlab.study.steps.train", lambda *_: pytest.fail("a run was trained"))
    notebook = nbformat.read(paths.NOTEBOOKS / "08-distances.ipynb", as_version=4)
    defaults, setup, *_ = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    with pytest.raises(ReidlabError, match=message):
        exec(f"{defaults}\n{parameters}\n{setup}", {})
