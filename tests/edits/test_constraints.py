"""What corrections teach: the constraints of the next clustering."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.constraints import MAX_APART, MAX_LINKED, learn_constraints, teaching_edits
from vcn_ray.edits.record import Edit, Kind
from vcn_ray.records import Constraints

TRACKS = 12


def made_index(shift: float = 0.0) -> TrackIndex:
    """Tracks one after the other, 2 s each, the first ones a little longer."""
    rows = range(TRACKS)
    tracks = pa.table(
        {
            "track_id": [f"t{row:02d}" for row in rows],
            "video_id": ["v"] * TRACKS,
            "start_seconds": [10.0 * row for row in rows],
            "end_seconds": [10.0 * row + 3 - 0.05 * row for row in rows],
        }
    )
    faces = [
        {
            "track_id": f"t{row:02d}",
            "seconds": 10.0 * row + 0.5 * at,
            "x0_pixels": 10.0 + shift,
            "y0_pixels": 10.0,
            "x1_pixels": 60.0 + shift,
            "y1_pixels": 70.0,
        }
        for row in rows
        for at in range(5)
    ]
    return TrackIndex(tracks, pa.Table.from_pylist(faces))


INDEX = made_index()


def edit(kind: Kind, subject: str, into: str = "", away: str = "", **more: object) -> Edit:
    """An edit about tracks, named by their numbers: "0 1"."""
    parts = [
        INDEX.anchors([f"t{int(n):02d}" for n in part.split()]) for part in (subject, into, away)
    ]
    draft = Edit(kind, "ann", "2026-01-01T00:00:00+00:00", subject=parts[0], into=parts[1])
    return replace(draft, away=parts[2], **more)  # type: ignore[arg-type]


def learn(*edits: Edit) -> Constraints:
    numbered = [replace(e, sequence=n) for n, e in enumerate(edits, start=1)]
    return learn_constraints(numbered, made_index(shift=3.0))


def pairs(known: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in known}


def test_a_merge_links_both_people() -> None:
    known = learn(edit("merge", "0 1", into="4 5"))
    assert pairs(known.must) == {(0, 1), (0, 4), (0, 5)}
    assert not len(known.cannot)


def test_a_move_links_and_parts() -> None:
    known = learn(edit("move", "2 3", into="7", away="0 1"))
    assert pairs(known.must) == {(2, 3), (2, 7)}
    assert pairs(known.cannot) == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_a_track_that_leaves_takes_back_what_linked_it() -> None:
    known = learn(edit("merge", "0 1", into="2 3"), edit("move", "0"))
    assert pairs(known.must) == {(1, 2), (1, 3)}


def test_no_face_and_back() -> None:
    away = learn(edit("no_face", "4 6"))
    assert away.no_face.tolist() == [4, 6]
    assert learn(edit("no_face", "4"), edit("move", "4", into="0")).no_face.tolist() == []
    assert pairs(learn(edit("merge", "0", into="1 2"), edit("no_face", "0")).must) == {(1, 2)}


def test_locked_people_stay_apart() -> None:
    known = learn(edit("lock", "0 1", name="Ann"), edit("lock", "5", name="Bob"))
    assert pairs(known.must) == {(0, 1)}
    assert pairs(known.cannot) == {(0, 5), (1, 5)}
    assert not len(learn(edit("lock", "0", name="Ann"), edit("lock", "5", name="Ann")).cannot)


def test_the_later_edit_counts() -> None:
    apart, merge = edit("apart", "0", into="5"), edit("merge", "0", into="5")
    assert pairs(learn(apart).cannot) == {(0, 5)}
    assert not len(learn(apart, merge).cannot)
    assert pairs(learn(apart, merge).must) == {(0, 5)}


def test_what_must_link_is_never_apart() -> None:
    known = learn(
        edit("apart", "0", into="5"), edit("merge", "0", into="1"), edit("merge", "1", into="5")
    )
    assert not len(known.cannot)


def test_only_the_longest_tracks_are_linked_and_parted() -> None:
    everybody = " ".join(map(str, range(TRACKS - 1)))
    known = learn(edit("apart", everybody, into=str(TRACKS - 1)))
    assert pairs(known.cannot) == {(row, TRACKS - 1) for row in range(MAX_APART)}
    assert MAX_LINKED > MAX_APART


@pytest.mark.parametrize("kind", ["name", "nobody", "unlock"])
def test_names_teach_nothing(kind: Kind) -> None:
    assert teaching_edits([edit(kind, "0", name="Ann")]) == []


def test_what_is_undone_teaches_nothing() -> None:
    merge = replace(edit("merge", "0", into="1"), sequence=1)
    undo = replace(Edit("undo", "ann", "now", undoes=merge.edit_id), sequence=2)
    assert teaching_edits([undo, merge]) == []


def test_tracks_that_are_lost_teach_nothing() -> None:
    known = learn_constraints([edit("merge", "0", into="1")], made_index(shift=500.0))
    assert not len(known.must)
