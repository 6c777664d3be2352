"""Exports name people as other titles do, as long as they are the people of the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.catalogs import build_local, write_catalog
from vcn_ray.io.storage import Storage
from vcn_ray.registry.names import catalog_names, named_from_catalog
from vcn_ray.review.desk import Desk
from vcn_ray.run.current import read_current


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Ann has a name in one of her two titles."""
    storage = Storage.open(str(tmp_path / "out"))
    write_catalog(storage)
    Desk(storage, "a-0", who="me").name("p001", "Ann")
    build_local(storage)
    return storage


def names_of(storage: Storage, title_id: str) -> dict[str, str | None]:
    title = named_from_catalog(read_current(title_id, storage), catalog_names(storage))
    rows = title.tables.people.to_pylist()
    seen = {row["person_id"]: row["name"] for row in title.tables.appearances.to_pylist()}
    assert seen == {row["person_id"]: row["name"] for row in rows}
    return seen


def test_who_is_named_in_one_title_is_named_in_the_others(storage: Storage) -> None:
    assert names_of(storage, "d-0") == {"p001": "Ann", "p002": None, "p003": None}


def test_exports_say_it(storage: Storage, tmp_path: Path) -> None:
    table = tmp_path / "seen.csv"
    vcn_ray.export(storage.uri, "csv", title="Film d", to=table)
    assert "Ann" in table.read_text(encoding="utf-8-sig")
    vcn_ray.decide(storage.uri, "apart", "a-0:p001", "d-0:p001", who="me")
    vcn_ray.export(storage.uri, "csv", title="Film d", to=table)
    assert "Ann" not in table.read_text(encoding="utf-8-sig")


def test_a_name_of_the_title_itself_counts_more(storage: Storage) -> None:
    Desk(storage, "d-0", who="me").name("p001", "Eve")
    assert names_of(storage, "d-0")["p001"] == "Eve"


def test_who_is_another_one_since_is_not_named(storage: Storage) -> None:
    desk = Desk(storage, "d-0", who="me")
    desk.move(["d40", "d41"], "p001")
    desk.move(["d00", "d01"], "p003")
    assert "Ann" not in names_of(storage, "d-0").values()
