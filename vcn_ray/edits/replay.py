"""Edits applied to a result: who is who after all corrections, and which of them no longer fit.

Each edit is applied in order to what the edits before it left. An edit that cannot be placed with
certainty changes nothing and becomes a conflict; it is never dropped and never guessed. It knows
no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.record import Anchor, Edit, active_edits

REPLAY_VERSION = "1"
"""Raised whenever the same edits and result give other tables."""

NEW_PERSON = "r"  # a person whom a reviewer made is called r-<edit id>
ID_SHOWN = 8
MIN_FOUND = 0.25  # of a person's seconds that must be found again before an edit of it applies
MAJORITY = 0.5  # of the found seconds that must be of one person

Problem = Literal["lost", "unclear", "two_names", "locked", "contested", "damaged"]

PROBLEMS: dict[Problem, str] = {
    "lost": "what it is about is not tracked any more",
    "unclear": "what was one person is now several, and none has most of it",
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


@dataclass(slots=True)
class ReviewedPerson:
    """A person after the edits."""

    person_id: str
    name: str = ""
    named_by: frozenset[str] = frozenset()  # ids of the tracks that the naming edit was about
    locked: bool = False
    lock_tracks: frozenset[str] = frozenset()  # and of the locking one
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


def replay(
    person: Mapping[str, str | None], index: TrackIndex, edits: Iterable[Edit], result: str
) -> Reviewed:
    """Apply edits to a result.

    Args:
        person: Person of each track of the result, by id; None: of nobody.
        index: The tracks of the result.
        edits: In any order, with those that are undone.
        result: Name of the result's folder: edits made on it name its tracks by their ids.
    """
    player = _Player(Reviewed(dict(person)), index, result)
    for edit in active_edits(list(edits)):
        player.apply(edit)
    return player.state


class _NoAnswer(NamedTuple):
    """Why there is no answer."""

    problem: Problem


@dataclass(slots=True)
class _Match:
    """An anchor and the tracks that it is."""

    anchor: Anchor
    tracks: tuple[str, ...]


@dataclass(slots=True)
class _Player:
    """Applies one edit after the other."""

    state: Reviewed
    index: TrackIndex
    result: str
    claims: dict[str, tuple[str, str]] = field(default_factory=dict)  # track -> the track of the
    # edit's result that it was taken for, and the person it was given to

    def apply(self, edit: Edit) -> None:
        """Apply an edit, or note why it cannot be."""
        matches = self._find(edit, edit.subject)
        match edit.kind:
            case "name":
                self._name(edit, matches)
            case "merge":
                self._merge(edit, matches)
            case "apart":
                self._apart(edit, matches)
            case "move":
                self._move(edit, matches)
            case "no_face":
                self._no_face(edit, matches)
            case "nobody":
                self._nobody(edit, matches)
            case "lock":
                self._lock(edit, matches)
            case "unlock":
                who = self._person(edit, matches)
                if who is not None:
                    about = self.state.about(who)
                    about.locked, about.lock_tracks = False, frozenset()

    def _find(self, edit: Edit, anchors: Sequence[Anchor]) -> list[_Match]:
        exact = edit.result == self.result
        matches = []
        for anchor in anchors:
            found = self.index.find(anchor, edit.encoder, exact)
            if not exact:
                self.state.found[found.how] += 1
            matches.append(_Match(anchor, found.tracks))
        return matches

    def _conflict(self, edit: Edit, problem: Problem, anchor: Anchor | None = None) -> None:
        self.state.conflicts.append(Conflict(edit, problem, anchor))

    def _seconds(self, track: str) -> float:
        row = self.index.row[track]
        return float(self.index.end[row] - self.index.start[row])

    def _vote(self, matches: Sequence[_Match]) -> str | _NoAnswer:
        """The person that most of the found seconds are of; or why there is none."""
        whole = sum(match.anchor.seconds for match in matches)
        votes: dict[str, float] = {}
        found = 0.0
        for match in matches:
            if match.tracks:
                found += match.anchor.seconds
            for track in match.tracks:
                who = self.state.person[track]
                if who is not None:
                    votes[who] = votes.get(who, 0.0) + self._seconds(track)
        if not votes or found < MIN_FOUND * whole:
            return _NoAnswer("lost")
        best = max(sorted(votes), key=votes.__getitem__)
        if votes[best] <= MAJORITY * sum(votes.values()) and len(votes) > 1:
            return _NoAnswer("unclear")
        return best

    def _person(self, edit: Edit, matches: Sequence[_Match]) -> str | None:
        """The person whom an edit is about; a conflict where that is not clear."""
        who = self._vote(matches)
        if isinstance(who, _NoAnswer):
            self._conflict(edit, who.problem)
            return None
        return who

    def _give(self, edit: Edit, tracks: Iterable[str], who: str | None) -> None:
        for track in tracks:
            self.state.person[track] = who
            self.state.moved_by[track] = edit.edit_id
            self.state.no_face.discard(track)

    def _name(self, edit: Edit, matches: Sequence[_Match]) -> None:
        tracks = _found(matches)
        who = self._person(edit, matches) if edit.person else self._alone(edit, tracks)
        if who is None:
            return
        about = self.state.about(who)
        if about.name and about.name != edit.name and not about.named_by & tracks:
            self._conflict(edit, "two_names")
            return
        about.name, about.named_by = edit.name, frozenset(tracks)

    def _alone(self, edit: Edit, tracks: set[str]) -> str | None:
        """Make a person of a track of nobody, whatever a later result takes it for."""
        if not tracks:
            self._conflict(edit, "lost")
            return None
        who = _new_person(edit)
        self._give(edit, sorted(tracks), who)
        return who

    def _merge(self, edit: Edit, matches: Sequence[_Match]) -> None:
        one = self._person(edit, matches)
        other = self._person(edit, self._find(edit, edit.into)) if one is not None else None
        if one is None or other is None or one == other:
            return
        first, second = self.state.about(one), self.state.about(other)
        if first.locked and second.locked and first.name != second.name:
            self._conflict(edit, "locked")
            return
        self._give(edit, self.state.tracks_of(one), other)
        if not second.name:
            second.name, second.named_by = first.name, first.named_by
        second.locked |= first.locked
        second.lock_tracks |= first.lock_tracks

    def _apart(self, edit: Edit, matches: Sequence[_Match]) -> None:
        """Note whom a reviewer says not to be one; where they are one now, nothing is certain."""
        one = self._person(edit, matches)
        other = self._person(edit, self._find(edit, edit.into)) if one is not None else None
        if one is None or other is None:
            return
        if one == other:
            self._conflict(edit, "unclear")
            return
        self.state.apart.append(Apart(edit.edit_id, one, other))

    def _move(self, edit: Edit, matches: Sequence[_Match]) -> None:
        who: str | None = _new_person(edit)
        if edit.into:
            who = self._person(edit, self._find(edit, edit.into))
        if who is None:
            return
        for match in matches:
            if not match.tracks:
                self._conflict(edit, "lost", match.anchor)
            for track in match.tracks:
                self._claim(edit, match.anchor, track, who)

    def _claim(self, edit: Edit, anchor: Anchor, track: str, who: str | None) -> None:
        """Give a track to a person, unless it was taken for another track and given elsewhere."""
        before = self.claims.get(track)
        if before and before[0] != anchor.track_id and before[1] != (who or ""):
            self._conflict(edit, "contested", anchor)
            return
        self.claims[track] = (anchor.track_id, who or "")
        self._give(edit, [track], who)

    def _no_face(self, edit: Edit, matches: Sequence[_Match]) -> None:
        for match in matches:
            if not match.tracks:
                self._conflict(edit, "lost", match.anchor)
            for track in match.tracks:
                self._claim(edit, match.anchor, track, None)
                if self.state.person[track] is None:
                    self.state.no_face.add(track)

    def _nobody(self, edit: Edit, matches: Sequence[_Match]) -> None:
        if edit.person:
            who = self._person(edit, matches)
            if who is not None:
                self.state.about(who).nobody = True
            return
        for match in matches:
            if not match.tracks:
                self._conflict(edit, "lost", match.anchor)
            self.state.settled.update(match.tracks)

    def _lock(self, edit: Edit, matches: Sequence[_Match]) -> None:
        who = self._person(edit, matches)
        if who is None:
            return
        tracks = _found(matches)
        about = self.state.about(who)
        others = about.locked and not about.lock_tracks & tracks
        if others and about.name != edit.name:
            who = self._separate(edit, who, tracks)
            about = self.state.about(who)
        elif about.name != edit.name and about.name and not about.named_by & tracks:
            self._conflict(edit, "two_names")
            return
        if edit.name:
            about.name, about.named_by = edit.name, frozenset(tracks)
        about.locked, about.lock_tracks = True, about.lock_tracks | tracks

    def _separate(self, edit: Edit, who: str, tracks: set[str]) -> str:
        """Undo a machine's merge of two locked people: what neither lock holds is of nobody."""
        new = _new_person(edit)
        held = self.state.about(who).lock_tracks
        mine = [track for track in self.state.tracks_of(who) if track in tracks]
        rest = [
            track
            for track in self.state.tracks_of(who)
            if track not in tracks and track not in held
        ]
        self._give(edit, mine, new)
        self._give(edit, rest, None)
        self.state.conflicts = [
            conflict
            for conflict in self.state.conflicts
            if not (conflict.problem == "two_names" and conflict.edit.name == edit.name)
        ]
        for anchor in self.index.anchors(rest):
            self._conflict(edit, "locked", anchor)
        return new


def _found(matches: Sequence[_Match]) -> set[str]:
    return {track for match in matches for track in match.tracks}


def _new_person(edit: Edit) -> str:
    return f"{NEW_PERSON}-{edit.edit_id[:ID_SHOWN]}"
