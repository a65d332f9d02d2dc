"""Profiles: merging, checking, and errors that name file and key."""

import dataclasses

import pytest

from reidlab.common.errors import StudyError
from reidlab.study.profiles import Profile, load_profile, profile_names
from reidlab.training.loop import PRESETS

GOOD = """
description: d
datasets: [synthetic-tiny-a]
defaults: {dataset: synthetic-tiny-a, epochs: 1}
runs:
  later: {init: "run:first", lr: 1}
  first: {init: none}
notebooks:
  01-data: {needs: [first], parameters: {count: 3}}
  05-cmc: {needs: all}
"""


def profile_of(tmp_path, text) -> Profile:
    (tmp_path / "mine.yaml").write_text(text)
    return load_profile("mine", tmp_path)


def test_profile_merges_defaults_and_puts_sources_first(tmp_path):
    profile = profile_of(tmp_path, GOOD)
    assert list(profile.runs) == ["first", "later"]
    assert profile.source("later") == "first" and profile.source("first") is None
    later = profile.runs["later"]
    assert (later["epochs"], later["init"], later["flip"]) == (1, "run:first", 0.5)
    assert isinstance(later["lr"], float)
    assert profile.notebooks["05-cmc"].needs == ["first", "later"]
    assert profile.notebooks["01-data"].parameters == {"count": 3}
    assert profile.resources["threads"] == 1 and profile.cell_timeout == 1800
    assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("description", "descripton", "descripton: unknown key. Did you mean description?"),
        ("epochs: 1}", "epoch: 1}", "defaults.epoch: unknown key. Did you mean epochs?"),
        ("lr: 1", "lr: 3e-4", "runs.later.lr: expected float, found '3e-4'. YAML reads"),
        ("lr: 1", "epochs: true", "runs.later.epochs: expected int, found True"),
        ("lr: 1", "model: osnet", "runs.later: "),
        ("lr: 1", "dataset: synthetic-b", "runs.later.dataset: there is no 'synthetic-b'"),
        ("[synthetic-tiny-a]", "[market]", "datasets: there is no 'market'"),
        ("run:first", "run:frist", "runs.later.init: there is no 'frist'. Did you mean first?"),
        ("init: none", 'init: "run:later"', "start from each other in a circle"),
        ("lr: 1", "milestones: [1, x]", "runs.later.milestones: expected int, found 'x'"),
        ("needs: [first]", "needs: [second]", "notebooks.01-data.needs: there is no 'second'"),
        ("needs: all", "need: all", "notebooks.05-cmc.need: unknown key"),
        ("05-cmc", "03-training", "executed once for every run"),
        ("first: {init: none}", "later: {init: none}", "'later' stands twice"),
        ("runs:", "runs: [", "not valid YAML"),
        ("description: d", "description: d\nresources: {cpu: 1}", "resources.cpu: unknown key"),
    ],
)
def test_profile_errors_name_file_and_key(tmp_path, old, new, complaint):
    assert old in GOOD
    with pytest.raises(StudyError, match=r"config/mine\.yaml") as error:
        profile_of(tmp_path, GOOD.replace(old, new))
    assert complaint in str(error.value)


def test_unknown_profile_lists_those_that_exist():
    with pytest.raises(
        StudyError, match=r"no profile 'embeded'. Did you mean embedded\?"
    ) as error:
        load_profile("embeded")
    assert "market1501" in str(error.value)


def test_shipped_profiles_are_those_of_the_readme():
    names = {"smoke", "embedded", "market1501", "paper", "report", "pretrain"}
    assert names <= set(profile_names())
    for name in names:
        profile = load_profile(name)
        assert profile.runs and profile.description
    assert load_profile("market1501").is_public is False
    assert load_profile("embedded").is_public is True


FAMILIES = """
datasets: [synthetic-tiny-a]
defaults: {dataset: synthetic-tiny-a, epochs: 1}
runs:
  after: {like: base, init: "run:base", epochs: 0}
  base: {seeds: [3, 0], lr: 0.01}
  erased: {like: base, erase: 0.5}
  once: {like: erased, seed: 7}
notebooks:
  01-data: {needs: [erased, once]}
  05-cmc: {needs: all}
"""


def test_families_become_a_run_for_each_seed(tmp_path):
    profile = profile_of(tmp_path, FAMILIES)
    assert profile.families == {
        "after": ["after-s3", "after-s0"],
        "base": ["base-s3", "base-s0"],
        "erased": ["erased-s3", "erased-s0"],
    }
    assert profile.single == ["once"]
    assert profile.members("erased") == ["erased-s3", "erased-s0"]
    assert profile.members("once") == ["once"]
    runs = profile.runs
    assert set(runs) == {"once"}.union(*profile.families.values())
    assert runs["base-s3"] == runs["base-s0"] | {"seed": 3}
    assert runs["erased-s3"] == runs["base-s3"] | {"erase": 0.5}
    assert runs["once"] == runs["erased-s3"] | {"seed": 7}
    assert runs["after-s0"] == runs["base-s0"] | {"init": "run:base-s0", "epochs": 0}
    assert profile.source("after-s3") == "base-s3"
    assert list(runs).index("base-s3") < list(runs).index("after-s3")
    assert profile.notebooks["01-data"].needs == ["erased-s3", "erased-s0", "once"]
    assert profile.notebooks["05-cmc"].needs == ["once"]
    assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seeds: [3, 0]", "seeds: 3", "runs.base.seeds: expected list, found 3"),
        ("seeds: [3, 0]", "seeds: [3, a]", "runs.base.seeds: expected int, found 'a'"),
        ("seeds: [3, 0]", "seeds: []", "runs.base.seeds: expected one or more different"),
        ("seeds: [3, 0]", "seeds: [3, 3]", "different numbers from 0 up, found [3, 3]"),
        ("seeds: [3, 0]", "seeds: [-1]", "different numbers from 0 up, found [-1]"),
        ("seeds: [3, 0]", "seeds: [3, 0], seed: 1", "runs.base: seed and seeds exclude"),
        ("epochs: 1}", "seeds: [1]}", "defaults.seeds: unknown key"),
        ("like: erased", "like: erazed", "runs.once.like: there is no 'erazed'. Did you mean"),
        ("base: {", "base: {like: once, ", "these are like each other in a circle"),
        ("epochs: 0}", "seeds: [3, 1], epochs: 0}", "there is no 'base' with seed 1 to start"),
        (
            "seed: 7",
            'seed: 7, init: "run:base"',
            "start from one of its runs, such as run:base-s3",
        ),
        ("once:", "base-s3:", "with its seeds it makes a run 'base-s3', which exists"),
        ("seeds: [3, 0]", "seeds: [3, 0], erase: 2.0", "runs.base: erase=2.0"),
        ("[erased, once]", "[erazed]", "notebooks.01-data.needs: there is no 'erazed'"),
    ],
)
def test_errors_of_families_name_file_and_key(tmp_path, old, new, complaint):
    assert old in FAMILIES
    with pytest.raises(StudyError, match=r"config/mine\.yaml") as error:
        profile_of(tmp_path, FAMILIES.replace(old, new))
    assert complaint in str(error.value)


def test_a_preset_gives_its_recipe_and_leaves_the_data_open(tmp_path):
    text = """
datasets: [synthetic-tiny-a]
defaults: {dataset: synthetic-tiny-a, epochs: 1, lr: 0.5}
runs:
  fast: {preset: fast, seeds: [1, 2], erase: 0.25}
"""
    profile = profile_of(tmp_path, text)
    recipe = dataclasses.asdict(PRESETS["fast"])
    own = {"dataset": "synthetic-tiny-a", "erase": 0.25, "seed": 2}
    assert profile.runs["fast-s2"] == recipe | own
    with pytest.raises(StudyError, match=r"runs\.fast\.preset: there is no 'fats'. Did you mean"):
        profile_of(tmp_path, text.replace("preset: fast", "preset: fats"))
