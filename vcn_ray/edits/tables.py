"""The tables of a title after all corrections; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.edits.record import Edit
from vcn_ray.edits.state import PROBLEMS, Conflict, Problem, Reviewed
from vcn_ray.io.tables import column_array, make_table
from vcn_ray.records import F64, I64
from vcn_ray.rows.result_rows import CLUSTERED, NO_FACE, UNKNOWN, cover_scores, screen_seconds
from vcn_ray.schema import CONFLICTS, REVIEWED_APPEARANCES, REVIEWED_PEOPLE, REVIEWED_TRACKS

BY_REVIEWER = "reviewer"
BY_CONFLICT = "conflict"
"""Reasons why a track is of nobody."""

SURE = 1.0
"""Confidence where a reviewer decided."""


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedTables:
    """A title after all corrections."""

    people: pa.Table
    tracks: pa.Table
    appearances: pa.Table
    conflicts: pa.Table


class BestFaces(NamedTuple):
    """The best face of each of k tracks; the same whatever a reviewer decides."""

    value: F64  # (k,) see cover_scores; -inf: the track has no picture
    frame: I64  # (k,) in its video


def best_faces(tracks: pa.Table, faces: pa.Table) -> BestFaces:
    """Find the best face of each track.

    Args:
        tracks: (k rows) RESULT_TRACKS.
        faces: CROPS of these tracks.
    """
    ids = tracks.column("track_id").combine_chunks()
    owner = pc.index_in(faces.column("track_id"), ids).to_numpy().astype(np.int64)
    quality = column_array(tracks, "quality").astype(np.float32)
    score, frame = cover_scores(faces, owner, quality), column_array(faces, "frame")
    best = BestFaces(np.full(len(ids), -np.inf), np.zeros(len(ids), np.int64))
    order = np.lexsort((np.arange(len(owner)), -score, owner))
    found, firsts = np.unique(owner[order], return_index=True)
    best.value[found], best.frame[found] = score[order[firsts]], frame[order[firsts]]
    return best


def reviewed_tables(
    tracks: pa.Table,
    best: BestFaces,
    videos: Sequence[str],
    state: Reviewed,
    damaged: Mapping[str, str],
) -> ReviewedTables:
    """Write down who is who after all corrections.

    Args:
        tracks: RESULT_TRACKS of the result.
        best: Their best faces.
        videos: The title's video ids in the order people watch them; decides who is first.
        state: What the corrections make of the tracks.
        damaged: What is wrong with edits that cannot be read, by the names of their objects.
    """
    new_tracks = _tracks_table(tracks, state)
    return ReviewedTables(
        people=_people_table(new_tracks, best, videos, state),
        tracks=new_tracks,
        appearances=_appearances_table(new_tracks, state),
        conflicts=conflicts_table(state.conflicts, damaged),
    )


def _tracks_table(tracks: pa.Table, state: Reviewed) -> pa.Table:
    between = {
        conflict.anchor.track_id
        for conflict in state.conflicts
        if conflict.problem == "locked" and conflict.anchor is not None
    }
    rows = []
    for row in tracks.to_pylist():
        track = row["track_id"]
        who = state.person[track]
        moved = state.moved_by.get(track)
        changed: dict[str, Any]
        if who is not None:
            changed = {"status": CLUSTERED, "reason": None, "person_id": who}
            changed |= {"confidence": SURE} if moved else {}
        elif track in state.no_face:
            changed = {"status": NO_FACE, "reason": BY_REVIEWER, "person_id": None}
            changed |= {"confidence": 0.0}
        elif moved:
            why = BY_CONFLICT if track in between else BY_REVIEWER
            changed = {"status": UNKNOWN, "reason": why, "person_id": None, "confidence": 0.0}
        else:
            changed = {"reason": BY_REVIEWER} if track in state.settled else {}
        rows.append(row | changed | {"edit_id": moved})
    return make_table(rows, REVIEWED_TRACKS)


def _people_table(
    tracks: pa.Table, best: BestFaces, videos: Sequence[str], state: Reviewed
) -> pa.Table:
    rows = tracks.to_pylist()
    spans: F64 = np.array(
        [(row["start_seconds"], row["end_seconds"]) for row in rows], np.float64
    ).reshape(-1, 2)
    place: I64 = np.array([videos.index(row["video_id"]) for row in rows], np.int64)
    members: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row["person_id"] is not None:
            members.setdefault(row["person_id"], []).append(number)
    people: list[dict[str, Any]] = []
    for person_id, mine in members.items():
        about = state.people.get(person_id)
        first = min(mine, key=lambda r: (place[r], spans[r, 0], r))
        cover = max(mine, key=lambda r: (best.value[r], -r))
        people.append(
            {
                "person_id": person_id,
                "name": (about.name or None) if about else None,
                "locked": bool(about and about.locked),
                "nobody": bool(about and about.nobody),
                "tracks": len(mine),
                "screen_seconds": screen_seconds(spans[mine], place[mine]),
                "first_seconds": float(spans[first, 0]),
                "confidence": min(rows[r]["confidence"] for r in mine),
                "cover_track_id": rows[cover]["track_id"],
                "cover_crop": int(best.frame[cover]),
            }
        )
    people.sort(key=lambda row: (-round(row["screen_seconds"], 6), row["person_id"]))
    return make_table(people, REVIEWED_PEOPLE)


def _appearances_table(tracks: pa.Table, state: Reviewed) -> pa.Table:
    names = {who: about.name or None for who, about in state.people.items()}
    columns = ("person_id", "video_id", "start_seconds", "end_seconds", "track_id")
    seen = [
        row | {"name": names.get(row["person_id"])}
        for row in tracks.select(columns).to_pylist()
        if row["person_id"] is not None
    ]
    seen.sort(key=lambda r: (r["person_id"], r["video_id"], r["start_seconds"], r["track_id"]))
    return make_table(seen, REVIEWED_APPEARANCES)


def conflicts_table(conflicts: Sequence[Conflict], damaged: Mapping[str, str]) -> pa.Table:
    """The conflicts, and the edits that cannot be read, as a table."""
    rows = [_conflict_row(conflict) for conflict in conflicts]
    rows += [_damaged_row(name, why) for name, why in damaged.items()]
    rows.sort(key=lambda row: (row["sequence"], row["edit_id"], row["track_id"] or ""))
    return make_table(rows, CONFLICTS)


def _conflict_row(conflict: Conflict) -> dict[str, Any]:
    edit, anchor = conflict.edit, conflict.anchor
    about = (anchor,) if anchor else edit.subject
    return {
        "edit_id": edit.edit_id,
        "sequence": edit.sequence,
        "kind": edit.kind,
        "who": edit.who,
        "at": edit.at,
        "name": edit.name,
        "problem": conflict.problem,
        "track_id": anchor.track_id if anchor else None,
        "video_id": about[0].video_id if about else None,
        "start_seconds": min((each.start_seconds for each in about), default=None),
        "end_seconds": max((each.end_seconds for each in about), default=None),
        "message": _message(edit, conflict.problem),
    }


def _damaged_row(name: str, why: str) -> dict[str, Any]:
    sequence, _, edit_id = name.removesuffix(".json").partition("-")
    unknown = dict.fromkeys(("track_id", "video_id", "start_seconds", "end_seconds"))
    return unknown | {
        "edit_id": edit_id,
        "sequence": int(sequence) if sequence.isdigit() else 0,
        "kind": "",
        "who": "",
        "at": "",
        "name": "",
        "problem": "damaged",
        "message": why,
    }


def _message(edit: Edit, problem: Problem) -> str:
    what = f"{edit.kind} {edit.name}".strip()
    return f"{what}, by {edit.who}: {PROBLEMS[problem]}"
