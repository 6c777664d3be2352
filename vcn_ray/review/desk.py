"""A title under review: what a reviewer sees, and the decisions that can be made about it.

Every decision is checked against the state that all edits so far give, written as one edit, and
replayed at once. It knows neither the page nor the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vcn_ray.edits.constraints import MAX_APART
from vcn_ray.edits.record import Edit, Kind, active_edits, active_undos, check_text, now, user_name
from vcn_ray.edits.state import ReviewedPerson
from vcn_ray.edits.store import EditLog
from vcn_ray.edits.tables import best_faces
from vcn_ray.errors import UsageError, listed
from vcn_ray.io.storage import Storage
from vcn_ray.run.reviewed import ReviewedTitle, commit_reviewed, index_tracks, review
from vcn_ray.run.stored import find_title_id, read_result, read_title

MAX_LISTED = 10  # people that an error names


class Desk:
    """Reads a title, and makes edits of it.

    Args:
        storage: The output.
        title: Name or id of the title; None: the only one.
        who: Of whom the edits are; None: the user of this process.

    Attributes:
        title_id: Of the title.
        who: Of whom the edits are.
        best: The best face of each track.

    Raises:
        UsageError: There is no such title, or nobody to make edits.
        StorageError: It cannot be read.
    """

    def __init__(self, storage: Storage, title: str | None = None, who: str | None = None) -> None:
        self.title_id = find_title_id(storage, title)
        self._storage = storage
        self.who = check_text(who if who is not None else user_name(), "the reviewer")
        if not self.who:
            raise UsageError("say who makes the corrections: a name is missing")
        self._log = EditLog(storage, self.title_id)
        self._open()
        self._reviewed = self._replay(self._log.read())

    def _open(self) -> None:
        """Read the newest result of the title."""
        self._title = read_title(self.title_id, self._storage)
        self._index = index_tracks(self._title, self._storage)
        self.best = best_faces(self._title.tracks, self._title.crops)

    @property
    def reviewed(self) -> ReviewedTitle:
        """The title after all edits that this desk has read or made."""
        return self._reviewed

    def refresh(self) -> bool:
        """Read what other reviewers, or a run, have done since; True if there is anything."""
        edits, before = self._log.read(), self._reviewed
        newest = read_result(self.title_id, self._storage).folder
        same = newest == self._title.folder
        if same and tuple(edits) == before.edits and self._log.damaged == before.damaged:
            return False
        if not same:
            self._open()
        self._reviewed = self._replay(edits)
        return True

    def drop_pictures(self) -> None:
        """Forget the pictures of faces, which take most of a title's memory."""
        crops = self._title.crops.drop_columns(["image", "face"])
        self._title = replace(self._title, crops=crops)
        self._reviewed = replace(self._reviewed, title=self._title)

    def commit(self) -> str:
        """Write the tables after all edits; returns their folder, below the output."""
        self.refresh()
        return commit_reviewed(self._reviewed, self._storage)

    def name(self, who: str, name: str, note: str = "") -> Edit:
        """Name a person; or a track of nobody, which becomes a person of this track alone.

        Args:
            who: Id of a person, or of a track of nobody.
            name: Its name; empty removes it.
            note: For people.
        """
        text = check_text(name, "the name")
        if who in self._people():
            if not text and not self._about(who).name:
                raise UsageError(f"{who} has no name that could be removed")
            return self._about_person(self._draft("name", note, text), who)
        tracks = self._tracks([who], of_nobody=True)
        if not text:
            raise UsageError(f"track {who} is of nobody: give it a name")
        return self._about_tracks(self._draft("name", note, text), tracks)

    def merge(self, one: str, into: str, note: str = "") -> Edit:
        """Say that two people are one; the first becomes a part of the second, with its name.

        Raises:
            UsageError: Both are locked, or one of them is no person.
        """
        if one == into:
            raise UsageError(f"{one} cannot be merged with itself: name two people")
        first, second = self._about(one), self._about(into)
        if first.locked and second.locked:
            raise UsageError(f"{one} and {into} are both locked: unlock one of them first")
        return self._about_person(self._draft("merge", note), one, into)

    def apart(self, one: str, other: str, note: str = "") -> Edit:
        """Say that two people are not one; this changes nobody, and is remembered.

        Raises:
            UsageError: One of them is no person, or both are the same.
        """
        if one == other:
            raise UsageError(f"{one} is one person: name two people who are not one")
        self._about(one)
        self._about(other)
        return self._about_person(self._draft("apart", note), one, other)

    def move(self, tracks: Sequence[str], into: str | None = None, note: str = "") -> Edit:
        """Say that tracks, of whomever they are now, belong to a person; None: to a new one."""
        ids = self._tracks(tracks)
        if into is not None:
            self._about(into)
        away = self._away(ids, into)
        return self._about_tracks(self._draft("move", note), ids, into or "", away)

    def no_face(self, tracks: Sequence[str], note: str = "") -> Edit:
        """Say that tracks show no face."""
        return self._about_tracks(self._draft("no_face", note), self._tracks(tracks))

    def nobody(self, who: str, note: str = "") -> Edit:
        """Say that a person, or a track of nobody, is nobody whom the reviewer knows."""
        if who in self._people():
            return self._about_person(self._draft("nobody", note), who)
        return self._about_tracks(self._draft("nobody", note), self._tracks([who], of_nobody=True))

    def lock(self, person: str, note: str = "") -> Edit:
        """Forbid machines to merge a named person with another locked one.

        Raises:
            UsageError: The person has no name.
        """
        name = self._about(person).name
        if not name:
            raise UsageError(f"{person} has no name: name a person before you lock it")
        return self._about_person(self._draft("lock", note, name), person)

    def unlock(self, person: str, note: str = "") -> Edit:
        """Take the lock of a person back."""
        if not self._about(person).locked:
            raise UsageError(f"{person} is not locked")
        return self._about_person(self._draft("unlock", note), person)

    def undo(self, edit_id: str | None = None, note: str = "") -> Edit:
        """Take back an edit; None: this reviewer's last one that counts.

        Raises:
            UsageError: There is no such edit, or it is undone.
        """
        self.refresh()
        active = active_edits(self._reviewed.edits)
        if edit_id is None:
            own = [edit for edit in active if edit.who == self.who]
            if not own:
                raise UsageError(f"{self.who} has no edit of {self._name} to undo")
            edit_id = own[-1].edit_id
        if edit_id not in {edit.edit_id for edit in active}:
            raise UsageError(f"there is no edit {edit_id!r} that counts: vcn edits list shows them")
        return self._undo(edit_id, note)

    def redo(self, edit_id: str | None = None, note: str = "") -> Edit:
        """Let an undone edit count again; None: the last one that this reviewer has undone.

        Where several reviewers have undone it, each of their undos is undone.

        Raises:
            UsageError: It is not undone.
        """
        self.refresh()
        edits = self._reviewed.edits
        undone = active_undos(edits)
        real = {edit.edit_id for edit in edits if edit.kind != "undo"}
        if edit_id is None:
            undos = {undo for ids in undone.values() for undo in ids}
            own = [e.undoes for e in edits if e.who == self.who and e.edit_id in undos]
            own = [each for each in own if each in real]
            if not own:
                raise UsageError(f"{self.who} has undone no edit of {self._name}")
            edit_id = own[-1]
        if edit_id not in undone or edit_id not in real:
            raise UsageError(f"edit {edit_id!r} is not undone")
        *others, last = undone[edit_id]
        for undo in others:
            self._undo(undo, note)
        return self._undo(last, note)

    def _undo(self, edit_id: str, note: str) -> Edit:
        return self._append(replace(self._draft("undo", note), undoes=edit_id))

    @property
    def _name(self) -> str:
        return str(self._title.summary["title"])

    def _people(self) -> set[str]:
        return {who for who in self._reviewed.state.person.values() if who is not None}

    def _about(self, person: str) -> ReviewedPerson:
        """What edits say of a person.

        Raises:
            UsageError: There is no such person.
        """
        people = self._people()
        if person not in people:
            some = listed(sorted(people), MAX_LISTED) or "nobody"
            raise UsageError(f"{self._name} has no person {person!r}: there are {some}")
        return self._reviewed.state.people.get(person, ReviewedPerson(person))

    def _tracks(self, tracks: Sequence[str], of_nobody: bool = False) -> list[str]:
        """The ids of tracks, once each.

        Raises:
            UsageError: There is no such track, or it is somebody's where it must be nobody's.
        """
        if not tracks:
            raise UsageError("name at least one track")
        state = self._reviewed.state
        for track in tracks:
            if track not in state.person:
                raise UsageError(f"{self._name} has no person and no track {track!r}")
            if of_nobody and state.person[track] is not None:
                raise UsageError(f"track {track} is of {state.person[track]}: name the person")
        return list(dict.fromkeys(tracks))

    def _away(self, tracks: Sequence[str], into: str | None) -> list[str]:
        """The longest tracks that stay with each person whom tracks are taken from."""
        state, row = self._reviewed.state, self._index.row
        length = self._index.end - self._index.start
        sources = {state.person[track] for track in tracks} - {None, into}
        away = []
        for person in sorted(source for source in sources if source):
            rest = [track for track in state.tracks_of(person) if track not in tracks]
            away += sorted(rest, key=lambda track: (-length[row[track]], track))[:MAX_APART]
        return away

    def _draft(self, kind: Kind, note: str, name: str = "") -> Edit:
        return Edit(kind, self.who, now(), name=name, note=check_text(note, "the note"))

    def _about_person(self, draft: Edit, person: str, into: str = "") -> Edit:
        """Write an edit about all tracks of a person."""
        tracks = self._reviewed.state.tracks_of(person)
        return self._about_tracks(replace(draft, person=person), tracks, into)

    def _about_tracks(
        self, draft: Edit, tracks: Sequence[str], into: str = "", away: Sequence[str] = ()
    ) -> Edit:
        """Write an edit about some tracks, and about all of the person `into`."""
        target = self._reviewed.state.tracks_of(into) if into else []
        return self._append(
            replace(
                draft,
                result=self._reviewed.result,
                encoder=self._index.encoder,
                subject=self._index.anchors(tracks),
                into=self._index.anchors(target),
                into_person=into,
                away=self._index.anchors(away),
            )
        )

    def _append(self, draft: Edit) -> Edit:
        edit = self._log.append(draft)
        self._reviewed = self._replay(self._log.read())
        return edit

    def _replay(self, edits: list[Edit]) -> ReviewedTitle:
        return review(self._title, self._index, edits, self._log.damaged, self.best)
