"""Corrupted images a second, kind by kind, beside the packages that Market-1501-C used.

The two take turns image by image, on images of generated people at their own size, in one thread.
Where the original is not installed, see `benchmarks.original`, ours stand alone.
"""

import statistics
import time
import warnings
from pathlib import Path

import cv2
import numpy as np

from benchmarks import original
from reidlab import data
from reidlab.data.corruptions import KINDS, SEVERITIES, corrupt
from reidlab.data.image import read_image

#: Images of each kind and severity, of ours and of the original, which takes most of the time.
AMOUNTS = {"tiny": (1, 1), "quick": (20, 4), "full": (200, 20)}


def measure(size: str) -> dict:
    """Every kind at every severity."""
    ours, theirs = AMOUNTS[size]
    files = data.load("synthetic-tiny-a").gallery.path
    images = [read_image(Path(files[number % len(files)])) for number in range(ours)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        kinds = {kind: _kind(kind, images, theirs) for kind in KINDS}
    finally:
        cv2.setNumThreads(threads)
    height, width, _ = images[0].shape
    return {"title": "Corruptions", "height": height, "width": width, "kinds": kinds}


def _kind(kind: str, images: list[np.ndarray], theirs: int) -> dict[str, float | None]:
    """Images a second of both sides, from the median seconds of an image at each severity."""
    taken: dict[str, list[float]] = {"reidlab": [], "original": []}
    for severity in SEVERITIES:
        each: dict[str, list[float]] = {"reidlab": [], "original": []}
        # The first one reads textures and makes kernels.
        for number, image in enumerate([images[0], *images]):
            for side, make in (("reidlab", corrupt), ("original", _original)):
                if side == "original" and number > theirs:
                    continue
                rng = np.random.default_rng([number, severity])
                start = time.perf_counter()
                made = make(image, kind, severity, rng)
                seconds = time.perf_counter() - start
                if number and made is not None:
                    each[side].append(seconds)
        for side, seconds in each.items():
            if seconds:
                taken[side].append(statistics.median(seconds))
    return {
        side: round(len(SEVERITIES) / sum(seconds), 1) if seconds else None
        for side, seconds in taken.items()
    }


def _original(image: np.ndarray, kind: str, severity: int, rng: np.random.Generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return original.corrupt(image, kind, severity, rng)
        except ImportError:
            return None


def statement(content: dict) -> str:
    """What was measured, for the notes of the table."""
    kinds = content["kinds"]
    said = []
    for kind, speed in sorted(kinds.items(), key=lambda item: item[1]["reidlab"]):
        more = f" ({speed['reidlab'] / speed['original']:.1f}x)" if speed["original"] else ""
        said.append(f"{kind} {speed['reidlab']:,.0f}{more}")
    line = (
        f"Corruptions: images of {content['height']}x{content['width']} a second in one thread, "
        f"all severities alike: {', '.join(said)}; drawn uniformly, {_rate(kinds, 'reidlab'):,.0f}"
    )
    if all(speed["original"] for speed in kinds.values()):
        ratio = _rate(kinds, "reidlab") / _rate(kinds, "original")
        line += f" ({ratio:.1f}x). In brackets: times as fast as the original"
    return line + "."


def _rate(kinds: dict, side: str) -> float:
    """Images a second where every kind is as likely: the harmonic mean."""
    return statistics.harmonic_mean([speed[side] for speed in kinds.values()])
