"""Executed pages and tables against the run folders that they speak of: every score, every commit.

A page is made from run folders and then stands beside them; when a run is trained again and its
page is not, the two tell different stories.
"""

import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from reidlab.common import paths
from reidlab.recipe.study import load
from reidlab.runs.folder import is_complete, load_run, seed_folder
from tests.study.test_notebooks import read

RESULTS = paths.ROOT / "results"
# Of the studies whose results are in the repository; a smoke run beside them may be half done.
PROFILES = ["embedded", "market1501"]
NAMES = {"Rank-1": "rank1", "Rank-5": "rank5", "Rank-10": "rank10", "mAP (trapezoid)": None}
SCORES = {name: name for name in ("rank1", "rank5", "rank10", "mAP", "mAP_trapezoid", "mINP")}
#: Other distances and other people score otherwise: such tables have a column that says so.
OTHERWISE = {"way", "score", "order", "setting"}
SCORES |= {title: name or "mAP_trapezoid" for title, name in NAMES.items()}


def scores_of(profile):
    """Run -> score -> mean over its finished seeds, and the score of each."""
    found = {}
    for name, planned in load(profile).runs.items():
        folders = [seed_folder(RESULTS / profile / "runs", name, seed) for seed in planned.seeds]
        runs = [load_run(folder) for folder in folders if is_complete(folder)]
        if runs:
            found[name] = {
                score: [np.mean(each), *each]
                for score in dict.fromkeys(SCORES.values())
                for each in [[run.metrics[score] for run in runs]]
            }
    return found


def html_tables(notebook):
    """Every table that a page shows: its columns, and its rows as lists of cells."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            for table in BeautifulSoup(html, "html.parser").find_all("table"):
                titles, rows = [], []
                for row in table.find_all("tr"):
                    cells = [cell.get_text(strip=True) for cell in row.find_all(["th", "td"])]
                    (rows if row.find("td") else titles).append(cells)
                heading = [next(filter(None, names), "") for names in zip(*titles)]
                yield heading, [row for row in rows if len(row) == len(heading)]


def compare(known, heading, row, where):
    """How many scores of a row were compared with its run's."""
    if OTHERWISE & set(heading):
        return 0
    named = [
        cell
        for title, cell in zip(heading, row)
        if title in ("", "run", "row", "family") and cell in known
    ]
    if not named:
        return 0
    compared = 0
    for title, cell in zip(heading, row):
        number = re.match(r"(\d+\.(\d+))", cell)  # a whole number is a place among others
        if title in SCORES and number:
            digits = len(number[2])
            expected = known[named[0]][SCORES[title]]
            shown = float(number[1])
            assert min(abs(shown - value) for value in expected) <= 0.5 * 10**-digits + 1e-4, (
                f"{where} shows {title} {cell} of {named[0]}, whose folder holds {expected}"
            )
            compared += 1
    return compared


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_show_the_scores_of_the_run_folders(profile):
    known, compared = scores_of(profile), 0
    for file in sorted((RESULTS / profile / "notebooks").rglob("*.ipynb")):
        for heading, rows in html_tables(read(file)):
            compared += sum(compare(known, heading, row, file.name) for row in rows)
    assert compared >= 20, f"only {compared} scores of {profile}'s pages name their run"


@pytest.mark.parametrize("profile", PROFILES)
def test_tables_hold_the_scores_of_the_run_folders(profile):
    known, compared = scores_of(profile), 0
    for file in sorted((RESULTS / profile / "tables").glob("*.csv")):
        if not file.read_text().strip():
            continue
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        rows = table.values.tolist()
        compared += sum(compare(known, [*table.columns], row, file.name) for row in rows)
    assert compared >= 20, f"only {compared} scores of {profile}'s tables name their run"


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_show_the_commits_of_the_run_folders(profile):
    """The page of a run names the commit that trained it, and no page a commit of nobody."""
    commits = {
        load_run(file.parent).provenance["commit"]
        for file in (RESULTS / profile / "runs").glob("*/seed-*/metrics.json")
    }
    assert commits
    for file in sorted((RESULTS / profile / "notebooks").rglob("*.ipynb")):
        for heading, rows in html_tables(read(file)):
            for row in [heading, *rows]:
                if row and row[0] == "commit":
                    assert row[1] in commits, f"{file.name} shows commit {row[1]} of no run here"


def test_a_page_of_another_training_is_found():
    known = {"a-none": {"rank1": [71.26], "mAP": [52.04, 51.0, 53.08]}}
    heading = ["", "Rank-1", "mAP"]
    assert compare(known, heading, ["a-none", "71.3 ± 0.2", "52.0"], "page") == 2
    assert compare(known, heading, ["somebody's", "71.3", "10.0"], "page") == 0
    with pytest.raises(AssertionError, match=r"shows mAP 52\.1 of a-none"):
        compare(known, heading, ["a-none", "71.3", "52.1"], "page")
