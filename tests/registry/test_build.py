"""The registry of an output, built from stored titles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.catalogs import (
    CASTS,
    SECOND,
    build_local,
    catalog_groups,
    registry_tables,
    write_catalog,
    write_catalog_title,
)
from tests.helpers.corrections import write_title
from tests.helpers.upkeep import Killed, content, dying
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.stored import POINTER, REGISTRY, read_registry
from vcn_ray.review.desk import Desk

GROUPS = [
    ["a:p001", "d:p001"],
    ["a:p002", "b:p001"],
    ["a:p003", "b:p002", "c:p001"],
    ["b:p003", "c:p002"],
    ["c:p003", "d:p002"],
]
"""Who is one person by CASTS."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path / "out"))
    write_catalog(storage)
    return storage


def test_people_of_different_titles_are_joined_by_their_faces(storage: Storage) -> None:
    built = build_local(storage)
    assert catalog_groups(storage) == GROUPS
    assert (built.people, built.shared, built.titles) == (6, 5, 4)


def test_times_add_up(storage: Storage) -> None:
    build_local(storage)
    registry = read_registry(storage)
    people = {row["catalog_id"]: row for row in registry.people.to_pylist()}
    for catalog_id, row in people.items():
        members = [m for m in registry.members.to_pylist() if m["catalog_id"] == catalog_id]
        seconds = [s for s in registry.seconds.to_pylist() if s["catalog_id"] == catalog_id]
        assert row["screen_seconds"] == pytest.approx(sum(m["screen_seconds"] for m in members))
        assert row["screen_seconds"] == pytest.approx(sum(s["screen_seconds"] for s in seconds))
        assert row["titles"] == len(members)
    ordered = [row["screen_seconds"] for row in registry.people.to_pylist()]
    assert ordered == sorted(ordered, reverse=True)


def test_every_link_says_why(storage: Storage) -> None:
    build_local(storage)
    links = read_registry(storage).links.to_pylist()
    joined = [link for link in links if link["answer"] == "joined"]
    assert len(joined) == sum(len(members) - 1 for members in GROUPS)
    assert {link["why"] for link in joined} == {"face"}
    assert all(link["probability"] > 0.9 and link["cosine"] > 0.99 for link in joined)


def test_the_order_of_titles_changes_nothing(storage: Storage, tmp_path: Path) -> None:
    build_local(storage)
    other = Storage.open(str(tmp_path / "other"))
    for title in reversed(CASTS):
        write_catalog_title(other, title)
        build_local(other)
    tables = registry_tables(storage)
    for name, table in registry_tables(other).items():
        assert table.equals(tables[name]), name


def test_only_titles_that_have_changed_are_read_again(storage: Storage) -> None:
    write_title(storage, [], title="Empty", title_id="empty-0")
    assert build_local(storage).read == 5
    assert build_local(storage).read == 0
    write_catalog_title(storage, "b", SECOND)
    assert build_local(storage).read == 1
    Desk(storage, "c-0", who="me").name("p001", "Ann")
    assert build_local(storage).read == 1


def test_an_older_registry_is_removed(storage: Storage) -> None:
    first = build_local(storage).folder
    Desk(storage, "a-0", who="me").name("p001", "Ann")
    second = build_local(storage).folder
    assert first != second
    folders = [name for name in storage.names(REGISTRY) if name.startswith("registry-")]
    assert [f"{REGISTRY}/{name}" for name in folders] == [second]
    assert storage.read_json(POINTER)["registry"] == folders[0]


def test_a_damaged_registry_is_built_from_the_titles(storage: Storage) -> None:
    whole = registry_tables_after_build(storage)
    folder = Path(storage.locate(f"{REGISTRY}/{storage.read_json(POINTER)['registry']}"))
    (folder / "catalog_faces.parquet").write_bytes(b"nothing")
    (folder / "manifest.json").unlink()
    assert build_local(storage).read == 4
    for name, table in registry_tables(storage).items():
        assert table.equals(whole[name]), name


@pytest.mark.slow
def test_killed_before_any_change_it_ends_alike(tmp_path: Path) -> None:
    whole = Storage.open(str(tmp_path / "whole"))
    _one_title_after_another(whole, whole)
    expected, changes = content(whole), 0
    while True:
        storage = Storage.open(str(tmp_path / f"killed-{changes}"))
        try:
            _one_title_after_another(storage, dying(storage, changes))
        except Killed:
            if storage.exists(POINTER):  # what it names is whole, and is searched
                assert read_registry(storage).people.num_rows
            build_local(storage)
        else:
            break
        # The title that was written last is missing where the first build was killed.
        missing = [title for title in CASTS if not storage.names(f"titles/{title}-0")]
        for title in missing:
            write_catalog_title(storage, title)
        build_local(storage)
        assert content(storage) == expected, f"killed before change {changes + 1}"
        changes += 1
    assert changes > 10


def _one_title_after_another(storage: Storage, builder: Storage) -> None:
    """Build the registry of some titles, and again when the last one was added."""
    *first, last = CASTS
    for title in first:
        write_catalog_title(storage, title)
    build_local(builder)
    write_catalog_title(storage, last)
    build_local(builder)


def registry_tables_after_build(storage: Storage) -> dict[str, object]:
    build_local(storage)
    return dict(registry_tables(storage))


def test_a_damaged_title_is_named_and_left_out(storage: Storage) -> None:
    (path,) = Path(storage.uri).glob("titles/b-0/cluster-*/people.parquet")
    path.write_bytes(b"nothing")
    built = build_local(storage)
    assert list(built.skipped) == ["b-0"]
    assert built.titles == 3
    assert not any(place.startswith("b:") for group in catalog_groups(storage) for place in group)


def test_a_name_joins_and_is_given_to_all(storage: Storage) -> None:
    for title, person in (("a", "p002"), ("d", "p003")):  # two faces
        name = "Ann  Example" if title == "a" else "ann example"
        Desk(storage, f"{title}-0", who="me").name(person, name)
    Desk(storage, "a-0", who="me").name("p001", "Bob")  # who is in d, too
    build_local(storage)
    registry = read_registry(storage)
    named = {row["name"]: row["titles"] for row in registry.people.to_pylist() if row["name"]}
    assert named == {"Ann Example": 3, "Bob": 2}
    links = {
        (row["title_id"], row["person_id"]): row["link"] for row in registry.members.to_pylist()
    }
    assert links["d-0", "p003"] == "named"
    assert links["d-0", "p001"] == "joined"


def test_two_names_are_two_people(storage: Storage) -> None:
    Desk(storage, "a-0", who="me").name("p001", "Ann")
    Desk(storage, "d-0", who="me").name("p001", "Eve")
    build_local(storage)
    assert ["a:p001", "d:p001"] not in catalog_groups(storage)
    (link,) = [
        link for link in read_registry(storage).links.to_pylist() if link["answer"] == "apart"
    ]
    assert link["why"] == "names"
    assert link["probability"] > 0.9


def test_an_output_without_titles_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run vcn index"):
        build_local(Storage.open(str(tmp_path)))
