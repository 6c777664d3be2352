"""Every edit has words, for the page and for the command line."""

from __future__ import annotations

import pytest

from vcn_ray.edits.record import Anchor, Edit, Kind
from vcn_ray.edits.words import describe_edit

ONE = (Anchor("t1", "v", 0, 1, ()),)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("name", {"person": "p001", "name": "Ann"}, "p001 is called Ann"),
        ("name", {"person": "p001"}, "p001 has no name"),
        ("name", {"subject": ONE, "name": "Ann"}, "1 track is called Ann"),
        ("merge", {"person": "p001", "into_person": "p002"}, "p001 is p002"),
        ("apart", {"person": "p001", "into_person": "p002"}, "p001 is not p002"),
        ("move", {"subject": 2 * ONE, "into_person": "p002"}, "2 tracks moved to p002"),
        ("move", {"subject": ONE}, "1 track moved to a new person"),
        ("no_face", {"subject": ONE}, "1 track shows no face"),
        ("nobody", {"person": "p001"}, "p001 is nobody known"),
        ("lock", {"person": "p001"}, "p001 is locked"),
        ("unlock", {"person": "p001"}, "p001 is not locked"),
        ("undo", {"undoes": "e1"}, "an edit is undone"),
    ],
)
def test_every_edit_has_words(kind: Kind, more: dict[str, object], words: str) -> None:
    assert describe_edit(Edit(kind, "ann", "", **more)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "tracks", "words"),
    [
        ("move", 1, "track t0 moved to a new person"),
        ("no_face", 2, "tracks t0, t1 show no face"),
        ("no_face", 7, "tracks t0, t1, t2, t3, t4 and 2 more show no face"),
        ("undo", 0, "edit e1 is undone"),
    ],
)
def test_tracks_are_named_where_that_is_asked_for(kind: Kind, tracks: int, words: str) -> None:
    subject = tuple(Anchor(f"t{number}", "v", 0, 1, ()) for number in range(tracks))
    edit = Edit(kind, "ann", "", subject=subject, undoes="e1" if kind == "undo" else "")
    assert describe_edit(edit, name_tracks=True) == words
