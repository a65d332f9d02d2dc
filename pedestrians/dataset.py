"""Writes a synthetic data set in Market-1501's layout, on several processes."""

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from joblib import Parallel, delayed

from pedestrians.body import Pose
from pedestrians.config import GENERATOR_VERSION, SyntheticConfig
from pedestrians.frame import Moment, bad_box, compose, cover, sample_box, station
from pedestrians.person import Person, population
from pedestrians.scene import WIDTH

log = logging.getLogger(__name__)

_DOMAIN_CODE = {"a": 0, "b": 1, "mixed": 2}
_STREAM = {"train": 0, "test": 1, "distractor": 2}
_RECORD = "config.json"
_PARTS = ".parts"

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")

#: What shows how far the work is: (jobs, their number) -> the same jobs.
Progress = Callable[[Iterable[None], int], Iterable[None]]


@dataclass(frozen=True)
class Shot:
    """One image to draw.

    Attributes:
        path: relative to the root of the data set.
        split: whose population ``person`` indexes: train, test or distractor.
        person: index in that population; -1 for a false detection.
        camid: 1-based.
        index: of the image among the person's images in that camera.
        kind: good, or bad for a box around a part of the body.
    """

    path: str
    split: str
    person: int
    camid: int
    index: int
    kind: str


def people(config: SyntheticConfig, split: str) -> list[Person]:
    """The persons of "train", "test" or "distractor", by index."""
    count = {"train": config.train_ids, "test": config.test_ids, "distractor": config.distractors}[
        split
    ]
    return list(_people(config.domain, config.seed, split, count, config.lookalikes))


@lru_cache(maxsize=8)
def _people(domain: str, seed: int, split: str, count: int, share: float) -> tuple[Person, ...]:
    return tuple(
        population(domain, seed, _STREAM[split], count, 0.0 if split == "distractor" else share)
    )


def pid_of(config: SyntheticConfig, split: str, person: int) -> int:
    """The pid in the file names; train and test pids interleave as in Market-1501."""
    total = config.train_ids + config.test_ids
    pids = np.random.default_rng([config.seed, 5]).permutation(total) + 1
    return int(pids[person if split == "train" else config.train_ids + person])


def plan(config: SyntheticConfig) -> list[Shot]:
    """Every image of the data set, in a fixed order."""
    return [
        *_identity_shots(config, "train"),
        *_identity_shots(config, "test"),
        *_other_shots(config),
    ]


def _name(pid: int, camid: int, frame: int, box: int) -> str:
    label = f"{pid:04d}" if pid >= 0 else "-1"
    return f"{label}_c{camid}s1_{frame:06d}_{box:02d}.jpg"


def _identity_shots(config: SyntheticConfig, split: str) -> Iterator[Shot]:
    rng = np.random.default_rng([config.seed, _DOMAIN_CODE[config.domain], _STREAM[split], 21])
    count = config.train_ids if split == "train" else config.test_ids
    low, high = config.cameras_per_id
    for person in range(count):
        pid = pid_of(config, split, person)
        seen = rng.choice(config.cameras, int(rng.integers(low, high + 1)), replace=False) + 1
        for camid in sorted(int(c) for c in seen):
            first = int(rng.integers(100, 90_000))
            images = int(
                rng.integers(config.images_per_camera[0], config.images_per_camera[1] + 1)
            )
            query = int(rng.integers(images))
            for index in range(images):
                folder = "bounding_box_train"
                if split == "test":
                    folder = "query" if index == query else "bounding_box_test"
                name = _name(pid, camid, first + 25 * index, int(rng.integers(1, 5)))
                yield Shot(f"{folder}/{name}", split, person, camid, index, "good")


def _other_shots(config: SyntheticConfig) -> Iterator[Shot]:
    """Distractors (pid 0: strangers, parts of them, background) and junk (pid -1)."""
    rng = np.random.default_rng([config.seed, _DOMAIN_CODE[config.domain], 22])
    for i in range(config.distractors + config.junk):
        junk = i >= config.distractors
        camid = int(rng.integers(config.cameras)) + 1
        draw = rng.random()
        if junk:  # badly aligned boxes of test identities, and false detections
            split, person = "test", int(rng.integers(config.test_ids)) if draw < 0.8 else -1
            kind = "bad"
        else:
            split, person = "distractor", i if draw < 0.85 else -1
            kind = "good" if draw < 0.6 else "bad"
        # The running number is the frame, so that no two names are the same.
        name = _name(-1 if junk else 0, camid, 100_001 + 5 * i, int(rng.integers(1, 9)))
        yield Shot(f"bounding_box_test/{name}", split, person, camid, 1000 + i, kind)


def render(config: SyntheticConfig, shot: Shot) -> bytes:
    """The JPEG of one shot; depends on nothing but the two arguments."""
    return compose(*_moment(config, shot))


def mask(config: SyntheticConfig, shot: Shot) -> np.ndarray:
    """What each pixel of a shot shows, known to the generator alone.

    Returns:
        (128, 64, 3) float32: the shares of person, carried object and background, which sum to 1.
    """
    return cover(*_moment(config, shot))


def _moment(config: SyntheticConfig, shot: Shot) -> tuple[Moment, np.random.Generator]:
    """The detection of a shot, and the generator that draws what comes after."""
    place = station(config.domain, config.seed, shot.camid, config.camera_spread)
    base = [
        config.seed,
        _DOMAIN_CODE[config.domain],
        _STREAM[shot.split],
        shot.person + 1,
        shot.camid,
    ]
    track = np.random.default_rng([*base, 31])  # what the images of one passage share
    rng = np.random.default_rng([*base, shot.index, 32])
    person = None
    if shot.person >= 0:
        person = people(config, shot.split)[shot.person]
    stray = track.random() < 0.2
    yaw = (
        track.uniform(0, 2 * np.pi)
        if stray
        else place.camera.yaws[int(track.integers(2))] + track.normal(0, 0.25)
    )
    yaw += rng.normal(0, 0.22)
    held = str(track.choice(["swing", "phone", "pocket", "hold"], p=[0.7, 0.1, 0.12, 0.08]))
    arms = (held, "swing") if track.random() < 0.5 else ("swing", held)
    if person is not None and person.bag in ("tote", "suitcase"):
        arms = ("hold", arms[1]) if person.bag_side == 1 else (arms[0], "hold")
    walk = float(track.choice([1.0, 0.25], p=[0.85, 0.15]))
    pose = Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        walk=walk,
        turn=float(rng.normal(0, 0.3)),
        arms=arms,
        lean=float(rng.normal(0.03, 0.03)),
    )
    box = sample_box(rng) if shot.kind == "good" else bad_box(rng)
    row = float(
        track.uniform(place.scene.far, place.scene.near) * 0.75
        + 0.25 * rng.uniform(place.scene.far, place.scene.near)
    )
    x = float(track.uniform(0, WIDTH) + rng.normal(0, 60)) % WIDTH
    return Moment(place, person, pose, float(yaw), box, (x, row), config.clutter), rng


def record(config: SyntheticConfig) -> str:
    """What tells one generated data set from another: its config and the generator's version.

    Not its bytes: processors round differently, and a JPEG here and there differs in size.
    """
    return json.dumps({"generator_version": GENERATOR_VERSION, **asdict(config)}, indent=2) + "\n"


_Job = tuple[SyntheticConfig, Path, list[Shot]]


def _write(job: _Job) -> None:
    config, root, shots = job
    for shot in shots:
        part = root / _PARTS / Path(shot.path).name
        part.write_bytes(render(config, shot))
        os.replace(part, root / shot.path)  # so that no file is there in parts


def _draw_all(jobs: list[_Job], workers: int) -> Iterator[None]:
    """Do the jobs, in this process or in several; yields as each is done."""
    if workers == 1:
        yield from map(_write, jobs)
    else:
        # joblib's processes neither fork one that runs torch threads, which may hang, nor run the
        # caller's script again, so that script needs no `if __name__ == "__main__"`.
        yield from Parallel(workers, return_as="generator")(delayed(_write)(job) for job in jobs)


@lru_cache(maxsize=8)
def _planned(config: SyntheticConfig) -> frozenset[str]:
    return frozenset(shot.path for shot in plan(config))


def _missing(config: SyntheticConfig, root: Path) -> set[str]:
    """Paths of the images that are not there, or are empty."""
    there = {
        f"{folder}/{file.name}"
        for folder in FOLDERS
        if (root / folder).is_dir()
        for file in os.scandir(root / folder)
        if file.stat().st_size
    }
    return _planned(config) - there


def is_whole(config: SyntheticConfig, root: Path) -> bool:
    """Whether a folder holds the data set of ``config``, finished, with every image."""
    return _says(Path(root) / _RECORD, config) and not _missing(config, Path(root))


def _says(file: Path, config: SyntheticConfig) -> bool:
    return file.is_file() and file.read_bytes() == record(config).encode()


def generate(
    config: SyntheticConfig,
    root: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the data set of ``config`` to the folder ``root``: those images that it lacks.

    A finished folder holds ``config.json`` with the config and the generator's version. A folder
    of another config or version is replaced. An interrupted call is taken up where it ended, and
    images that were deleted are drawn again. Several processes at once take turns.

    Args:
        config: what to draw.
        root: the folder that will hold bounding_box_train, query and bounding_box_test.
        workers: processes; None takes one per core. The bytes do not depend on it.
        progress: wraps the iteration over the jobs, given their number, as
            ``lambda jobs, total: tqdm(jobs, total=total)`` does.

    Returns:
        ``root``.
    """
    root = Path(root)
    if is_whole(config, root):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.drawing")):
        finished, begun = root / _RECORD, root / _PARTS / _RECORD
        if not _says(finished, config) and not _says(begun, config):
            shutil.rmtree(root, ignore_errors=True)
        for name in (*FOLDERS, _PARTS):
            (root / name).mkdir(parents=True, exist_ok=True)
        begun.write_text(record(config), encoding="utf-8")
        missing = _missing(config, root)
        shots = [shot for shot in plan(config) if shot.path in missing]
        # Runs of one camera keep that camera's scene in a worker's cache.
        shots.sort(key=lambda s: (s.camid, s.path))
        workers = min(workers or os.cpu_count() or 1, max(1, len(shots) // 100))
        log.info("drawing %d synthetic images into %s with %d workers", len(shots), root, workers)
        jobs = [(config, root, shots[i : i + 50]) for i in range(0, len(shots), 50)]
        done = _draw_all(jobs, workers)
        deque(progress(done, len(jobs)) if progress else done, maxlen=0)
        os.replace(begun, finished)
        shutil.rmtree(root / _PARTS)
    return root
