"""Commits folders that a test has filled file by file."""

from __future__ import annotations

from typing import Any

from vcn_ray.io.committed import FolderWriter, record_of
from vcn_ray.io.storage import Storage


def commit(
    storage: Storage, folder: str, manifest: dict[str, Any], name: str = "manifest.json"
) -> None:
    """Mark a folder as finished, with what it holds now; `name` is that of a manifest."""
    files = {n: record_of(storage.read_bytes(f"{folder}/{n}")) for n in storage.entries(folder)}
    FolderWriter(storage, folder, files).commit(manifest, name)
