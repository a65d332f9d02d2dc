"""Profiles: merging, checking, and errors that name file and key."""

import pytest

from reidlab.errors import StudyError
from reidlab.profiles import Profile, load_profile, profile_names

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
    names = {"smoke", "embedded", "market1501", "paper", "pretrain"}
    assert names <= set(profile_names())
    for name in names:
        profile = load_profile(name)
        assert profile.runs and profile.description
    assert load_profile("market1501").is_public is False
    assert load_profile("embedded").is_public is True
