"""Corrections as records: what a reviewer decided, and about which faces.

An edit names the faces that it is about by what they are and not by a result: by anchors, which
say when and where a track is seen. So it can be applied to any later result of the title. Edits
never change; an undo is an edit too. It knows no storage and no result.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.errors import UsageError
from vcn_ray.records import F32
from vcn_ray.redact import clean

Kind = Literal["name", "merge", "apart", "move", "no_face", "nobody", "lock", "unlock", "undo"]

KINDS: dict[Kind, str] = {
    "name": "give a person, or a single track of nobody, a name; an empty one removes it",
    "merge": "two people are one: the first becomes a part of the second",
    "apart": "two people are not one; who is who stays as it is",
    "move": "tracks belong to another person, or to a new one",
    "no_face": "tracks show no face",
    "nobody": "a person, or a track of nobody, is nobody whom the reviewer knows",
    "lock": "no machine may merge this person with another locked one",
    "unlock": "take the lock of a person back",
    "undo": "an earlier edit does not count; an undone undo does",
}
"""What each kind of edit says."""

assert set(KINDS) == set(get_args(Kind))

MAX_BOXES = 8  # of an anchor: enough to tell a track from others that cross it
MAX_SEQUENCE = 99_999_999  # of eight digits, so that names sort as numbers do
MAX_TEXT = 2000  # characters of a name or note
MAX_ANCHORS = 100_000
ID_HEX = 16
MAX_STEP = 127  # of a stored embedding's numbers

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Sequence = Annotated[int, Field(ge=1, le=MAX_SEQUENCE)]

Box = tuple[float, float, float, float, float]


def _boxes_as_text(boxes: tuple[Box, ...]) -> str:
    return "; ".join(" ".join(f"{number:.10g}" for number in box) for box in boxes)


def boxes_of_text(boxes: Any) -> Any:
    """What may be boxes: a text as an object holds it, or the boxes themselves."""
    if isinstance(boxes, str):
        return tuple(tuple(box.split()) for box in boxes.split(";") if box.strip())
    return boxes


Boxes = Annotated[tuple[Box, ...], BeforeValidator(boxes_of_text), PlainSerializer(_boxes_as_text)]
"""In an object a text, five numbers a box: a list of lists would take most of its space."""


def _check_embedding(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("it is no base64") from error
    return text


Embedding = Annotated[str, AfterValidator(_check_embedding)]


@dataclass(frozen=True, config=STRICT)
class Anchor:
    """When and where a track is seen, so that it can be found again in another result."""

    track_id: str  # in the result that the edit was made on
    video_id: str
    start_seconds: float
    end_seconds: float
    boxes: Boxes  # seconds, x0, y0, x1, y1 in displayed pixels; at most MAX_BOXES, by time
    embedding: Embedding = ""  # of the pretrained encoder: see pack_embedding; "": unknown

    @property
    def seconds(self) -> float:
        """Length of the track."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True, config=STRICT)
class Edit:
    """One decision of a reviewer."""

    kind: Kind
    who: Text
    at: str  # ISO 8601, UTC; for people: `sequence` decides the order
    sequence: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)] = (
        1  # one more than the largest that the reviewer saw
    )
    result: str = ""  # name of the result's folder that the reviewer saw
    encoder: str = ""  # hash of the encoder of the embeddings
    subject: Annotated[tuple[Anchor, ...], Field(max_length=MAX_ANCHORS)] = ()
    person: str = ""  # id of the person whom the subject was, entirely; "": single tracks
    into: Annotated[tuple[Anchor, ...], Field(max_length=MAX_ANCHORS)] = ()
    into_person: str = ""  # id of the person whom `into` was; "": a new one
    away: Annotated[tuple[Anchor, ...], Field(max_length=MAX_ANCHORS)] = ()  # of kind move: some
    # tracks that stay with whom the subject is taken from, which teach who it is not
    name: Text = ""  # of kinds name and lock
    undoes: str = ""  # id of an edit
    note: Text = ""

    @cached_property
    def edit_id(self) -> str:
        """The hash of its content; an edit of thousands of tracks takes long to hash."""
        return content_id(edit_as_json(self))

    @property
    def file_name(self) -> str:
        """The name of its object; names sort in the order in which edits apply."""
        return f"{self.sequence:08d}-{self.edit_id}.json"


JOINERS = ("\u200c", "\u200d")  # are not printable, but names in Persian and Hindi need them
_JOINER = re.compile(f"([{''.join(JOINERS)}])")

_EDIT = TypeAdapter(Edit)


def edit_as_json(edit: Edit) -> dict[str, Any]:
    """The edit as JSON holds it; fields that say nothing are left out."""
    content: dict[str, Any] = _EDIT.dump_python(edit, mode="json")
    return {name: value for name, value in content.items() if value not in ("", [])}


def edit_from_json(content: dict[str, Any]) -> Edit:
    """The edit of `edit_as_json`.

    Raises:
        UsageError: It is none.
    """
    try:
        return _EDIT.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise UsageError(f"it is no edit: {where}: {first['msg']}") from error


def content_id(content: Mapping[str, Any]) -> str:
    """The id of an edit by what its object holds."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_HEX]


def order_edits(edits: Iterable[Edit]) -> list[Edit]:
    """Edits in the order in which they apply: that of their files' names."""
    return sorted(edits, key=lambda edit: (edit.sequence, edit.edit_id))


def active_undos(edits: Iterable[Edit]) -> dict[str, list[str]]:
    """The ids of the undos that count, by the id of the edit that they undo."""
    undos: dict[str, list[str]] = {}
    for edit in reversed(order_edits(edits)):
        if edit.kind == "undo" and edit.edit_id not in undos:
            undos.setdefault(edit.undoes, []).append(edit.edit_id)
    return undos


def active_edits(edits: Iterable[Edit]) -> list[Edit]:
    """The edits that count, in order: without undos, and without what these undo."""
    ordered = order_edits(edits)
    undone = active_undos(ordered)
    return [edit for edit in ordered if edit.kind != "undo" and edit.edit_id not in undone]


def now() -> str:
    """The present time as an edit keeps it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def pack_embedding(embedding: F32) -> str:
    """The direction of an embedding (d,) in a byte a number, as base64."""
    largest = max(float(np.abs(embedding).max(initial=0.0)), 1e-12)
    steps = np.rint(embedding * (MAX_STEP / largest)).astype(np.int8)
    return base64.b64encode(steps.tobytes()).decode("ascii")


def unpack_embedding(text: str) -> F32:
    """The unit embedding (d,) of `pack_embedding`."""
    steps = np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32)
    norm = float(np.linalg.norm(steps))
    result: F32 = steps / np.float32(norm if norm > 0 else 1)
    return result


def user_name() -> str:
    """The user of this process; empty where the system knows no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # as in a container
        return ""


def check_text(text: str, what: str) -> str:
    """A name or note as it is stored: one clean line, any white space a single space.

    Raises:
        UsageError: It is too long.
    """
    words = " ".join(text.split())
    line = "".join(part if part in JOINERS else clean(part) for part in _JOINER.split(words))
    if len(line) > MAX_TEXT:
        raise UsageError(f"{what} has {len(line)} characters: use at most {MAX_TEXT}")
    return line
