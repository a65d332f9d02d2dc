"""Rank a folder of pictures for one or more query pictures: a contact sheet and a CSV."""

import argparse
import base64
import csv
import io
import logging
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from reidlab.common import paths
from reidlab.common.errors import DataError
from reidlab.common.files import replacing
from reidlab.data.readers.files import printable
from reidlab.pictures import network as networks
from reidlab.pictures.look import (
    Picture,
    files_below,
    look_at,
    look_at_each,
    read,
    say_what_was_found,
)
from reidlab.pictures.network import Network

log = logging.getLogger(__name__)

COLUMNS = ["query", "rank", "file", "distance"]
THUMBNAIL = 160, 80  # height, width
STYLE = """:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 75rem; margin: 0 auto; padding: 1rem }
ol { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none }
li { width: 7rem; overflow-wrap: anywhere; font-size: .85rem }
img { display: block; height: 160px }"""


def distances(query: Picture, gallery: Sequence[Picture]) -> np.ndarray:
    """Cosine distances of one picture to others, (N,) in [0, 2]."""
    features = np.stack([query.feature, *(picture.feature for picture in gallery)])
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.maximum(1 - unit[1:] @ unit[0], 0)


def search(
    queries: Sequence[Path], folder: Path, network: Network, out: Path, top: int = 20
) -> tuple[Path, Path]:
    """Rank the pictures of a folder, the folders in it included.

    A picture with the very bytes of a query is left out of that query's ranking.

    Args:
        queries: of whom: one person each, cut out.
        folder: where to look.
        network: makes the features.
        out: a folder for ``search.html``, with the first answers, and ``search.csv``, with all.
        top: answers a query on the sheet.

    Returns:
        The two files.

    Raises:
        DataError: a query that cannot be read, no folder, or nothing to find in it.
    """
    files = files_below(folder)
    asked = look_at_each(list(queries), network)
    pictures, left_out = look_at(files, network)
    found = [pictures[file] for file in files if file in pictures]
    notes = say_what_was_found(found, left_out)
    for note in notes:
        log.warning("%s", note)
    sheet = []
    rows: list[list[object]] = []
    for query in asked:
        others = [picture for picture in found if picture.content != query.content]
        if not others:
            raise DataError(
                f"{folder} holds no picture to be ranked for {query.file.name}. {' '.join(notes)}"
            )
        away = distances(query, others)
        order = np.argsort(away, kind="stable")
        for rank, place in enumerate(order, 1):
            name = others[place].file.relative_to(folder)
            rows.append([query.file, rank, name, f"{away[place]:.4f}"])
        first = [(others[place], away[place]) for place in order[:top]]
        same = len(found) - len(others)
        sheet.append(_answers(query, first, folder, len(others), same))
    table, page = out / "search.csv", out / "search.html"
    with (
        replacing(table) as scratch,
        open(scratch, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        csv.writer(stream).writerows([COLUMNS, *rows])
    with replacing(page) as scratch:
        scratch.write_text(_page(network, folder, notes, sheet), encoding="utf-8")
    return page, table


def _page(network: Network, folder: Path, notes: list[str], sheet: list[str]) -> str:
    title = f"Most alike in {printable(folder.resolve().name)}"
    said = "".join(f"<li style='width: auto'>{escape(note)}</li>" for note in notes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>By {escape(network.name)}, cosine distance: the smaller, the more alike. The first "
        "is not always the same person, and where that person is not in the folder it is somebody "
        "else. This file holds the pictures themselves: pass it on only as you would them.</p>"
        f"<ol>{said}</ol>{''.join(sheet)}</body></html>\n"
    )


def _answers(
    query: Picture, first: list[tuple[Picture, float]], folder: Path, count: int, same: int
) -> str:
    name = escape(printable(query.file.name))
    itself = f"; the query itself lies there, and is left out ({same})" if same else ""
    tiles = "".join(
        f"<li>{_tile(picture, f'Rank {rank}')}<strong>{rank}</strong> · {away:.3f}<br>"
        f"{escape(printable(str(picture.file.relative_to(folder))))}</li>"
        for rank, (picture, away) in enumerate(first, 1)
    )
    return (
        f"<h2>{name}</h2>{_tile(query, 'The query')}"
        f"<p>The first {len(first)} of {count:,} pictures{itself}.</p><ol>{tiles}</ol>"
    )


def _tile(picture: Picture, alt: str) -> str:
    """A small copy of a picture, at its own shape, which leads to the file."""
    height, width = THUMBNAIL
    width = min(max(8, round(height * picture.width / picture.height)), 2 * width)
    stream = io.BytesIO()
    Image.fromarray(read(picture.file, height, width)[0]).save(stream, "jpeg", quality=80)
    content = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<a href="{escape(picture.file.resolve().as_uri())}"><img '
        f'alt="{escape(alt)}: {escape(printable(picture.file.name))}" '
        f'src="data:image/jpeg;base64,{content}"></a>'
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m reidlab search`` takes."""
    parser.add_argument("query", nargs="+", type=Path, help="a picture of one person, cut out")
    parser.add_argument("folder", type=Path, help="of pictures; others in it are said, not read")
    networks.add_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=paths.ROOT / "private" / "search",
        help="folder for search.html and search.csv; default: private/search, which git ignores",
    )
    parser.add_argument("--top", type=int, default=20, help="answers on the sheet; default: 20")


def run(given: argparse.Namespace) -> None:
    """The command."""
    network = networks.find_network(given.network, given.model, given.height, given.width)
    for file in search(given.query, given.folder, network, given.out, max(1, given.top)):
        sys.stdout.write(f"{file}\n")
