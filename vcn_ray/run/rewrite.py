"""Rewrites the files of a committed folder so that a kill at any moment loses nothing.

The manifest is put aside as `manifest.before.json` and removed before the first file changes: until
the new one is written, the folder counts as not committed. A second call goes on from there. It
does not know what the files hold: the caller's change must give the same bytes where it is applied
to its own result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vcn_ray.io.committed import FILES, FileRecords, record_of
from vcn_ray.io.storage import MANIFEST, Storage

BEFORE = "manifest.before.json"

Change = Callable[[str, bytes, FileRecords], bytes | None]
"""Name and bytes of a file, and what was noted of those before it -> new bytes; None removes it."""

Amend = Callable[[dict[str, Any]], dict[str, Any]]
"""Content of the old manifest, without its files -> that of the new one."""


def manifest_before(folder: str, storage: Storage) -> dict[str, Any] | None:
    """The manifest of a folder, also of one whose rewriting was interrupted; None without.

    Raises:
        DamagedError: It is damaged.
    """
    manifest = storage.find_json(f"{folder}/{MANIFEST}")
    return manifest if manifest is not None else storage.find_json(f"{folder}/{BEFORE}")


def is_interrupted(folder: str, names: list[str]) -> bool:
    """True where the rewriting of a folder that holds some names was interrupted."""
    return BEFORE in names and MANIFEST not in names


def rewrite_folder(
    folder: str, storage: Storage, change: Change, amend: Amend, first: str = ""
) -> None:
    """Change the files of a committed folder and its manifest, or finish an interrupted change.

    Args:
        folder: Below the output; one without a manifest is left as it is.
        storage: The output.
        change: Called for each file: tables and arrays first, then JSON, each by name.
        amend: Called last, when all files are changed.
        first: Name of the file to begin with, if the others do not tell what it needs.

    Raises:
        DamagedError: A file is missing or damaged; the folder counts as not committed.
    """
    fresh = storage.find_json(f"{folder}/{MANIFEST}")
    manifest = fresh if fresh is not None else storage.find_json(f"{folder}/{BEFORE}")
    if manifest is None:
        return
    if fresh is not None:
        storage.write_json(f"{folder}/{BEFORE}", fresh)
        storage.delete(f"{folder}/{MANIFEST}")
    old: FileRecords = manifest[FILES]
    files: FileRecords = {}
    for name in sorted(old, key=lambda name: (name != first, name.endswith(".json"), name)):
        path = f"{folder}/{name}"
        data = storage.find_bytes(path)
        if data is None and fresh is None:
            continue  # removed before the interruption
        if data is None:
            raise storage.damaged(path, "it is missing")
        if fresh is not None and record_of(data) != old[name]:
            raise storage.damaged(path, "its bytes are not those that its manifest lists")
        new = change(name, data, files)
        if new is None:
            storage.delete(path)
            continue
        if new != data:
            storage.write_bytes(path, new)
        files[name] = record_of(new)
    content = {key: value for key, value in manifest.items() if key != FILES}
    storage.write_json(f"{folder}/{MANIFEST}", amend(content) | {FILES: files})
    storage.delete(f"{folder}/{BEFORE}")
