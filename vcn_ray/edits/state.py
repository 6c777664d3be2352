"""Who is who after edits, and which edits do not fit: what `replay` fills and others read.

It applies no edit, and knows neither tracks' faces nor storage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vcn_ray.edits.record import Anchor, Edit

MAJORITY = 0.5  # of the found seconds that must be of one person, those of nobody included

Problem = Literal["lost", "unclear", "two_names", "locked", "contested", "damaged"]

PROBLEMS: dict[Problem, str] = {
    "lost": "what it is about is not tracked any more",
    "unclear": "what was one person is now several, or partly nobody, and none has most of it",
    "two_names": "this result takes two people with different names for one",
    "locked": "it would merge two locked people",
    "contested": "this result takes tracks of different people for one track",
    "damaged": "the edit cannot be read",
}
"""Why an edit, or a part of it, is not applied."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """An edit, or one track of it, that does not fit a result."""

    edit: Edit
    problem: Problem
    anchor: Anchor | None = None  # None: the edit as a whole


@dataclass(frozen=True, slots=True)
class Subject:
    """What an edit of a person was about."""

    result: str  # that the reviewer saw
    person: str  # id there; of a single track, that of the person whom it became
    tracks: frozenset[str]  # what its tracks are in the present result

    def is_of(self, other: Subject) -> bool:
        """Whether both are about one person, or about people with most tracks in common.

        Where both saw the same result, its ids say so: a track may have been of both, one after
        the other.
        """
        if self.result == other.result:
            return self.person == other.person
        return _most(self.tracks, other.tracks)


def _most(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) > MAJORITY * min(len(one), len(other))


@dataclass(slots=True)
class ReviewedPerson:
    """A person after the edits."""

    person_id: str
    name: str = ""
    named_by: Subject | None = None  # of the naming edit
    locked: bool = False
    lock_tracks: frozenset[str] = frozenset()  # ids of the tracks that locking edits were about
    nobody: bool = False  # known to be nobody whom the reviewer knows


class Apart(NamedTuple):
    """Two people whom a reviewer says not to be one, as they were when the edit applied."""

    edit_id: str
    one: str
    other: str


@dataclass(slots=True)
class Reviewed:
    """A title's tracks and people after all edits.

    Attributes:
        person: Of each track by its id; None: of nobody.
        no_face: Ids of tracks that a reviewer says show no face.
        settled: Ids of tracks of nobody that are nobody whom the reviewer knows.
        moved_by: Id of the last edit that changed where a track belongs.
        people: Those whom an edit is about, by id.
        apart: Who is not one, in order.
        conflicts: What could not be applied, in order.
        found: How the anchors of edits of other results were found: by box, embedding, or lost.
    """

    person: dict[str, str | None]
    no_face: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    moved_by: dict[str, str] = field(default_factory=dict)
    people: dict[str, ReviewedPerson] = field(default_factory=dict)
    apart: list[Apart] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=lambda: {"box": 0, "embedding": 0, "lost": 0})

    def about(self, person_id: str) -> ReviewedPerson:
        """What edits say of a person; nothing yet, where none is about it."""
        return self.people.setdefault(person_id, ReviewedPerson(person_id))

    def tracks_of(self, person_id: str) -> list[str]:
        """Ids of a person's tracks, in the order of the result."""
        return [track for track, who in self.person.items() if who == person_id]
