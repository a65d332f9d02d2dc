"""What a profile leaves behind: tables, figures and timings, and the page that shows them all."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidlab import paths
from reidlab.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


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
        """Write a matplotlib figure to ``figures/<name>.png``, without date or version in it."""
        file = self._file("figures", name, ".png")
        scratch = file.with_suffix(".part")
        figure.savefig(scratch, format="png", metadata={"Software": None})
        os.replace(scratch, file)

    def _csv(self, frame: "pd.DataFrame", folder: str, name: str) -> "pd.DataFrame":
        import pandas as pd

        file = self._file(folder, name, ".csv")
        scratch = file.with_suffix(".part")
        index = not isinstance(frame.index, pd.RangeIndex)
        frame.to_csv(scratch, index=index, float_format="%.6g", lineterminator="\n")
        os.replace(scratch, file)
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
    """Write ``results/<profile>/report.md``: the scores, then every figure and table.

    Args:
        profile: the profile's name.
        description: what it is, in a sentence.
        scores: :func:`reidlab.runs.runs_table`.

    Returns:
        The page's path.
    """
    folder = paths.results(profile)
    lines = [f"# Results of profile `{profile}`", "", description, ""]
    lines += ["Made by `make study`, never edited. Scores in percent.", ""]
    lines += _markdown(scores)
    for title, files in (
        ("Figures", sorted((folder / "figures").glob("*.png"))),
        ("Tables", sorted((folder / "tables").glob("*.csv"))),
        ("Notebooks", sorted((folder / "notebooks").rglob("*.ipynb"))),
    ):
        links = [(file.stem, file.relative_to(folder).as_posix()) for file in files]
        lines += ["", f"## {title}", ""]
        if title == "Figures":
            lines += [line for stem, path in links for line in (f"![{stem}]({path})", "")]
        else:
            lines += [f"- [{stem}]({path})" for stem, path in links]
    page = folder / "report.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page


def _markdown(frame: "pd.DataFrame") -> list[str]:
    """A table in Markdown; floats with two decimals, as the field prints scores."""
    rows = [frame.columns, ["---"] * len(frame.columns)]
    for row in frame.itertuples(index=False):
        rows.append([f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row])
    return ["| " + " | ".join(row) + " |" for row in rows]
