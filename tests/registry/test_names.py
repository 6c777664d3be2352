"""A name that one title gives reaches the people of other titles, until somebody denies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.catalogs import build_local
from tests.helpers.named_titles import SECOND, write_both
from vcn_ray.catalog_people import decide, undo_decision
from vcn_ray.io.storage import Storage
from vcn_ray.registry.names import CatalogName, catalog_names
from vcn_ray.registry.stored import POINTER
from vcn_ray.review.desk import Desk


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


@pytest.fixture
def title(storage: Storage) -> str:
    return write_both(storage)


def test_who_has_no_name_gets_that_of_the_catalog(storage: Storage, title: str) -> None:
    assert catalog_names(storage) == {}
    build_local(storage)
    names = catalog_names(storage)
    assert set(names) == {(title, "p002")}
    known = names[title, "p002"]
    assert isinstance(known, CatalogName)
    assert (known.name, known.title_id, known.title) == ("Grace", SECOND, "Second")
    assert known.person_id == "p002"
    assert known.probability > 0.9
    Desk(storage, title, "ann").name("p002", "Ada")
    build_local(storage)
    assert catalog_names(storage) == {}


def test_a_denied_name_is_gone_at_once_and_comes_back_if_that_is_undone(
    storage: Storage, title: str
) -> None:
    build_local(storage)
    denied = decide(storage.uri, "apart", f"{SECOND}:p002", f"{title}:p002")
    assert catalog_names(storage) == {}
    undo = undo_decision(storage.uri, denied)
    assert set(catalog_names(storage)) == {(title, "p002")}
    undo_decision(storage.uri, undo)
    build_local(storage)
    assert catalog_names(storage) == {}


def test_a_damaged_registry_names_nobody(storage: Storage, title: str) -> None:
    build_local(storage)
    storage.write_bytes(POINTER, b"{}")
    assert catalog_names(storage) == {}
