"""README.md, docs/ and CONTRIBUTING.md say what is there: results, notebooks, commands."""

import json
import re

import nbformat
import pandas as pd
import pytest

from reidlab.__main__ import VERBS
from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.recipe.study import load, study_names
from reidlab.study import readme

PAGES = [paths.ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted((paths.ROOT / "docs").glob("*.md"))
TEXT = PAGES[0].read_text()

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_tables_are_those_of_the_results():
    results = paths.ROOT / "results"
    if any((results / profile / ".done").exists() for profile in ("embedded", "market1501")):
        pytest.skip("results were made anew here: `python -m reidlab readme` renews the tables")
    table = readme.main_table(results)
    assert table in TEXT, "behind results/: .venv/bin/python -m reidlab readme"
    speed = (results / "benchmarks" / "table.md").read_text().strip()
    assert speed in readme.SPEED[0].read_text(), (
        "docs/ is behind: .venv/bin/python -m reidlab readme"
    )


def test_the_main_table_says_what_its_numbers_rest_on(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "ROWS", (("embedded", "a-none", "x"), ("embedded", "a-on-b", "–")))
    with pytest.raises(StudyError, match="make study"):
        readme.main_table(tmp_path)
    committed = paths.ROOT / "results"
    lines = readme.main_table(committed).splitlines()
    assert len(lines) == 4
    folder = committed / "embedded" / "runs" / "a-none" / "seed-0"
    scores = json.loads((folder / "metrics.json").read_text())
    history = pd.read_csv(folder / "history.csv")
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    said = dict(zip(readme.HEADINGS, cells))
    assert said["Rank-1"] == f"{scores['rank1']:.1f}" and said["mAP"] == f"{scores['mAP']:.1f}"
    assert said["training accuracy"] == f"{history.train_accuracy.iloc[-1]:.0f}"
    assert said["minutes"] == f"{history.train_seconds.sum() / 60:.0f}"
    assert said["trained on → tested on"] == "synthetic-a → synthetic-a"
    assert "synthetic-a → synthetic-b" in lines[3] and lines[3].split("|")[8].strip() == "–"


def test_text_goes_between_its_marks_and_nowhere_else():
    text = "above\n<!-- M: x. -->\nold\n<!-- End: M. -->\nbelow\n"
    new = readme.between(text, "M: x.", "new \\1")
    assert new == "above\n<!-- M: x. -->\n\nnew \\1\n\n<!-- End: M. -->\nbelow\n"
    assert readme.between(new, "M: x.", "new \\1") == new
    for broken in ("", "<!-- M: x. -->", "<!-- End: M. --> <!-- M: x. -->", text + text):
        with pytest.raises(StudyError, match="marks"):
            readme.between(broken, "M: x.", "new")


def test_first_screen_has_the_sentence_the_commands_the_picture_and_the_results():
    first = TEXT.partition("\n## ")[0]
    assert first.startswith("# reidlab\n\nA reproducible study of person re-identification")
    order = ["\n    make study ", "\n    make test ", "\n![", readme.README[1]]
    assert [first.index(each) for each in order] == sorted(first.index(each) for each in order)
    assert len(TEXT.splitlines()) <= 120


def test_notebooks_are_listed_in_order_with_their_questions():
    listed = re.findall(r"^\| \[(\S+)\]\(notebooks/(\S+)\.ipynb\) \| (.+?) \|$", TEXT, re.M)
    there = []
    for source in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        title = nbformat.read(source, as_version=4).cells[0].source.splitlines()[0]
        there.append((source.stem, source.stem, title.removeprefix("# ")))
    assert listed == there


def test_studies_are_those_of_the_folder():
    listed = re.findall(r"^\| `([a-z0-9]+)` \|", TEXT.partition("## Studies")[2], re.M)
    assert sorted(listed) == study_names()


@every_page
def test_every_verb_and_link_exists(page):
    text = page.read_text()
    makefile = (paths.ROOT / "Makefile").read_text()
    for verb in re.findall(r"(?:^    |`)make ([a-z]+)\b", text, re.M):
        assert re.search(rf"^{verb}:", makefile, re.M), verb
    for verb in re.findall(r"(?:python -m |^    )reidlab ([a-z]+)\b", text, re.M):
        assert verb in VERBS
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (page.parent / link).exists(), link
    assert str(paths.ROOT) not in text
    assert not re.search(r"(?<!\w)/(home|root|Users|tmp|work)/", text)


def test_example_study_is_valid(tmp_path):
    text = (paths.ROOT / "docs" / "data.md").read_text()
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(.+?)```", text, re.S)[1])
    study = load("mine", tmp_path)
    assert [*study.runs] == ["scratch", "pretrained"]
    assert study.notebooks["06-retrieval"].needs == ("pretrained",)


def test_example_run_is_valid(tmp_path):
    example = re.search(r"^    (study\.run\(.+\))$", TEXT, re.M)[1]
    text = (paths.STUDIES / "embedded.py").read_text()
    (tmp_path / "embedded.py").write_text(f"{text}{example}\n")
    assert load("embedded", tmp_path)["a-wide"].config.model == "osnet_x0_5"
