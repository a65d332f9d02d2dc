"""Your own photographs: a folder for each person, with or without folders for cameras.

Cut out one person an image, upright, about twice as high as wide::

    photographs/              photographs/
      anna/                     anna/
        door/                     1.jpg
          1.jpg                   2.jpg
          2.jpg                 bert/
        yard/                     ...
          3.jpg
      bert/
        ...

Left, with cameras: ranking leaves out a query's own person in its own camera. Right, without: no
rule about cameras can apply, and every other image of the person counts as a match.

Half of the people are trained on and the other half searched for, drawn by a seed: see
:func:`split`. To split them yourself, give ``query/`` and ``gallery/``, and ``train/`` to train
on, each with folders of people as above; a person has the same name in all of them.
"""

import logging
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from reidlab.common.errors import DataError
from reidlab.data.readers.layouts import NOT_IMAGES, Layout, find
from reidlab.data.readers.market1501 import has_layout
from reidlab.data.table import Dataset, fingerprint, make_table, number_images

log = logging.getLogger(__name__)

DATASETS = {"folder": "your own photographs: a folder for each person, cameras or not"}

USUAL_NAMES = ["photographs", "photos"]
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
NO_CAMERAS = (
    "Without cameras the same-camera rule cannot apply: every other image of a person counts as "
    "a match, also one taken a moment later, so that scores are higher than across cameras."
)
ORIENTATION = 0x0112  # EXIF tag; decoding ignores it, as the public sets have none
FEWEST = 4  # people: two to train on, and two to tell apart


class Photograph(NamedTuple):
    """One image: where it is, whom it shows, and the camera's name, if there is one."""

    path: Path
    person: str
    camera: str | None


Splits = dict[str, list[Photograph]]


def load(name: str, root: Path) -> Dataset:
    """Read your own photographs, split with seed 0; see :func:`load_folder`."""
    return load_folder(locate(name, root), name)


def load_folder(folder: Path, name: str = "folder", seed: int = 0) -> Dataset:
    """Read a folder of people's folders.

    pids count the people by name from 1, camids the cameras, over all splits. Without cameras
    ``has_cameras`` is False and every image has a camid of its own.

    Args:
        folder: holds people's folders, or query/, gallery/ and train/ with people's folders.
        name: of the dataset.
        seed: of the split, where the folder does not say it.

    Raises:
        DataError: no images; images that cannot be read, and files that are none; folders that mix
            two layouts; or nobody who could be found again (one image each, or one camera).
    """
    fixed = _is_split(_must_exist(folder))
    if fixed:
        parts = [part for part in ("train", "query", "gallery") if (folder / part).is_dir()]
        _refuse_others(folder, parts)
        splits = {"train": []} | {part: _photographs(folder / part) for part in parts}
    else:
        splits = {"all": _photographs(folder)}
    everything = [photograph for part in splits.values() for photograph in part]
    cameras = _cameras(folder, everything)
    _check_readable(folder, everything)
    if not fixed:
        splits = split(folder, splits["all"], seed)
    notes = [] if cameras else [NO_CAMERAS]
    notes += _check_matches(folder, splits, bool(cameras))

    people = {person: pid for pid, person in enumerate(sorted({p.person for p in everything}), 1)}
    tables = {
        part: make_table((str(p.path), people[p.person], cameras.get(p.camera, 0)) for p in photos)
        for part, photos in splits.items()
    }
    if not cameras:
        tables = number_images(tables)
    return Dataset(
        name,
        **tables,
        fingerprint=fingerprint(tables, labels=True),
        has_cameras=bool(cameras),
        note=" ".join(notes),
    )


def locate(name: str, root: Path) -> Path:
    """The folder of people: a folder or zip under a usual name, or else the root itself."""
    root = Path(root)
    for usual in USUAL_NAMES:
        if root.is_dir() and (root / usual).is_dir():
            return root / usual
        if (root / f"{usual}.zip").is_file():
            return find(name, root / f"{usual}.zip", [], LAYOUT)
    return find(name, root, [], LAYOUT) if root.is_file() else _must_exist(root)


def _must_exist(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(
            f"{root} does not exist. Name the folder that holds a folder for each person: "
            "make study DATA=/folder/of/people"
        )
    return root


def split(folder: Path, photographs: list[Photograph], seed: int) -> Splits:
    """Half of the people to train on; of the others, queries and a gallery.

    Somebody can be searched for who was seen by two cameras or, without cameras, has two images.
    Of these people the half whose turn comes first in an order drawn from the seed and each one's
    name is tested; everybody else is trained on. A tested person gives one query for each camera
    that has another image of them, or one in all where no camera has two; the rest is gallery.
    What is drawn for a person depends on nobody else.

    Args:
        folder: for messages.
        photographs: of everybody.
        seed: the same seed gives the same split.

    Raises:
        DataError: too few people, or nobody who can be searched for.
    """
    people: dict[str, list[Photograph]] = defaultdict(list)
    for photograph in photographs:
        people[photograph.person].append(photograph)
    able = [person for person, own in people.items() if _can_be_found(own)]
    if len(able) < 2 or len(people) < FEWEST:
        raise DataError(_why_not(folder, people, able))
    draws = {person: _generator(seed, person) for person in people}
    order = sorted(able, key=lambda person: (draws[person].random(), person))
    tested = set(order[: max(2, len(able) // 2)])
    splits: Splits = {"train": [], "query": [], "gallery": []}
    for person, own in people.items():
        if person not in tested:
            splits["train"] += own
            continue
        queries = _queries(own, draws[person])
        splits["query"] += queries
        splits["gallery"] += [photograph for photograph in own if photograph not in queries]
    return splits


def _generator(seed: int, person: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(person.encode())])


def _can_be_found(own: list[Photograph]) -> bool:
    if own[0].camera is None:
        return len(own) > 1
    return len({photograph.camera for photograph in own}) > 1


def _queries(own: list[Photograph], rng: np.random.Generator) -> list[Photograph]:
    """One query for each camera that keeps an image; every one of them has a match left."""
    by_camera: dict[str | None, list[Photograph]] = defaultdict(list)
    for photograph in sorted(own):
        by_camera[photograph.camera].append(photograph)
    cameras = [images for images in by_camera.values() if len(images) > 1]
    if not cameras:
        cameras = [list(by_camera.values())[rng.integers(len(by_camera))]]
    return [images[rng.integers(len(images))] for images in cameras]


def _why_not(folder: Path, people: dict[str, list[Photograph]], able: list[str]) -> str:
    """Why a folder cannot be split, and what to do about it."""
    count = f"{len(people)} people" if len(people) > 1 else "one person only"
    cameras = {p.camera for own in people.values() for p in own}
    by_hand = "or split the images yourself into train/, query/ and gallery/"
    if len(able) > 1:
        return (
            f"{folder} holds {count}: at least {FEWEST} are needed, two to train on and two to "
            f"tell apart. Add people, {by_hand}."
        )
    if cameras == {None}:
        return (
            f"{folder} holds {count}, of whom {len(able)} have more than one image; searching "
            f"takes one image to ask with and another to be found, of at least two people. Add "
            f"images, {by_hand}."
        )
    if len(cameras) == 1:
        return (
            f"All images in {folder} come from one camera, {cameras.pop()!r}: the same-camera "
            "rule would leave nothing to be found. Add images of a second camera, or put the "
            "images straight into each person's folder to rank them without that rule."
        )
    seen = "; ".join(
        f"{person}: {', '.join(sorted({str(p.camera) for p in own}))}"
        for person, own in sorted(people.items())[:5]
    )
    return (
        f"{folder} holds {count}, of whom {len(able)} were seen by two cameras ({seen}, ...); at "
        f"least two such people are needed. Add images, {by_hand}."
    )


def _visible(folder: Path) -> list[Path]:
    hidden = NOT_IMAGES
    return sorted(p for p in folder.iterdir() if p.name not in hidden and p.name[0] != ".")


def _is_split(folder: Path) -> bool:
    """Whether a folder says itself who is searched for where."""
    if has_layout(folder):
        raise DataError(
            f"{folder} is in Market-1501's layout, not one of people's folders: load it as "
            '"market-layout".'
        )
    has = {part: (folder / part).is_dir() for part in ("query", "gallery")}
    if len(set(has.values())) > 1:
        there, absent = sorted(has, key=has.__getitem__, reverse=True)
        raise DataError(
            f"{folder} holds {there}/ but no {absent}/: to split the images yourself give both, "
            f"each with a folder for each person. (Is somebody called {there}? Rename the folder.)"
        )
    return has["query"]


def _refuse_others(folder: Path, parts: list[str]) -> None:
    if others := [path.name for path in _visible(folder) if path.name not in parts]:
        raise DataError(
            f"{folder} holds query/ and gallery/, and beside them {', '.join(others[:5])}: either "
            "folders of people, or train/, query/ and gallery/ with folders of people in them. "
            "Move what is beside them into one of these."
        )


def _photographs(folder: Path) -> list[Photograph]:
    """Every image of a folder of people, in order of their names."""
    found: list[Photograph] = []
    for person in _visible(folder):
        if not person.is_dir():
            raise DataError(
                f"{person} lies beside the folders of people. Put it into its person's folder, or "
                "take it out."
            )
        own = _of_person(person)
        if not own:
            raise DataError(f"{person} holds no image. Add some, or delete the folder.")
        found += own
    if not found:
        raise DataError(
            f"{folder} is empty. Put a folder for each person there, with this person's images."
        )
    return found


def _of_person(folder: Path) -> list[Photograph]:
    inside = _visible(folder)
    cameras = [path for path in inside if path.is_dir()]
    if cameras and len(cameras) < len(inside):
        stray = next(path for path in inside if not path.is_dir())
        raise DataError(
            f"{folder} mixes two layouts: {stray.name} is a file, {cameras[0].name}/ a folder. "
            "Either all images of all people lie in folders of cameras, or none."
        )
    if not cameras:
        return [Photograph(path, folder.name, None) for path in inside]
    found = []
    for camera in cameras:
        for path in _visible(camera):
            if path.is_dir():
                raise DataError(
                    f"{path} is a folder too many: images lie at person/file or at "
                    "person/camera/file. Move its images up."
                )
            found.append(Photograph(path, folder.name, camera.name))
    return found


def _cameras(folder: Path, photographs: list[Photograph]) -> dict[str | None, int]:
    """Camera name -> camid from 1; empty where nobody has cameras."""
    names = {photograph.camera for photograph in photographs}
    if names == {None}:
        return {}
    if None in names:
        examples = [
            next(p.path for p in photographs if (p.camera is None) == without)
            for without in (False, True)
        ]
        raise DataError(
            f"{folder} mixes two layouts: {examples[0]} lies in a camera's folder, {examples[1]} "
            "straight in its person's. Either all images lie in folders of cameras, or none."
        )
    return {name: camid for camid, name in enumerate(sorted(map(str, names)), 1)}


def _check_readable(folder: Path, photographs: list[Photograph]) -> None:
    """See that every file begins like an image; decoding finds those that end too early."""
    bad, wide = [], 0
    for path, *_ in photographs:
        if path.suffix.lower() not in SUFFIXES:
            bad.append(f"{path} (not one of {' '.join(sorted(SUFFIXES))})")
            continue
        try:
            with Image.open(path) as image:
                wide += image.width > image.height
                if image.getexif().get(ORIENTATION, 1) > 1:
                    bad.append(f"{path} (stored on its side: rotate it, mogrify -auto-orient)")
        except UnidentifiedImageError:
            bad.append(f"{path} (not an image, whatever its name says)")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            bad.append(f"{path} ({error})")
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad)} of {len(photographs)} files in {folder} cannot be used as images: "
            f"{'; '.join(bad[:5])}{more}. Replace them, convert them to JPEG or PNG, or take "
            "them out."
        )
    if 2 * wide > len(photographs):
        log.warning(
            "%s: %d of %d images are wider than high. Cut out one person an image, upright.",
            *(folder, wide, len(photographs)),
        )


def _check_matches(folder: Path, splits: Splits, cameras: bool) -> list[str]:
    """See that some query has a match; what else the split's maker should know, as notes."""
    gallery: dict[str, set[str | None]] = defaultdict(set)
    for photograph in splits["gallery"]:
        gallery[photograph.person].add(photograph.camera)
    absent = sorted({p.person for p in splits["query"]} - set(gallery))
    searched = {p.person for p in splits["query"]}
    if absent and len(absent) == len(searched):
        raise DataError(
            f"{folder}: none of the {len(searched)} people in query/ is in gallery/ (query/: "
            f"{', '.join(absent[:5])}; gallery/: {', '.join(sorted(gallery)[:5])}). A person's "
            "folder must have the same name in both."
        )
    if cameras and not any(gallery[p.person] - {p.camera} for p in splits["query"]):
        names = ", ".join(sorted({str(p.camera) for p in splits["query"]})[:5])
        raise DataError(
            f"{folder}: whoever is in query/ is in gallery/ only as seen by the same camera "
            f"(query/: {names}), which the same-camera rule leaves out. Add images of another "
            "camera, or put the images straight into each person's folder to rank without it."
        )
    notes = []
    if absent:
        notes.append(f"Not in gallery/, and so not scored: {', '.join(absent)}.")
    if both := sorted(searched & {p.person for p in splits["train"]}):
        notes.append(
            f"Trained on and searched for: {', '.join(both[:5])}{', ...' * (len(both) > 5)} "
            f"({len(both)} people). Scores say nothing about strangers."
        )
    for note in notes:
        log.warning("%s: %s", folder, note)
    return notes


def _has_people(folder: Path) -> bool:
    """A folder of folders, that is not only the one folder around the set in an archive."""
    inside = _visible(folder)
    return len(inside) > 1 or any(path.is_file() for path in inside)


LAYOUT = Layout(
    title="the layout of own photographs",
    wanted="a folder for each person",
    fits=_has_people,
    source="the zip of a folder that holds a folder for each person",
)
