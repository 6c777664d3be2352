"""A committed folder is rewritten whole, or a second call finishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.committed import commit
from tests.helpers.upkeep import Killed, content, dying
from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.run.rewrite import BEFORE, rewrite_folder

FILES = {"a": b"one", "b": b"two", "c": b"three"}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = Storage.open(str(tmp_path / "out"))
    for name, data in FILES.items():
        made.write_bytes(f"f/{name}", data)
    commit(made, "f", {"count": 3})
    return made


def change(name: str, data: bytes, files: dict[str, Any]) -> bytes | None:
    return None if name == "b" else data.upper() if name == "c" else data


def amend(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest | {"count": 2}


def test_every_kill_is_made_good(storage: Storage) -> None:
    before = content(storage)
    for changes in range(100):
        for path, data in before.items():
            storage.write_bytes(path, data)
        try:
            rewrite_folder("f", dying(storage, changes), change, amend)
        except Killed:
            rewrite_folder("f", storage, change, amend)
            folder = CommittedFolder.open(storage, "f")
            assert (folder.manifest["count"], set(folder.files)) == (2, {"a", "c"})
            assert (folder.read_bytes("a"), folder.read_bytes("c")) == (b"one", b"THREE")
            assert storage.names("f") == ["a", "c", "manifest.json"]
        else:
            break
    assert changes == 6


def test_damage_is_not_taken_over(storage: Storage) -> None:
    storage.write_bytes("f/c", b"other")
    with pytest.raises(DamagedError, match="f/c is damaged"):
        rewrite_folder("f", storage, change, amend)
    assert not storage.is_committed("f")


def test_a_folder_without_a_manifest_is_left_alone(storage: Storage) -> None:
    storage.delete("f/manifest.json")
    rewrite_folder("f", storage, change, amend)
    assert storage.names("f") == ["a", "b", "c"]
    assert not storage.exists(f"f/{BEFORE}")
