"""Verifying corrections: what can be made again is, and a decision that is lost is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.corrections import TITLE_ID, Seen, write_title
from tests.helpers.films import vcn
from vcn_ray.edits.record import Edit
from vcn_ray.edits.store import edited_titles, edits_folder, marker_path
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.run.verify import verify_output

FILM = (Seen("a1", "p001", 0, 4), Seen("b1", "p002", 10, 14))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, FILM)
    storage.delete(f"titles/{TITLE_ID}/cluster-000000000001/manifest.json")  # no settings in it
    write_title(storage, FILM, result="kept-000000000001")
    return storage


@pytest.fixture
def edits(storage: Storage) -> list[Edit]:
    desk = Desk(storage, who="me")
    made = [desk.name("p001", "Ann"), desk.name("p002", "Bea")]
    desk.commit()
    return made


def damage(storage: Storage) -> list[str]:
    *_, found = verify_output(storage)
    return list(found.damage)


def reviewed(storage: Storage) -> list[str]:
    home = f"titles/{TITLE_ID}"
    return [f"{home}/{n}" for n in storage.names(home) if n.startswith("reviewed-")]


def test_a_sound_output_is_sound(storage: Storage, edits: list[Edit]) -> None:
    before = sum(1 for path in Path(storage.uri).rglob("*") if path.is_file())
    *_, found = verify_output(storage)
    assert not found.damage
    assert found.files >= 3 + 5  # edits and their marker, tables and their manifest
    assert before == sum(1 for path in Path(storage.uri).rglob("*") if path.is_file())


@pytest.mark.parametrize("file", ["people.parquet", "conflicts.parquet", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "missing"])
def test_tables_are_made_again(storage: Storage, edits: list[Edit], file: str, how: str) -> None:
    (folder,) = reviewed(storage)
    path = f"{folder}/{file}"
    whole = storage.read_bytes(path)
    if how == "cut":
        storage.write_bytes(path, whole[:-9])
    else:
        storage.delete(path)
    killed = (file, how) == ("manifest.json", "missing")  # as if a process had been killed
    assert damage(storage) == ([] if killed else [path])
    done = vcn_ray.verify(storage.uri, repair=True, local=True)
    assert done.left == ()
    if not killed:
        assert storage.read_bytes(path) == whole


def test_tables_of_an_older_result_are_removed(storage: Storage, edits: list[Edit]) -> None:
    (folder,) = reviewed(storage)
    write_title(storage, FILM, result="kept-000000000002")
    storage.write_bytes(f"{folder}/people.parquet", b"x")
    assert vcn_ray.verify(storage.uri, repair=True, local=True).left == ()
    (new,) = reviewed(storage)
    assert new != folder
    assert storage.read_manifest(new)["result"] == "kept-000000000002"


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_the_marker_is_written_again(storage: Storage, edits: list[Edit], how: str) -> None:
    path = marker_path(TITLE_ID)
    if how == "missing":
        storage.delete(path)
    else:
        storage.write_bytes(path, b"{")
    assert damage(storage) == [path]
    assert vcn_ray.verify(storage.uri, repair=True, local=True).left == ()
    assert edited_titles(storage) == {TITLE_ID}


def test_a_damaged_edit_stays_and_is_named(storage: Storage, edits: list[Edit]) -> None:
    path = f"{edits_folder(TITLE_ID)}/{edits[0].file_name}"
    data = storage.read_bytes(path)
    storage.write_bytes(path, data.replace(b"Ann", b"Eve"))
    assert damage(storage) == [path]
    ran = vcn("verify", storage.uri, "--repair", "--local")
    assert ran.code == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("not repaired: ")]
    assert edits[0].file_name in line
    assert "restore it from a backup, or remove it" in line
    assert storage.exists(path)
    storage.delete(path)  # as the line says
    assert damage(storage) == []
    Desk(storage, who="me").commit()
    (folder,) = reviewed(storage)
    assert storage.read_manifest(folder)["edits"] == [edits[1].file_name]


def test_a_title_that_was_reviewed_but_has_no_edit_left_is_sound(storage: Storage) -> None:
    storage.write_json(marker_path(TITLE_ID), {"title_id": TITLE_ID})  # killed before its edit
    assert damage(storage) == []
