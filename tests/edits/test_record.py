"""Edits as records: what an object holds, ids, order and undo."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.corrections import ENCODER, Seen, index_of
from vcn_ray.edits.record import (
    MAX_TEXT,
    Edit,
    active_edits,
    active_undos,
    check_text,
    edit_as_json,
    edit_from_json,
    order_edits,
    pack_embedding,
    unpack_embedding,
)
from vcn_ray.errors import UsageError

AT = "2026-01-02T03:04:05.678+00:00"


def edit(sequence: int = 1, name: str = "Ann", **more: Any) -> Edit:
    return Edit(more.pop("kind", "name"), "me", AT, sequence=sequence, name=name, **more)


def undo(of: Edit, sequence: int) -> Edit:
    return edit(sequence, "", kind="undo", undoes=of.edit_id)


@pytest.fixture
def full() -> Edit:
    """An edit in which every field says something."""
    index = index_of([Seen("a", "p001", 0.123, 7.77), Seen("b", face=1)], ENCODER)
    return Edit(
        kind="move",
        who="Zoë",
        at=AT,
        sequence=12,
        result="cluster-1",
        encoder=ENCODER,
        subject=index.anchors(["a"]),
        person="p001",
        into=index.anchors(["b"]),
        into_person="p002",
        name="名前",
        undoes="0" * 16,
        note='says "so"',
    )


def test_an_edit_survives_json(full: Edit) -> None:
    stored = json.loads(json.dumps(edit_as_json(full)))
    again = edit_from_json(stored)
    assert again == full
    assert again.edit_id == full.edit_id
    assert len(full.subject[0].boxes) == 8


def test_fields_that_say_nothing_are_not_stored() -> None:
    assert set(edit_as_json(edit())) == {"kind", "who", "at", "sequence", "name"}


def test_every_field_counts_for_the_id(full: Edit) -> None:
    other: dict[str, Any] = {"kind": "merge", "sequence": 13, "subject": (), "into": ()}
    other["away"] = full.subject
    names = [name for name in full.__dataclass_fields__ if name not in other]
    changes: list[dict[str, Any]] = [{name: "x"} for name in names] + [
        {name: value} for name, value in other.items()
    ]
    altered = [replace(full, **change) for change in changes]
    assert len({each.edit_id for each in [full, *altered]}) == len(full.__dataclass_fields__) + 1


def test_names_of_objects_sort_as_edits_apply() -> None:
    edits = [edit(sequence, name) for sequence in (1, 9, 10, 123_456) for name in "abc"]
    ordered = order_edits(reversed(edits))
    assert [each.sequence for each in ordered] == sorted(each.sequence for each in edits)
    names = [each.file_name for each in ordered]
    assert names == sorted(names)
    assert order_edits(ordered) == ordered


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"kind": "guess"}, "kind"),
        ({"who": None}, "who"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": 100_000_000}, "sequence"),
        ({"surprise": 1}, "surprise"),
        ({"name": "x" * (MAX_TEXT + 1)}, "name"),
        ({"subject": [{"track_id": "a"}]}, "subject"),
    ],
)
def test_what_is_no_edit_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError, match=f"it is no edit: {where}"):
        edit_from_json(edit_as_json(edit()) | change)


@pytest.mark.parametrize("field", ["who", "kind", "at"])
def test_what_an_edit_must_have(field: str) -> None:
    content = edit_as_json(edit())
    del content[field]
    with pytest.raises(UsageError, match=field):
        edit_from_json(content)


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": "1 2 3 4"},
        {"boxes": "1 2 3 4 nan"},
        {"boxes": "1 2 3 4 five"},
        {"start_seconds": float("inf")},
        {"embedding": "no base64!"},
    ],
)
def test_a_malformed_anchor_is_refused(full: Edit, change: dict[str, Any]) -> None:
    content = edit_as_json(full)
    content["subject"][0] |= change
    with pytest.raises(UsageError, match="subject"):
        edit_from_json(content)


def test_an_edit_of_no_kind_cannot_be_made() -> None:
    with pytest.raises(ValidationError):
        edit(kind="guess")


def test_an_undone_edit_does_not_count_and_an_undone_undo_does_not() -> None:
    first, second = edit(1, "Ann"), edit(2, "Bea")
    one = undo(second, 3)
    two = undo(one, 4)
    three = undo(two, 5)
    assert active_edits([first, second]) == [first, second]
    assert active_edits([first, second, one]) == [first]
    assert active_edits([first, second, one, two]) == [first, second]
    for order in itertools.permutations([first, second, one, two, three]):
        assert active_edits(order) == [first]
    assert active_undos([first, second, one, two, three]) == {
        second.edit_id: [one.edit_id],
        two.edit_id: [three.edit_id],
    }


def test_two_reviewers_who_undo_at_once_undo_once() -> None:
    first = edit(1)
    undos = [undo(first, 2), replace(undo(first, 2), who="you")]
    assert active_edits([first, *undos]) == []
    assert sorted(active_undos([first, *undos])[first.edit_id]) == sorted(
        each.edit_id for each in undos
    )
    assert active_edits([first, *undos, undo(undos[0], 3)]) == []
    assert active_edits([first, *undos, undo(undos[0], 3), undo(undos[1], 4)]) == [first]


def test_an_undo_of_nothing_changes_nothing() -> None:
    assert active_edits([edit(1), edit(2, "", kind="undo", undoes="f" * 16)]) == [edit(1)]


@pytest.mark.parametrize("size", [1, 128, 512])
def test_an_embedding_keeps_its_direction(size: int) -> None:
    rng = np.random.default_rng(size)
    rows = rng.normal(size=(50, size)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    again = np.stack([unpack_embedding(pack_embedding(row)) for row in rows])
    assert np.allclose(np.linalg.norm(again, axis=1), 1, atol=1e-6)
    assert (np.einsum("ij,ij->i", rows, again) > 0.9995).all()


def test_an_embedding_without_a_direction_is_no_number_out_of_bounds() -> None:
    assert not unpack_embedding(pack_embedding(np.zeros(8, np.float32))).any()


def test_texts_are_stored_on_one_line() -> None:
    assert check_text("  Ann\tB\n ", "the name") == "Ann B"
    assert check_text("\x1b[1mAnn\u202e", "the name") == "?[1mAnn?"
    assert check_text("मी\u200cरा", "the name") == "मी\u200cरा"
    assert check_text("\ud800x", "the name") == "?x"
    assert edit(name=check_text("\ud800", "the name")).name == "?"
    with pytest.raises(UsageError, match="the note has 2001 characters: use at most 2000"):
        check_text("x" * (MAX_TEXT + 1), "the note")
