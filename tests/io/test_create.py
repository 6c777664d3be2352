"""A file that is written only where there is none: one of several writers makes it, for good."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vcn_ray.io.atomic import linked_file
from vcn_ray.io.storage import Storage


def refuse(one: object, other: object) -> None:
    """As on a file system without hard links."""
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Storage:
    if not request.param:
        monkeypatch.setattr(os, "link", refuse)
    return Storage.open(str(tmp_path / "out"))


def test_the_first_writer_makes_it(storage: Storage) -> None:
    assert storage.create_json("a/b.json", {"value": 1})
    assert not storage.create_json("a/b.json", {"value": 2})
    assert storage.read_json("a/b.json") == {"value": 1}


def test_of_many_writers_one_makes_it(storage: Storage) -> None:
    def write(number: int) -> bool:
        return storage.create_json("a/b.json", {"value": number})

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(write, range(40)))
    assert made.count(True) == 1
    assert storage.read_json("a/b.json") == {"value": made.index(True)}
    assert [name for name in storage.names("a") if not name.startswith(".")] == ["b.json"]
    assert not [name for name in storage.names("a") if name.endswith(".tmp")]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with linked_file(tmp_path / "x") as made:
            made.part.write_bytes(b"half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_its_folder_is_moved_aside(storage: Storage) -> None:
    storage.write_bytes("a", b"a file")
    assert storage.create_json("a/b.json", {"value": 1})
    assert storage.read_json("a/b.json") == {"value": 1}
