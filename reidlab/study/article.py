"""An executed notebook as an article: code folded, figures numbered, formulas as MathML."""

import base64
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from reidlab.common.files import replacing
from reidlab.plots.style import CHART

ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass
class Article:
    """A page's content.

    Attributes:
        title: the question that the notebook asks.
        body: HTML without the title.
        contents: anchor and text of each section.
        images: the files that were written for it.
    """

    title: str
    body: str = ""
    contents: list[tuple[str, str]] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)


class _Renderer(IPythonRenderer):
    """Markdown as nbconvert reads it, with formulas that need no script."""

    def inline_math(self, text: str) -> str:
        return convert(text)

    def block_math(self, text: str) -> str:
        return f'<div class="scroll">{convert(text, display="block")}</div>'


def to_html(markdown: str) -> str:
    """Markdown as HTML; a formula between dollars becomes MathML.

    >>> to_html("**one** $x^2$").partition(" <math")[0]
    '<p><strong>one</strong>'
    """
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(markdown)


def article(notebook: Any, name: str, folder: Path, others: frozenset[str]) -> Article:
    """Make an article of an executed notebook.

    Args:
        notebook: as nbformat reads it; pictures that must not be published are out already.
        name: of the notebook; its images are called after it.
        folder: where they are written to, beside which the page stands.
        others: names of the notebooks that have a page, to which links lead.
    """
    made, section = Article(name), name
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            soup = BeautifulSoup(to_html(cell.source), "html.parser")
            for heading in soup.find_all(re.compile("^h[1-6]$")):
                section = heading.get_text().removesuffix("¶").strip()
                heading.string = section
                if heading.name == "h1":
                    made.title = section
                    heading.decompose()
                else:
                    heading["id"] = re.sub(r"\W+", "-", section.lower()).strip("-")
                    if heading.name == "h2":
                        made.contents.append((heading["id"], section))
            parts.append(_tidied(soup, others))
        elif cell.cell_type == "code":
            parts.append(
                f"<details><summary>Code</summary><pre>{escape(cell.source)}</pre></details>"
            )
            for output in cell.outputs:
                parts.append(_output(output, made, section, name, folder, others))
    made.body = "\n".join(parts)
    return made


def _output(
    output: Any, made: Article, section: str, name: str, folder: Path, others: frozenset[str]
) -> str:
    if output.output_type == "stream":
        return f'<pre class="out" tabindex="0">{escape(output.text)}</pre>'
    data = output.get("data", {})
    for kind, ending in ENDINGS.items():
        if kind in data:
            number = len(made.images) + 1
            file = folder / f"{name}-{number}.{ending}"
            with replacing(file) as scratch:
                scratch.write_bytes(base64.b64decode(data[kind]))
            made.images.append(file)
            caption = f"Figure {number}. {escape(section)}"
            is_chart = output.get("metadata", {}).get(kind) == CHART
            look = ' class="chart"' if is_chart else ""
            with Image.open(file) as image:  # its room, kept until it is loaded
                width, height = image.size
            return (
                f'<figure><img{look} loading="lazy" src="{folder.name}/{file.name}" '
                f'width="{width}" height="{height}" alt="{caption}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    if "text/html" in data:
        return _tidied(BeautifulSoup(data["text/html"], "html.parser"), others)
    if "text/markdown" in data:
        return _tidied(BeautifulSoup(to_html(data["text/markdown"]), "html.parser"), others)
    text = data.get("text/plain", "")
    return f'<pre class="out" tabindex="0">{escape(text)}</pre>' if text else ""


def _tidied(soup: BeautifulSoup, others: frozenset[str]) -> str:
    """No script, style or picture from elsewhere; tables scroll; links lead to pages."""
    for tag in soup.find_all(["script", "style", "img"]):
        tag.decompose()
    for table in soup.find_all("table"):
        for attribute in ("border", "class", "style"):
            table.attrs.pop(attribute, None)
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
        for cell in table.find_all(["th", "td"]):
            cell.attrs.pop("style", None)
            if not cell.get_text(strip=True) and cell.name == "th":
                cell.name = "td"  # an empty heading says nothing to those who hear the page
            if cell.string:
                parts = re.split(r"`([^`]+)`", cell.string)
                if len(parts) > 1:
                    cell.clear()
                    for place, part in enumerate(parts):
                        code = soup.new_tag("code", string=part)
                        cell.append(code if place % 2 else part)
    for link in soup.find_all("a"):
        target = Path(link.get("href", ""))
        if target.suffix == ".ipynb" and target.stem in others:
            link["href"] = f"{target.stem}.html"
        elif not str(target).startswith(("http", "#")):
            link.unwrap()
    return str(soup)
