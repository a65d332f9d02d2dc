"""The site: every link leads somewhere inside, nothing comes from outside, no photograph."""

import base64
import json
from io import BytesIO

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.recipe.study import load
from reidlab.study.article import article
from reidlab.study.notebooks import without_pictures
from reidlab.study.readme import main_table
from reidlab.study.site import PICTURE, Site, table_html

PROFILES = ["embedded", "market1501"]


@pytest.fixture(scope="module", autouse=True)
def _results_of_the_repository():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REIDLAB_RESULTS", raising=False)
        yield


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Profile -> the folder of its site, made of the results in the repository."""
    made = {}
    for profile in PROFILES:
        site = Site(load(profile))
        site.folder = tmp_path_factory.mktemp(profile) / "site"
        site.make()
        made[profile] = site.folder
    return made


def pages(folder):
    return {
        file: BeautifulSoup(file.read_text(), "html.parser") for file in folder.rglob("*.html")
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_every_link_leads_somewhere_and_nothing_comes_from_outside(sites, profile):
    found = pages(sites[profile])
    for file, page in found.items():
        for tag in page.find_all(["img", "script", "link", "source"]):
            address = tag.get("src") or tag.get("href") or tag.get("srcset")
            assert address == "data:," or (file.parent / address).is_file(), (file, address)
        for link in page.find_all("a"):
            address, _, anchor = link["href"].partition("#")
            if address.startswith("http"):
                continue
            target = (file.parent / address).resolve() if address else file
            assert target.is_file(), f"{file} leads to {address}"
            if anchor:
                assert found[target].find(id=anchor), f"{file} leads to #{anchor}"
        assert all(image.get("alt") for image in page.find_all("img"))
        assert len(page.find_all("h1")) == 1 and page.html["lang"] == "en"
    size = sum(file.stat().st_size for file in sites[profile].rglob("*") if file.is_file())
    assert size < 20e6


@pytest.mark.parametrize("profile", PROFILES)
def test_each_executed_notebook_and_finished_run_has_its_page(sites, profile):
    results, study = paths.ROOT / "results" / profile, load(profile)
    notebooks = {file.stem for file in (results / "notebooks").glob("*.ipynb")}
    pages = {file.stem for file in (sites[profile] / "notebooks").glob("*.html")}
    assert pages == notebooks & set(study.notebooks)
    finished = {file.parents[1].name for file in (results / "runs").glob("*/seed-*/metrics.json")}
    pages = {file.stem for file in (sites[profile] / "runs").glob("*.html")}
    assert pages == finished & set(study.runs)


def test_a_run_page_shows_the_scores_of_its_folder(sites):
    page = BeautifulSoup((sites["embedded"] / "runs" / "a-none.html").read_text(), "html.parser")
    shown = [cell.get_text() for cell in page.find("tbody").find_all("td")]
    folder = paths.ROOT / "results" / "embedded" / "runs" / "a-none" / "seed-0"
    scores = json.loads((folder / "metrics.json").read_text())
    assert shown == ["0", *(f"{scores[key]:.1f}" for key in ("rank1", "rank5", "mAP", "mINP"))]


def test_the_start_page_has_the_main_tables_rows_and_marks_the_best_of_a_data_set(sites):
    page = BeautifulSoup((sites["embedded"] / "index.html").read_text(), "html.parser")
    table = page.find("table")
    shown = [[cell.get_text() for cell in row.find_all("td")] for row in table.tbody("tr")]
    lines = main_table(paths.ROOT / "results").replace("`", "").splitlines()
    whole = [line.strip("| ").split(" | ") for line in lines]
    columns = [whole[0].index(cell.get_text()) for cell in table.thead("th")]
    assert shown == [[line[column] for column in columns] for line in whole[2:]]
    of_market = [row[1:3] for row in shown if row[3].endswith("→ market1501")]
    best = [max((row[k] for row in of_market), key=lambda t: float(t.split()[0])) for k in (0, 1)]
    marked = [cell.get_text() for cell in table.find_all("strong")]
    assert len(of_market) > 1 and set(best) <= set(marked)


def test_a_telephone_gets_the_queries_and_first_answers_of_the_same_picture(sites):
    with Image.open(sites["embedded"] / "people-narrow.png") as narrow, Image.open(PICTURE) as all:
        left = all.crop((0, 0, *narrow.size))
        assert narrow.convert("RGB").tobytes() == left.convert("RGB").tobytes()
        assert narrow.height == all.height and narrow.width < 500


def test_charts_are_known_from_pictures_of_people_in_the_dark(sites):
    name = "06-retrieval"
    text = (sites["embedded"] / "notebooks" / f"{name}.html").read_text()
    notebook = paths.ROOT / "results" / "embedded" / "notebooks" / f"{name}.ipynb"
    notes = [
        output.get("metadata", {}).get(kind, {}).get("reidlab")
        for cell in nbformat.read(notebook, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    images = BeautifulSoup(text, "html.parser").find_all("img")
    assert [image.get("class") == ["chart"] for image in images] == [n == "chart" for n in notes]
    assert {True, False} == {note == "chart" for note in notes}


def test_a_site_of_photographs_holds_none(sites):
    """What its notebooks say of a picture decides; the start page's shows generated people."""
    there = {file.name for file in sites["market1501"].rglob("*.jpg")}
    images = [file for file in sites["market1501"].rglob("*.png") if file.name[:6] != "people"]
    assert (sites["market1501"] / "people.png").read_bytes() == PICTURE.read_bytes()
    known = 0
    for file in (paths.ROOT / "results" / "market1501" / "notebooks").glob("*.ipynb"):
        for cell in without_pictures(nbformat.read(file, as_version=4)).cells:
            for output in cell.get("outputs", []):
                known += any(kind.startswith("image/") for kind in output.get("data", {}))
    assert len(images) + len(there) == known


def test_a_picture_without_a_note_and_one_in_html_are_left_out(tmp_path):
    stream = BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "png")
    cell = nbformat.v4.new_code_cell("x < 1")
    content = base64.b64encode(stream.getvalue()).decode()
    html = '<img src="private/a.jpg"><script>1</script><table><tr><td>`a`</td></tr></table>'
    for data in ({"image/png": content, "text/plain": "F"}, {"text/html": html}):
        cell.outputs.append(nbformat.v4.new_output("display_data", data))
    title = nbformat.v4.new_markdown_cell("# Why $x^2$?\n\n## Because\n\n[n](02-b.ipynb)")
    notebook = nbformat.v4.new_notebook(cells=[title, cell])
    made = article(without_pictures(notebook), "01-a", tmp_path / "images", frozenset(["02-b"]))
    assert not made.images and "private" not in made.body and "<script" not in made.body
    assert "picture left out" in made.body and "<code>a</code>" in made.body
    assert "x &lt; 1" in made.body and 'href="02-b.html"' in made.body
    assert made.contents == [("because", "Because")]


def test_a_csv_becomes_a_table_that_a_browser_takes_for_text(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("run,value\n<b>`x`</b>,12345.678\n+ triplet loss,# 1\n")
    assert "&lt;b&gt;<code>x</code>&lt;/b&gt;" in table_html(file)
    assert "12,346" in table_html(file)
    assert "<tr><td>+ triplet loss</td><td># 1</td></tr>" in table_html(file)  # no list


def test_without_results_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("REIDLAB_RESULTS", str(tmp_path))
    with pytest.raises(StudyError, match="make study PROFILE=embedded"):
        Site(load("embedded")).make()


def test_a_study_without_notebooks_has_pages_of_its_runs(tmp_path):
    site = Site(load("pretrain"))
    assert not site.study.notebooks
    site.folder = tmp_path / "site"
    assert site.make().is_file() and [*(site.folder / "runs").glob("*.html")]
