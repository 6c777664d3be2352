"""Decisions of people about the registry: these two are one, these two are not.

    registry/decisions/<hash>.json

Each is a small object that is written once and named by its content, so people who decide at once
never overwrite each other. A decision names people of titles by anchors of their longest tracks,
as corrections do, so it outlives the next run of a title. Titles are not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.edits.record import Anchor, Text, content_id
from vcn_ray.errors import DamagedError, UsageError, listed
from vcn_ray.io.storage import Storage
from vcn_ray.run.current import CurrentTitle, read_current
from vcn_ray.run.reviewed import index_tracks
from vcn_ray.run.stored import read_title

DECISIONS = "registry/decisions"
SUFFIX = ".json"
MAX_LISTED = 10  # people that an error names
MAX_ANCHORS = 8  # of a person: the longest tracks

Kind = Literal["join", "apart", "undo"]


@dataclass(frozen=True, config=STRICT)
class PersonMark:
    """A person of a title, so that it can be found again in another result."""

    title_id: str
    person_id: str  # when the decision was made
    anchors: Annotated[tuple[Anchor, ...], Field(max_length=MAX_ANCHORS)] = ()


@dataclass(frozen=True, config=STRICT)
class Decision:
    """What somebody decided about two people."""

    kind: Kind
    who: Text
    at: str  # ISO 8601, UTC: of two that contradict each other, the later one counts
    left: PersonMark | None = None
    right: PersonMark | None = None
    undoes: str = ""  # id of a decision
    note: Text = ""

    @cached_property
    def decision_id(self) -> str:
        """The hash of its content."""
        return content_id(_as_json(self))


_DECISION = TypeAdapter(Decision)


def _as_json(decision: Decision) -> dict[str, Any]:
    content: dict[str, Any] = _DECISION.dump_python(decision, mode="json")
    return {name: value for name, value in content.items() if value not in ("", None)}


def mark_person(title: CurrentTitle, person_id: str, storage: Storage) -> PersonMark:
    """Mark a person of a title.

    Raises:
        UsageError: There is no such person.
    """
    tracks = [row for row in title.tables.tracks.to_pylist() if row["person_id"] == person_id]
    if not tracks:
        some = listed(title.tables.people.column("person_id").to_pylist(), MAX_LISTED) or "nobody"
        raise UsageError(f"{title.name} has no person {person_id!r}, only {some}")
    tracks.sort(key=lambda row: (row["start_seconds"] - row["end_seconds"], row["track_id"]))
    index = index_tracks(read_title(title.title_id, storage), storage)
    ids = [row["track_id"] for row in tracks[:MAX_ANCHORS]]
    # No embedding: it would be personal data in one more place.
    anchors = tuple(replace(anchor, embedding="") for anchor in index.anchors(ids))
    return PersonMark(title.title_id, person_id, anchors)


def write_decision(storage: Storage, decision: Decision) -> str:
    """Write a decision; returns its id.

    Raises:
        StorageError: It cannot be written.
    """
    name = decision.decision_id
    storage.create_json(f"{DECISIONS}/{name}{SUFFIX}", _as_json(decision))
    return name


def read_decisions(storage: Storage) -> tuple[list[Decision], dict[str, str]]:
    """All decisions in order of time, and what is wrong with those that cannot be read."""
    found, damaged = [], {}
    for name in storage.names(DECISIONS):
        path = f"{DECISIONS}/{name}"
        if not name.endswith(SUFFIX) or name.startswith("."):
            continue
        try:
            decision = _DECISION.validate_python(storage.read_json(path))
            if decision.decision_id + SUFFIX != name:
                raise storage.damaged(path, "its content belongs to another name")
            found.append(decision)
        except DamagedError as error:
            damaged[name.removesuffix(SUFFIX)] = str(error)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            damaged[name.removesuffix(SUFFIX)] = f"{storage.locate(path)} is no decision: {why}"
    return sorted(found, key=lambda each: (each.at, each.decision_id)), damaged


def active_decisions(decisions: Sequence[Decision]) -> list[Decision]:
    """Those that count, in order of time: an undone one does not, nor does an undone undo."""
    undos: dict[str, list[str]] = {}
    for decision in decisions:
        if decision.kind == "undo":
            undos.setdefault(decision.undoes, []).append(decision.decision_id)

    @cache
    def counts(name: str) -> bool:
        """Whether no undo of it counts; clocks differ, so times say nothing of that."""
        return not any(counts(undo) for undo in undos.get(name, ()))

    return [each for each in decisions if each.kind != "undo" and counts(each.decision_id)]


def find_people(marks: Iterable[PersonMark], storage: Storage) -> dict[PersonMark, str]:
    """Who marked people are now: the id in the title's present result; without those who are lost.

    A mark is the person who has most of the time of its tracks.
    """
    found: dict[PersonMark, str] = {}
    by_title: dict[str, list[PersonMark]] = {}
    for mark in marks:
        by_title.setdefault(mark.title_id, []).append(mark)
    for title_id, mine in by_title.items():
        try:
            title = read_current(title_id, storage)
        except (DamagedError, UsageError):
            continue  # its people are not in the registry either
        rows = title.tables.tracks.to_pylist()
        person = {row["track_id"]: row["person_id"] for row in rows}
        here = all(anchor.track_id in person for mark in mine for anchor in mark.anchors)
        index = None if here else index_tracks(read_title(title_id, storage), storage)
        for mark in mine:
            votes: dict[str, float] = {}
            for anchor in mark.anchors:
                ids = [anchor.track_id] if index is None else index.find(anchor).tracks
                for who in {person.get(each) for each in ids}:
                    if who:
                        votes[who] = votes.get(who, 0.0) + anchor.seconds / len(ids)
            if votes and 2 * max(votes.values()) > sum(votes.values()):
                found[mark] = min(votes, key=lambda who: (-votes[who], who))
    return found
