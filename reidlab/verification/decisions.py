"""Two images in, a decision out: a run's network, its thresholds, and what they cost.

``calibrate(run)`` chooses the thresholds once, and leaves them in the run's folder; from then on
``Decider.load(run).decide("one.jpg", "two.jpg", fmr=0.01)`` answers.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from reidlab import data
from reidlab.common.errors import DataError, ReidlabError, StudyError
from reidlab.common.files import sha256
from reidlab.data.holdout import hold_out_identities
from reidlab.data.image import as_rgb, read_image
from reidlab.evaluation.features import extract, how, of_run
from reidlab.metrics.distances import distance_to
from reidlab.metrics.ranks import FeatureSet
from reidlab.recipe.init import Init
from reidlab.runs.folder import WEIGHTS, Run, load_model
from reidlab.verification.pairs import count_pairs
from reidlab.verification.rates import RATES, threshold_table
from reidlab.verification.thresholds import SEEN, UNKNOWN, UNSEEN, Decision, Thresholds

FILE = "calibration.json"
ImageLike = str | Path | Image.Image | np.ndarray


class PeopleFeatures(NamedTuple):
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


def people_features(run: Run, root: str | Path | None = None) -> PeopleFeatures:
    """Features of the people of a run's own dataset: those to choose on, and those to test on.

    The calibration people are those that the run held out whole (``val_identities``); without
    any, they are all of its training people.

    Args:
        run: a finished run with its weights.
        root: folder of the data sets; default ``REIDLAB_DATA``.

    Raises:
        WeightsError: the run's weights are not here.
        DataError: see :func:`reidlab.data.load`; a set without training people.
    """
    dataset = data.load(run.config["dataset"], root)
    if count := run.config.get("val_identities", 0):
        held = hold_out_identities(dataset, count)
        images = pd.concat([held.query, held.gallery], ignore_index=True)
    else:
        dataset.train_labels()  # raises, with the remedy, where there is nobody
        images = dataset.train
    sets = (of_run(run, frame) for frame in (images, dataset.query, dataset.gallery))
    return PeopleFeatures(*sets, has_learned(run))


def has_learned(run: Run) -> str:
    """Whether a run's network, or one that it descends from, learned the calibration people."""
    chain = run.lineage()
    held = run.config.get("val_identities", 0)
    for config in chain:
        # The same number holds out the same people, whatever the run.
        spared = held and config.get("val_identities", 0) == held
        if config["epochs"] and config["dataset"] == run.config["dataset"] and not spared:
            return SEEN
    return UNKNOWN if Init.parse(chain[-1]["init"]).kind in ("reid", "run") else UNSEEN


@dataclass(frozen=True)
class Decider(Thresholds):
    """The thresholds of a run's network, ready to decide on images.

    Attributes:
        run: a finished run with its weights.
    """

    run: Run = field(kw_only=True, compare=False, repr=False)

    @classmethod
    def load(cls, run: Run) -> "Decider":
        """What :func:`calibrate` left in a run's folder.

        Raises:
            StudyError: nothing, or it cannot be read, or it belongs to other weights.
        """
        again = "choose thresholds with reidlab.verification.calibrate(run)"
        return cls.read(run.path / FILE, sha256(_weights(run)), again, run=run)

    def decide(self, a: ImageLike, b: ImageLike, fmr: float | str = 0.001) -> Decision:
        """Do two images show one person?

        Args:
            a: file, PIL image, or (H, W, 3) or (H, W) uint8 array: one person, cut out.
            b: the other one.
            fmr: which operating point, by its wanted false match rate; or ``"EER"``.

        Raises:
            DataError: an image that cannot be read.
            ReidlabError: no such operating point, or features that are no numbers.
        """
        self.point(fmr)  # no network is needed to refuse a rate
        return self.decision(self.between(a, b), fmr)

    def between(self, a: ImageLike, b: ImageLike) -> float:
        """Distance of two images' features, the same whichever comes first."""
        config = self.run.config
        size = config["height"], config["width"]
        images = torch.stack([_pixels(a, "a", *size), _pixels(b, "b", *size)])
        features = extract(self._network, images, progress=False, **how(config))
        if bad := [name for name, row in zip("ab", features) if not row.isfinite().all()]:
            raise ReidlabError(
                f"the network of {self.run.name} gives features with NaN or infinite values for "
                f"{' and '.join(bad)}: its weights ({self.run.path / WEIGHTS}) are damaged; train "
                "the run again"
            )
        return distance_between(features, self.distance)

    @cached_property
    def _network(self) -> nn.Module:
        return load_model(self.run)


def calibrate(
    run: Run,
    features: PeopleFeatures | None = None,
    distance: str = "cosine",
    rates: tuple[float, ...] = RATES,
    samples: int = 1000,
    root: str | Path | None = None,
) -> Decider:
    """Choose thresholds on some people, measure them on the test people, and keep both.

    Args:
        run: a finished run with its weights.
        features: of :func:`people_features`, if they are there already.
        distance: default is the cosine: across people, the length of a feature says little.
        rates: wanted false match rates.
        samples: redrawn sets for the intervals.
        root: folder of the data sets; default ``REIDLAB_DATA``.

    Raises:
        ReidlabError: see :func:`people_features` and :class:`verification.pairs.CrossCameraPairs`.
    """
    weights = sha256(_weights(run))
    features = people_features(run, root) if features is None else features
    parts = measure(features, distance, rates, samples)
    dataset, notes = run.config["dataset"], run.provenance
    decider = Decider(weights, dataset, **parts, provenance=notes, run=run)
    decider.write(run.path / FILE)
    return decider


def measure(
    features: PeopleFeatures,
    distance: str = "cosine",
    rates: tuple[float, ...] = RATES,
    samples: int = 1000,
) -> dict[str, Any]:
    """Thresholds on some people and what they do to others: four fields of `Thresholds`.

    Arguments and errors are those of :func:`calibrate`.
    """
    chosen_on = count_pairs(features.calibration, distance=distance)
    used_on = count_pairs(features.query, features.gallery, distance)
    sets = features.query, features.gallery
    table = threshold_table(chosen_on, *sets, distance, tuple(rates), used_on, samples)
    points = table[table.threshold >= 0].astype(object)  # NaN is no JSON
    return {
        "distance": distance,
        "people": features.people,
        "pairs": {
            "calibration_genuine": chosen_on.num_genuine,
            "calibration_impostor": chosen_on.num_impostor,
            "test_genuine": used_on.num_genuine,
            "test_impostor": used_on.num_impostor,
        },
        "points": points.where(points.notna(), None).to_dict("records"),
    }


def distance_between(features: Tensor, distance: str) -> float:
    """The distance of two features (2, D), the same whichever comes first."""
    one, two = features.double().split(1)
    # Rounding depends on the order by some units in the last place.
    there, back = distance_to(two, distance)(one), distance_to(one, distance)(two)
    return max(0.0, float(there + back) / 2)


def _weights(run: Run) -> Path:
    file = run.path / WEIGHTS
    if not file.is_file():
        raise StudyError(
            f"{file} is missing (weights are not in git): train run {run.name} again, in a "
            "notebook with study.network(profile, name)."
        )
    return file


def _pixels(image: ImageLike, name: str, height: int, width: int) -> Tensor:
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
            rgb = as_rgb(image, name)
        except DataError:
            raise
        except Exception as error:  # opened, but cut short; Pillow raises nearly anything
            raise DataError(
                f"{name} cannot be read as an image ({error}). Open a whole copy of it."
            ) from error
        pixels = np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
