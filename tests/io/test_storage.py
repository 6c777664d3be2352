from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from tests.helpers.committed import commit
from vcn_ray.errors import StorageError
from vcn_ray.io.committed import record_of
from vcn_ray.io.storage import Storage, is_remote


def test_what_is_written_is_read(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "out"))
    storage.write_bytes("a/b.bin", b"12")
    storage.write_json("a/c.json", {"x": [1, "ü"]})
    storage.write_table("a/d.parquet", pa.table({"n": [1, 2], "m": ["x", None]}))
    assert storage.read_bytes("a/b.bin") == b"12"
    assert storage.read_json("a/c.json") == {"x": [1, "ü"]}
    assert storage.read_table("a/d.parquet").to_pydict() == {"n": [1, 2], "m": ["x", None]}
    assert storage.read_table("a/d.parquet", columns=["m"]).column_names == ["m"]
    assert storage.names("a") == ["b.bin", "c.json", "d.parquet"]
    assert storage.names("nothing") == []


def test_a_folder_counts_once_its_manifest_is_there(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write_bytes("stage/rows", b"1")
    assert not storage.is_committed("stage")
    commit(storage, "stage", {"rows": 1})
    assert storage.is_committed("stage")
    manifest = storage.read_manifest("stage")
    assert manifest.pop("files") == {"rows": record_of(b"1")}
    assert manifest == {"rows": 1}


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write_bytes("file", b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"cannot write .*file: .*No space left"):
        storage.write_bytes("file", b"new")
    assert storage.read_bytes("file") == b"old"
    assert storage.names("") == ["file"]


def test_errors_say_where(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with pytest.raises(StorageError, match=r"cannot read .*nothing\.json"):
        storage.read_json("nothing.json")
    storage.write_bytes("text.parquet", b"no parquet")
    with pytest.raises(StorageError, match=r"text\.parquet is damaged: it is not a Parquet file"):
        storage.read_table("text.parquet")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        Storage.open(str(tmp_path / "file" / "below")).check_writable()


def test_it_travels_between_processes(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    for name in ("one", "two"):
        storage.write_table(name, pa.table({"n": list(range(1000))}))
    assert storage.read_bytes("one") == storage.read_bytes("two")


@pytest.mark.parametrize(
    ("uri", "remote"), [("s3://b/p", True), ("/a/b", False), ("file:///a", False), ("a", False)]
)
def test_remote_is_told_by_the_scheme(uri: str, remote: bool) -> None:
    assert is_remote(uri) is remote


@pytest.mark.parametrize("uri", ["nonsense://x", "gs://bucket/x", "https://host/x"])
def test_other_schemes_are_refused_at_once(uri: str) -> None:
    with pytest.raises(StorageError, match=f"cannot open {uri}: name a folder or s3://"):
        Storage.open(uri)


def test_only_a_file_below_the_root_makes_room_for_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "real").mkdir(parents=True)
    (root / "a").write_bytes(b"kept")
    (root / "linked").symlink_to(root / "real")
    (root / "lost").symlink_to(root / "nowhere")
    storage = Storage.open(str(root))
    for folder in ("a/b", "linked/b", "lost/b"):
        storage.write_bytes(f"{folder}/c.txt", b"new")
        assert storage.read_bytes(f"{folder}/c.txt") == b"new"
    assert (root / "linked").is_symlink()
    assert [p.read_bytes() for p in root.glob(".a.*.aside")] == [b"kept"]
    assert len(list(root.glob(".lost.*.aside"))) == 0 or (root / "lost").is_dir()
    (tmp_path / "file").write_bytes(b"the user's")
    with pytest.raises(StorageError):
        Storage.open(str(tmp_path / "file")).write_bytes("a/c.txt", b"new")
    assert (tmp_path / "file").read_bytes() == b"the user's"
