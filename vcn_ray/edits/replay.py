"""Edits applied to a result: who is who after all corrections, and which of them no longer fit.

Each edit is applied in order to what the edits before it left. An edit that cannot be placed with
certainty changes nothing and becomes a conflict; it is never dropped and never guessed. It knows
no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vcn_ray.edits.anchor import TrackIndex, is_same_face
from vcn_ray.edits.record import Anchor, Edit, active_edits
from vcn_ray.edits.state import MAJORITY, Apart, Conflict, Problem, Reviewed, Subject

REPLAY_VERSION = "1"
"""Raised whenever the same edits and result give other tables."""

NEW_PERSON = "r"  # a person whom a reviewer made is called r-<edit id>
ID_SHOWN = 8
MIN_FOUND = 0.25  # of a person's seconds that must be found again before an edit of it applies
MIN_SECONDS = 1e-3  # of a track of a single frame


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
    counting = active_edits(edits)
    others = [edit for edit in counting if edit.result != result]
    anchors = (anchor for edit in others for anchor in (*edit.subject, *edit.into))
    elsewhere = index.videos_elsewhere(anchors)
    player = _Player(Reviewed(dict(person)), index, result, elsewhere)
    for edit in counting:
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
    by_id: bool  # as in the result that the edit was made on


@dataclass(slots=True)
class _Player:
    """Applies one edit after the other."""

    state: Reviewed
    index: TrackIndex
    result: str
    elsewhere: frozenset[str] = frozenset()  # videos whose picture lies elsewhere than it did
    claims: dict[str, tuple[str, Anchor]] = field(default_factory=dict)  # by track: what the last
    # edit of single tracks took it for, and the result of that edit
    waiting: list[tuple[Edit, Subject]] = field(default_factory=list)  # locks that found a person
    # of another name in their place

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
                self._unlock(edit, matches)

    def _find(self, edit: Edit, anchors: Sequence[Anchor]) -> list[_Match]:
        exact = edit.result == self.result
        matches = []
        for anchor in anchors:
            elsewhere = anchor.video_id in self.elsewhere
            found = self.index.find(anchor, edit.encoder, exact, elsewhere)
            if not exact:
                self.state.found[found.how] += 1
            matches.append(_Match(anchor, found.tracks, found.how == "id"))
        return matches

    def _conflict(self, edit: Edit, problem: Problem, anchor: Anchor | None = None) -> None:
        self.state.conflicts.append(Conflict(edit, problem, anchor))

    def _seconds(self, anchor: Anchor, track: str) -> float:
        """Time in which an anchor and a track that it is are both seen."""
        row = self.index.row[track]
        end = min(float(self.index.end[row]), anchor.end_seconds)
        return max(end - max(float(self.index.start[row]), anchor.start_seconds), MIN_SECONDS)

    def _vote(self, matches: Sequence[_Match]) -> str | _NoAnswer:
        """The person that most of the found seconds are of; or why there is none."""
        whole = sum(match.anchor.seconds for match in matches)
        votes: dict[str | None, float] = {}
        found = 0.0
        for match in matches:
            seconds = {track: self._seconds(match.anchor, track) for track in match.tracks}
            found += min(match.anchor.seconds, sum(seconds.values()))
            for track, seen in seconds.items():
                who = self.state.person[track]
                votes[who] = votes.get(who, 0.0) + seen
        if not votes or found < MIN_FOUND * whole:
            return _NoAnswer("lost")
        best = max(votes, key=votes.__getitem__)
        if best is None or votes[best] <= MAJORITY * sum(votes.values()):
            return _NoAnswer("unclear")
        return best

    def _person(self, edit: Edit, matches: Sequence[_Match], named: str) -> str | None:
        """The person whom an edit is about; a conflict where that is not clear.

        Args:
            edit: The edit.
            matches: The tracks of that person.
            named: Its id in the edit: in this very result, it says more than the tracks.
        """
        by_id = all(match.by_id for match in matches)
        if named and by_id and any(self.state.person[t] == named for t in _found(matches)):
            return named
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

    def _subject(self, edit: Edit, matches: Sequence[_Match]) -> Subject:
        person = edit.person or _new_person(edit)
        return Subject(edit.result, person, frozenset(_found(matches)))

    def _has_other_name(self, who: str, edit: Edit, subject: Subject) -> bool:
        """Whether a person has another name already, and from an edit of other tracks."""
        if edit.result == self.result and edit.person == who:
            return False  # the reviewer saw it
        about = self.state.about(who)
        if not about.name or about.name == edit.name or about.named_by is None:
            return False
        return not about.named_by.is_of(subject)

    def _name(self, edit: Edit, matches: Sequence[_Match]) -> None:
        if edit.person:
            who = self._person(edit, matches, edit.person)
        else:
            who = self._alone(edit, matches)
        if who is None:
            return
        subject = self._subject(edit, matches)
        if self._has_other_name(who, edit, subject):
            self._conflict(edit, "two_names")
            return
        about = self.state.about(who)
        about.name, about.named_by = edit.name, subject if edit.name else None
        about.nobody = about.nobody and not edit.name

    def _alone(self, edit: Edit, matches: Sequence[_Match]) -> str | None:
        """Make a person of a track of nobody, whatever a later result takes it for.

        A result that takes it for a person of that very name is right already.
        """
        pairs = [(match.anchor, track) for match in matches for track in match.tracks]
        if not pairs:
            self._conflict(edit, "lost")
            return None
        people = {self.state.person[track] for _, track in pairs}
        for one in people:
            if one is not None and len(people) == 1 and self.state.about(one).name == edit.name:
                return one
        who = _new_person(edit)
        given = [self._claim(edit, anchor, track, who) for anchor, track in pairs]
        return who if any(given) else None

    def _two_people(self, edit: Edit, matches: Sequence[_Match]) -> tuple[str, str] | None:
        """The two people whom an edit is about; a conflict where one of them is not clear."""
        one = self._person(edit, matches, edit.person)
        if one is None:
            return None
        other = self._person(edit, self._find(edit, edit.into), edit.into_person)
        return None if other is None else (one, other)

    def _each_track(self, edit: Edit, matches: Sequence[_Match]) -> Iterator[tuple[Anchor, str]]:
        """The tracks that an edit of single tracks is about; a conflict for each that is lost."""
        for match in matches:
            if not match.tracks:
                self._conflict(edit, "lost", match.anchor)
            for track in match.tracks:
                yield match.anchor, track

    def _merge(self, edit: Edit, matches: Sequence[_Match]) -> None:
        pair = self._two_people(edit, matches)
        if pair is None:
            return
        one, other = pair
        if one != other and not self._join(edit, one, other):
            return
        about = self.state.about(other)
        by = about.named_by
        if by is not None and (by.result, by.person) == (edit.result, edit.person):
            about.named_by = replace(by, person=edit.into_person)  # as the reviewer sees it now

    def _join(self, edit: Edit, one: str, other: str) -> bool:
        """Give all of a person to another one; False where both are locked."""
        first, second = self.state.about(one), self.state.about(other)
        if first.locked and second.locked and first.name != second.name:
            self._conflict(edit, "locked")
            return False
        self._give(edit, self.state.tracks_of(one), other)
        if not second.name:
            second.name, second.named_by = first.name, first.named_by
        second.locked |= first.locked
        second.lock_tracks |= first.lock_tracks
        return True

    def _apart(self, edit: Edit, matches: Sequence[_Match]) -> None:
        """Note whom a reviewer says not to be one; where they are one now, nothing is certain."""
        pair = self._two_people(edit, matches)
        if pair is None:
            return
        one, other = pair
        if one == other:
            self._conflict(edit, "unclear")
            return
        self.state.apart.append(Apart(edit.edit_id, one, other))

    def _move(self, edit: Edit, matches: Sequence[_Match]) -> None:
        who: str | None = _new_person(edit)
        if edit.into:
            who = self._person(edit, self._find(edit, edit.into), edit.into_person)
        if who is None:
            return
        for anchor, track in self._each_track(edit, matches):
            self._claim(edit, anchor, track, who)

    def _claim(self, edit: Edit, anchor: Anchor, track: str, who: str | None) -> bool:
        """Give a track to a person; False where it was taken for another face and given elsewhere.

        A later edit of the same face counts: its reviewer saw what the earlier one had made of it.
        """
        before = self.claims.get(track)
        if before and self.state.person[track] != who and not _is_one(before, edit, anchor):
            self._conflict(edit, "contested", anchor)
            return False
        self.claims[track] = (edit.result, anchor)
        self._give(edit, [track], who)
        return True

    def _no_face(self, edit: Edit, matches: Sequence[_Match]) -> None:
        for anchor, track in self._each_track(edit, matches):
            if self._claim(edit, anchor, track, None):
                self.state.no_face.add(track)

    def _nobody(self, edit: Edit, matches: Sequence[_Match]) -> None:
        if edit.person:
            who = self._person(edit, matches, edit.person)
            if who is not None and self._has_other_name(who, edit, self._subject(edit, matches)):
                self._conflict(edit, "two_names")
            elif who is not None:
                self.state.about(who).nobody = True
            return
        self.state.settled.update(track for _, track in self._each_track(edit, matches))

    def _lock(self, edit: Edit, matches: Sequence[_Match]) -> None:
        who = self._person(edit, matches, edit.person)
        if who is None:
            return
        subject = self._subject(edit, matches)
        about = self.state.about(who)
        others = about.locked and not about.lock_tracks & subject.tracks
        if others and about.name != edit.name:
            who = self._separate(edit, who, subject.tracks)
        elif self._has_other_name(who, edit, subject):
            self.waiting.append((edit, subject))
            self._conflict(edit, "two_names")
            return
        self._locked(who, edit, subject)
        self._lock_waiting(who)

    def _locked(self, who: str, edit: Edit, subject: Subject) -> None:
        about = self.state.about(who)
        if edit.name:
            about.name, about.named_by = edit.name, subject
        about.locked, about.lock_tracks = True, about.lock_tracks | subject.tracks

    def _unlock(self, edit: Edit, matches: Sequence[_Match]) -> None:
        who = self._person(edit, matches, edit.person)
        tracks = _found(matches)
        self.waiting = [lock for lock in self.waiting if not lock[1].tracks & tracks]
        about = self.state.about(who) if who is not None else None
        if about and about.lock_tracks & tracks:  # else, of another who is taken for this person
            about.locked, about.lock_tracks = False, frozenset()

    def _lock_waiting(self, who: str) -> None:
        """Separate those whose lock found the name of a person who is locked only now."""
        about = self.state.about(who)
        for edit, subject in list(self.waiting):
            tracks = frozenset(t for t in subject.tracks if self.state.person[t] == who)
            if tracks and about.name != edit.name and not about.lock_tracks & tracks:
                self.waiting.remove((edit, subject))
                self._locked(self._separate(edit, who, tracks), edit, subject)

    def _separate(self, edit: Edit, who: str, tracks: frozenset[str]) -> str:
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


def _is_one(before: tuple[str, Anchor], edit: Edit, anchor: Anchor) -> bool:
    """Whether an edit is about the face that an edit before it was about."""
    result, other = before
    if result == edit.result:
        return other.track_id == anchor.track_id
    return is_same_face(other, anchor)


def _new_person(edit: Edit) -> str:
    return f"{NEW_PERSON}-{edit.edit_id[:ID_SHOWN]}"
