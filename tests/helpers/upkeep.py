"""Outputs to remove things from: copies of an indexed one, on disk and in buckets, and kills."""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.helpers.films import QUICK, Ran, vcn
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.upkeep.files import files_below

LOCAL = ["--local", *QUICK]


@dataclass(frozen=True)
class Indexed:
    """An output, and how it was made."""

    output: Path
    catalog: Path
    pack: Path

    def at(self, output: Path) -> Indexed:
        """The same, elsewhere."""
        return replace(self, output=output)

    def index(self, *more: str) -> Ran:
        """Index the catalog again."""
        to = ("--output", self.output, "--pack", self.pack)
        return vcn("index", self.catalog, *to, *LOCAL, *more)


class Killed(BaseException):
    """The process died."""


class WatchedPlace:
    """A place that does something before each change.

    Args:
        place: The real one.
    """

    def __init__(self, place: Any) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def before_change(self) -> None:
        """What is done."""
        raise NotImplementedError

    def write(self, key: str, data: bytes) -> None:
        """Write."""
        self.before_change()
        self._place.write(key, data)

    def delete(self, key: str) -> None:
        """Delete."""
        self.before_change()
        self._place.delete(key)

    def purge(self, prefix: str) -> Any:
        """Purge."""
        self.before_change()
        return self._place.purge(prefix)


class DyingPlace(WatchedPlace):
    """A place that dies before a change of a certain number.

    Args:
        place: The real one.
        after: Number of changes before.
    """

    def __init__(self, place: Any, after: int) -> None:
        super().__init__(place)
        self.left = after

    def before_change(self) -> None:
        """Die, or count."""
        if self.left == 0:
            raise Killed
        self.left -= 1


def dying(storage: Storage, after: int) -> Storage:
    """The same storage, for a process that dies after so many changes."""
    return replace(storage, _place=DyingPlace(storage._place, after))


class KeptStates(WatchedPlace):
    """A place that copies an output before each change, as a process that dies there leaves it.

    Files are never changed, but replaced, so a copy has links to them.

    Args:
        place: The real one.
        output: The output's folder.
        folder: For the copies, which are named by the number of changes before.
    """

    def __init__(self, place: Any, output: Path, folder: Path) -> None:
        super().__init__(place)
        self._output, self._folder = output, folder
        self.count = 0

    def before_change(self) -> None:
        """Copy the output."""
        copy = self._folder / str(self.count)
        shutil.copytree(self._output, copy, copy_function=os.link)
        self.count += 1


def states_before_changes(
    output: Path, folder: Path, change: Callable[[Storage], object]
) -> list[Path]:
    """Copies of an output before each change that an action makes: what any kill would leave."""
    storage = Storage.open(str(output))
    place = KeptStates(storage._place, output, folder)
    change(replace(storage, _place=place))
    return [folder / str(number) for number in range(place.count)]


def content(storage: Storage) -> dict[str, bytes]:
    """All files of an output."""
    return {file.path: storage.read_bytes(file.path) for file in files_below("", storage)}


def pictures_in(storage: Storage) -> int:
    """How many pictures of faces the tables hold."""
    tables = [
        storage.parse_table(path, data)
        for path, data in content(storage).items()
        if path.endswith("crops.parquet") or ("/seg-" in path and path.endswith(".parquet"))
    ]
    assert tables
    columns = [table[name] for table in tables for name in ("image", "face")]
    assert all(isinstance(column, pa.ChunkedArray) for column in columns)
    return sum(len(column) - column.null_count for column in columns)


def arrays_in(storage: Storage) -> list[str]:
    """Paths of all arrays: models and embeddings."""
    return [path for path in content(storage) if path.endswith(".safetensors")]


def upload(source: Path, storage: Storage) -> None:
    """Copy an output to a storage, manifests last."""
    paths = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: path.endswith(MANIFEST)):
        storage.write_bytes(path, (source / path).read_bytes())


def cells(data: bytes, storage: Storage) -> Iterator[bytes]:
    """Every text and picture of a Parquet file."""
    table = storage.parse_table("x", data)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            for cell in column.to_pylist():
                if cell is not None:
                    yield cell.encode() if isinstance(cell, str) else cell


def traces_of(needles: list[bytes], files: dict[str, bytes], storage: Storage) -> list[str]:
    """The files that hold some bytes: as they are, in cells of tables, or in base64 in pages."""
    found = []
    for path, data in files.items():
        texts = [data]
        if path.endswith(".parquet"):
            texts += cells(data, storage)
        if path.endswith(".html"):
            texts += [base64.b64decode(t) for t in re.findall(rb"[A-Za-z0-9+/]{100,}={0,2}", data)]
        whole = b"\0".join(texts)
        found += [path for needle in needles if needle in whole][:1]
    return found
