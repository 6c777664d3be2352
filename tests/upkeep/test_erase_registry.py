"""An erased person leaves the registry, its page and decisions, and no build brings it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.catalogs import build_local
from tests.helpers.films import vcn
from tests.helpers.s3_server import S3Server
from tests.helpers.upkeep import Indexed, Killed, content, dying, traces_of, upload
from tests.upkeep.test_erase import (
    agree,
    bucket,  # noqa: F401 - a fixture
    needles_of,
    title_of,
    versions_in,
)
from vcn_ray.catalog_people import decide, list_decisions, undo_decision
from vcn_ray.io.storage import Storage
from vcn_ray.registry.stored import read_registry
from vcn_ray.review.desk import Desk
from vcn_ray.upkeep.doors import EraseRequest, erase_persons

pytestmark = pytest.mark.slow

NAME = "Nora Stern"


def catalog_of(storage: Storage, title_id: str, person: str) -> str:
    rows = read_registry(storage).members.to_pylist()
    return next(
        str(row["catalog_id"])
        for row in rows
        if (row["title_id"], row["person_id"]) == (title_id, person)
    )


def prepared(storage: Storage) -> tuple[str, str]:
    """Name a person, decide about both, and build a registry with pages; returns the title ids."""
    film, season = (
        next(name for name in storage.names("titles") if name.startswith(start))
        for start in ("film-", "season-")
    )
    desk = Desk(storage, film, "ann")
    desk.name("p002", NAME)
    desk.commit()
    join = decide(storage.uri, "join", f"{film}:p002", f"{season}:p001", note=NAME, s3=storage.s3)
    undo = undo_decision(storage.uri, join, s3=storage.s3)
    undo_decision(storage.uri, undo, s3=storage.s3)
    decide(storage.uri, "apart", f"{film}:p001", f"{season}:p001", s3=storage.s3)
    build_local(storage)
    pictures = [row["face"] for row in read_registry(storage).people.to_pylist()]
    assert all(pictures)
    pages = storage.find_json("pages.json") or {"files": {}}
    storage.write_bytes("catalog.html", NAME.encode())
    storage.write_json("pages.json", pages)
    return film, season


def needles(storage: Storage) -> list[bytes]:
    film = next(name for name in storage.names("titles") if name.startswith("film-"))
    codes = {
        row["codes"]
        for row in read_registry(storage).faces.to_pylist()
        if (row["title_id"], row["person_id"]) == (film, "p002")
    }
    assert len(codes) == 1
    return [NAME.encode(), *codes]


def test_the_registry_goes_and_is_built_again_without_the_person(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    film, _ = prepared(storage)
    wanted = needles_of(title_of(indexed.output, "film-"), "p002") + needles(storage)
    told = vcn("erase", indexed.output, "--person", "film:p002", "--dry-run")
    assert any(path.startswith("registry/registry-") for path in told.record["removed"])
    assert sum(path.startswith("registry/decisions/") for path in told.record["removed"]) >= 3
    ran = vcn("erase", indexed.output, "--person", "film:p002")
    agree(told.record, ran.record)
    assert (ran.code, ran.record["found"]) == (0, [])
    assert "vcn registry build" in ran.out
    assert storage.names("registry") == ["decisions"]
    assert not storage.exists("catalog.html")
    assert traces_of(wanted, content(storage), storage) == []
    (path,) = ran.record["receipts"]
    gone = {o["path"]: o for o in json.loads((indexed.output / path).read_text())["objects"]}
    assert gone["registry/latest.json"]["sha256_after"] is None
    build_local(storage)
    rows = read_registry(storage).faces.to_pylist()
    assert "p002" not in [row["person_id"] for row in rows if row["title_id"] == film]
    assert traces_of(wanted, content(storage), storage) == []
    for decision in list_decisions(storage.uri):
        assert decision.left is not None
        assert decision.left.person_id == "p001"
    assert vcn("verify", indexed.output).code == 0


def test_a_registry_that_is_put_back_does_not_bring_the_person_back(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    prepared(storage)
    wanted = needles(storage)
    backup = {p: d for p, d in content(storage).items() if p.startswith("registry/")}
    assert vcn("erase", indexed.output, "--person", "film:p002").code == 0
    for path, data in backup.items():
        if not path.startswith("registry/decisions/"):
            storage.write_bytes(path, data)
    build_local(storage)
    assert traces_of(wanted, content(storage), storage) == []


def test_a_person_of_the_catalog_goes_from_all_titles(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    film, season = prepared(storage)
    who = catalog_of(storage, film, "p002")
    members = {
        (row["title_id"], row["person_id"])
        for row in read_registry(storage).members.to_pylist()
        if row["catalog_id"] == who
    }
    assert members == {(film, "p002"), (season, "p001")}
    told = vcn("erase", indexed.output, "--person", who, "--dry-run")
    assert told.code == 0, told.err
    assert f"{who} is {film}:p002, {season}:p001" in told.out
    Desk(storage, season, "ann").name("p002", "Somebody")
    assert "run vcn registry build" in vcn("erase", indexed.output, "--person", who).err
    build_local(storage)
    who = catalog_of(storage, film, "p002")
    ran = vcn("erase", indexed.output, "--person", who)
    assert (ran.code, ran.record["found"]) == (0, []), ran.err
    receipt = storage.read_json(ran.record["receipts"][0])
    assert {(p["title_id"], p["person_id"]) for p in receipt["persons"]} == members
    assert "p001" not in title_of(indexed.output, "season-").people["person_id"].to_pylist()
    ran = vcn("erase", indexed.output, "--person", who)
    assert ran.code == 2
    assert "has no registry" in ran.err
    build_local(storage)
    assert "has no person" in vcn("erase", indexed.output, "--person", who).err


def test_a_kill_leaves_no_registry_and_none_is_built_until_it_ends(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    prepared(storage)
    wanted = needles(storage)
    request = EraseRequest(persons=["film:p002"])
    for changes in (8, 12, 16, 20):
        with pytest.raises(Killed):
            erase_persons(dying(storage, changes), request, dry_run=False)
        ran = vcn("registry", "build", indexed.output, "--local")
        assert ran.code == 2
        assert "--resume" in ran.err
    assert vcn("erase", indexed.output, "--resume").record["found"] == []
    assert traces_of(wanted, content(storage), storage) == []


def test_pages_of_searches_go_if_they_show_the_person(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    title = title_of(indexed.output, "film-")
    report = storage.read_bytes(f"titles/{title.title_id}/report.html")
    storage.write_bytes("found.html", report)
    storage.write_bytes("mine.html", b"<p>nothing of it</p>")
    assert vcn("erase", indexed.output, "--person", "film:p002").record["found"] == []
    assert not storage.exists("found.html")
    assert storage.exists("mine.html")


@pytest.mark.network
def test_hidden_versions_of_the_registry_go_too(
    indexed: Indexed,
    bucket: Storage,  # noqa: F811 - the fixture
    s3_server: S3Server,
) -> None:
    local = Storage.open(str(indexed.output))
    prepared(local)
    wanted = needles(local)
    upload(indexed.output, bucket)
    upload(Path(indexed.output), bucket)
    ran = vcn("erase", bucket.uri, "--person", "film:p002", *s3_server.settings)
    assert ran.code == 0, ran.err
    kept = versions_in(bucket, s3_server)
    files = {f"{path} {version} {path}": data for (path, version), data in kept.items()}
    assert traces_of(wanted, files, bucket) == []
    assert vcn("verify", bucket.uri, *s3_server.settings).code == 0
