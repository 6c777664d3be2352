"""Stored files are compared with what was written, whatever happened to them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vcn_ray.errors import DamagedError, StorageError
from vcn_ray.io.committed import CommittedFolder, FolderWriter, record_of
from vcn_ray.io.storage import Storage

ROWS = pa.table({"n": np.arange(5000), "text": [f"row {n}" for n in range(5000)]})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    for folder in ("one", "two"):
        writer = FolderWriter(storage, folder)
        writer.write_table("rows.parquet", ROWS)
        writer.write_bytes("model", folder.encode() * 100)
        writer.write_json("notes.json", {"folder": folder})
        writer.commit({"rows": 5000})
    return storage


def damage_of(storage: Storage, folder: str = "one", deep: bool = True) -> list[str]:
    found = CommittedFolder.open(storage, folder)
    entries = storage.entries(folder)
    since = None if deep else entries["manifest.json"].changed
    return [error.path for error in found.check(entries, since)]


def test_the_manifest_lists_size_and_hash_of_each_file(storage: Storage, tmp_path: Path) -> None:
    listed = json.loads((tmp_path / "one/manifest.json").read_text())["files"]
    assert listed == {
        name: record_of((tmp_path / "one" / name).read_bytes())
        for name in ("rows.parquet", "model", "notes.json")
    }
    folder = CommittedFolder.open(storage, "one")
    assert folder.manifest["rows"] == 5000
    assert folder.read_bytes("model") == b"one" * 100
    assert folder.read_table("rows.parquet", ["n"]).column_names == ["n"]
    assert damage_of(storage) == damage_of(storage, deep=False) == []


@pytest.mark.parametrize("name", ["rows.parquet", "model", "notes.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "delete", "swap"])
def test_no_damaged_file_is_read(storage: Storage, tmp_path: Path, name: str, how: str) -> None:
    path = tmp_path / "one" / name
    data = path.read_bytes()
    if how == "flip":
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    elif how == "swap":
        other = tmp_path / "one" / ("rows.parquet" if name == "model" else "model")
        path.rename(tmp_path / "aside")
        other.rename(path)
        (tmp_path / "aside").rename(other)
    elif how == "delete":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b"")
    with pytest.raises(DamagedError, match=rf"one/{name} is damaged: it"):
        CommittedFolder.open(storage, "one").read_bytes(name)
    assert f"one/{name}" in damage_of(storage)
    assert f"one/{name}" in damage_of(storage, deep=False)  # each leaves its trace in a listing
    assert damage_of(storage, "two") == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no JSON"),
        (b"{", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"\xff\xfe{", "it is no JSON"),
        (b"[1]", "it has no checksum"),
        (b'{"rows": 5000, "files": {}}', "it has no checksum"),
    ],
)
def test_damaged_json_names_its_file(storage: Storage, content: bytes, why: str) -> None:
    storage.write_bytes("one/manifest.json", content)
    for read in (storage.read_manifest, lambda folder: CommittedFolder.open(storage, folder)):
        with pytest.raises(DamagedError, match=rf"one/manifest\.json is damaged: {why}") as caught:
            read("one")
        assert caught.value.path == "one/manifest.json"


def test_each_changed_byte_of_json_is_noticed(storage: Storage, tmp_path: Path) -> None:
    data = (tmp_path / "one/notes.json").read_bytes()
    for place in range(len(data)):
        for change in (1, 128):
            altered = bytes([*data[:place], data[place] ^ change, *data[place + 1 :]])
            with pytest.raises(DamagedError):
                storage.parse_json("one/notes.json", altered)
    assert storage.parse_json("one/notes.json", data) == {"folder": "one"}


def _folder(path: Path) -> None:
    path.mkdir()


def _own_link(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("put", [_folder, os.mkfifo, _own_link])
@pytest.mark.parametrize("name", ["rows.parquet", "manifest.json"])
def test_what_is_no_file_is_damage_and_is_replaced(
    storage: Storage, tmp_path: Path, put: Callable[[Path], None], name: str
) -> None:
    path = tmp_path / "one" / name
    data = path.read_bytes()
    path.unlink()
    put(path)
    assert not storage.exists(f"one/{name}")
    assert name not in storage.entries("one")
    with pytest.raises(DamagedError, match=rf"one/{name} is damaged: it is no regular file"):
        CommittedFolder.open(storage, "one").read_bytes(name)
    storage.write_bytes(f"one/{name}", data)
    assert damage_of(storage) == []


def test_a_folder_with_content_in_the_place_of_a_file_is_kept(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "notes/mine").mkdir(parents=True)
    for change in (storage.delete, lambda path: storage.write_bytes(path, b"")):
        with pytest.raises(StorageError, match=r"notes: .*not empty"):
            change("notes")
    assert (tmp_path / "notes/mine").is_dir()


def test_json_of_another_place_is_damaged(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "one/manifest.json").write_bytes((tmp_path / "two/manifest.json").read_bytes())
    with pytest.raises(DamagedError, match="does not match its place and content"):
        storage.read_manifest("one")


def test_pages_of_tables_have_checksums(storage: Storage, tmp_path: Path) -> None:
    data = bytearray((tmp_path / "one/rows.parquet").read_bytes())
    data[1000] ^= 1
    with pytest.raises(DamagedError, match=r"rows\.parquet is damaged: it is not a Parquet file"):
        storage.parse_table("one/rows.parquet", bytes(data))


def test_what_was_not_stored_is_not_committed(storage: Storage, tmp_path: Path) -> None:
    writer = FolderWriter(storage, "three")
    writer.write_bytes("model", b"model")
    (tmp_path / "three/model").write_bytes(b"mod")
    with pytest.raises(DamagedError, match="three/model is damaged: it was written, and is"):
        writer.commit({})
    assert not storage.is_committed("three")
