"""The scores of tracks whose true identity is known (METHOD 5); it knows no files and no boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from vcn_ray.core.metrics import UNKNOWN, ClusterScores, evaluate_clustering
from vcn_ray.evaluation.labels import UNIDENTIFIED, is_person
from vcn_ray.records import F32, Mask

CUT_TOLERANCE = 0.2  # seconds
HEIGHTS = (0, 24, 48, 96, 192)
"""Pixels of the displayed frame at which the classes of face height begin."""

TITLE_COLUMNS = (
    "title",
    "WCP",
    "PCR",
    "NMI",
    "B-cubed P/R/F",
    "unknown",
    "detection recall",
    "tracks",
)
PEOPLE_COLUMNS = (
    "title",
    "people found",
    "made",
    "of no face",
    "mixed",
    "unknown tracks",
    "unknown screen time",
    "shots P/R",
)
HEIGHT_COLUMNS = ("title", "face height", "labelled", "detected", "tracked")


class MatchedTrack(NamedTuple):
    """A track of a result beside its labels."""

    track_id: str
    identity: str  # a name, UNIDENTIFIED or NO_FACE
    person: str | None  # of the result; None: unknown
    seconds: float  # on screen
    matched: bool  # false where it overlaps no labelled face


@dataclass(frozen=True, slots=True)
class PeopleCounts:
    """The people of a result, counted against the labels."""

    there: int  # labelled identities
    found: int  # identities with a track in a person
    made: int  # people of the result
    of_no_face: int  # people most of whose tracks are NO_FACE or labelled UNIDENTIFIED
    mixed: int  # people with two identities or more; NO_FACE is one, UNIDENTIFIED is none


@dataclass(frozen=True, slots=True)
class HeightRecall:
    """Labelled faces of one class of height, of people alone."""

    min_pixels: int
    max_pixels: int | None  # one past the largest; None: no limit
    labelled: int
    detected: int  # that a detection overlaps
    tracked: int  # that the box of a track overlaps

    @property
    def name(self) -> str:
        """The class for people, such as 24-48 px."""
        if self.max_pixels is None:
            return f"{self.min_pixels} px and more"
        return f"{self.min_pixels}-{self.max_pixels} px"


@dataclass(frozen=True, slots=True)
class CutScores:
    """Beginnings of shots, without the first one of each video."""

    found: int
    true: int
    matched: int  # pairs at most CUT_TOLERANCE apart

    @property
    def precision(self) -> float | None:
        """Fraction of the found ones that are true; None where none is found."""
        return self.matched / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Fraction of the true ones that are found; None where there is none."""
        return self.matched / self.true if self.true else None


@dataclass(frozen=True, slots=True)
class TitleScores:
    """The scores of one title (METHOD 5)."""

    title: str
    scores: ClusterScores  # of the tracks of labelled people
    people: PeopleCounts
    heights: tuple[HeightRecall, ...]  # from small to large
    cuts: CutScores | None  # None where no cuts are labelled
    tracks: int
    tracks_scored: int  # of labelled people
    tracks_unknown: int  # of any identity, in no person
    tracks_unlabelled: int  # that overlap no labelled face
    unknown_seconds_fraction: float  # screen time of labelled people's tracks outside all people

    @property
    def detection_recall(self) -> float:
        """Fraction of the labelled faces that a detection overlaps."""
        return _fraction(sum(h.detected for h in self.heights), self._labelled)

    @property
    def track_recall(self) -> float:
        """Fraction of the labelled faces that the box of a track overlaps."""
        return _fraction(sum(h.tracked for h in self.heights), self._labelled)

    @property
    def _labelled(self) -> int:
        return sum(h.labelled for h in self.heights)

    def row(self) -> list[str]:
        """Return the scores of the tracks, as cells below TITLE_COLUMNS."""
        s = self.scores
        return [
            self.title,
            f"{s.wcp:.4f}",
            f"{s.pcr:.2f} ({s.clusters}/{s.identities})",
            f"{s.nmi:.4f}",
            f"{s.bcubed_precision:.4f} / {s.bcubed_recall:.4f} / {s.bcubed_f:.4f}",
            f"{s.unknown_fraction:.1%}",
            f"{self.detection_recall:.4f}",
            f"{self.tracks_scored} (+{self.tracks_unlabelled} without label)",
        ]

    def people_row(self) -> list[str]:
        """Return the people and the shots, as cells below PEOPLE_COLUMNS."""
        p, cuts = self.people, self.cuts
        return [
            self.title,
            f"{p.found} of {p.there}",
            str(p.made),
            str(p.of_no_face),
            str(p.mixed),
            str(self.tracks_unknown),
            f"{self.unknown_seconds_fraction:.1%}",
            f"{_shown(cuts.precision)} / {_shown(cuts.recall)}" if cuts else "-",
        ]

    def height_rows(self) -> list[list[str]]:
        """Return the recall by face height, as cells below HEIGHT_COLUMNS."""
        return [
            [
                self.title,
                height.name,
                str(height.labelled),
                _shown(height.detected / height.labelled),
                _shown(height.tracked / height.labelled),
            ]
            for height in self.heights
            if height.labelled
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        s, p, cuts = self.scores, self.people, self.cuts
        return {
            "title": self.title,
            "wcp": s.wcp,
            "pcr": s.pcr,
            "people_found": s.clusters,
            "people_true": s.identities,
            "nmi": s.nmi,
            "bcubed_precision": s.bcubed_precision,
            "bcubed_recall": s.bcubed_recall,
            "bcubed_f": s.bcubed_f,
            "unknown_fraction": s.unknown_fraction,
            "unknown_seconds_fraction": self.unknown_seconds_fraction,
            "identities_labelled": p.there,
            "identities_found": p.found,
            "people_made": p.made,
            "people_of_no_face": p.of_no_face,
            "people_mixed": p.mixed,
            "detection_recall": self.detection_recall,
            "track_recall": self.track_recall,
            "recall_by_height": [asdict(height) for height in self.heights],
            "shots": cuts and {**asdict(cuts), "precision": cuts.precision, "recall": cuts.recall},
            "tracks": self.tracks,
            "tracks_scored": self.tracks_scored,
            "tracks_unknown": self.tracks_unknown,
            "tracks_unlabelled": self.tracks_unlabelled,
        }


def score_clustering(tracks: Sequence[MatchedTrack]) -> ClusterScores:
    """Score the people that tracks are in, over the tracks of labelled people (METHOD 5)."""
    scored = [track for track in tracks if is_person(track.identity)]
    true = _numbered([track.identity for track in scored])
    predicted = _numbered([track.person for track in scored])
    return evaluate_clustering(np.array(true, np.int64), np.array(predicted, np.int64))


def count_people(tracks: Sequence[MatchedTrack], there: set[str]) -> PeopleCounts:
    """Count the people that tracks are in against the labelled people.

    Args:
        tracks: All of a title, also those in no person.
        there: Names of the labelled people.
    """
    people: dict[str, list[MatchedTrack]] = {}
    for track in tracks:
        if track.person is not None:
            people.setdefault(track.person, []).append(track)
    found = {track.identity for own in people.values() for track in own} & there
    return PeopleCounts(
        there=len(there),
        found=len(found),
        made=len(people),
        of_no_face=sum(_is_no_face(own) for own in people.values()),
        mixed=sum(len({t.identity for t in own} - {UNIDENTIFIED}) > 1 for own in people.values()),
    )


def _is_no_face(tracks: Sequence[MatchedTrack]) -> bool:
    """True where more than half of a person's tracks show no face, or one without a name.

    Tracks that lie between two labelled times say nothing, so they do not count.
    """
    certain = [track for track in tracks if track.matched or track.identity != UNIDENTIFIED]
    return 2 * sum(not is_person(track.identity) for track in certain) > len(certain)


def unknown_seconds_fraction(tracks: Sequence[MatchedTrack]) -> float:
    """Return the fraction of the screen time of labelled people's tracks that is in no person."""
    scored = [track for track in tracks if is_person(track.identity)]
    outside = sum(track.seconds for track in scored if track.person is None)
    return _fraction(outside, sum(track.seconds for track in scored))


def recall_by_height(boxes: F32, detected: Mask, tracked: Mask) -> tuple[HeightRecall, ...]:
    """Count labelled faces by their height, those found apart.

    Args:
        boxes: (n, 4) of the labelled faces, in pixels of the displayed frame.
        detected: (n,) true for those that a detection overlaps.
        tracked: (n,) true for those that the box of a track overlaps.

    Returns:
        One record for each class of HEIGHTS; a height on a border is in the class above it.
    """
    above = np.searchsorted(HEIGHTS, boxes[:, 3] - boxes[:, 1], side="right") - 1
    kind = np.maximum(above, 0)  # a box with swapped corners has no height
    return tuple(
        HeightRecall(
            min_pixels=low,
            max_pixels=high,
            labelled=int((kind == number).sum()),
            detected=int(detected[kind == number].sum()),
            tracked=int(tracked[kind == number].sum()),
        )
        for number, (low, high) in enumerate(zip(HEIGHTS, (*HEIGHTS[1:], None), strict=True))
    )


def _numbered(names: Sequence[str | None]) -> list[int]:
    """The names as numbers; UNKNOWN for None."""
    numbers = {name: n for n, name in enumerate(sorted({n for n in names if n is not None}))}
    return [UNKNOWN if name is None else numbers[name] for name in names]


def _fraction(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
