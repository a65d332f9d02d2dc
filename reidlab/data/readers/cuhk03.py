"""CUHK03 (Li et al., "DeepReID", CVPR 2014): people seen by two cameras, cropped in two ways.

*Labeled* crops were drawn by hand, *detected* ones by a detector. Two protocols are in use:

- The new one (Zhong et al., CVPR 2017, "CUHK03-NP"), ranked like Market-1501: 767 people to train
  on, 700 to test on. ``cuhk03-labeled`` and ``cuhk03-detected`` read it from CUHK03-NP's folders,
  ``cuhk03-np/{labeled,detected}/`` in Market-1501's layout, or else from ``cuhk-03.mat`` with
  ``cuhk03_new_protocol_config_{labeled,detected}.mat`` beside it or one folder up.
- The classic one: 20 splits with 100 people to test on. ``cuhk03-classic-labeled`` and
  ``cuhk03-classic-detected`` are its first split, ``cuhk03-classic-detected-0`` to ``-19`` all of
  them. As in torchreid, all other 1,367 people are for training (the paper drew 1,160 of 1,360
  and 100 for validation), and the test images are both query and gallery.

The classic protocol's own metric is single-gallery-shot CMC: the gallery holds one image of each
person, drawn at random, and the mean is taken over the draws and the 20 splits. A run on a classic
split has it (:mod:`metrics.single_shot`) as ``rank1_single_shot`` and so on; its other scores rank
all test images, and must not stand beside published ones.

The images inside the .mat file are unpacked once, by :mod:`reidlab.data.readers.cuhk03_mat`.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd

from reidlab.common.errors import DataError
from reidlab.data.image import opened
from reidlab.data.readers import cuhk03_mat, market1501
from reidlab.data.readers.layouts import Layout, find
from reidlab.data.table import Dataset, check_counts, fingerprint, make_table, split_counts

_NAME = re.compile(r"cuhk03-(?P<classic>classic-)?(?P<kind>labeled|detected)(-(?P<split>\d+))?")

#: Of CUHK03-NP's authors. The images of the classic protocol are the same ones, all together.
_NEW = {"train identities": 767, "query images": 1_400, "query identities": 700}
_NEW |= {"gallery identities": 700, "gallery distractors": 0, "cameras": 2}
_CLASSIC = {"identities": 1_467, "train identities": 1_367, "query identities": 100, "cameras": 2}
PUBLISHED = {
    "cuhk03-labeled": {"train images": 7_368, "gallery images": 5_328, **_NEW},
    "cuhk03-detected": {"train images": 7_365, "gallery images": 5_332, **_NEW},
    "cuhk03-classic-labeled": {"images": 14_096, **_CLASSIC},
    "cuhk03-classic-detected": {"images": 14_097, **_CLASSIC},
}

CLASSIC_NOTE = (
    "CUHK03's classic protocol, split {split} of 0 to 19. Published numbers draw one gallery "
    "image of each person at random, as rank1_single_shot and its like do, and average over the "
    "splits; scores without that name rank all test images, and are not comparable with them."
)

NP_NOTE = "CUHK03-NP's folders."
RESIZED_NOTE = (
    "All crops are 64x128 pixels: somebody resized them, while published numbers are of crops at "
    "their native sizes."
)

MAT = "cuhk-03.mat"
CONFIG = "cuhk03_new_protocol_config_{kind}.mat"
USUAL_NAMES = ["cuhk03-np", "CUHK03-NP", "cuhk03_release", "cuhk03/cuhk03_release"]
USUAL_NAMES += ["cuhk03", "CUHK03", "CUHK03/cuhk03_release"]


def load(name: str, root: Path) -> Dataset:
    """Read CUHK03 under one of its protocols and check its counts.

    Args:
        name: see above.
        root: ``cuhk-03.mat`` itself, its folder or zip, CUHK03-NP's folder or zip, or a folder
            that holds one of them under a usual name.

    Raises:
        DataError: not found, a .mat file that is truncated or not CUHK03's, a protocol file that
            is missing or does not fit the images, or counts other than the published ones.
    """
    classic, kind, split = _parse(name)
    place = locate(name, root)
    if place.is_dir():
        dataset = market1501.read_layout(name, place, PUBLISHED[name], note=NP_NOTE)
        resized = f"{NP_NOTE} {RESIZED_NOTE}" if _are_resized(dataset.query) else NP_NOTE
        return dataclasses.replace(dataset, note=resized)
    images = cuhk03_mat.unpack_images(place, kind)
    if classic:
        tables = _classic_split(images, cuhk03_mat.read_testset(place, split), place, split)
        published, note = f"cuhk03-classic-{kind}", CLASSIC_NOTE.format(split=split)
    else:
        config = _config(place, kind, Path(root))
        tables = _new_split(images, config)
        published, note = name, f"{MAT} under the protocol of {config.name}."
    content = dict(zip(images.path, images.crc))  # a PNG's size depends on who compressed it
    dataset = Dataset(
        name,
        **tables,
        fingerprint=fingerprint(tables, True, content),
        note=note,
        single_shot=classic,
    )
    found = split_counts(dataset)
    found["images"] = len(dataset.train) + len(dataset.query)  # of a classic split
    check_counts(name, place, found, PUBLISHED[published])
    return dataset


def locate(name: str, root: Path) -> Path:
    """CUHK03-NP's folder of one kind of crops (new protocol only), or else ``cuhk-03.mat``."""
    classic, kind, _ = _parse(name)
    root = Path(root)
    if root.is_file() and root.suffix == ".mat":
        return root
    if not classic and root.name == kind and market1501.has_layout(root):
        return root

    def has_folders(folder: Path) -> bool:
        return not classic and market1501.has_layout(folder / kind)

    layout = Layout(
        title="CUHK03's layout",
        wanted=MAT if classic else f"{MAT}, or {kind}/ in Market-1501's layout",
        fits=lambda folder: has_folders(folder) or (folder / MAT).is_file(),
    )
    folder = find(name, root, USUAL_NAMES, layout)
    return folder / kind if has_folders(folder) else folder / MAT


def read_junk(name: str, root: Path) -> pd.DataFrame:
    """Images of pid -1, columns as in :class:`Dataset`; only CUHK03-NP could have any."""
    place = locate(name, root)
    return market1501.junk_of(place) if place.is_dir() else make_table([])


def _are_resized(frame: pd.DataFrame) -> bool:
    """Whether the crops, whose native sizes all differ, are of one size; a sample tells."""
    sizes = set()
    for path in frame.path[:: max(1, len(frame) // 20)]:
        with opened(path) as image:
            sizes.add(image.size)
    return sizes == {(64, 128)}


def _parse(name: str) -> tuple[bool, str, int]:
    """Whether the protocol is the classic one, the kind of crops, and the split."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return bool(match["classic"]), match["kind"], int(match["split"] or 0)


def _rows(images: pd.DataFrame, pids: np.ndarray) -> pd.DataFrame:
    """A split's table; the camera is the view, 1 or 2, whichever pair of cameras it belongs to."""
    return make_table(zip(images.path, pids.tolist(), images["view"]))


def _classic_split(
    images: pd.DataFrame, testset: pd.DataFrame, mat: Path, split: int
) -> dict[str, pd.DataFrame]:
    """One of the 20 splits: the people of a test set, and all others."""
    people = pd.MultiIndex.from_frame(images[["pair", "person"]])
    tested = pd.MultiIndex.from_frame(testset[["pair", "person"]])
    if strangers := [who for who in tested if who not in people]:
        pair, person = strangers[0]
        raise DataError(
            f"{mat}: test set {split} names {len(strangers)} people without images, the first "
            f"being person {person} of camera pair {pair}. The file is not the official one."
        )
    pids = people.factorize(sort=True)[0] + 1
    is_test = people.isin(tested)
    train, test = (_rows(images[part], pids[part]) for part in (~is_test, is_test))
    return {"train": train, "query": test, "gallery": test.copy()}


def _new_split(images: pd.DataFrame, file: Path) -> dict[str, pd.DataFrame]:
    """The 767/700 split, as its authors' file lists it."""
    config = cuhk03_mat.read_config(file)
    known = images.set_index("name")
    if strangers := sorted(set(config.names) - set(known.index)):
        raise DataError(
            f"{file} lists {len(strangers):,} images that {MAT} does not hold, the first being "
            f"{strangers[0]}. The two do not belong together: is one of them for the other kind "
            "of crops, or not the official one?"
        )
    listed = known.loc[config.names]
    return {
        split: _rows(listed.iloc[index], config.pids[index])
        for split, index in config.splits.items()
    }


def _config(mat: Path, kind: str, root: Path) -> Path:
    """The protocol's file: beside the images, one folder up, or in the folder that was given."""
    name = CONFIG.format(kind=kind)
    folders = [mat.parent, mat.parent.parent, root, root / "cuhk03", root / "CUHK03"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(dict.fromkeys(map(str, folders)))
    raise DataError(
        f"{mat} is there, but {name} is not: looked in {looked}. It says who belongs to which "
        "split of the 767/700 protocol; put it beside the images. It comes with the code of Zhong "
        "et al. (github.com/zhunzhong07/person-re-ranking, evaluation/data/CUHK03)."
    )
