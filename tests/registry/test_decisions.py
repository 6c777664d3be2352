"""Decisions about the registry: they outlive re-runs, can be undone, and touch no title."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.catalogs import (
    CASTS,
    SECOND,
    build_local,
    catalog_groups,
    seen_by,
    write_catalog,
)
from tests.helpers.corrections import write_title
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.decisions import (
    DECISIONS,
    Decision,
    active_decisions,
    read_decisions,
    write_decision,
)
from vcn_ray.registry.stored import read_registry
from vcn_ray.review.desk import Desk


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path / "out"))
    write_catalog(storage)
    return storage


def files_of_titles(storage: Storage) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(storage.uri).glob("titles/**/*") if p.is_file()}


def test_a_wrong_link_is_cut_without_touching_titles(storage: Storage) -> None:
    before = files_of_titles(storage)
    build_local(storage)
    assert ["a:p001", "d:p001"] in catalog_groups(storage)
    decision = vcn_ray.decide(
        storage.uri, "apart", "Film a:p001", "d-0:p001", who="me", note="twins"
    )
    build_local(storage)
    assert ["a:p001", "d:p001"] not in catalog_groups(storage)
    (link,) = [row for row in read_registry(storage).links.to_pylist() if row["answer"] == "apart"]
    assert link["why"] == "decision"
    vcn_ray.undo_decision(storage.uri, decision, who="me")
    build_local(storage)
    assert ["a:p001", "d:p001"] in catalog_groups(storage)
    assert files_of_titles(storage) == before


def test_two_faces_are_joined_by_a_decision(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "join", "a-0:p001", "c-0:p003", who="me")
    build_local(storage)
    assert ["a:p001", "c:p003", "d:p001"] in catalog_groups(storage) or [
        "a:p001",
        "c:p003",
    ] in catalog_groups(storage)  # d has both faces, so one of them is on its own
    links = {
        (r["title_id"], r["person_id"]): r["link"]
        for r in read_registry(storage).members.to_pylist()
    }
    assert links["c-0", "p003"] == "decided"


def test_a_decision_outlives_a_run_with_other_ids(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "apart", "a-0:p001", "d-0:p001", who="me")
    again = [
        each.__class__(
            **{**each.__dict__, "person": {"p001": "p007"}.get(str(each.person), each.person)}
        )
        for each in seen_by("a", CASTS["a"], prefix="new-")
    ]
    write_title(storage, again, SECOND, "Film a", "a-0")
    built = build_local(storage)
    assert not built.lost
    assert ["a:p007", "d:p001"] not in catalog_groups(storage)


def test_a_decision_about_somebody_who_is_gone_is_named(storage: Storage) -> None:
    decision = vcn_ray.decide(storage.uri, "join", "a-0:p001", "c-0:p003", who="me")
    write_title(storage, seen_by("a", CASTS["a"])[2:], SECOND, "Film a", "a-0")
    assert build_local(storage).lost == (decision,)


def test_the_later_of_two_decisions_counts(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "apart", "a-0:p001", "d-0:p001", who="me")
    vcn_ray.decide(storage.uri, "join", "a-0:p001", "d-0:p001", who="you")
    build_local(storage)
    assert ["a:p001", "d:p001"] in catalog_groups(storage)


def test_a_decision_outweighs_a_name(storage: Storage) -> None:
    for title in ("a", "d"):
        Desk(storage, f"{title}-0", who="me").name("p001", "Ann")
    vcn_ray.decide(storage.uri, "apart", "a-0:p001", "d-0:p001", who="me")
    build_local(storage)
    assert ["a:p001", "d:p001"] not in catalog_groups(storage)


def test_decisions_hold_no_embedding(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "join", "a-0:p001", "c-0:p003", who="me")
    (decision,), damaged = read_decisions(storage)
    assert not damaged
    assert decision.left is not None
    assert decision.left.anchors
    assert all(not anchor.embedding for anchor in decision.left.anchors)


def test_a_damaged_decision_is_named_and_does_not_count(storage: Storage) -> None:
    decision = vcn_ray.decide(storage.uri, "apart", "a-0:p001", "d-0:p001", who="me")
    path = Path(storage.locate(f"{DECISIONS}/{decision}.json"))
    path.write_bytes(path.read_bytes().replace(b"apart", b"joint"))
    built = build_local(storage)
    assert list(built.damaged) == [decision]
    assert ["a:p001", "d:p001"] in catalog_groups(storage)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ("a-0:p001", "a-0:p002", "one title"),
        ("a-0:p009", "d-0:p001", "has no person 'p009'"),
        ("a-0", "d-0:p001", "TITLE:p003"),
        ("z:p001", "d-0:p001", "called 'z'"),
    ],
)
def test_what_cannot_be_decided_is_said(
    storage: Storage, left: str, right: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        vcn_ray.decide(storage.uri, "join", left, right, who="me")


def test_an_unknown_decision_cannot_be_undone(storage: Storage) -> None:
    with pytest.raises(UsageError, match="the last are: none"):
        vcn_ray.undo_decision(storage.uri, "0123", who="me")


def test_of_two_that_contradict_each_other_the_later_one_counts(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "join", "a-0:p001", "b-0:p003", who="me")
    time.sleep(0.005)  # decisions keep milliseconds
    vcn_ray.decide(storage.uri, "join", "a-0:p002", "b-0:p003", who="me")
    build_local(storage)
    (mine,) = [group for group in catalog_groups(storage) if "b:p003" in group]
    assert "a:p002" in mine


def test_an_undone_undo_does_not_count_whatever_clocks_say(storage: Storage) -> None:
    join = vcn_ray.decide(storage.uri, "join", "a-0:p001", "b-0:p003", who="me")
    undo = vcn_ray.undo_decision(storage.uri, join, who="me")
    assert not active_decisions(read_decisions(storage)[0])
    write_decision(storage, Decision("undo", "you", "2020-01-01T00:00:00.000+00:00", undoes=undo))
    (active,) = active_decisions(read_decisions(storage)[0])
    assert active.decision_id == join


def test_an_empty_id_undoes_nothing(storage: Storage) -> None:
    vcn_ray.decide(storage.uri, "join", "a-0:p001", "b-0:p003", who="me")
    with pytest.raises(UsageError, match="no single decision is called ''"):
        vcn_ray.undo_decision(storage.uri, "", who="me")
