"""Folders whose manifest lists size and SHA-256 of each file; it does not know what they hold.

A folder is written file by file and committed by its manifest. Whoever reads it compares each file
with the manifest, so that damaged data never passes for what was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vcn_ray.errors import DamagedError
from vcn_ray.io.s3_objects import Entry
from vcn_ray.io.storage import MANIFEST, Storage, read_again

FILES = "files"  # key of a manifest

FileRecords = dict[str, dict[str, Any]]
"""`size` and `sha256` of files, by name."""


def record_of(data: bytes) -> dict[str, Any]:
    """Size and SHA-256 of the bytes of a file."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@dataclass(slots=True)
class FolderWriter:
    """Writes the files of a folder, and notes size and SHA-256 of each.

    Attributes:
        files: What was noted, by name.
    """

    storage: Storage
    folder: str  # below the output
    files: FileRecords = field(default_factory=dict)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file."""
        self.storage.write_bytes(f"{self.folder}/{name}", data)
        self.files[name] = record_of(data)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet table."""
        self.files[name] = record_of(self.storage.write_table(f"{self.folder}/{name}", table))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON object."""
        self.files[name] = record_of(self.storage.write_json(f"{self.folder}/{name}", content))

    def commit(self, manifest: dict[str, Any], name: str = MANIFEST) -> None:
        """Mark the folder as finished by a manifest that lists the files.

        Args:
            manifest: What else it holds.
            name: File name of the manifest.

        Raises:
            DamagedError: Storage does not hold what was written.
            StorageError: It cannot be written.
        """
        entries = self.storage.entries(self.folder)
        for file, record in self.files.items():
            if file not in entries or entries[file].size != record["size"]:
                raise self.storage.damaged(
                    f"{self.folder}/{file}", "it was written, and is missing or cut now"
                )
        self.storage.write_json(f"{self.folder}/{name}", manifest | {FILES: self.files})


class CommittedFolder:
    """Reads the files of a committed folder, and compares each with the manifest.

    Args:
        storage: The output.
        folder: The folder, below the output.
        manifest: The content of its manifest.

    Attributes:
        manifest: The same.
        files: What it lists.
    """

    def __init__(self, storage: Storage, folder: str, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.files: FileRecords = manifest.get(FILES, {})
        self._storage = storage
        self._folder = folder

    @classmethod
    def find(cls, storage: Storage, folder: str, name: str = MANIFEST) -> CommittedFolder | None:
        """Read the manifest of a folder; None where it is not committed.

        Raises:
            DamagedError: The manifest is damaged.
        """
        manifest = storage.find_json(f"{folder}/{name}")
        return None if manifest is None else cls(storage, folder, manifest)

    @classmethod
    def open(cls, storage: Storage, folder: str) -> CommittedFolder:
        """Read the manifest of a folder that must be committed.

        Raises:
            DamagedError: It is not, or the manifest is damaged.
        """
        return cls(storage, folder, storage.read_manifest(folder))

    def read_bytes(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            DamagedError: It is not what was written.
        """
        path = f"{self._folder}/{name}"

        def once() -> bytes:
            data = self._storage.find_bytes(path)
            if data is None:
                raise self._storage.damaged(path, "it is missing")
            if record_of(data) != self.files.get(name):
                raise self._storage.damaged(path, "its bytes are not those that its manifest lists")
            return data

        return read_again(once)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet table, or some of its columns; as read_bytes."""
        return self._storage.parse_table(f"{self._folder}/{name}", self.read_bytes(name), columns)

    def check(self, entries: Mapping[str, Entry], since: float | None) -> Iterator[DamagedError]:
        """Look for damage of its files.

        Args:
            entries: What the folder holds now.
            since: Read only files that changed after this time, and compare the others by size;
                None: read every file.

        Yields:
            What is damaged.
        """
        for name, record in self.files.items():
            path, entry = f"{self._folder}/{name}", entries.get(name)
            if entry is None:
                yield self._storage.damaged(path, "it is missing")
            elif entry.size != record["size"]:
                yield self._storage.damaged(
                    path, f"it has {entry.size} bytes instead of {record['size']}"
                )
            elif since is None or entry.changed > since:
                try:
                    self.read_bytes(name)
                except DamagedError as error:
                    yield error
