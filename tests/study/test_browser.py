"""The site in a real browser: start page, notebook, run; wide and narrow, light and dark."""

import json
import re
import shutil
from pathlib import Path

import pytest

from reidlab.common import paths
from reidlab.recipe.study import load
from reidlab.study.site import Site

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: make setup"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: apt install chromium", allow_module_level=True)

SIZES = {"desktop": {"width": 1280, "height": 900}, "telephone": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Address of the start page of the site of the results in the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REIDLAB_RESULTS", raising=False)
        site = Site(load("embedded"))
        site.folder = tmp_path_factory.mktemp("embedded") / "site"
        return site.make().as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(browser, start, request):
    """The start page, in a window whose every complaint and request is noted."""
    page = browser.new_page(viewport=SIZES[request.param])
    page.complaints, page.requests = [], []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("requestfailed", lambda failed: page.complaints.append(failed.url))
    page.on("request", lambda asked: page.requests.append(asked.url))
    page.goto(start)
    yield page
    page.close()


def is_whole(page):
    """Nothing is too wide, every picture is there, nothing has failed or come from outside."""
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    broken = "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requests)


def test_a_reader_walks_from_the_start_page_to_a_notebook_and_the_next(page):
    is_whole(page)
    title = page.locator(".cards a").first.inner_text()
    page.locator(".cards a").first.click()
    assert page.locator("h1").inner_text() == title
    is_whole(page)
    code = page.locator("details").first
    assert not code.locator("pre").is_visible()
    code.locator("summary").click()
    assert code.locator("pre").is_visible()
    following = page.locator("a[rel=next]")
    name = following.inner_text().removesuffix(" →")
    following.click()
    assert page.locator("h1").inner_text() == name
    page.locator("a[rel=prev]").click()
    assert page.locator("h1").inner_text() == title
    page.locator(".contents a").last.click()
    anchor = page.evaluate("decodeURIComponent(location.hash.slice(1))")
    top = "id => document.getElementById(id).getBoundingClientRect().top"
    page.wait_for_load_state("networkidle")  # what is loaded meanwhile must not push it away
    assert page.evaluate(top, anchor) < 800


def test_a_run_is_two_clicks_away_and_has_the_scores_of_its_folder(page):
    page.get_by_role("link", name="Runs").click()
    is_whole(page)
    page.get_by_role("link", name="a-none", exact=True).click()
    is_whole(page)
    shown = page.locator("tbody tr").first.locator("td").all_inner_texts()
    file = paths.ROOT / "results/embedded/runs/a-none/seed-0/metrics.json"
    scores = json.loads(file.read_text())
    assert shown == ["0", *(f"{scores[key]:.1f}" for key in ("rank1", "rank5", "mAP", "mINP"))]


def test_the_keyboard_reaches_the_text_first(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_a_telephone_shows_the_start_picture_at_a_legible_size(page):
    narrow = page.viewport_size["width"] < 640
    source = page.evaluate("document.querySelector('figure img').currentSrc")
    assert source.endswith("people-narrow.png" if narrow else "people.png")
    scale = page.evaluate(
        "(() => { const i = document.querySelector('figure img');"
        " return i.getBoundingClientRect().width / i.naturalWidth })()"
    )
    assert scale > 0.7


def test_text_and_charts_are_light_on_dark_in_the_dark(browser, start):
    page = browser.new_page(color_scheme="dark")
    page.goto(start.replace("index.html", "notebooks/08-distances.html"))
    look = "getComputedStyle(document.querySelector('{}')).{}"
    colours = [page.evaluate(look.format("body", name)) for name in ("color", "backgroundColor")]
    ink, paper = (sum(map(int, re.findall(r"\d+", colour))) / 3 for colour in colours)
    assert ink > 200 and paper < 40
    assert "invert" in page.evaluate(look.format("img.chart", "filter"))
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_issue_on_any_page(browser, start, scheme):
    axe = paths.ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not here: npm install --no-save axe-core")
    page = browser.new_page(color_scheme=scheme)
    folder = Path(start.removeprefix("file://")).parent
    names = ["index.html", "tables.html", "runs.html", "runs/a-none.html"]
    found = []
    for file in [*(folder / name for name in names), *sorted(folder.glob("notebooks/*.html"))]:
        page.goto(file.as_uri())
        page.evaluate(axe.read_text())
        issues = page.evaluate("axe.run()")["violations"]
        found += [(file.name, one["id"]) for one in issues if one["impact"] != "minor"]
    page.close()
    assert found == []
