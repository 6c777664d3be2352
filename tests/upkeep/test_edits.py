"""Corrections lose what they say of erased tracks, and nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from vcn_ray.upkeep.edits import scrub_edit, scrub_log


def anchors(*tracks: str) -> list[dict[str, Any]]:
    return [{"track_id": track, "video_id": "film-1", "boxes": []} for track in tracks]


def is_erased(anchor: dict[str, Any]) -> bool:
    return str(anchor["track_id"]).startswith("x")


@pytest.mark.parametrize(
    ("edit", "left"),
    [
        ({"kind": "name", "name": "Anna", "subject": anchors("x1", "x2")}, None),
        ({"kind": "name", "name": "Anna", "subject": anchors("x1", "a")}, None),
        (
            {"kind": "name", "name": "Berta", "subject": anchors("x1", "a", "b")},
            {"kind": "name", "name": "Berta", "subject": anchors("a", "b")},
        ),
        ({"kind": "merge", "subject": anchors("x1"), "into": anchors("a")}, None),
        ({"kind": "merge", "subject": anchors("a"), "into": anchors("x1")}, None),
        (
            {"kind": "merge", "subject": anchors("a"), "into": anchors("b", "x1"), "note": "hm"},
            {"kind": "merge", "subject": anchors("a"), "into": anchors("b")},
        ),
        ({"kind": "undo", "undoes": "1"}, {"kind": "undo", "undoes": "1"}),
        (
            {"kind": "lock", "subject": anchors("a"), "note": "sure"},
            {"kind": "lock", "subject": anchors("a"), "note": "sure"},
        ),
    ],
)
def test_erased_tracks_are_left_out(edit: dict[str, Any], left: dict[str, Any] | None) -> None:
    assert scrub_edit(edit, is_erased) == left


def test_the_log_keeps_its_order_names_and_undos() -> None:
    ids = [f"{number:016x}" for number in range(5)]
    names = [f"{number:08d}-{ids[number]}.json" for number in range(5)]
    changed = {"kind": "move", "subject": anchors("a", "x1")}
    edits: dict[str, dict[str, Any]] = dict(
        zip(
            names,
            [
                {"kind": "name", "name": "Anna", "subject": anchors("x1")},
                changed,
                {"kind": "undo", "undoes": ids[0]},
                {"kind": "undo", "undoes": ids[1]},
                {"kind": "lock", "subject": anchors("a")},
            ],
            strict=True,
        )
    )
    changes = scrub_log(edits, is_erased)
    assert list(changes) == names[:4]
    assert (changes[names[0]], changes[names[2]]) == (None, None)
    moved, undone = changes[names[1]], changes[names[3]]
    assert moved is not None
    assert undone is not None
    text = json.dumps(moved[1], sort_keys=True, separators=(",", ":"))
    new_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert moved == (f"00000001-{new_id}.json", {"kind": "move", "subject": anchors("a")})
    assert undone[1] == {"kind": "undo", "undoes": new_id}
    assert undone[0].startswith("00000003-")
