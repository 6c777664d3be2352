"""What a page may ask a desk to decide, checked field by field; it knows no HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.edits.record import MAX_ANCHORS, MAX_TEXT, Edit
from vcn_ray.errors import UsageError
from vcn_ray.review.desk import Desk

MAX_ID = 512  # characters of the id of a person, track or edit

Do = Literal[
    "name",
    "merge",
    "apart",
    "move",
    "no_face",
    "nobody",
    "lock",
    "unlock",
    "undo",
    "redo",
    "unknown",  # not whom the catalog knows: it is about two titles, so it is no edit
]
Id = Annotated[str, Field(max_length=MAX_ID)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Decision:
    """One decision of a reviewer, as the page sends it."""

    do: Do
    who: Id = ""  # id of a person, or of a track of nobody
    into: Id = ""  # id of another person; empty: a new one
    tracks: Annotated[list[Id], Field(max_length=MAX_ANCHORS)] = Field(default_factory=list)
    name: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    edit: Id = ""  # id of an edit; empty: the last one of this reviewer
    note: Annotated[str, Field(max_length=MAX_TEXT)] = ""

    def make(self, desk: Desk) -> Edit:
        """Make the edit.

        Raises:
            UsageError: It does not fit who is who now.
            StorageError: It cannot be written.
        """
        match self.do:
            case "name":
                return desk.name(self.who, self.name, self.note)
            case "merge":
                return desk.merge(self.who, self.into, self.note)
            case "apart":
                return desk.apart(self.who, self.into, self.note)
            case "move":
                return desk.move(self.tracks, self.into or None, self.note)
            case "no_face":
                return desk.no_face(self.tracks, self.note)
            case "nobody":
                return desk.nobody(self.who, self.note)
            case _:
                return self._make_other(desk)

    def _make_other(self, desk: Desk) -> Edit:
        match self.do:
            case "lock":
                return desk.lock(self.who, self.note)
            case "unlock":
                return desk.unlock(self.who, self.note)
            case "redo":
                return desk.redo(self.edit, self.note)
            case "unknown":
                raise UsageError("this decision is about two titles: it is no edit of one")
            case _:
                return desk.undo(self.edit or None, self.note)


_DECISION = TypeAdapter(Decision)


def read_decision(content: Any) -> Decision:
    """The decision that a page sent.

    Raises:
        UsageError: It is none.
    """
    try:
        return _DECISION.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise UsageError(f"this is no decision: {where}: {first['msg']}") from error
