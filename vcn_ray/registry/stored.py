"""The registry as it is stored: one folder that a pointer names.

registry/latest.json
registry/registry-<key>/catalog_{faces,people,members,seconds,links}.parquet manifest.json
registry/decisions/
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pyarrow as pa

from vcn_ray.errors import UsageError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.schema import SCHEMA_VERSION

REGISTRY = "registry"
POINTER = f"{REGISTRY}/latest.json"
FOLDER = "registry-"
NAMES_NONE = "it names no registry"  # what is wrong with a pointer without its keys
TABLES = ("catalog_faces", "catalog_people", "catalog_members", "catalog_seconds", "catalog_links")


class StoredRegistry:
    """The newest registry of an output; each table is read when it is first asked for.

    Args:
        storage: The output.
        name: Of the registry's folder.

    Raises:
        DamagedError: It is not there, or damaged.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name = name
        self._folder = CommittedFolder.open(storage, f"{REGISTRY}/{name}")
        self.manifest: dict[str, Any] = self._folder.manifest

    @cached_property
    def faces(self) -> pa.Table:
        """CATALOG_FACES."""
        return self._read("catalog_faces")

    @cached_property
    def people(self) -> pa.Table:
        """CATALOG_PEOPLE."""
        return self._read("catalog_people")

    @cached_property
    def members(self) -> pa.Table:
        """CATALOG_MEMBERS."""
        return self._read("catalog_members")

    @cached_property
    def seconds(self) -> pa.Table:
        """CATALOG_SECONDS."""
        return self._read("catalog_seconds")

    @cached_property
    def links(self) -> pa.Table:
        """CATALOG_LINKS."""
        return self._read("catalog_links")

    def _read(self, name: str) -> pa.Table:
        return self._folder.read_table(f"{name}.parquet")


def find_registry(storage: Storage) -> StoredRegistry | None:
    """The newest registry of an output; None where none was built.

    Raises:
        UsageError: Another version built it.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    pointer = storage.find_json(POINTER)
    if pointer is None:
        return None
    if not {"registry", "schema_version"} <= pointer.keys():
        raise storage.damaged(POINTER, NAMES_NONE)
    if pointer["schema_version"] != SCHEMA_VERSION:
        raise UsageError(
            f"the registry of {storage.uri} has schema version {pointer['schema_version']}, and "
            f"this version of vcn-ray reads {SCHEMA_VERSION}: run vcn registry build {storage.uri}"
        )
    return StoredRegistry(storage, pointer["registry"])


def read_registry(storage: Storage) -> StoredRegistry:
    """The newest registry of an output that must have one.

    Raises:
        UsageError: None was built, or by another version.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    found = find_registry(storage)
    if found is None:
        raise UsageError(
            f"{storage.uri} has no registry of people: run vcn registry build {storage.uri}"
        )
    return found
