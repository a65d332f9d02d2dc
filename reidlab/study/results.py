"""What a profile leaves behind: tables, figures and timings, and the page that shows them all."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing
from reidlab.plots.style import note, png
from reidlab.recipe.study import NAME

if TYPE_CHECKING:
    import pandas as pd

#: Rows of a table that the report still shows; a longer one is only linked.
MOST_ROWS = 40


class Results:
    """Writes into ``results/<profile>/``; the same input always gives the same bytes.

    Args:
        profile: the profile's name.
    """

    def __init__(self, profile: str):
        self.folder = paths.results(profile)

    def table(self, frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
        """Write ``tables/<name>.csv``: numbers that a second run reproduces digit for digit.

        Args:
            frame: the table; a range index is left out.
            name: lower-case words joined by hyphens.

        Returns:
            ``frame``, so that a notebook's cell can end with the call and show it.
        """
        return self._csv(frame, "tables", name)

    def timing(self, frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
        """Write ``timings/<name>.csv``: as :meth:`table`, for what a clock measured."""
        return self._csv(frame, "timings", name)

    def figure(self, figure: Any, name: str) -> None:
        """Write a matplotlib figure to ``figures/<name>.png``, without date or version in it.

        Raises:
            StudyError: it may show real people.
        """
        if note(figure) is None:
            raise StudyError(
                f"Figure {name} may show photographs of people, and results are published. Make "
                "charts with plots.style.new_figure; say generated(figure) of generated people."
            )
        with replacing(self._file("figures", name, ".png")) as scratch:
            scratch.write_bytes(png(figure))

    def _csv(self, frame: "pd.DataFrame", folder: str, name: str) -> "pd.DataFrame":
        import pandas as pd

        index = not isinstance(frame.index, pd.RangeIndex)
        with replacing(self._file(folder, name, ".csv")) as scratch:
            frame.to_csv(scratch, index=index, float_format="%.6g", lineterminator="\n")
        return frame

    def _file(self, folder: str, name: str, ending: str) -> Path:
        if not NAME.fullmatch(name):
            raise StudyError(
                f"{name!r} is no name for a file of {folder}/: "
                "expected lower-case words joined by hyphens, such as cmc-curves."
            )
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        return self.folder / folder / f"{name}{ending}"


def write_report(profile: str, description: str, scores: "pd.DataFrame") -> Path:
    """Write ``results/<profile>/report.md``: the scores, the notebooks, all figures and tables.

    Args:
        profile: the profile's name.
        description: what it is, in a sentence.
        scores: :func:`reidlab.runs.folder.runs_table`.

    Returns:
        The page's path.
    """
    folder = paths.results(profile)
    lines = [f"# Results of profile `{profile}`", "", description, ""]
    lines += [f"Made by `make study PROFILE={profile}`, never edited. Scores in percent.", ""]
    lines += _markdown(scores)
    lines += [
        "",
        "## Notebooks",
        "",
        "They say how each figure and table below is to be read.",
        "",
    ]
    for file in sorted((folder / "notebooks").rglob("*.ipynb")):
        path = file.relative_to(folder / "notebooks")
        lines.append(f"- [{path.with_suffix('').as_posix()}](notebooks/{path.as_posix()})")
    lines += ["", "## Figures", ""]
    for file in sorted((folder / "figures").glob("*.png")):
        lines += [f"### {file.stem}", "", f"![{file.stem}](figures/{file.name})", ""]
    lines += ["## Tables", ""]
    for file in sorted((folder / "tables").glob("*.csv")):
        lines += [f"### [{file.stem}](tables/{file.name})", "", *_shown(file), ""]
    page = folder / "report.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page


def _shown(file: Path) -> list[str]:
    """A CSV as Markdown, with the digits that it has; or why it is not shown."""
    with open(file, newline="") as stream:
        heading, *rows = csv.reader(stream)
    if len(rows) > MOST_ROWS:
        return [f"{len(rows):,} rows, in the file."]
    cells = [heading, ["---"] * len(heading), *rows]
    return piped([cell.replace("|", "\\|") for cell in row] for row in cells)


def _markdown(frame: "pd.DataFrame") -> list[str]:
    """A table in Markdown; floats with two decimals, as the field prints scores."""
    rows = [frame.columns, ["---"] * len(frame.columns)]
    for row in frame.itertuples(index=False):
        rows.append([f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row])
    return piped(rows)


def piped(rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table in Markdown; the second row says how columns are aligned.

    >>> piped([["run", "mAP"], ["---", "--:"], ["a", "1.0"]])
    ['| run | mAP |', '| --- | --: |', '| a | 1.0 |']
    """
    return ["| " + " | ".join(row) + " |" for row in rows]
