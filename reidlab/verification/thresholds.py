"""Two images in, a decision out: a run's network, a threshold, and what the threshold costs.

``calibrate(run)`` measures once and leaves ``calibration.json`` in the run's folder; from then on
``verify("one.jpg", "two.jpg", run, fmr=0.01)`` answers.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from reidlab import data
from reidlab.common.device import pick
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.common.files import sha256
from reidlab.data.holdout import hold_out_identities
from reidlab.data.store import read_image
from reidlab.evaluation.features import embed, extract
from reidlab.metrics.distances import known_distance
from reidlab.metrics.scores import FeatureSet
from reidlab.runs.folder import Run, environment, load_model, read_json, write_json
from reidlab.verification.pairs import count_pairs
from reidlab.verification.rates import EER, RATES, point_name, threshold_table

FILE = "calibration.json"
ImageLike = str | Path | Image.Image | np.ndarray

#: What is known about the network and the people on whom a threshold is chosen.
SEEN, UNSEEN, UNKNOWN = "seen", "unseen", "unknown"


class RunFeatures(NamedTuple):
    """Features of a run's network.

    Attributes:
        calibration: images of the people on whom thresholds are chosen.
        query: of the test people.
        gallery: of the test people, distractors included.
        people: whether the network learned the calibration people: ``seen``, ``unseen``, or
            ``unknown`` for a checkpoint from elsewhere. Thresholds of people it has seen are too
            optimistic.
    """

    calibration: FeatureSet
    query: FeatureSet
    gallery: FeatureSet
    people: str


def run_features(run: Run, root: str | Path | None = None) -> RunFeatures:
    """Features of a run's own dataset, as the run itself evaluated it.

    The calibration people are those that the run held out whole (``val_identities``), which its
    network has never seen; without any, they are all of its training people.

    Args:
        run: a finished run with its weights.
        root: folder of the data sets; default ``REIDLAB_DATA``.

    Raises:
        StudyError: the run's weights are not here.
        DataError: see :func:`reidlab.data.load`; a set without training people.
    """
    _weights(run)
    model, config = load_model(run), run.config
    dataset = data.load(config["dataset"], root)
    if count := config.get("val_identities", 0):
        held = hold_out_identities(dataset, count)
        images = pd.concat([held.query, held.gallery], ignore_index=True)
        people = UNSEEN
    else:
        dataset.train_labels()  # raises, with the remedy, where there is nobody
        images, people = dataset.train, _has_seen(run)
    frames = (images, dataset.query, dataset.gallery)
    return RunFeatures(*(_embed(model, frame, config) for frame in frames), people)


def _embed(model: torch.nn.Module, frame: pd.DataFrame, config: dict[str, Any]) -> FeatureSet:
    return embed(
        *(model, frame, config["height"], config["width"]),
        *(config["device"], config["precision"]),
        mirror=config.get("flip_test", False),
    )


def _has_seen(run: Run) -> str:
    """Whether a run's network learned the training people of the run's dataset."""
    config, folder = run.config, run.path
    wanted = config["dataset"]
    while True:
        if config["epochs"] and config["dataset"] == wanted:
            return SEEN
        kind, _, source = config["init"].partition(":")
        if kind != "run":
            return UNKNOWN if kind == "reid" else UNSEEN
        folder = folder.parent / source
        if not (folder / "config.json").is_file():
            return UNKNOWN
        config = read_json(folder / "config.json")


@dataclass(frozen=True)
class Calibration:
    """Thresholds of one network and one distance, with their measured error rates.

    Attributes:
        run: name of the run.
        weights_sha256: of the network's file: thresholds of other weights mean nothing.
        model: network's name.
        dataset: on whose people all was measured.
        dataset_fingerprint: of its images.
        height: input height in pixels.
        width: input width in pixels.
        distance: a name in :data:`reidlab.metrics.distances.DISTANCES`.
        flip_test: features are the mean of an image's and its mirror image's.
        people: see :class:`RunFeatures`.
        pairs: how many pairs were counted: calibration_genuine, calibration_impostor,
            test_genuine, test_impostor.
        points: rows of :func:`reidlab.verification.rates.threshold_table` that have a threshold.
        provenance: commit, versions, device.
    """

    run: str
    weights_sha256: str
    model: str
    dataset: str
    dataset_fingerprint: str
    height: int
    width: int
    distance: str
    flip_test: bool
    people: str
    pairs: dict[str, int]
    points: list[dict[str, Any]]
    provenance: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """The operating points as a table."""
        return pd.DataFrame(self.points)

    def point(self, fmr: float | str) -> dict[str, Any]:
        """The operating point for a wanted false match rate, or for ``"EER"``.

        Raises:
            ReidlabError: none was calibrated for it; the message lists those that were.
        """
        name = fmr if isinstance(fmr, str) else point_name(fmr)
        for point in self.points:
            if point["point"] == name:
                return point
        known = ", ".join(point["point"] for point in self.points)
        raise ReidlabError(
            f"fmr={fmr!r}: {self.run} is calibrated for false match rates of {known}. Take one of "
            f"them (as a number: 0.01 for 1 %; or {EER!r}), or calibrate with rates=({fmr!r},); a "
            "rate needs at least 1 / rate impostor pairs."
        )


def calibrate(
    run: Run,
    features: RunFeatures | None = None,
    distance: str = "cosine",
    rates: tuple[float, ...] = RATES,
    samples: int = 1000,
    root: str | Path | None = None,
) -> Calibration:
    """Choose thresholds on training people, measure them on test people, and keep both.

    Args:
        run: a finished run with its weights.
        features: of :func:`run_features`, if they are there already.
        distance: default is the cosine: across people, the length of a feature says little.
        rates: wanted false match rates.
        samples: redrawn sets for the intervals.
        root: folder of the data sets; default ``REIDLAB_DATA``.

    Returns:
        What now also stands in the run's folder, as ``calibration.json``.

    Raises:
        ReidlabError: see :func:`run_features` and :class:`verification.pairs.CrossCameraPairs`.
    """
    config = run.config
    weights = sha256(_weights(run))
    features = run_features(run, root) if features is None else features
    chosen_on = count_pairs(features.calibration, distance=distance)
    used_on = count_pairs(features.query, features.gallery, distance)
    table = threshold_table(
        *(chosen_on, features.query, features.gallery, distance, tuple(rates), used_on, samples)
    )
    calibration = Calibration(
        run=run.name,
        weights_sha256=weights,
        dataset_fingerprint=run.provenance.get("dataset_fingerprint", ""),
        distance=distance,
        flip_test=config.get("flip_test", False),
        people=features.people,
        pairs={
            "calibration_genuine": chosen_on.num_genuine,
            "calibration_impostor": chosen_on.num_impostor,
            "test_genuine": used_on.num_genuine,
            "test_impostor": used_on.num_impostor,
        },
        points=[_without_nan(row) for row in table.to_dict("records") if row["threshold"] >= 0],
        provenance=environment(str(pick(config["device"], config["precision"]))),
        **{key: config[key] for key in ("model", "dataset", "height", "width")},
    )
    write_json(run.path / FILE, asdict(calibration))
    return calibration


def load_calibration(run: Run) -> Calibration:
    """Read what :func:`calibrate` left in a run's folder.

    Raises:
        StudyError: there is none, it cannot be read, or it belongs to other weights.
    """
    file = run.path / FILE
    again = f"make it with reidlab.verification.thresholds.calibrate(load_run({str(run.path)!r}))"
    if not file.is_file():
        raise StudyError(f"{file} is missing: run {run.name} has no thresholds yet; {again}.")
    try:
        calibration = Calibration(**read_json(file))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise StudyError(f"{file} is no calibration ({error}); {again}.") from error
    if (found := sha256(_weights(run))) != calibration.weights_sha256:
        raise StudyError(
            f"{file} belongs to other weights (sha256 {calibration.weights_sha256[:12]}) than "
            f"{run.path / 'model.safetensors'} (sha256 {found[:12]}): its thresholds mean nothing "
            f"for this network; {again}."
        )
    return calibration


@dataclass(frozen=True)
class Verdict:
    """What is said about two images.

    Attributes:
        same: whether they are taken for one person: ``distance < threshold``.
        distance: between their features; the smaller, the more alike.
        threshold: of the operating point.
        wanted_fmr: false match rate that the threshold was chosen for; None for the EER's.
        fmr: share of pairs of different people that this threshold takes for one person, as
            measured on the test people, across cameras.
        fnmr: share of pairs of one person that it misses, likewise.
    """

    same: bool
    distance: float
    threshold: float
    wanted_fmr: float | None
    fmr: float
    fnmr: float


class Verifier:
    """A run's network and thresholds, ready for many pairs of images.

    Args:
        run: a finished run with its weights.
        calibration: default is the one in the run's folder.

    Raises:
        StudyError: see :func:`load_calibration`; the weights are not here.
    """

    def __init__(self, run: Run, calibration: Calibration | None = None):
        if calibration is None:
            calibration = load_calibration(run)
        elif calibration.weights_sha256 != (found := sha256(_weights(run))):
            raise StudyError(
                f"the calibration given is of {calibration.run} (weights sha256 "
                f"{calibration.weights_sha256[:12]}), not of {run.name} ({found[:12]}): "
                "thresholds of one network mean nothing for another. Calibrate this run."
            )
        self.run, self.calibration, self.model = run, calibration, load_model(run)

    def __call__(
        self, image_a: ImageLike, image_b: ImageLike, fmr: float | str = 0.001
    ) -> Verdict:
        """Compare two images.

        Args:
            image_a: file, PIL image, or (H, W, 3) or (H, W) uint8 array: one person, cut out.
            image_b: likewise.
            fmr: which operating point, by its wanted false match rate; or ``"EER"``.

        Raises:
            DataError: an image that cannot be read.
            ReidlabError: no such operating point, or features that are no numbers.
        """
        point = self.calibration.point(fmr)
        distance = self.distance(image_a, image_b)
        return Verdict(
            same=distance < point["threshold"],
            distance=distance,
            **{key: point[key] for key in ("threshold", "wanted_fmr", "fmr", "fnmr")},
        )

    def distance(self, image_a: ImageLike, image_b: ImageLike) -> float:
        """Distance of two images' features, the same whichever image comes first."""
        size = self.calibration.height, self.calibration.width
        pictures = zip(("image_a", "image_b"), (image_a, image_b))
        images = torch.stack([_picture(image, name, *size) for name, image in pictures])
        features = self._features(images)
        bad = torch.nonzero(~torch.isfinite(features).all(1)).flatten().tolist()
        if bad:
            raise ReidlabError(
                f"the network of {self.run.name} gives features with NaN or infinite values for "
                f"{' and '.join(('image_a', 'image_b')[i] for i in bad)}: its weights "
                f"({self.run.path / 'model.safetensors'}) are damaged; train the run again"
            )
        prepare, to_distance = known_distance(self.calibration.distance)
        a, b = features.double().split(1)
        # Rounding depends on the order by some units in the last place.
        there, back = to_distance(prepare(b)(a)), to_distance(prepare(a)(b))
        return max(0.0, float(there + back) / 2)

    def _features(self, images: Tensor) -> Tensor:
        """(2, 3, H, W) uint8 -> (2, D), as the run's evaluation makes them."""
        config = self.run.config
        where = {"device": config["device"], "precision": config["precision"], "progress": False}
        features = extract(self.model, images, **where)
        if self.calibration.flip_test:
            features = (features + extract(self.model, images.flip(3), **where)) / 2
        return features


def verify(
    image_a: ImageLike,
    image_b: ImageLike,
    run: Run,
    fmr: float | str = 0.001,
    calibration: Calibration | None = None,
) -> Verdict:
    """Do two images show one person? For many pairs, keep a :class:`Verifier`.

    Args:
        image_a: see :class:`Verifier`.
        image_b: likewise.
        run: a finished run with its weights, see :func:`reidlab.runs.folder.load_run`.
        fmr: likewise.
        calibration: likewise.
    """
    return Verifier(run, calibration)(image_a, image_b, fmr)


def _picture(image: ImageLike, name: str, height: int, width: int) -> Tensor:
    """An image as the networks take it: (3, H, W) uint8, resized as datasets are."""
    if isinstance(image, str | Path):
        pixels = read_image(Path(image), height, width)
    else:
        if isinstance(image, np.ndarray):
            shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
            if image.dtype != np.uint8 or not shaped or 0 in image.shape:
                raise DataError(
                    f"{name} is an array of {image.dtype} with shape {image.shape}: expected "
                    "uint8 with shape (height, width, 3), red first, or (height, width)"
                )
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise DataError(
                f"{name} is a {type(image).__name__}: expected a file's path, a PIL image or a "
                "uint8 array"
            )
        try:
            rgb = image.convert("RGB")
        except OSError as error:  # opened, but cut short
            raise DataError(f"{name} cannot be read as an image ({error})") from error
        if rgb.size != (width, height):
            rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(rgb)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _weights(run: Run) -> Path:
    file = run.path / "model.safetensors"
    if not file.is_file():
        raise StudyError(
            f"{file} is missing (weights are not in git): train run {run.name} again, in a "
            "notebook with study.ensure_runs(profile, [name], weights=True)."
        )
    return file


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """NaN is no JSON: the rate that the EER's threshold was not chosen for is null."""
    lost = {key: None for key, v in row.items() if isinstance(v, float) and math.isnan(v)}
    return row | lost
