"""Thresholds of some weights with their error rates, and what a distance means at one of them."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self, TypedDict

from reidlab.common.errors import ReidlabError, StudyError
from reidlab.common.files import read_json, write_json
from reidlab.recipe.names import GENERATED
from reidlab.verification.rates import EER, point_name

#: What is known about the network and the people on whom a threshold is chosen.
SEEN, UNSEEN, UNKNOWN = "seen", "unseen", "unknown"
_PEOPLE = {
    SEEN: "whom the network has learned, which makes it too optimistic",
    UNSEEN: "whom the network has never seen",
    UNKNOWN: "whom the network may have learned",
}


class Decision(NamedTuple):
    """What is said about two images; as a text it says what that is worth.

    Attributes:
        same: whether they are taken for one person: ``distance < threshold``.
        distance: between their features; the smaller, the more alike.
        threshold: of the operating point.
        wanted_fmr: false match rate that the threshold was chosen for; None for the EER's.
        fmr: share of pairs of different people that this threshold takes for one person, as
            measured on the test people, across cameras.
        fnmr: share of pairs of one person that it misses.
        measured_on: the data set, how many pairs, and whether its people had been learned.
        doubt: why other cameras' pictures may have other rates, and which where they are known.
    """

    same: bool
    distance: float
    threshold: float
    wanted_fmr: float | None
    fmr: float
    fnmr: float
    measured_on: str
    doubt: str

    def __str__(self) -> str:
        verdict, side = ("same", "below") if self.same else ("different", "not below")
        return (
            f"{verdict}: distance {self.distance:.4f}, {side} the threshold {self.threshold:.4f}\n"
            f"False matches (FMR): {_percent(self.fmr)} of pairs of different people lie below "
            f"it. False non-matches (FNMR): {_percent(self.fnmr)} of pairs of one person do "
            f"not.\nMeasured on {self.measured_on}.\n{self.doubt}"
        )


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


class Elsewhere(TypedDict):
    """What the thresholds do to the test people of another data set.

    Keys:
        dataset: its name.
        pairs: how many were counted: genuine, impostor.
        rates: name of an operating point -> its FMR and FNMR there.
    """

    dataset: str
    pairs: dict[str, int]
    rates: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of some weights and one distance, with their measured error rates.

    Attributes:
        weights_sha256: of the network's file: thresholds of other weights mean nothing.
        dataset: on whose people all was measured.
        distance: see :func:`reidlab.metrics.distances.known_distance`.
        people: see :class:`reidlab.verification.decisions.PeopleFeatures`.
        pairs: how many were counted: calibration_genuine, calibration_impostor, test_genuine,
            test_impostor.
        points: rows of :func:`reidlab.verification.rates.threshold_table` that have a threshold.
        provenance: of the weights: commit, versions, device, fingerprint of the images.
        elsewhere: other data sets on which the same thresholds were tried.
    """

    weights_sha256: str
    dataset: str
    distance: str
    people: str
    pairs: dict[str, int]
    points: list[dict[str, Any]]
    provenance: dict[str, Any] = field(repr=False)
    elsewhere: list[Elsewhere] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path, weights_sha256: str, again: str, **more: Any) -> Self:
        """Thresholds of a file.

        Args:
            file: of :meth:`write`.
            weights_sha256: of the network that they are wanted for.
            again: how to choose them anew, for messages.
            more: fields that are not in the file.

        Raises:
            StudyError: there is no file, it cannot be read, or it belongs to other weights.
        """
        if not file.is_file():
            raise StudyError(f"{file} is missing: there are no thresholds yet; {again}.")
        content = read_json(file, f"Delete it; {again} anew.")
        names = {part.name for part in fields(Thresholds)}  # earlier versions wrote more
        try:
            found = cls(**{key: content[key] for key in content if key in names}, **more)
        except TypeError as error:  # fields are missing
            raise StudyError(f"{file} holds no thresholds ({error}); {again} anew.") from error
        if weights_sha256 != found.weights_sha256:
            raise StudyError(
                f"{file} belongs to other weights (sha256 {found.weights_sha256[:12]}) than "
                f"these (sha256 {weights_sha256[:12]}): its thresholds mean nothing for this "
                f"network; {again} anew."
            )
        return found

    def write(self, file: Path) -> None:
        """Keep them in a file."""
        write_json(file, {part.name: getattr(self, part.name) for part in fields(Thresholds)})

    def point(self, fmr: float | str) -> dict[str, Any]:
        """The operating point for a wanted false match rate, or for ``"EER"``.

        Raises:
            ReidlabError: none was chosen for it; the message lists those that were.
        """
        name = fmr if isinstance(fmr, str) else point_name(fmr)
        for point in self.points:
            if point["point"] == name:
                return point
        known = ", ".join(point["point"] for point in self.points)
        raise ReidlabError(
            f"fmr={fmr!r}: thresholds were chosen on {self.dataset} for false match rates of "
            f"{known}. Take one of them (as a number: 0.01 for 1 %; or {EER!r}), or calibrate "
            f"with rates=({fmr!r},); a rate needs at least 1 / rate impostor pairs."
        )

    def decision(self, distance: float, fmr: float | str) -> Decision:
        """What a distance means at an operating point; errors as those of :meth:`point`."""
        point = self.point(fmr)
        rates = {key: point[key] for key in ("threshold", "wanted_fmr", "fmr", "fnmr")}
        return Decision(
            distance < point["threshold"],
            distance,
            **rates,
            measured_on=self._measured_on(),
            doubt=self._doubt(point["point"]),
        )

    def _measured_on(self) -> str:
        pairs = {key: f"{count:,}" for key, count in self.pairs.items()}
        return (
            f"{_kind(self.dataset)}: {pairs['test_impostor']} pairs of different people and "
            f"{pairs['test_genuine']} of one person, across cameras; the threshold was chosen on "
            f"{pairs['calibration_impostor']} and {pairs['calibration_genuine']} pairs of people "
            f"{_PEOPLE[self.people]}"
        )

    def _doubt(self, point: str) -> str:
        known = [
            (_kind(other["dataset"]), *map(_percent, other["rates"][point]))
            for other in self.elsewhere
            if point in other["rates"]
        ]
        there = [f"on {name} FMR is {fmr} and FNMR {fnmr}" for name, fmr, fnmr in known]
        tried = f" At the same threshold, {'; '.join(there)}." if there else ""
        return f"Those are not your cameras, where both rates can be many times as high.{tried}"


def _kind(dataset: str) -> str:
    return f"{dataset} ({'generated people' if dataset in GENERATED else 'photographs'})"
