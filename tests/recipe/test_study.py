"""Studies in Python: what they expand to, and mistakes that name file, line and remedy."""

import dataclasses
import subprocess
import sys

import pytest

from reidlab.common import paths
from reidlab.common.errors import ReidlabError, StudyError
from reidlab.recipe import RECIPES, Init, TrainConfig
from reidlab.recipe.init import lineage
from reidlab.recipe.study import Study, load, study_names

GOOD = """\
from reidlab.recipe import Study

study = Study("d")
base = study.run("base", "fast", dataset="synthetic-tiny-a", seeds=[3, 0], lr=0.01)
study.run("erased", base, erase=0.5)
study.run("after", base, start="base", epochs=0, sizes=[])
study.run("once", "erased", seeds=[7], epochs=30)
study.notebook("05-comparison", runs=["once", base], first="after")
study.notebook("03-training", run="once")
"""


def study_of(folder, text) -> Study:
    (folder / "mine.py").write_text(text)
    return load("mine", folder)


def test_a_run_is_a_recipe_with_changes_a_start_and_seeds(tmp_path):
    study = study_of(tmp_path, GOOD)
    assert study.name == "mine" and list(study.runs) == ["base", "erased", "after", "once"]
    base, erased, after, once = study.runs.values()
    own = dict(dataset="synthetic-tiny-a", lr=0.01, seed=3)
    assert base.config == dataclasses.replace(RECIPES["fast"], **own)
    assert base.of_seed(0) == dataclasses.replace(base.config, seed=0)
    assert base.changes == {"dataset": "synthetic-tiny-a", "lr": 0.01}
    assert (erased.seeds, erased.like, erased.changes) == ((3, 0), "base", {"erase": 0.5})
    assert after.start == Init("run", "base") and after.seeds == (3, 0)
    assert once.config == dataclasses.replace(erased.config, seed=7, epochs=30)
    assert study.source_seed("after", 0) == 0
    assert study.lineage("after") == ["after", "base"]
    assert study.notebooks["05-comparison"].parameters["runs"] == ["once", "base"]
    assert set(study.notebooks["05-comparison"].needs) == {"once", "base", "after"}
    assert study.parameters("03-training")["lr"] == 0.01
    assert study.datasets == ["synthetic-tiny-a"] and study.may_be_shown
    assert once.where == "studies/mine.py, line 7"


def test_one_seed_starts_from_the_only_one_or_its_own(tmp_path):
    text = GOOD.replace("seeds=[3, 0]", "seeds=[3]").replace(
        'start="base"', 'start="base", seeds=[1]'
    )
    assert study_of(tmp_path, text).source_seed("after", 1) == 3


@pytest.mark.parametrize(
    ("line", "old", "new", "complaint"),
    [
        (5, "erase=0.5", "erace=0.5", "setting 'erace' is not known. Did you mean erase?"),
        (5, "erase=0.5", "erase=2.0", "run 'erased': erase=2.0: expected a share"),
        (5, "erase=0.5", "erase='0.5'", "erase='0.5': expected float, found str"),
        (5, "erase=0.5", "epochs=True", "epochs=True: expected int, found bool"),
        (5, "erase=0.5", "model='osnet'", "'osnet' is not known. Did you mean osnet_"),
        (
            5,
            "erase=0.5",
            "dataset='market'",
            "dataset='market' is not known. Did you mean",
        ),
        (5, "erase=0.5", "milestones=[1, 'x']", "milestones='x': expected int"),
        (5, "erase=0.5", "init='none'", "say start=… instead of init=…"),
        (5, "erase=0.5", "seed=1", "say seeds=[…] instead of seed=…"),
        (5, '"erased", base', '"erased", "bose"', "like 'bose' is not known. Did you mean base?"),
        (
            5,
            '"erased", base',
            '"base", base',
            "run 'base' exists already: studies/mine.py, line",
        ),
        (6, 'start="base"', 'start="bose"', "start 'bose' is not known. Did you mean base?"),
        (6, 'start="base"', 'start="run:once"', "no run before it: start 'once' is not known"),
        (6, 'start="base"', 'start="after"', "start 'after' is not known"),
        (6, 'start="base"', 'start="base", seeds=[1]', "'base' has the seeds 3, 0, and not 1"),
        (6, 'start="base"', 'start="synthetic"', "no weight for osnet_x0_5 is shipped"),
        (6, 'start="base"', 'start="base", model="resnet50"', "resnet50 cannot start from 'base'"),
        (4, "[3, 0]", "[3, 3]", "expected different numbers"),
        (4, "[3, 0]", "[]", "expected different numbers"),
        (4, "[3, 0]", "3", "expected different numbers"),
        (4, "[3, 0]", "[-1]", "seed=-1: expected 0 or more, below 2**48"),
        (4, "[3, 0]", "[2**64]", "below 2**48"),
        (8, "05-comparison", "comparison", "expected a name such as 05-comparison"),
        (8, '"after"', "{1: 2}", "a parameter is text, a number"),
        (8, '"after"', "__import__('datetime').date(2026, 1, 1)", "a parameter is text, a number"),
        (8, '"after"', "float('nan')", "a parameter is text, a number"),
        (9, '"once"', '"twice"', "run 'twice' is not known"),
        (9, "03-training", "05-comparison", "exists already: studies/mine.py, line 8"),
        (3, 'Study("d")', "Sudy('d')", "NameError: name 'Sudy' is not defined"),
        (7, "seeds=[7],", "seeds=[7", "line 7"),
    ],
)
def test_mistakes_name_file_line_and_remedy(tmp_path, line, old, new, complaint):
    assert old in GOOD
    lines = GOOD.splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(old, new)
    with pytest.raises(StudyError) as error:
        study_of(tmp_path, "".join(lines))
    assert f"studies/mine.py, line {line}" in str(error.value)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "my_run",
        "Wide",
        "lr0.01",
        "my run",
        "../../../escaped",
        "..",
        "-n",
        "{name}",
        "a'b",
        "",
        3,
        "r" * 81,
    ],
)
def test_a_name_is_refused_that_could_not_become_a_file_or_a_word(tmp_path, name):
    with pytest.raises(StudyError, match=r"line 4: run .* lower-case words joined by hyphens"):
        study_of(tmp_path, GOOD.replace('"base", "fast"', f'{name!r}, "fast"'))


def test_files_that_are_no_study_are_told(tmp_path):
    (tmp_path / "mine.py").write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(StudyError, match=r"studies/mine\.py: it is no text in UTF-8.* Save it"):
        load("mine", tmp_path)
    with pytest.raises(StudyError, match=r"studies/mine\.py, line 1: SystemExit: 0"):
        study_of(tmp_path, "raise SystemExit(0)\n")  # else a study that succeeds with nothing done
    with pytest.raises(StudyError, match="makes 0 studies; expected one"):
        study_of(tmp_path, "x = 1\n")
    (tmp_path / "zz & touch X.py").write_text(GOOD)
    assert study_names(tmp_path) == ["mine"]
    with pytest.raises(StudyError, match=r"studies/zz & touch X\.py: .*Rename the file"):
        load("zz & touch X", tmp_path)
    with pytest.raises(StudyError, match=r"profile 'embeded' is not known. Did you mean embedded"):
        load("embeded")


@pytest.mark.parametrize(
    ("setting", "least"),
    [("threads=0", 1), ("mem_mb='4GB'", 1), ("cell_timeout=-1", 1), ("gpu=True", 0)],
)
def test_what_a_job_asks_for_is_checked_when_the_study_is_read(tmp_path, setting, least):
    with pytest.raises(StudyError, match=rf"line 3: .*expected a whole number from {least} on"):
        study_of(tmp_path, GOOD.replace('"d"', f'"d", {setting}'))


def test_shipped_studies_are_those_of_the_readme():
    names = {"smoke", "embedded", "market1501", "paper", "report", "pretrain"}
    assert names <= set(study_names())
    for name in names:
        assert load(name).runs and load(name).description
    assert not load("market1501").may_be_shown
    assert load("embedded").may_be_shown


def test_a_plan_needs_no_torch():
    program = (
        "import sys; from reidlab.__main__ import main; main(['plan', 'market1501']); "
        "sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for run in load("market1501").runs.values():
        assert f"run {run.name}   ({run.where})" in done.stdout
    assert "start" not in TrainConfig.__dataclass_fields__  # so that study.run may call it so


def test_lineage_ends_where_nothing_is_known_and_refuses_a_circle():
    runs = {"a": {"init": "run:b"}, "b": {"init": "run:a"}}
    assert lineage({"init": "run:gone"}, runs.get) == [{"init": "run:gone"}]
    with pytest.raises(ReidlabError, match="in a circle"):
        lineage(runs["a"], runs.get)
