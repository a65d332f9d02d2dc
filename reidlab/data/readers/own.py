"""Your own photographs: a CSV that says whom each image shows.

``own.csv`` has a row for each image and the columns ``path,pid,camid,split``::

    path,pid,camid,split
    photographs/anna/door/1.jpg,anna,door,query
    photographs/anna/yard/3.jpg,anna,yard,gallery
    photographs/bert/door/2.jpg,bert,door,train

``path`` is relative to the CSV; ``pid`` and ``camid`` are numbers from 1 or any other names, which
are numbered from 1; ``split`` is train, query or gallery. Where nobody knows the cameras, leave
``camid`` out: no rule about cameras can apply then, and every other image of a person counts as a
match. :func:`make_csv` writes such a file for a folder with a folder for each person.
"""

import logging
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from reidlab.common.errors import DataError
from reidlab.common.files import replacing
from reidlab.data.image import oriented_size
from reidlab.data.readers.files import visible
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.table import Dataset, checksum, fingerprint, make_table, number_images

log = logging.getLogger(__name__)

FILE = "own.csv"
SPLITS = ["train", "query", "gallery"]
COLUMNS = ["path", "pid", "camid", "split"]
NO_CAMERAS = (
    "Without cameras the same-camera rule cannot apply: every other image of a person counts as "
    "a match, also one taken a moment later, so that scores are higher than across cameras."
)
FEWEST = 4  # people: two to train on, and two to tell apart


def load(name: str, root: Path) -> Dataset:
    """Read your own photographs.

    Args:
        name: ``own``.
        root: the CSV, a folder that holds ``own.csv``, or a zip of one.

    Raises:
        DataError: not found, columns or values that are none, images that are missing or listed
            twice, or no query that could have a match.
    """
    file = locate(name, root)
    rows = _read(file)
    has_cameras = bool(rows.camid.any())
    rows = rows.assign(camid=_numbers(rows.camid), label=rows.pid, pid=_numbers(rows.pid))
    notes = [] if has_cameras else [NO_CAMERAS]
    notes += _check_matches(file, rows, has_cameras)
    for note in notes[not has_cameras :]:
        log.warning("%s: %s", file, note)
    tables = {
        split: make_table(rows.loc[rows.split == split, ["path", "pid", "camid"]].values.tolist())
        for split in SPLITS
    }
    if not has_cameras:
        tables = number_images(tables)
    content = {path: _content(path) for path in rows.path}
    return Dataset(
        name,
        **tables,
        fingerprint=fingerprint(tables, True, content),
        has_cameras=has_cameras,
        note=" ".join(notes),
    )


def locate(name: str, root: Path) -> Path:
    """The CSV."""
    root = Path(root)
    return root if root.suffix == ".csv" else find(name, root, ["own"], LAYOUT) / FILE


LAYOUT = Layout(
    title="the layout of own photographs",
    wanted=FILE,
    fits=lambda folder: (folder / FILE).is_file(),
    source=f"{FILE} (python -m reidlab own FOLDER writes it for a folder of people's folders)",
)


def _content(path: str) -> str:
    """What a fingerprint knows of an image: a photograph that was edited may keep its size."""
    size = Path(path).stat().st_size
    return f"{size}:{checksum(path):08x}" if size else ""


def _read(file: Path) -> pd.DataFrame:
    """The CSV's rows, of text, with whole paths; ``camid`` is empty where there are no cameras."""
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist. Check the path.") from error
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise DataError(
            f"{file} cannot be read as a CSV in UTF-8 ({str(error).strip()}). Expected a first "
            f"line {','.join(COLUMNS)} and one line an image."
        ) from error
    if missing := {"path", "pid", "split"} - set(rows):
        raise DataError(
            f"{file} lacks the column {', '.join(sorted(missing))}: its first line is "
            f"{','.join(rows)!r}, expected {','.join(COLUMNS)} (camid may be left out), with "
            "commas between."
        )
    rows = rows.reindex(columns=COLUMNS, fill_value="").apply(lambda column: column.str.strip())
    for column in ("pid", "camid"):  # é can be written in two ways, and is one name
        rows[column] = rows[column].map(lambda text: unicodedata.normalize("NFC", text))

    def refuse(wrong: pd.Series, what: str, remedy: str) -> None:
        if wrong.any():
            first = rows[wrong].iloc[0]
            raise DataError(
                f"{file}, line {rows.index[wrong][0] + 2}: {what} (path {first.path!r}, pid "
                f"{first.pid!r}, camid {first.camid!r}, split {first.split!r}); so {wrong.sum()} "
                f"of {len(rows)} lines. {remedy}"
            )

    refuse(
        ~rows.split.isin(SPLITS), "split is none of train, query, gallery", "Write one of them."
    )
    refuse(rows.pid == "", "pid is empty", "Say who it is.")
    refuse(
        (rows.camid == "") & bool(rows.camid.any()),
        "camid is empty, while other lines have one",
        "Give every image a camera, or none.",
    )
    rows["path"] = [_path(file.parent, path) for path in rows.path]
    refuse(
        ~rows.path.map(lambda path: Path(path).is_file()),
        "there is no such image",
        "Put it there, or take the line out; a path starts at the CSV's folder.",
    )
    refuse(rows.path.duplicated(), "the image was listed before", "An image has one line.")
    return rows


def _path(folder: Path, path: str) -> str:
    """A whole path; é in a file's name may be written otherwise than in the CSV."""
    forms = [path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))]
    there = (file for form in forms if (file := folder / form).is_file())
    return str(next(there, folder / path))


def _numbers(labels: pd.Series) -> pd.Series:
    """Names as numbers: those that are numbers from 1 stay, others are counted in their order."""
    if labels.map(lambda label: re.fullmatch(r"[1-9]\d{0,8}", label, re.A) is not None).all():
        return labels.astype(np.int64)
    return labels.map({label: n for n, label in enumerate(sorted(set(labels)), 1)})


def _check_matches(file: Path, rows: pd.DataFrame, has_cameras: bool) -> list[str]:
    """See that some query has a match; what else the split's maker should know, as notes."""
    train, query, gallery = (rows[rows.split == split] for split in SPLITS)
    pairs = query.merge(gallery, on="pid")
    if pairs.empty:
        raise DataError(
            f"{file}: none of the {query.pid.nunique()} people of split query is in split gallery "
            f"(query: {_some(query.label)}; gallery: {_some(gallery.label)}). A person has the "
            "same pid in both."
        )
    if has_cameras and (pairs.camid_x == pairs.camid_y).all():
        raise DataError(
            f"{file}: whoever is in split query is in split gallery only as seen by the same "
            "camera, which the same-camera rule leaves out. Add images of another camera, or take "
            "the column camid out to rank without that rule."
        )
    notes = []
    if absent := set(query.label) - set(gallery.label):
        notes.append(f"Not in the gallery, and so not scored: {_some(absent)}.")
    if both := set(query.label) & set(train.label):
        notes.append(
            f"Trained on and searched for: {_some(both)} ({len(both)} people). Scores say nothing "
            "about strangers."
        )
    return notes


def _some(names: object) -> str:
    every = sorted(set(names))
    return ", ".join(every[:5]) + ", ..." * (len(every) > 5) or "nobody"


def make_csv(folder: str | Path, out: str | Path | None = None, seed: int = 0) -> Path:
    """Write the CSV for a folder that holds a folder for each person.

    In a person's folder lie images, or a folder of images for each camera. Cut out one person an
    image, upright. Half of the people are trained on and the others searched for, see
    :func:`split`; to decide that yourself, edit the column ``split``.

    Args:
        folder: of people.
        out: the CSV; None writes ``own.csv`` beside the folder. An existing file stays.
        seed: of the split.

    Returns:
        ``out``.

    Raises:
        DataError: there is such a file; no images, images that cannot be read, and files that are
            none; two layouts mixed; fewer than 4 people, or fewer than two who could be found.
    """
    folder = Path(os.path.realpath(folder))
    out = folder.parent / FILE if out is None else Path(os.path.realpath(out))
    if out.exists():
        raise DataError(f"{out} exists. Delete it to have it made anew, or name another file.")
    images = _photographs(folder)
    _check_readable(folder, images.path)
    rows = split(folder, images, seed)
    rows["path"] = [Path(os.path.relpath(path, out.parent)).as_posix() for path in rows.path]
    rows = rows if rows.camid.any() else rows.drop(columns="camid")
    with replacing(out) as scratch:
        rows.to_csv(scratch, index=False)
    return out


def _photographs(folder: Path) -> pd.DataFrame:
    """Every image of a folder of people: path, pid and camid, which are their folders' names."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Name a folder with a folder for each person.")
    files = list(_files(folder))
    names = [file.relative_to(folder).parts[:-1] for file in files]
    depth = len(names[0]) if names else 0
    other = next((file for file, name in zip(files, names) if len(name) != depth), None)
    if other is not None or depth not in (1, 2):
        example = f"found {files[0]}{f' and {other}' if other else ''}" if files else "it is empty"
        raise DataError(
            f"{folder}: {example}; expected person/image or, with cameras, person/camera/image, "
            "the same for all. Move what lies elsewhere, or take it out."
        )
    labels = [[unicodedata.normalize("NFC", part) for part in (*name, "")[:2]] for name in names]
    return pd.DataFrame(labels, columns=["pid", "camid"]).assign(path=files)[COLUMNS[:3]]


def _files(folder: Path) -> Iterator[Path]:
    for path in visible(folder):
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _check_readable(folder: Path, files: Iterable[Path]) -> None:
    """See that every file begins like an image; decoding finds those that end too early."""
    bad, wide = [], []
    for file in files:
        try:
            width, height = oriented_size(file)
            wide.append(width > height)
        except DataError as error:
            bad.append(str(error))
    if bad:
        raise DataError(
            f"{folder}: {len(bad)} of {len(bad) + len(wide)} files are no images to read. "
            f"{' '.join(bad[:5])}{' And so on.' if len(bad) > 5 else ''}"
        )
    if 2 * sum(wide) > len(wide):
        log.warning(
            "%s: %d of %d images are wider than high. Cut out one person an image, upright.",
            *(folder, sum(wide), len(wide)),
        )


def split(folder: Path, images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Half of the people to train on; of the others, queries and a gallery.

    Somebody can be searched for who was seen by two cameras or, without cameras, has two images.
    Of these people the half whose turn comes first in an order drawn from the seed and each one's
    name is tested; everybody else is trained on. A tested person gives one query for each camera
    that has another image of them, or one in all where no camera has two; the rest is gallery.
    What is drawn for a person depends on nobody else.

    Args:
        folder: for messages.
        images: of everybody: path, pid, camid (empty without cameras).
        seed: the same seed gives the same split.

    Returns:
        The images with a column ``split``.

    Raises:
        DataError: too few people, or nobody who can be searched for.
    """
    people = dict(list(images.groupby("pid")))
    view, views = ("camid", "two cameras") if images.camid.any() else ("path", "two images")
    able = [person for person, own in people.items() if own[view].nunique() > 1]
    if len(people) < FEWEST or len(able) < 2:
        seen = "; ".join(f"{who}: {_some(own.camid)}" for who, own in list(people.items())[:5])
        raise DataError(
            f"{folder} holds {len(people)} people, of whom {len(able)} have {views}"
            f"{f' ({seen})' if view == 'camid' else ''}. It takes at least {FEWEST}, two to train "
            "on and two to tell apart, and two of them with one image to ask with and another"
            f"{' of another camera' if view == 'camid' else ''} to be found. Add images"
            + (", or put all of them straight into their person's folder" * (view == "camid"))
            + "."
        )
    draws = {who: np.random.default_rng([seed, zlib.crc32(who.encode())]) for who in people}
    order = sorted(able, key=lambda person: (draws[person].random(), person))
    chosen = pd.Series("train", index=images.index)
    for person in order[: max(2, len(able) // 2)]:
        own, rng = people[person].sort_values("path"), draws[person]
        chosen[own.index] = "gallery"
        cameras = [list(seen.index) for _, seen in own.groupby("camid", sort=False)]
        several = [seen for seen in cameras if len(seen) > 1]
        for seen in several or [cameras[rng.integers(len(cameras))]]:
            chosen[seen[rng.integers(len(seen))]] = "query"
    return images.assign(split=chosen)
