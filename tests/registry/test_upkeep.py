"""The registry holds no more than its titles keep, and what is damaged of it is built again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vcn_ray
from tests.helpers.catalogs import build_local
from tests.helpers.named_titles import SECOND, write_both
from tests.helpers.review_data import small_title, write_title
from tests.helpers.s3_server import S3Server
from tests.helpers.upkeep import Killed, content, dying
from vcn_ray.config import RetentionConfig, RunConfig
from vcn_ray.edits.record import Anchor
from vcn_ray.errors import UsageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.registry.build import build_registry
from vcn_ray.registry.check import check_registry
from vcn_ray.registry.copies import repeats_removed
from vcn_ray.registry.decisions import DECISIONS, Decision, PersonMark, read_decisions
from vcn_ray.registry.persons import is_catalog_id
from vcn_ray.registry.scrub import scrub_decisions
from vcn_ray.registry.stored import POINTER, REGISTRY, read_registry
from vcn_ray.run.parallel import map_shared
from vcn_ray.run.retention import EMBEDDINGS, PICTURES, ResultFolders, expire
from vcn_ray.run.stored import read_result
from vcn_ray.upkeep.catalog_persons import find_members
from vcn_ray.upkeep.files import DAY_SECONDS
from vcn_ray.upkeep.prune import find_garbage, remove_garbage
from vcn_ray.upkeep.registry_copies import expire_registry, remove_registry

KEPT = RetentionConfig(crops_days=0, embeddings_days=0)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


@pytest.fixture
def title(storage: Storage) -> str:
    """Two titles of the same six people; p002 of the second has a name."""
    return write_both(storage)


def remove(title_id: str, what: str, storage: Storage) -> None:
    """Remove pictures or embeddings of a title, as retention does."""
    keys = read_result(title_id, storage).summary["keys"]
    folders = ResultFolders((), tuple(keys["track"]), keys["adapt"], keys["cluster"])
    assert expire(folders, [what], storage) == {what}


def faces_in(storage: Storage) -> int:
    people = read_registry(storage).people
    return int(people.num_rows - people.column("face").null_count)


def codes_in(storage: Storage) -> dict[str, int]:
    """Number of embeddings of each title."""
    found: dict[str, int] = {}
    for row in read_registry(storage).faces.to_pylist():
        found[row["title_id"]] = found.get(row["title_id"], 0) + (row["codes"] is not None)
    return found


def test_removed_pictures_do_not_come_from_the_earlier_registry(
    storage: Storage, title: str
) -> None:
    build_local(storage)
    assert faces_in(storage) == read_registry(storage).people.num_rows > 0
    assert not repeats_removed(storage)
    remove(title, PICTURES, storage)  # the videos of both titles
    assert repeats_removed(storage)
    assert repeats_removed(storage, [title]) != repeats_removed(storage, ["another"])
    assert build_local(storage).read == 2
    assert faces_in(storage) == 0
    assert not repeats_removed(storage)


def test_removed_embeddings_do_not_come_from_the_earlier_registry(
    storage: Storage, title: str
) -> None:
    build_local(storage)
    assert codes_in(storage) == {title: 6, SECOND: 6}
    remove(title, EMBEDDINGS, storage)
    assert repeats_removed(storage)
    build_local(storage)
    assert codes_in(storage) == {title: 0, SECOND: 6}
    assert not repeats_removed(storage)


def test_retention_removes_the_registry_with_its_page(storage: Storage, title: str) -> None:
    build_local(storage)
    storage.write_bytes("catalog.html", b"faces")
    record = {"size": 5, "sha256": "0"}
    storage.write_json("pages.json", {"files": {"catalog.html": record, "index.html": record}})
    decisions = storage.names(DECISIONS)
    assert expire_registry(storage, RetentionConfig(), [PICTURES]) == []
    assert expire_registry(storage, KEPT) == []
    remove(title, PICTURES, storage)
    assert "would be" in expire_registry(storage, KEPT, [PICTURES], dry_run=True)[0]
    assert storage.exists(POINTER)
    (line,) = expire_registry(storage, KEPT)
    assert "vcn registry build" in line
    assert storage.names(REGISTRY) == ["decisions"]
    assert storage.names(DECISIONS) == decisions
    assert not storage.exists("catalog.html")
    assert list(storage.read_json("pages.json")["files"]) == ["index.html"]
    assert expire_registry(storage, KEPT) == []


def test_a_kill_while_the_registry_is_removed_is_made_good(storage: Storage, title: str) -> None:
    build_local(storage)
    remove_after = len(list(content(storage)))
    with pytest.raises(Killed):
        remove_registry(dying(storage, 3))
    assert remove_registry(storage)
    assert storage.names(REGISTRY) == ["decisions"]
    assert len(content(storage)) < remove_after
    assert not remove_registry(storage)


def test_prune_removes_older_registries_and_no_decisions(storage: Storage, title: str) -> None:
    build_local(storage)
    newest = read_registry(storage).name
    storage.write_json(f"{REGISTRY}/registry-000000000001/manifest.json", {"files": {}})
    storage.write_bytes(f"{REGISTRY}/registry-000000000002/catalog_faces.parquet", b"begun")
    decisions = storage.names(DECISIONS)
    garbage = find_garbage(storage).garbage
    assert not [each for each in garbage if each.folder.startswith(REGISTRY)]
    found = find_garbage(storage, time.time() + DAY_SECONDS + 60)
    mine = [each for each in found.garbage if each.folder.startswith(REGISTRY)]
    assert {each.kind for each in mine} == {"registry", "unfinished"}
    remove_garbage(mine, storage)
    assert storage.names(REGISTRY) == ["decisions", "latest.json", newest]
    assert storage.names(DECISIONS) == decisions
    storage.write_bytes(POINTER, b"{}")
    found = find_garbage(storage, time.time() + DAY_SECONDS + 60)
    assert not [each for each in found.garbage if each.folder.startswith(REGISTRY)]


@pytest.mark.parametrize(
    "what", ["table", "manifest", "pointer", "empty pointer", "no pointer", "no table"]
)
def test_verify_finds_damage_of_the_registry_and_builds_it_again(
    storage: Storage, title: str, what: str
) -> None:
    build_local(storage)
    before = {p: d for p, d in content(storage).items() if p.startswith(REGISTRY)}
    folder = f"{REGISTRY}/{read_registry(storage).name}"
    path = {"table": f"{folder}/catalog_links.parquet", "manifest": f"{folder}/manifest.json"}.get(
        what.removeprefix("no "), POINTER
    )
    assert check_registry(storage).damage == ()
    assert check_registry(storage).files == 8
    if what.startswith("no "):
        storage.delete(path)
    elif what == "empty pointer":
        storage.write_json(path, {"checksum_of": "nothing"})
    else:
        data = storage.read_bytes(path)
        storage.write_bytes(path, data[:-9] + bytes(9))
    assert [error.path for error in check_registry(storage).damage] == [path]
    done = vcn_ray.verify(storage.uri, repair=True, local=True)
    assert any(path in line for line in done.damage)
    assert done.left == ()
    after = {p: d for p, d in content(storage).items() if p.startswith(REGISTRY)}
    assert after == before


def test_a_damaged_decision_is_named_and_stays(storage: Storage, title: str) -> None:
    build_local(storage)
    (name,) = storage.names(DECISIONS)
    storage.write_bytes(f"{DECISIONS}/{name}", b"{}")
    done = vcn_ray.verify(storage.uri, repair=True, local=True)
    assert "cannot be made again" in done.damage[0]
    assert done.left == done.damage
    assert storage.names(DECISIONS) == [name]


def test_a_damaged_registry_is_written_again_by_the_next_build(
    storage: Storage, title: str
) -> None:
    built = build_local(storage)
    storage.write_bytes(f"{built.folder}/catalog_members.parquet", b"PAR1")
    assert build_local(storage).folder == built.folder
    assert check_registry(storage).damage == ()


def test_no_registry_is_left_of_what_was_read_before_an_erasure(
    storage: Storage, title: str
) -> None:
    def meanwhile(work: Any, shared: Any, items: Any) -> Iterator[Any]:
        yield from map_shared(work, shared, items)
        storage.write_json("erasures/0123456789ab.json", {"persons": []})

    with pytest.raises(UsageError, match="again"):
        build_registry(storage, RunConfig(), meanwhile)
    assert storage.names(REGISTRY) == ["decisions"]
    storage.write_json("erasures/0123456789ac.open.json", {})
    with pytest.raises(UsageError, match="--resume"):
        build_local(storage)


def test_people_of_the_catalog_are_found_as_long_as_titles_are_the_same(
    storage: Storage, title: str
) -> None:
    with pytest.raises(UsageError, match="no registry"):
        find_members("c-0123456789ab", storage)
    build_local(storage)
    rows = read_registry(storage).members.to_pylist()
    who = next(row["catalog_id"] for row in rows if row["name"] == "Grace")
    assert is_catalog_id(who)
    assert not is_catalog_id(f"{title}:p002")
    found = {tuple(each) for each in find_members(who, storage)}
    assert found == {(title, "p002"), (SECOND, "p002")}
    remove(title, EMBEDDINGS, storage)
    with pytest.raises(UsageError, match="vcn registry build"):
        find_members(who, storage)


@pytest.mark.network
def test_retention_reaches_a_registry_in_a_bucket(s3_server: S3Server) -> None:
    s3_server.client.create_bucket(Bucket="registry-copies")
    s3_server.calm()
    config = S3Config(endpoint=s3_server.url, region="us-east-1")
    storage = Storage.open("s3://registry-copies/out", config)
    title = write_title(storage, small_title())
    build_local(storage)
    remove(title, EMBEDDINGS, storage)
    assert expire_registry(storage, KEPT)
    assert storage.names(REGISTRY) == []
    build_local(storage)
    assert codes_in(storage) == {title: 0}
    assert check_registry(storage).damage == ()


def anchor(track: str) -> Anchor:
    return Anchor(track, "video", 0.0, 1.0, ())


def mark(title: str, *tracks: str) -> PersonMark:
    return PersonMark(title, "p001", tuple(map(anchor, tracks)))


def test_decisions_lose_the_erased_and_undos_follow() -> None:
    about = Decision("join", "ann", "1", mark("a", "x1", "x2"), mark("b", "y1"), note="Nora")
    partly = Decision("apart", "ann", "2", mark("a", "z1", "z2", "x1"), mark("b", "y1"), note="N")
    other = Decision("apart", "ann", "3", mark("a", "z1"), mark("b", "y1"), note="stays")
    undos = [Decision("undo", "ann", "4", undoes=each.decision_id) for each in (about, partly)]
    redo = Decision("undo", "ann", "5", undoes=undos[1].decision_id)
    bare = Decision("join", "ann", "6", PersonMark("a", "p009"), mark("b", "y1"))
    everything = [redo, *undos, about, partly, other, bare]  # clocks differ
    found = scrub_decisions(everything, lambda a: a.track_id[0] == "x", [("a", "p009")])
    assert found[about.decision_id] is None
    assert found[undos[0].decision_id] is None
    assert found[bare.decision_id] is None
    assert other.decision_id not in found
    left = found[partly.decision_id]
    assert left is not None
    assert left.left == mark("a", "z1", "z2")
    assert left.note == ""
    undo = found[undos[1].decision_id]
    assert undo is not None
    assert undo.undoes == left.decision_id
    again = found[redo.decision_id]
    assert again is not None
    assert again.undoes == undo.decision_id


def test_decisions_are_kept_as_they_are_written(storage: Storage, title: str) -> None:
    before, damaged = read_decisions(storage)
    assert (len(before), damaged) == (1, {})
    assert scrub_decisions(before, lambda _: False, []) == {}
