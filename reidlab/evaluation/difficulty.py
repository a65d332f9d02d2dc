"""How hard is a dataset before anything is learnt? Nearest neighbour on mean colours, and chance.

What a network scores is worth the distance to these two. Colour in horizontal stripes is among
the oldest features of re-ID (Farenzena et al., "Person Re-identification by Symmetry-driven
Accumulation of Local Features", CVPR 2010, and Gray and Tao, ECCV 2008, build on local colour),
and a dataset on which it does well does not need a network.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reidlab.data.store import decode
from reidlab.data.table import DISTRACTOR_PID, Dataset
from reidlab.metrics.scores import FeatureSet, evaluate, retrieve

#: Height and width in pixels at which colours are measured: Market-1501's own.
SIZE = (128, 64)

#: Feature name -> number of horizontal stripes that are averaged; whether cameras are levelled.
COLOUR_FEATURES = {
    "mean colour": (1, False),
    "mean colours of 8 stripes": (8, False),
    "8 stripes, cameras levelled": (8, True),
}


def mean_colours(images: Tensor, stripes: int = 1, middle: float = 1.0) -> Tensor:
    """Mean colour of every horizontal stripe of every image.

    Args:
        images: (N, 3, H, W) uint8.
        stripes: S equal stripes from head to foot; it divides H.
        middle: share of the width that counts, about the middle, where the person stands.

    Returns:
        (N, 3 S) float32 in 0..1; the colours of the top stripe come first.

    >>> image = torch.zeros(1, 3, 4, 2, dtype=torch.uint8)
    >>> image[0, 0, :2] = 255  # red above, black below
    >>> mean_colours(image, stripes=2).tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    height, width = images.shape[2:]
    if height % stripes:
        raise ValueError(f"stripes is {stripes}; it must divide the images' height of {height}")
    margin = round(width * (1 - middle) / 2)
    parts = []
    for block in images.split(1024):  # so that a memory-mapped store never becomes float at once
        inside = block[..., margin : width - margin].float().div_(255)
        # (N, 3, S, H/S, W) -> (N, S, 3)
        means = inside.unflatten(2, (stripes, height // stripes)).mean((3, 4)).transpose(1, 2)
        parts.append(means.flatten(1))
    return torch.cat(parts)


def colour_features(
    frame: pd.DataFrame, stripes: int = 8, size: tuple[int, int] = SIZE
) -> FeatureSet:
    """Mean colours of a split's images, ready for ranking."""
    return FeatureSet.of(mean_colours(decode(frame, *size), stripes), frame)


def chance_level(query: pd.DataFrame, gallery: pd.DataFrame) -> tuple[float, float]:
    """Expected Rank-1 and mAP of a random order of the gallery, under the same-camera rule.

    A query with M true matches among G images is right at rank 1 with probability M / G, and
    E[AP] = (H_G + (M - 1) (G - H_G) / (G - 1)) / G, with H_G = 1 + 1/2 + … + 1/G. It follows
    from AP = 1/M · Σ_r relevant(r) · precision(r) and the expectation of each term.

    Args:
        query: table with ``pid`` and ``camid``.
        gallery: the same.

    Returns:
        Rank-1 and mAP in [0, 1], averaged over the queries that have a true match.
    """
    same = pd.MultiIndex.from_frame(gallery[["pid", "camid"]]).value_counts()
    by_pid = gallery.pid.value_counts()
    removed = same.reindex(pd.MultiIndex.from_frame(query[["pid", "camid"]]), fill_value=0)
    removed = removed.to_numpy()
    matches = by_pid.reindex(query.pid, fill_value=0).to_numpy() - removed
    left = len(gallery) - removed  # G of each query
    valid = matches > 0
    matches, left = matches[valid].astype(float), left[valid]
    harmonic = np.cumsum(1 / np.arange(1, len(gallery) + 1))[left - 1]
    # With a single image left the second term is 0 / 0: M = G = 1, and it does not count.
    precision = (harmonic + (matches - 1) * (left - harmonic) / np.maximum(left - 1, 1)) / left
    return float(np.mean(matches / left)), float(np.mean(precision))


def level_cameras(features: FeatureSet, gallery: FeatureSet) -> FeatureSet:
    """Take off each camera's mean feature over the gallery, and with it the camera's tint."""
    levelled = features.features.clone()
    for camid in gallery.camids.unique():
        mean = gallery.features[gallery.camids == camid].mean(0)
        levelled[features.camids == camid] -= mean
    return features._replace(features=levelled)


def difficulty(dataset: Dataset) -> pd.DataFrame:
    """What chance and mean colours score.

    Returns:
        One row a feature: dataset, feature, dimensions (of the feature), rank1, mAP (percent).
        Cameras are levelled only where they are known.
    """
    rank1, mean_ap = chance_level(dataset.query, dataset.gallery)
    rows = [(dataset.name, "chance", 0, 100 * rank1, 100 * mean_ap)]
    for feature, (stripes, levelled) in COLOUR_FEATURES.items():
        if levelled and not dataset.has_cameras:
            continue
        query, gallery = (colour_features(f, stripes) for f in (dataset.query, dataset.gallery))
        if levelled:
            query, gallery = level_cameras(query, gallery), level_cameras(gallery, gallery)
        scores = evaluate(query, gallery, same_camera_rule=dataset.has_cameras).summary()
        rows.append((dataset.name, feature, 3 * stripes, scores["rank1"], scores["mAP"]))
    columns = ["dataset", "feature", "dimensions", "rank1", "mAP"]
    return pd.DataFrame(rows, columns=columns).round({"rank1": 2, "mAP": 2})


def identity_colours(dataset: Dataset, stripes: int = 4) -> pd.DataFrame:
    """Mean stripe colours of every identity, over its images in all splits and cameras.

    Only the middle third of each image counts: the colours are to be the person's, not those of
    the place. Every camera weighs the same, and its own mean is taken off first.

    Returns:
        One row a pid (sorted; distractors left out), 3 x ``stripes`` columns.
    """
    splits = dataset.splits().values()
    parts = [mean_colours(decode(split, *SIZE), stripes, middle=1 / 3) for split in splits]
    frame = pd.concat(splits, ignore_index=True)
    camids = frame.camid if dataset.has_cameras else 0  # as if all were from one
    table = pd.DataFrame(torch.cat(parts).numpy()).assign(pid=frame.pid, camid=camids)
    seen = table[table.pid > DISTRACTOR_PID].groupby(["pid", "camid"]).mean()
    return (seen - seen.groupby("camid").transform("mean")).groupby("pid").mean()


def camera_against_coat(dataset: Dataset, stripes: int = 8) -> dict[str, float]:
    """What moves the colours of an image more: another camera, or another person?

    Args:
        dataset: its gallery is measured.
        stripes: of the mean colours.

    Returns:
        Median Euclidean distance between mean colours of pairs of images: "same person, other
        camera", "other person, same camera"; and "first answer, same camera", the share of
        queries, in percent, whose nearest image in colour comes from their own camera.
    """
    gallery = colour_features(dataset.gallery, stripes)
    people = torch.nonzero(gallery.pids > DISTRACTOR_PID).flatten()
    people = people[:: max(1, len(people) // 3000)]  # pairs enough, whatever the gallery's size
    features, pids, camids = gallery.subset(people)
    between = torch.cdist(features, features)
    same_pid, same_camid = pids[:, None] == pids, camids[:, None] == camids
    query = colour_features(dataset.query, stripes)
    first, _ = retrieve(query, gallery, k=1)
    at_home = gallery.camids[first[:, 0]] == query.camids
    return {
        "same person, other camera": float(between[same_pid & ~same_camid].median()),
        "other person, same camera": float(between[~same_pid & same_camid].median()),
        "first answer, same camera": 100 * float(at_home.float().mean()),
    }


def lookalikes(colours: pd.DataFrame, size: int = 3) -> list[int]:
    """The ``size`` different identities that are closest to one another in colour.

    Args:
        colours: from :func:`identity_colours`.
        size: of the group.

    Returns:
        pids, sorted.
    """
    between = _distances(colours)
    # Around every identity its nearest others; the tightest of these groups wins.
    groups = np.argsort(between, axis=1, kind="stable")[:, :size]
    spread = [between[np.ix_(group, group)].sum() for group in groups]
    return sorted(int(pid) for pid in colours.index[groups[int(np.argmin(spread))]])


def distinctive(colours: pd.DataFrame, size: int = 3) -> list[int]:
    """``size`` identities that nobody resembles in colour: largest distance to the nearest other.

    Args:
        colours: from :func:`identity_colours`.
        size: how many.

    Returns:
        pids, most distinctive first.
    """
    between = _distances(colours)
    np.fill_diagonal(between, np.inf)
    order = np.argsort(-between.min(axis=1), kind="stable")[:size]
    return [int(pid) for pid in colours.index[order]]


def pick_samples(
    dataset: Dataset, junk: pd.DataFrame, seed: int = 0, people: int = 3, views: int = 4
) -> pd.DataFrame:
    """Choose what a sample figure shows: distinctive people, look-alikes, distractors and junk.

    Args:
        dataset: people are taken from all of its splits, distractors from its gallery.
        junk: its junk images, from `reidlab.data.read_junk`.
        seed: of the choice among a person's images, the distractors and the junk.
        people: identities in each of the first two rows.
        views: images of each, from as many different cameras as there are.

    Returns:
        Columns row (distinctive, look-alike, distractor or junk), path, pid, camid.
    """
    rng = np.random.default_rng(seed)
    everything = pd.concat(dataset.splits().values(), ignore_index=True)
    colours = identity_colours(dataset)
    many = everything.pid.value_counts().reindex(colours.index) >= views
    colours = colours[many] if many.sum() >= people else colours
    chosen = {
        "distinctive": distinctive(colours, people),
        "look-alike": lookalikes(colours, people),
    }
    parts = []
    for row, pids in chosen.items():
        for pid in pids:
            shuffled = everything[everything.pid == pid].sample(frac=1, random_state=rng)
            # First one image of each camera, then second images, until there are enough.
            turn = shuffled.groupby("camid").cumcount().sort_values(kind="stable").index
            parts.append(shuffled.loc[turn[:views]].sort_values("camid").assign(row=row))
    strangers = {"distractor": everything[everything.pid == DISTRACTOR_PID], "junk": junk}
    for row, frame in strangers.items():
        count = min(len(frame), people * views // 2)
        parts.append(frame.sample(count, random_state=rng).assign(row=row))
    columns = ["row", "path", "pid", "camid"]
    return pd.concat(parts, ignore_index=True)[columns]


def camera_light(dataset: Dataset) -> pd.DataFrame:
    """Brightness and tint of every camera, over all images of a dataset.

    Returns:
        One row a camera: dataset, camid, images, brightness (mean grey level, 0 to 1), warmth
        (mean red minus mean blue).
    """
    frame = pd.concat(dataset.splits().values(), ignore_index=True)
    parts = [mean_colours(decode(split, *SIZE)) for split in dataset.splits().values()]
    red, green, blue = torch.cat(parts).numpy().T
    # ITU-R BT.601 luma, the usual grey level of an RGB image.
    frame = frame.assign(brightness=0.299 * red + 0.587 * green + 0.114 * blue, warmth=red - blue)
    by_camera = frame.groupby("camid").agg(
        images=("pid", "size"), brightness=("brightness", "mean"), warmth=("warmth", "mean")
    )
    by_camera.insert(0, "dataset", dataset.name)
    return by_camera.round(4).reset_index()[["dataset", "camid", *by_camera.columns[1:]]]


def _distances(colours: pd.DataFrame) -> np.ndarray:
    values = torch.tensor(colours.to_numpy())
    return torch.cdist(values, values).numpy()
