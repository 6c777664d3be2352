"""The registry of an output, built from stored titles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tests.helpers.corrections import VIDEO, Seen, write_title
from vcn_ray.config import RunConfig
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.build import BuiltRegistry, build_registry
from vcn_ray.registry.stored import TABLES, StoredRegistry, read_registry
from vcn_ray.review.desk import Desk
from vcn_ray.run.parallel import map_shared

CASTS = {"a": (0, 1, 2), "b": (1, 2, 3), "c": (2, 3, 4), "d": (0, 4, 5)}
"""Faces of the people of each title."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


def seen_by(title: str, cast: Sequence[int]) -> list[Seen]:
    """A title in which everybody of a cast has two tracks, p001 the longest ones."""
    return [
        Seen(
            f"{title}{face}{part}",
            f"p{place:03d}",
            start,
            start + 9.0 - place,
            face=face,
            video=f"{title}-{VIDEO}",
        )
        for place, face in enumerate(cast, start=1)
        for part, start in enumerate((20.0 * place, 200.0 + 20.0 * place))
    ]


def write(storage: Storage, title: str, result: str = "cluster-000000000001") -> None:
    write_title(storage, seen_by(title, CASTS[title]), result, f"Film {title}", f"{title}-0")


def build(storage: Storage) -> BuiltRegistry:
    return build_registry(storage, RunConfig(), map_shared)


def tables(storage: Storage) -> dict[str, pa.Table]:
    registry = read_registry(storage)
    return {name: getattr(registry, name.removeprefix("catalog_")) for name in TABLES}


def faces_of(registry: StoredRegistry) -> list[set[tuple[str, int]]]:
    """Title and face of the members of each catalog person."""
    found: dict[str, set[tuple[str, int]]] = {}
    for row in registry.members.to_pylist():
        face = CASTS[row["title_id"][0]][int(row["person_id"][1:]) - 1]
        found.setdefault(row["catalog_id"], set()).add((row["title_id"][0], face))
    return sorted(found.values(), key=sorted)


def test_people_of_different_titles_are_joined_by_their_faces(storage: Storage) -> None:
    for title in CASTS:
        write(storage, title)
    built = build(storage)
    found = faces_of(read_registry(storage))
    assert built.people == 6
    assert built.shared == 5
    assert all(len({face for _, face in members}) == 1 for members in found)


def test_the_order_of_titles_changes_nothing(storage: Storage, tmp_path: Path) -> None:
    for title in CASTS:
        write(storage, title)
        build(storage)
    other = Storage.open(str(tmp_path / "other"))
    for title in reversed(CASTS):
        write(other, title)
    build(other)
    for name, table in tables(storage).items():
        assert table.equals(tables(other)[name]), name


def test_only_titles_that_have_changed_are_read_again(storage: Storage) -> None:
    for title in CASTS:
        write(storage, title)
    assert build(storage).read == 4
    assert build(storage).read == 0
    write(storage, "b", "cluster-000000000002")
    assert build(storage).read == 1


def test_a_name_joins_and_its_owner_names_all(storage: Storage) -> None:
    for title in ("a", "d"):
        write(storage, title)
    for title, person in (("a", "p002"), ("d", "p003")):  # two faces
        desk = Desk(storage, f"{title}-0", who="me")
        desk.name(person, "Ann  Example" if title == "a" else "ann example")
    desk = Desk(storage, "a-0", who="me")
    desk.name("p001", "Bob")  # who is in both
    build(storage)
    registry = read_registry(storage)
    named = {row["name"]: row["titles"] for row in registry.people.to_pylist() if row["name"]}
    assert named == {"Ann  Example".replace("  ", " "): 2, "Bob": 2}
    links = {row["link"] for row in registry.members.to_pylist()}
    assert links == {"alone", "joined", "named"}


def test_an_output_without_titles_is_named(storage: Storage) -> None:
    with pytest.raises(UsageError, match="run vcn index"):
        build(storage)
