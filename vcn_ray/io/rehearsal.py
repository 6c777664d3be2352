"""A storage that keeps all changes to itself: what a removal would do is found by doing it there.

Reads see the changes; the files below the root stay as they are. New files lie in a private folder
of this machine until the rehearsal ends. It does not know what is stored.
"""

from __future__ import annotations

import errno
import posixpath
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vcn_ray.io.s3_objects import Entry, HiddenVersion, Purged
from vcn_ray.io.storage import Place, Storage


@contextmanager
def rehearsal(storage: Storage) -> Iterator[Storage]:
    """A storage that holds what another one does, and whose changes nobody else sees.

    It works in this process alone.

    Args:
        storage: It stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="vcn-rehearsal-") as folder:
        yield replace(storage, _place=RehearsedPlace(storage._place, Path(folder)))


class RehearsedPlace:
    """Files of another place, and changes to them.

    Args:
        place: It is only read.
        folder: Of this machine, for what is written.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._changed: dict[str, Path | None] = {}  # where each now is; None: removed
        self._tidied: set[str] = set()  # folders that were removed
        self._replaced: dict[str, None] = {}  # keys of which a bucket would keep a version

    def exists(self, key: str, /) -> bool:
        """True if there is a file."""
        if key in self._changed:
            return self._changed[key] is not None
        return self._place.exists(key)

    def names(self, folder: str, /) -> list[str]:
        """List the names directly below a folder."""
        inside = folder.rstrip("/") + "/" if folder else ""
        written = [key for key, file in self._changed.items() if file is not None]
        fresh = {
            key.removeprefix(inside).partition("/")[0] for key in written if key.startswith(inside)
        }
        gone = {key for key, file in self._changed.items() if file is None} | self._tidied
        kept = {name for name in self._place.names(folder) if inside + name not in gone}
        return sorted(kept | fresh)

    def entries(self, folder: str, /) -> dict[str, Entry]:
        """List the files directly below a folder."""
        found = dict(self._place.entries(folder))
        inside = folder.rstrip("/") + "/" if folder else ""
        for key, file in self._changed.items():
            if posixpath.dirname(key) + "/" == inside or (not inside and "/" not in key):
                name = posixpath.basename(key)
                found.pop(name, None)
                if file is not None:
                    found[name] = Entry(file.stat().st_size, time.time())
        return found

    def read(self, key: str, /) -> bytes:
        """Read a whole file."""
        if key not in self._changed:
            return self._place.read(key)
        file = self._changed[key]
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "it was removed", key)
        return file.read_bytes()

    def write(self, key: str, data: bytes, /) -> None:
        """Keep what would be written."""
        self._replace(key)
        file = self._folder / f"{len(self._changed)}-{time.monotonic_ns()}"
        file.write_bytes(data)
        self._changed[key] = file

    def create(self, key: str, data: bytes, /) -> bool:
        """Keep what would be written where there is no file."""
        if self.exists(key):
            return False
        self.write(key, data)
        return True

    def delete(self, key: str, /) -> None:
        """Note that a file would be removed."""
        self._replace(key)
        self._changed[key] = None

    def tidy(self, folder: str, /) -> None:
        """Note that a folder would be removed, if it is empty."""
        if not self.names(folder):
            self._tidied.add(folder)

    def hidden(self, prefix: str, /) -> Purged:
        """What a bucket would keep of files that were replaced or removed."""
        found = self._place.hidden(prefix)
        if not self._place.has_versions():
            return found
        known = {version.path for version in found.deleted}
        mine = [key for key in self._replaced if key.startswith(prefix) and key not in known]
        return found._replace(deleted=(*found.deleted, *(HiddenVersion(key, "") for key in mine)))

    def purge(self, prefix: str, /) -> Purged:
        """Say what would be deleted of hidden versions."""
        return self.hidden(prefix)

    def has_versions(self) -> bool:
        """As the other place."""
        return self._place.has_versions()

    def _replace(self, key: str) -> None:
        file = self._changed.get(key)
        if file is not None or self.exists(key):
            self._replaced[key] = None
        if file is not None:
            file.unlink()
