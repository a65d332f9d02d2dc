"""The site of a study: static pages that open from a folder and from GitHub Pages.

``python -m reidlab site PROFILE`` makes ``results/<profile>/site/`` from what stands in that
folder: executed notebooks, run folders, tables. It computes nothing.
"""

import csv
import json
import shutil
from html import escape
from pathlib import Path

import jinja2
import nbformat
from PIL import Image

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing
from reidlab.recipe.study import PlannedRun, Study
from reidlab.runs.folder import Run, is_complete, load_run, seed_folder
from reidlab.statistics.seeds import score_table, spread
from reidlab.study.article import Article, article, to_html
from reidlab.study.chart import line_chart
from reidlab.study.notebooks import without_pictures
from reidlab.study.readme import main_table
from reidlab.study.results import MOST_ROWS

THEME = Path(__file__).parent / "theme"
#: Generated people, whatever the profile: what re-identification is, in one picture.
PICTURE = paths.ROOT / "results" / "embedded" / "figures" / "ranked-lists.png"
PICTURE_SAYS = (
    "Generated people. On the left of each row somebody to look for; then what the network found, "
    "most alike first: ✓ the same person in another camera, ✗ somebody else."
)

#: Share of it that a telephone shows: the queries with the first four answers, legible.
NARROW = 0.474
#: The main table's columns on the start page; the others are in the README and on the runs' pages.
COLUMNS = ("run", "Rank-1", "mAP", "trained on → tested on", "from", "network", "minutes")


class Site:
    """The pages of one study.

    Args:
        study: which.
    """

    def __init__(self, study: Study):
        self.study, self.folder = study, study.results / "site"
        self.page = jinja2.Environment(
            loader=jinja2.FileSystemLoader(THEME), autoescape=True
        ).get_template("page.html")

    def make(self) -> Path:
        """Write every page anew.

        Returns:
            The start page.

        Raises:
            StudyError: the study has no executed notebook and no finished run yet.
        """
        found = {file.stem: file for file in (self.study.results / "notebooks").glob("*.ipynb")}
        # Notebooks of the study, not what a failed or older execution has left beside them.
        notebooks = {name: found[name] for name in sorted(self.study.notebooks) if name in found}
        if not notebooks and not [*self.study.results.glob("runs/*/seed-*/metrics.json")]:
            raise StudyError(
                f"{self.study.results} holds no finished run and no executed notebook to make a "
                f"site of. Make them: make study PROFILE={self.study.name}."
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copyfile(THEME / "style.css", self.folder / "style.css")
        questions = self._notebooks(notebooks)
        tables, runs = self._tables(), self._runs()
        self._start(questions)
        self._write("tables.html", "Tables", f"<p>Each is a file: CSV.</p>{tables}")
        self._write("runs.html", "Runs", runs)
        return self.folder / "index.html"

    def _write(self, name: str, title: str, body: str, **more: object) -> None:
        up = "../" * name.count("/")
        text = self.page.render(title=title, body=body, up=up, profile=self.study.name, **more)
        with replacing(self.folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")

    def _notebooks(self, notebooks: dict[str, Path]) -> dict[str, str]:
        names = frozenset(notebooks)
        made: dict[str, Article] = {}
        for name, file in notebooks.items():
            notebook = nbformat.read(file, as_version=4)
            if not self.study.may_be_shown:
                notebook = without_pictures(notebook)
            made[name] = article(notebook, name, self.folder / "notebooks" / "images", names)
        order = [*made]
        for place, (name, page) in enumerate(made.items()):
            before = (order[place - 1], made[order[place - 1]].title) if place else None
            after = order[place + 1] if place + 1 < len(order) else None
            self._write(
                f"notebooks/{name}.html",
                page.title,
                page.body,
                contents=page.contents,
                before=before,
                after=(after, made[after].title) if after else None,
            )
        return {name: page.title for name, page in made.items()}

    def _start(self, questions: dict[str, str]) -> None:
        shutil.copyfile(PICTURE, self.folder / "people.png")
        cards = "".join(
            f'<li><a href="notebooks/{name}.html">{escape(title)}</a></li>'
            for name, title in questions.items()
        )
        with Image.open(PICTURE) as whole, replacing(self.folder / "people-narrow.png") as file:
            whole.crop((0, 0, round(NARROW * whole.width), whole.height)).save(file)
        claims = self.study.results / "tables" / "claims.csv"
        ledger = f"<h2>What others claim</h2>{table_html(claims)}" if claims.is_file() else ""
        body = (
            "<p>Person re-identification finds the same person again in other cameras. "
            "A network turns each picture into a list of numbers; pictures of one person should "
            "get lists that are close. This study asks what helps, and by how much.</p>"
            '<figure><picture><source media="(max-width: 40rem)" srcset="people-narrow.png">'
            f'<img src="people.png" alt="{PICTURE_SAYS}"></picture>'
            f"<figcaption>{PICTURE_SAYS}</figcaption></figure>"
            f"<h2>What we found</h2>{rows_html(*_small_table())}"
            "<p><strong>Rank-1</strong>: percent of queries whose first answer is right. "
            "<strong>mAP</strong>: also counts how early all other right answers come. ± is the "
            "standard deviation over the seeds; bold is the best of those that were tested on the "
            "same data.</p>"
            f'{ledger}<h2>The questions</h2><ul class="cards">{cards}</ul>'
        )
        self._write("index.html", "Who is this, in the other camera?", body)

    def _tables(self) -> str:
        parts = []
        for kind in ("tables", "timings"):
            for file in sorted((self.study.results / kind).glob("*.csv")):
                target = self.folder / kind / file.name
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)
                link = f'<a href="{kind}/{file.name}" download>{file.name}</a>'
                parts.append(f"<h2>{escape(file.stem)}</h2><p>{link}</p>{table_html(file)}")
        return "\n".join(parts)

    def _runs(self) -> str:
        rows = []
        for name, planned in self.study.runs.items():
            folders = [
                seed_folder(self.study.results / "runs", name, seed) for seed in planned.seeds
            ]
            runs = [load_run(folder) for folder in folders if is_complete(folder)]
            if not runs:
                continue
            row = score_table({name: runs}).iloc[0]
            rows.append(
                [
                    f'<a href="runs/{name}.html">{name}</a>',
                    *map(escape, (row.model, row.dataset, row["size"], row.init)),
                    str(row.epochs),
                    str(len(runs)),
                    spread(row.rank1, row.rank1_std),
                    spread(row.mAP, row.mAP_std),
                ]
            )
            self._write(f"runs/{name}.html", f"Run {name}", self._run(planned, runs))
        heading = ["run", "network", "data", "size", "from", "epochs", "seeds", "Rank-1", "mAP"]
        return rows_html(heading, rows, raw=True)

    def _run(self, planned: PlannedRun, runs: list[Run]) -> str:
        first = runs[0]
        scores = [
            [
                str(run.seed),
                *(f"{run.metrics[key]:.1f}" for key in ("rank1", "rank5", "mAP", "mINP")),
            ]
            for run in runs
        ]
        curves = ""
        if len(first.history) > 1:  # two points are a curve, one is not
            for column, title in (("train_loss", "Training loss"), ("mAP", "mAP on the test set")):
                lines = {
                    f"seed {run.seed}": run.history[["epoch", column]].dropna().to_numpy().tolist()
                    for run in runs
                }
                if all(len(points) > 1 for points in lines.values()):
                    curves += line_chart(lines, title, "epoch")
        changed = [[key, escape(repr(value))] for key, value in planned.changes.items()]
        command = f"python -m reidlab run {self.study.name} {planned.name}"
        return (
            f"<h2>Scores</h2>{rows_html(['seed', 'Rank-1', 'Rank-5', 'mAP', 'mINP'], scores)}"
            + (f"<h2>Curves</h2>{curves}" if curves else "")
            + f"<h2>Recipe</h2><p>Like <code>{escape(str(planned.like))}</code>, from "
            f"<code>{escape(str(planned.start))}</code>, and:</p>"
            + rows_html(["setting", "value"], changed, raw=True)
            + "<details><summary>Every setting</summary>"
            f"<pre>{_json(first.config)}</pre></details><h2>Provenance</h2><pre>{_json(first.provenance)}</pre>"
            f"<h2>Make it again</h2><pre>{escape(command)}</pre>"
        )


def _small_table() -> tuple[list[str], list[list[str]]]:
    """The main table's heading and rows in `COLUMNS`, the best of each tested set in bold."""
    heading, _, *lines = [
        line.strip("| ").split(" | ") for line in main_table(paths.ROOT / "results").splitlines()
    ]
    rows = [[line[heading.index(column)] for column in COLUMNS] for line in lines]
    tested = [row[3].rpartition(" → ")[2] for row in rows]
    for column in (1, 2):
        values = [float(row[column].split()[0]) for row in rows]
        for row, value, name in zip(rows, values, tested):
            others = [other for other, where in zip(values, tested) if where == name]
            if len(others) > 1 and value == max(others):
                row[column] = f"**{row[column]}**"
    return [*COLUMNS], rows


def table_html(file: Path) -> str:
    """A CSV as a table: numbers with four digits; a long one is only linked."""
    with open(file, newline="", encoding="utf-8") as stream:
        heading, *rows = csv.reader(stream)
    if len(rows) > MOST_ROWS:
        return f"<p>{len(rows):,} rows, in the file.</p>"
    return rows_html(heading, [[number(cell) for cell in row] for row in rows])


def number(text: str) -> str:
    """A number with four digits and thousands separated; other text as it is.

    >>> [number(text) for text in ("0.123456", "123456", "12345.6", "", "nan", "a")]
    ['0.1235', '123,456', '12,346', '–', '–', 'a']
    """
    if text in ("", "nan"):
        return "–"
    try:
        value = float(text)
    except ValueError:
        return text
    if value.is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rows_html(heading: list[str], rows: list[list[str]], raw: bool = False) -> str:
    """A table that scrolls where it is wide; cells are Markdown in a line, or HTML if ``raw``."""

    def cell(text: str) -> str:
        if raw:
            return text
        made = to_html(escape(text, quote=False)).strip()
        # "+ triplet loss" is a cell, not a list.
        return made[3:-4] if made.startswith("<p>") else escape(text, quote=False)

    lines = ["".join(f"<td>{cell(text)}</td>" for text in row) for row in rows]
    top = "".join(
        f'<th scope="col">{escape(text)}</th>' if text else "<td></td>" for text in heading
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _json(content: object) -> str:
    return escape(json.dumps(content, indent=2))


def make(study: Study) -> Path:
    """Write the site of a study; returns its start page."""
    return Site(study).make()
