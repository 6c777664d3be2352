"""What the page of the catalog holds, and how it is written beside the others."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from tests.helpers.catalog_data import made_catalog, write_catalog
from tests.helpers.review_data import small_title, write_title
from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.report import catalog_view
from vcn_ray.report.catalog_view import (
    FACE_PIXELS,
    FACES_IN_BLOCK,
    CatalogTables,
    build_catalog_view,
    read_catalog,
)
from vcn_ray.report.pages import render_catalog, write_catalog_page, write_reports
from vcn_ray.run.listed_pages import PAGES
from vcn_ray.schema import CATALOG_LINKS


@pytest.fixture(scope="module")
def tables() -> CatalogTables:
    return made_catalog(12, 130)


def of(table: pa.Table, catalog_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(
        pc.equal(table.column("catalog_id"), catalog_id)
    ).to_pylist()
    return rows


def test_every_member_and_every_second_of_the_tables_is_in_it(tables: CatalogTables) -> None:
    view = build_catalog_view(tables)
    titles = view.data["titles"]
    assert (view.people, view.left_out, view.titles) == (130, 0, 12)
    assert [name for _, name, _ in titles] == sorted((t[1] for t in titles), key=str.casefold)
    for row, person in zip(tables.people.to_pylist(), view.data["people"], strict=True):
        assert (person["id"], person["name"]) == (row["catalog_id"], row["name"])
        assert [
            (titles[title][0], who, seconds, link)
            for title, who, _, seconds, _, link in person["in"]
        ] == [
            (m["title_id"], m["person_id"], round(m["screen_seconds"], 2), m["link"])
            for m in of(tables.members, row["catalog_id"])
        ]
        assert [(titles[t][0], episode, seconds) for t, episode, seconds in person["seen"]] == [
            (s["title_id"], s["episode"], round(s["screen_seconds"], 2))
            for s in of(tables.seconds, row["catalog_id"])
        ]
    assert {name[:6]: episodes for _, name, episodes in titles} == {"Film 1": 1, "Season": 8} | {
        name[:6]: 1 for _, name, _ in titles if name.startswith("Film")
    }


def test_only_suggested_links_are_shown_at_both_ends(tables: CatalogTables) -> None:
    first, second, third = (
        tables.members.filter(
            pc.equal(tables.members.column("catalog_id"), person["catalog_id"])
        ).to_pylist()[0]
        for person in tables.people.slice(0, 3).to_pylist()
    )

    def link(left: dict[str, Any], right: dict[str, Any], answer: str, probability: float) -> Any:
        return {
            "left_title_id": left["title_id"],
            "left_person_id": left["person_id"],
            "right_title_id": right["title_id"],
            "right_person_id": right["person_id"],
            "cosine": 0.4,
            "probability": probability,
            "answer": answer,
            "why": "face",
        }

    rows = [
        link(first, third, "suggested", 0.6),
        link(first, second, "apart", 0.2),
        link(third, first, "suggested", 0.75),
        link(second, {"title_id": "gone", "person_id": "p001"}, "suggested", 0.9),
    ]
    people = build_catalog_view(tables._replace(links=make_table(rows, CATALOG_LINKS))).data[
        "people"
    ]
    assert people[0]["maybe"] == [[2, 0.75]]
    assert people[2]["maybe"] == [[0, 0.75]]
    assert not any(person["maybe"] for person in [people[1], *people[3:]])


def test_pictures_are_small_and_in_blocks_by_the_number_of_the_person(
    tables: CatalogTables,
) -> None:
    view = build_catalog_view(tables)
    assert [len(block) for block in view.faces] == [FACES_IN_BLOCK, 30]
    with Image.open(io.BytesIO(base64.b64decode(view.faces[1][-1]))) as picture:
        assert picture.format == "WEBP"
        assert picture.height == FACE_PIXELS
    without = build_catalog_view(made_catalog(3, 5, pictures=False))
    assert without.faces == [[""] * 5]


def test_a_page_shows_those_with_most_time_and_says_how_many_it_leaves_out(
    tables: CatalogTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_view, "MAX_PEOPLE", 50)
    view = build_catalog_view(tables)
    assert (view.people, view.left_out) == (50, 80)
    assert len(view.data["people"]) == sum(map(len, view.faces)) == 50
    assert "80 more people" in render_catalog(view)


def test_names_cannot_break_out_of_the_page(tables: CatalogTables) -> None:
    hostile = "</script><script>alert(1)</script>\u202e\x1b[31m"
    people = tables.people.to_pylist()
    people[0]["name"] = hostile
    page = render_catalog(
        build_catalog_view(tables._replace(people=make_table(people, tables.people.schema)))
    )
    assert "<script>alert" not in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    name = json.loads(found[1])["people"][0]["name"]
    assert name.startswith("</script><script>alert(1)")
    assert "\u202e" not in name
    assert "\x1b" not in name


def test_the_page_loads_nothing(tables: CatalogTables) -> None:
    page = render_catalog(build_catalog_view(tables))
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|index\.html|#)[^\"]*\"", page)
    assert not re.findall(r"https?://", page)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, small_title())
    return storage


def test_the_index_links_the_page_where_there_is_a_registry(
    storage: Storage, tables: CatalogTables
) -> None:
    assert not write_catalog_page(storage)
    write_reports(storage)
    assert not storage.exists("catalog.html")
    assert b"catalog.html" not in storage.read_bytes("index.html")
    write_catalog(storage, tables)
    paths = write_reports(storage)
    assert len(paths.titles) == 1
    assert b'href="catalog.html"' in storage.read_bytes("index.html")
    assert "catalog.html" in storage.read_json(PAGES)["files"]


def test_the_page_can_be_written_alone_and_stays_listed(
    storage: Storage, tables: CatalogTables
) -> None:
    write_catalog(storage, tables)
    assert write_catalog_page(storage)
    assert not storage.exists(PAGES)
    write_reports(storage)
    listed = storage.read_json(PAGES)["files"]
    people = tables.people.slice(0, 5)
    write_catalog(storage, tables._replace(people=people))
    assert write_catalog_page(storage)
    changed = storage.read_json(PAGES)["files"]
    assert changed.pop("catalog.html") != listed.pop("catalog.html")
    assert changed == listed


def test_a_damaged_registry_is_named(storage: Storage, tables: CatalogTables) -> None:
    write_catalog(storage, tables)
    path = Path(storage.uri) / "registry" / "registry-000000000001" / "catalog_people.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match="catalog_people"):
        read_catalog(storage)
