"""Names that other titles give people of the title under review."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vcn_ray.review.known as known_module
from tests.helpers.catalogs import build_local
from tests.helpers.named_titles import SECOND, join, write_both, write_second
from tests.helpers.review_data import small_title, write_title
from tests.helpers.review_server import Served, running_review
from vcn_ray.catalog_people import list_decisions
from vcn_ray.io.storage import Storage
from vcn_ray.registry.stored import read_registry

pytestmark = pytest.mark.network


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


@pytest.fixture
def title(storage: Storage) -> str:
    title = write_both(storage)
    build_local(storage)
    return title


@pytest.fixture
def served(storage: Storage, title: str) -> Iterator[Served]:
    with running_review(storage) as page:
        yield page


def known_in(served: Served, title: str) -> dict[str, Any]:
    people = served.get(f"api/titles/{title}").json["state"]["people"]
    return {person["id"]: person["known"] for person in people if person["known"]}


def asked(served: Served, title: str) -> list[str]:
    found = served.get(f"api/titles/{title}/suggestions").json
    return [each["person"] for each in found if each["ask"] == "known"]


def test_an_unnamed_person_is_known_by_the_catalog(served: Served, title: str) -> None:
    assert known_in(served, title) == {"p002": {"name": "Grace", "title": "Second"}}
    first = served.get(f"api/titles/{title}/suggestions").json[0]
    assert (first["ask"], first["person"]) == ("known", "p002")
    assert known_in(served, SECOND) == {}
    home = f"api/titles/{title}/known"
    found = served.get(f"{home}/p002").json
    assert found == {"name": "Grace", "title": "Second", "picture": True}
    face = served.get(f"{home}/p002/face")
    assert Image.open(io.BytesIO(face.body)).size == (120, 160)
    assert served.get(f"{home}/p001").status == 400
    assert served.get(f"{home}/p001/face").status == 400


def test_yes_is_a_name_and_ends_the_question(served: Served, title: str) -> None:
    state = served.decide(title, do="name", who="p002", name="Grace").json["state"]
    assert [p["known"] for p in state["people"]] == [None] * len(state["people"])
    assert asked(served, title) == []
    served.decide(title, do="undo")
    assert asked(served, title) == ["p002"]
    served.decide(title, do="nobody", who="p002")
    assert asked(served, title) == []


def test_no_is_a_decision_that_the_next_registry_follows(
    served: Served, storage: Storage, title: str
) -> None:
    before = served.get(f"api/titles/{title}").json["state"]["version"]
    answer = served.decide(title, do="unknown", who="p002")
    assert answer.status == 200
    assert answer.json["state"]["version"] != before
    assert asked(served, title) == []
    assert known_in(served, title) == {}
    last = list_decisions(storage.uri)[-1]
    assert (last.decision_id, last.kind, last.who) == (answer.json["decision"], "apart", "ann")
    assert last.left is not None
    assert last.right is not None
    assert (last.left.title_id, last.right.title_id) == (title, SECOND)
    with running_review(storage) as again:
        assert known_in(again, title) == {}
    build_local(storage)
    rows = read_registry(storage).members.to_pylist()
    catalog = {(row["title_id"], row["person_id"]): row["catalog_id"] for row in rows}
    assert catalog[title, "p002"] != catalog[SECOND, "p002"]
    assert served.decide(title, do="unknown", who="p002").status == 400
    assert served.get(f"api/titles/{title}/history").json == []


def test_no_is_undone_like_an_edit(served: Served, storage: Storage, title: str) -> None:
    served.decide(title, do="name", who="p001", name="Ada")
    state = served.decide(title, do="unknown", who="p002").json["state"]
    assert state["undo"] == "p002 is not Grace"
    state = served.decide(title, do="undo").json["state"]
    assert "Ada" in state["undo"]
    assert known_in(served, title) == {"p002": {"name": "Grace", "title": "Second"}}
    assert asked(served, title) == ["p002"]
    assert [each.kind for each in list_decisions(storage.uri)] == ["join"]
    assert served.decide(title, do="undo").json["state"]["undo"] is None
    assert served.decide(title, do="undo").status == 400


def test_an_edit_after_a_no_is_undone_first(served: Served, storage: Storage, title: str) -> None:
    served.decide(title, do="unknown", who="p002")
    served.decide(title, do="name", who="p001", name="Ada")
    assert served.decide(title, do="undo").json["state"]["undo"] == "p002 is not Grace"
    assert len(list_decisions(storage.uri)) == 2
    assert served.decide(title, do="undo").json["state"]["undo"] is None
    assert [each.kind for each in list_decisions(storage.uri)] == ["join"]


def test_a_registry_that_was_built_since_keeps_them_apart(
    served: Served, storage: Storage, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.decide(title, do="unknown", who="p002")
    build_local(storage)
    monkeypatch.setattr(known_module, "CHECK_SECONDS", 0.0)
    assert known_in(served, title) == {}
    served.decide(title, do="undo")
    assert known_in(served, title) == {}
    assert [each.kind for each in list_decisions(storage.uri)] == ["join"]
    build_local(storage)
    assert served.get(f"api/titles/{title}/state").status == 200
    assert known_in(served, title) == {"p002": {"name": "Grace", "title": "Second"}}


def test_corrections_do_not_lose_the_person(served: Served, title: str) -> None:
    shown = served.get(f"api/titles/{title}").json
    served.decide(title, do="merge", who="p002", into="p001")
    found = known_in(served, title)
    assert list(found) == ["p001"]
    assert shown["state"]["people"][0]["id"] == "p001"


def test_a_registry_that_is_built_while_a_page_is_open_is_seen(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "CHECK_SECONDS", 0.0)
    title = write_title(storage, small_title())
    write_second(storage)
    with running_review(storage) as served:
        version = served.get(f"api/titles/{title}").json["state"]["version"]
        assert served.get(f"api/titles/{title}/state?seen={version}").json == {"version": version}
        join(storage, title, "p002", SECOND, "p002")
        build_local(storage)
        news = served.get(f"api/titles/{title}/state?seen={version}").json
        assert [p["known"]["name"] for p in news["people"] if p["known"]] == ["Grace"]


def test_a_registry_that_cannot_be_read_is_left_out(storage: Storage, title: str) -> None:
    storage.write_bytes(f"registry/{read_registry(storage).name}/catalog_members.parquet", b"no")
    with running_review(storage) as served:
        assert known_in(served, title) == {}
