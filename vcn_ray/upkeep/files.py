"""Files and folders of an output, listed whole and removed in an order that survives a kill."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vcn_ray.io.storage import MANIFEST, Storage

DAY_SECONDS = 24 * 3600.0


class StoredFile(NamedTuple):
    """A file of an output."""

    path: str  # below the output
    size: int  # bytes
    changed: float  # time stamp


def files_in(folder: str, storage: Storage) -> list[StoredFile]:
    """The files directly in a folder, by name."""
    entries = sorted(storage.entries(folder).items())
    return [StoredFile(posixpath.join(folder, name), e.size, e.changed) for name, e in entries]


def files_below(folder: str, storage: Storage) -> Iterator[StoredFile]:
    """All files in a folder and the folders in it."""
    files = files_in(folder, storage)
    yield from files
    plain = {posixpath.basename(file.path) for file in files}
    for name in storage.names(folder):
        if name not in plain:
            yield from files_below(posixpath.join(folder, name), storage)


def remove_files(files: Iterable[StoredFile | str], storage: Storage) -> None:
    """Remove files, manifests first: what is half removed does not count as committed."""
    paths = [file if isinstance(file, str) else file.path for file in files]
    for path in sorted(paths, key=lambda path: (posixpath.basename(path) != MANIFEST, path)):
        storage.delete(path)


def remove_folder(folder: str, storage: Storage) -> None:
    """Remove a folder with all that is in it."""
    files = list(files_below(folder, storage))
    remove_files(files, storage)
    for inner in sorted({posixpath.dirname(file.path) for file in files} | {folder}, reverse=True):
        storage.tidy(inner)


def is_temporary(path: str) -> bool:
    """True for a file that a killed process has left behind."""
    name = posixpath.basename(path)
    return name.startswith(".vcn-probe-") or (name.startswith(".") and name.endswith(".tmp"))
