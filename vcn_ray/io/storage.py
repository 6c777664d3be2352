"""Reads and writes of results in a folder or below an S3 prefix; it does not know what is stored.

The output of a step is a folder, and it counts once it holds a `manifest.json`, which is written
last. A file never appears in part: on a local disk it is renamed from a temporary name, and on S3 a
put is atomic.

Every JSON file holds a checksum of its own path and content, and the manifest of a folder lists
size and SHA-256 of each of its files (`io.committed`): a file that is damaged, or stands in the
place of another, is never taken for what was written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import posixpath
import re
import stat
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vcn_ray.errors import DamagedError, S3Error, StorageError, UsageError
from vcn_ray.io.atomic import atomic_file, linked_file
from vcn_ray.io.meter import count_bytes
from vcn_ray.io.paths import local_path
from vcn_ray.io.retry import retried
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import Entry, Purged, S3Objects
from vcn_ray.redact import one_line as one_line  # re-exported
from vcn_ray.redact import redact

log = logging.getLogger(__name__)

T = TypeVar("T")

MANIFEST = "manifest.json"
CHECKSUM = "checksum"  # key of every JSON object
_NO_CHECKSUM = b"0" * 64
_CHECKSUM = re.compile(rb'\n  "checksum": "sha256:([0-9a-f]{64})"')  # of the object, by its indent
READINGS = 3  # of a file that seems damaged
_TRANSIENT = frozenset(
    [errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
)
"""Errors of a network file system that another attempt may not meet."""


class NoFileError(OSError):
    """Something stands in the place of a file: a folder, a pipe, or a link to itself."""


def is_remote(uri: str) -> bool:
    """True if `uri` names an object store and not a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


class Place(Protocol):
    """Whole files by key: a local disk (LocalPlace) or a bucket (S3Objects)."""

    def exists(self, key: str, /) -> bool:
        """True if there is a file."""

    def names(self, folder: str, /) -> Iterable[str]:
        """List the names directly below a folder."""

    def entries(self, folder: str, /) -> dict[str, Entry]:
        """List the files directly below a folder."""

    def read(self, key: str, /) -> bytes:
        """Read a whole file."""

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file; readers never see a part of it."""

    def create(self, key: str, data: bytes, /) -> bool:
        """Write a whole file where there is none; False where there is one, which stays."""

    def delete(self, key: str, /) -> None:
        """Remove a file, if it exists."""

    def tidy(self, folder: str, /) -> None:
        """Remove a folder that is empty."""

    def purge(self, prefix: str, /) -> Purged:
        """Delete what is kept of files that were replaced or removed."""

    def hidden(self, prefix: str, /) -> Purged:
        """What `purge` would find; nothing is deleted."""

    def has_versions(self) -> bool:
        """False if it certainly keeps nothing of what is replaced or removed."""


class LocalPlace:
    """Files of this machine; a key is an absolute path.

    Args:
        root: The folder that they belong to.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def exists(self, key: str, /) -> bool:
        """True if there is a file."""
        try:
            return stat.S_ISREG(os.stat(key).st_mode)
        except OSError as error:
            if _is_missing(error):
                return False
            raise

    def names(self, folder: str, /) -> list[str]:
        """List the names directly below a folder; there are none if the folder does not exist."""
        try:
            return os.listdir(folder)
        except OSError as error:
            if _is_missing(error):
                return []
            raise

    def entries(self, folder: str, /) -> dict[str, Entry]:
        """List the files directly below a folder, and when each was last changed or renamed."""
        found = {}
        for name in self.names(folder):
            try:
                facts = os.stat(os.path.join(folder, name))
            except OSError as error:
                if _is_missing(error):  # it was removed meanwhile
                    continue
                raise
            if stat.S_ISREG(facts.st_mode):
                found[name] = Entry(facts.st_size, max(facts.st_mtime, facts.st_ctime))
        return found

    def read(self, key: str, /) -> bytes:
        """Read a whole file."""
        try:
            with open(key, "rb", opener=_open_at_once) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return file.read()
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
                raise
        raise NoFileError(f"{key} is no regular file")

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file under a temporary name, then rename it."""
        path = self._make_way(key)
        with atomic_file(path) as part:
            part.write_bytes(data)

    def create(self, key: str, data: bytes, /) -> bool:
        """Write a whole file under a temporary name, then link it, which never replaces a file."""
        path = self._make_way(key)
        with linked_file(path) as made:
            made.part.write_bytes(data)
        return made.new

    def _make_way(self, key: str) -> Path:
        """Make the folder of a file."""
        _clear(key)
        path = Path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            if not _move_aside(path.parent, self._root):
                raise
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def delete(self, key: str, /) -> None:
        """Remove a file, if it exists."""
        _clear(key)
        Path(key).unlink(missing_ok=True)

    def tidy(self, folder: str, /) -> None:
        """Remove a folder that is empty; another process may be about to fill it."""
        with suppress(OSError):
            os.rmdir(folder)

    def purge(self, prefix: str, /) -> Purged:
        """Nothing: a local disk keeps no versions, and of its snapshots it says nothing."""
        return Purged()

    def hidden(self, prefix: str, /) -> Purged:
        """Nothing, as `purge`."""
        return Purged()

    def has_versions(self) -> bool:
        """False."""
        return False


@dataclass(frozen=True, slots=True)
class Storage:
    """A root folder or prefix; paths such as `videos/x/plan.json` are relative to it.

    Attributes:
        uri: The root, absolute; another process can open it again with `uri` and `s3`.
        s3: Access to S3.
    """

    uri: str
    s3: S3Config
    _place: Place
    _root: str

    @classmethod
    def open(cls, uri: str, s3: S3Config | None = None) -> Storage:
        """Open a folder or `s3://bucket/prefix`; this creates and reads nothing.

        Raises:
            StorageError: The scheme or the bucket of the uri cannot be used.
        """
        s3 = s3 or S3Config()
        if not is_remote(uri):
            # A relative path would mean another folder in another process.
            root = str(Path(local_path(uri)).expanduser().absolute())
            return cls(uri=root, s3=s3, _place=LocalPlace(root), _root=root)
        if not uri.startswith(SCHEME):
            raise StorageError(f"cannot open {redact(uri)}: name a folder or s3://bucket/prefix")
        if "?" in uri:
            raise StorageError(f"cannot open {redact(uri)}: settings of S3 belong in section [s3]")
        try:
            bucket, key = split_uri(uri)
        except UsageError as error:
            raise StorageError(f"cannot open {error}") from error
        return cls(uri=uri, s3=s3, _place=S3Objects(bucket, s3), _root=key.strip("/"))

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process opens it again, with its own connections and credentials.
        return (Storage.open, (self.uri, self.s3))

    def locate(self, path: str) -> str:
        """Return the full address of `path`, for messages."""
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    def holds(self, other: Storage) -> bool:
        """True if another storage is this one or lies below it, also through links and `..`."""
        mine, theirs = (
            each.uri if is_remote(each.uri) else os.path.realpath(each.uri)
            for each in (self, other)
        )
        return f"{theirs.rstrip('/')}/".startswith(f"{mine.rstrip('/')}/")

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StorageError: The storage is not writable.
        """
        probe = f".vcn-probe-{uuid.uuid4().hex}"
        self.write_bytes(probe, b"probe")
        self.delete(probe)

    def exists(self, path: str) -> bool:
        """True if there is a file at `path`."""
        return self._do("find", path, lambda: self._place.exists(self._full(path)))

    def names(self, path: str) -> list[str]:
        """List the names directly below a folder, sorted; empty if there is no such folder."""
        return self._do("list", path, lambda: sorted(self._place.names(self._full(path))))

    def entries(self, path: str) -> dict[str, Entry]:
        """List the files directly below a folder, with sizes and times of change."""
        return self._do("list", path, lambda: self._place.entries(self._full(path)))

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            StorageError: The file does not exist or cannot be read.
        """
        data: bytes = self._do("read", path, lambda: self._place.read(self._full(path)))
        count_bytes(read=len(data))
        return data

    def find_bytes(self, path: str) -> bytes | None:
        """Read a whole file; None if there is no such file."""
        try:
            return self.read_bytes(path)
        except StorageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
            if gone or (isinstance(error.__cause__, S3Error) and error.__cause__.kind == "missing"):
                return None
            raise

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file; readers see the old content or the new, never a part.

        Raises:
            StorageError: The file cannot be written.
        """
        self._do("write", path, lambda: self._place.write(self._full(path), data))
        count_bytes(written=len(data))

    def delete(self, path: str) -> None:
        """Remove a file, if it exists."""
        self._do("remove", path, lambda: self._place.delete(self._full(path)))

    def tidy(self, folder: str) -> None:
        """Remove a folder that is empty; on S3 there are none."""
        self._do("remove", folder, lambda: self._place.tidy(self._full(folder)))

    def purge(self, prefix: str) -> Purged:
        """Delete the hidden versions of all files whose path starts with `prefix`.

        A bucket with versioning keeps what was overwritten or removed. The present files stay.

        Args:
            prefix: A path, or a folder with a slash behind it, below the output.

        Returns:
            What was deleted, and what could not be; paths are below the output.
        """
        found = self._do("list", prefix, lambda: self._place.purge(self._full(prefix)))
        above = len(self._root) + 1 if self._root else 0
        return Purged(
            tuple(version._replace(path=version.path[above:]) for version in found.deleted),
            tuple(version._replace(path=version.path[above:]) for version in found.left),
        )

    def find_json(self, path: str) -> dict[str, Any] | None:
        """Read a JSON object; None if there is no such file."""

        def once() -> dict[str, Any] | None:
            data = self.find_bytes(path)
            return None if data is None else self.parse_json(path, data)

        return read_again(once)

    def find_sound_json(self, path: str) -> dict[str, Any] | None:
        """Read a JSON object; None if there is no such file, or it is damaged."""
        try:
            return self.find_json(path)
        except DamagedError:
            return None

    def read_json(self, path: str) -> dict[str, Any]:
        """Read a JSON object; its checksum is compared and left out.

        Raises:
            DamagedError: It is not what was written there.
            StorageError: It does not exist or cannot be read.
        """
        return read_again(lambda: self.parse_json(path, self.read_bytes(path)))

    def parse_json(self, path: str, data: bytes) -> dict[str, Any]:
        """Return the object that the bytes of a JSON file hold; as read_json."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.damaged(path, "it is no JSON") from error
        found = _CHECKSUM.search(data)
        if not isinstance(content, dict) or CHECKSUM not in content or found is None:
            raise self.damaged(path, "it has no checksum, or an earlier version wrote it")
        # Bytes are compared and not values: not even a space may differ.
        without = data[: found.start(1)] + _NO_CHECKSUM + data[found.end(1) :]
        if found[1] != _hash_json(path, without):
            raise self.damaged(path, "its checksum does not match its place and content")
        del content[CHECKSUM]
        return content

    def write_json(self, path: str, content: dict[str, Any]) -> bytes:
        """Write a JSON object, indented and with sorted keys; returns its bytes."""
        data = self.json_bytes(path, content)
        self.write_bytes(path, data)
        return data

    def create_json(self, path: str, content: dict[str, Any]) -> bool:
        """Write a JSON object where there is no file; False where there is one, which stays.

        Raises:
            StorageError: It cannot be written.
        """
        data = self.json_bytes(path, content)
        made: bool = self._do("write", path, lambda: self._place.create(self._full(path), data))
        count_bytes(written=len(data) if made else 0)
        return made

    def json_bytes(self, path: str, content: dict[str, Any]) -> bytes:
        """Return the bytes of a JSON file at a path, with its checksum; nothing is written."""
        sealed = {**content, CHECKSUM: f"sha256:{_NO_CHECKSUM.decode()}"}
        text = json.dumps(sealed, indent=2, sort_keys=True, ensure_ascii=False)
        data = text.encode("utf-8", "surrogatepass") + b"\n"
        found = _CHECKSUM.search(data)
        assert found, "the key of the checksum is a key of the object"
        return data[: found.start(1)] + _hash_json(path, data) + data[found.end(1) :]

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet table, or some of its columns."""
        return self.parse_table(path, self.read_bytes(path), columns)

    def parse_table(self, path: str, data: bytes, columns: list[str] | None = None) -> pa.Table:
        """Return the table that the bytes of a Parquet file hold.

        Raises:
            DamagedError: They are not Parquet, or the checksum of a page does not match.
        """
        try:
            # pq.read_table makes a dataset first, which takes longer than to read a small table.
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            return file.read(columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(path, f"it is not a Parquet file: {one_line(error)}") from error

    def write_table(self, path: str, table: pa.Table) -> bytes:
        """Write a Parquet table and return its bytes; equal tables give equal bytes."""
        data = table_bytes(table)
        self.write_bytes(path, data)
        return data

    def damaged(self, path: str, why: str) -> DamagedError:
        """Return the error that says what is wrong with a file."""
        return DamagedError(path, f"{self.locate(path)} is damaged: {why}")

    def is_committed(self, folder: str) -> bool:
        """True if a step has finished this folder."""
        return self.exists(f"{folder}/{MANIFEST}")

    def read_manifest(self, folder: str) -> dict[str, Any]:
        """Read the manifest of a finished folder.

        Raises:
            DamagedError: The folder is not finished, or its manifest is damaged.
        """
        path = f"{folder}/{MANIFEST}"
        manifest = self.find_json(path)
        if manifest is None:
            raise self.damaged(path, "it is missing")
        return manifest

    def _full(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _do(self, action: str, path: str, call: Callable[[], T]) -> T:
        """Make a call, and retry it after transient local errors; S3Objects retries by itself."""
        try:
            return retried(call, lambda e: isinstance(e, OSError) and e.errno in _TRANSIENT)
        except OSError as error:
            if isinstance(error, S3Error) and error.kind == "altered":
                raise self.damaged(path, str(error)) from error
            if isinstance(error, NoFileError):
                raise self.damaged(path, "it is no regular file") from error
            raise StorageError(f"cannot {action} {self.locate(path)}: {one_line(error)}") from error


def table_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_again(read: Callable[[], T]) -> T:
    """Return what a reading gives; one of damaged bytes is repeated, as the wire may be at fault.

    Raises:
        DamagedError: Of the last reading.
    """
    for _ in range(READINGS - 1):
        with suppress(DamagedError):
            return read()
    return read()


def _hash_json(path: str, without: bytes) -> bytes:
    """Return the hash of a JSON file at a path below the output, whose own hash is left out."""
    return hashlib.sha256(path.encode() + b"\n" + without).hexdigest().encode()


def _is_missing(error: OSError) -> bool:
    """True where there is nothing that could be opened, as where a link leads back to itself."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, but do not wait where it is a pipe that nobody writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _clear(key: str) -> None:
    """Remove an empty folder that stands in the place of a file."""
    if os.path.isdir(key) and not os.path.islink(key):
        os.rmdir(key)


def _move_aside(folder: Path, root: Path) -> bool:
    """Rename a file that stands in the place of a folder, or of one above it, below the root."""
    for path in (folder, *folder.parents):
        if path == root:
            break
        if os.path.lexists(path) and not path.is_dir():
            aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.aside")
            log.warning("%s is no folder, so it was renamed to %s", path, aside.name)
            path.rename(aside)
            return True
    return False
