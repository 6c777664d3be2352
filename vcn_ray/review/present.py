"""A title under review as the page takes it: its tracks once, and who is who after each edit.

Tracks are numbered by their rows, people by their places in the list of people. It reads no
storage, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vcn_ray.edits.record import Edit, active_edits
from vcn_ray.edits.state import PROBLEMS, Conflict, Reviewed, ReviewedPerson
from vcn_ray.edits.tables import SURE, BestFaces
from vcn_ray.edits.words import describe_edit
from vcn_ray.io.paths import file_name
from vcn_ray.io.tables import column_array
from vcn_ray.records import F32, F64, I64
from vcn_ray.review.queue import Cast, Suggestion
from vcn_ray.review.shown_faces import ShownFaces
from vcn_ray.rows.result_rows import NO_FACE
from vcn_ray.run.reviewed import ReviewedTitle
from vcn_ray.run.stored import StoredTitle

Json = dict[str, Any]

SOMEBODY, UNKNOWN, JUNK, SETTLED = range(4)
"""What a track is on the page: of a person, of nobody yet, no face, of nobody whom one knows."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackFacts:
    """What never changes about the k tracks of a result."""

    ids: list[str]
    row: dict[str, int]
    span: F64  # (k, 2) seconds
    video: I64  # (k,) number of the video in the title
    junk: list[bool]  # no face, as far as the result knows
    confidence: F32  # (k,)
    best: BestFaces
    embedding: F32 | None  # (k, d)

    @classmethod
    def of(cls, title: StoredTitle, best: BestFaces, embedding: F32 | None) -> TrackFacts:
        """Of the newest result of a title."""
        tracks = title.tracks
        order = {video["video_id"]: row for row, video in enumerate(title.summary["videos"])}
        ids: list[str] = tracks.column("track_id").to_pylist()
        ends = [column_array(tracks, name) for name in ("start_seconds", "end_seconds")]
        return cls(
            ids,
            {name: row for row, name in enumerate(ids)},
            np.stack(ends, axis=1).astype(np.float64).reshape(-1, 2),
            np.array([order[v] for v in tracks.column("video_id").to_pylist()], np.int64),
            [status == NO_FACE for status in tracks.column("status").to_pylist()],
            column_array(tracks, "confidence").astype(np.float32),
            best,
            embedding,
        )


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who is who at one moment, as arrays."""

    ids: tuple[str, ...]  # (p,) by falling screen time
    person: I64  # (k,) place of the person of each track in `ids`; -1: nobody's
    kind: I64  # (k,) what each track is
    screen: F64  # (p,) seconds
    tracks: tuple[I64, ...]  # (p) rows of the tracks of each person
    about: tuple[ReviewedPerson, ...]  # (p)


def gather_people(state: Reviewed, facts: TrackFacts) -> People:
    """The people of a title after all edits, those with the most screen time first."""
    found: dict[str, int] = {}
    row = np.full(len(facts.ids), -1, np.int64)
    for at, track in enumerate(facts.ids):
        who = state.person[track]
        if who is not None:
            row[at] = found.setdefault(who, len(found))
    order = np.argsort(row, kind="stable")
    edges = np.searchsorted(row[order], np.arange(len(found) + 1))
    groups = [order[low:high] for low, high in pairwise(edges)]
    names = list(found)
    seconds = screen_times(row, facts.span, facts.video)
    ranked = sorted(range(len(names)), key=lambda p: (-round(float(seconds[p]), 6), names[p]))
    place = np.empty(len(names) + 1, np.int64)
    place[ranked], place[-1] = np.arange(len(names)), -1
    kind = np.where(row >= 0, SOMEBODY, np.where(facts.junk, JUNK, UNKNOWN))
    for track in state.moved_by:
        at = facts.row[track]
        if row[at] < 0:
            kind[at] = JUNK if track in state.no_face else UNKNOWN
    for track in state.settled:
        at = facts.row[track]
        kind[at] = SETTLED if kind[at] == UNKNOWN else kind[at]
    return People(
        tuple(names[p] for p in ranked),
        place[row],
        kind.astype(np.int64),
        np.array([seconds[p] for p in ranked], np.float64),
        tuple(groups[p] for p in ranked),
        tuple(state.people.get(names[p], ReviewedPerson(names[p])) for p in ranked),
    )


def screen_times(person: I64, span: F64, video: I64) -> F64:
    """Seconds in which at least one track of each person is seen, as `screen_seconds`.

    Args:
        person: (k,) row of the person of each track; -1: nobody's.
        span: (k, 2) start and end of each track, seconds.
        video: (k,) number of its video.

    Returns:
        (p,) of all people, by their rows.
    """
    mine = np.flatnonzero(person >= 0)
    mine = mine[np.lexsort((span[mine, 0], video[mine], person[mine]))]
    who, start, end = person[mine], span[mine, 0], span[mine, 1]
    first = np.ones(len(mine), np.bool_)  # of its person in its video
    first[1:] = (np.diff(who) != 0) | (np.diff(video[mine]) != 0)
    # Ends of one group are lifted over those of all groups before it, so one pass does for all.
    lift = (np.cumsum(first) - 1) * (float(end.max(initial=0.0)) + 1)
    reach = np.maximum.accumulate(end + lift) - lift
    before = np.where(first, -np.inf, np.concatenate([[-np.inf], reach[:-1]])[: len(mine)])
    seen = np.maximum(0.0, end - np.maximum(start, before))
    people = int(person.max(initial=-1)) + 1
    times: F64 = np.bincount(who, weights=seen, minlength=people).astype(np.float64)
    return times


def tracks_json(title: StoredTitle, facts: TrackFacts, faces: ShownFaces) -> Json:
    """What never changes while a result is reviewed; columns of k numbers."""
    return {
        "title": title.summary["title"],
        "title_id": title.title_id,
        "result": title.folder.rpartition("/")[2],
        "videos": [file_name(video["uri"]) for video in title.summary["videos"]],
        "track": facts.ids,
        "video": facts.video.tolist(),
        "start": facts.span[:, 0].round(2).tolist(),
        "end": facts.span[:, 1].round(2).tolist(),
        "pictures": faces.counts.tolist(),
        "best": [
            faces.number_at(row, int(frame)) for row, frame in enumerate(facts.best.frame.tolist())
        ],
        "confidence": facts.confidence.round(2).tolist(),
    }


def state_json(reviewed: ReviewedTitle, people: People, facts: TrackFacts, who: str) -> Json:
    """Who is who after all edits so far."""
    active = active_edits(list(reviewed.edits))
    own = [edit for edit in active if edit.who == who]
    return {
        "people": [
            {
                "id": name,
                "name": about.name,
                "locked": about.locked,
                "nobody": about.nobody,
                "seconds": round(float(seconds), 2),
                "tracks": len(mine),
                "cover": int(mine[np.argmax(facts.best.value[mine])]),
            }
            for name, about, seconds, mine in zip(
                people.ids, people.about, people.screen, people.tracks, strict=True
            )
        ],
        "person": people.person.tolist(),
        "kind": people.kind.tolist(),
        "decided": sorted(facts.row[track] for track in reviewed.state.moved_by),
        "edits": len(active),
        "undo": describe_edit(own[-1]) if own else None,
        "last": _last(reviewed.edits),
        "conflicts": [_conflict_line(each) for each in reviewed.state.conflicts]
        + [f"an edit cannot be read: {why}" for why in reviewed.damaged.values()],
        "who": who,
    }


def _last(edits: Sequence[Edit]) -> Json | None:
    if not edits:
        return None
    return {"who": edits[-1].who, "what": describe_edit(edits[-1]), "id": edits[-1].edit_id}


def _conflict_line(conflict: Conflict) -> str:
    edit, about = conflict.edit, conflict.anchor
    where = f", track {about.track_id}" if about else ""
    return f"{describe_edit(edit)}, by {edit.who}{where}: {PROBLEMS[conflict.problem]}"


def history_json(edits: Sequence[Edit]) -> list[Json]:
    """All edits, newest first, and whether each counts."""
    active = {edit.edit_id for edit in active_edits(list(edits))}
    return [
        {
            "id": edit.edit_id,
            "who": edit.who,
            "at": edit.at,
            "what": describe_edit(edit),
            "note": edit.note,
            "counts": edit.edit_id in active,
        }
        for edit in reversed(edits)
        if edit.kind != "undo"
    ]


def cast_of(
    people: People,
    facts: TrackFacts,
    reviewed: ReviewedTitle,
    cut: float | None,
    strangers: float | None,
) -> Cast:
    """What the queue of suggestions has to know."""
    state = reviewed.state
    place = {name: row for row, name in enumerate(people.ids)}
    confidence = facts.confidence.copy()
    confidence[[facts.row[track] for track in state.moved_by]] = SURE
    apart = set()
    for each in state.apart:
        if each.one in place and each.other in place:
            one, other = sorted((place[each.one], place[each.other]))
            apart.add((one, other))
    return Cast(
        person=people.person,
        span=facts.span,
        video=facts.video,
        confidence=confidence,
        open=people.kind == UNKNOWN,
        screen=people.screen,
        name=tuple(about.name for about in people.about),
        locked=np.array([about.locked for about in people.about], np.bool_),
        nobody=np.array([about.nobody for about in people.about], np.bool_),
        apart=frozenset(apart),
        renamed=_renamed(reviewed, facts),
        embedding=facts.embedding,
        cut=cut,
        strangers=strangers,
    )


def _renamed(reviewed: ReviewedTitle, facts: TrackFacts) -> tuple[tuple[int, ...], ...]:
    """Tracks that an edit names, and that this result takes for a person of another name."""
    groups = []
    for conflict in reviewed.state.conflicts:
        edit = conflict.edit
        if conflict.problem == "two_names":
            exact = edit.result == reviewed.result
            found = (reviewed.index.find(each, edit.encoder, exact) for each in edit.subject)
            groups.append(tuple(sorted({facts.row[t] for each in found for t in each.tracks})))
    return tuple(groups)


def suggestion_json(suggestion: Suggestion, people: People) -> Json:
    """A suggestion with the ids of people instead of their places."""
    one, other = suggestion.person, suggestion.other
    return {
        "ask": suggestion.ask,
        "person": people.ids[one] if one >= 0 else "",
        "other": people.ids[other] if other >= 0 else "",
        "tracks": list(suggestion.tracks),
        "probability": round(suggestion.probability, 3),
        "seconds": round(suggestion.seconds, 1),
    }


def summary_json(rows: Sequence[Json], conflicts: int, edits: int) -> Json:
    """What the list of titles says of one, by the rows of its table of people."""
    unnamed = [row for row in rows if not (row.get("name") or row.get("nobody"))]
    return {
        "people": len(rows),
        "unnamed": len(unnamed),
        "seconds": round(sum(row["screen_seconds"] for row in rows), 1),
        "conflicts": conflicts,
        "edits": edits,
    }
