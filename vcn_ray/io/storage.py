"""Reads and writes of results in a folder or below an S3 prefix; it does not know what is stored.

The output of a step is a folder, and it counts once it holds a `manifest.json`, which is written
last. A file never appears in part: on a local disk it is renamed from a temporary name, and on S3 a
put is atomic.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vcn_ray.errors import S3Error, StorageError, UsageError
from vcn_ray.io.atomic import atomic_file
from vcn_ray.io.meter import count_bytes
from vcn_ray.io.paths import local_path
from vcn_ray.io.retry import retried
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.redact import one_line as one_line  # re-exported
from vcn_ray.redact import redact

T = TypeVar("T")

MANIFEST = "manifest.json"
_TRANSIENT = frozenset(
    [errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
)
"""Errors of a network file system that another attempt may not meet."""


def is_remote(uri: str) -> bool:
    """True if `uri` names an object store and not a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


class Place(Protocol):
    """Whole files by key: a local disk (LocalPlace) or a bucket (S3Objects)."""

    def exists(self, key: str, /) -> bool:
        """True if there is a file."""

    def names(self, folder: str, /) -> Iterable[str]:
        """List the names directly below a folder."""

    def read(self, key: str, /) -> bytes:
        """Read a whole file."""

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file; readers never see a part of it."""

    def delete(self, key: str, /) -> None:
        """Remove a file, if it exists."""


class LocalPlace:
    """Files of this machine; a key is an absolute path."""

    def exists(self, key: str, /) -> bool:
        """True if there is a file."""
        try:
            os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, folder: str, /) -> list[str]:
        """List the names directly below a folder; there are none if the folder does not exist."""
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, key: str, /) -> bytes:
        """Read a whole file."""
        return Path(key).read_bytes()

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file under a temporary name, then rename it."""
        _write_local(key, data)

    def delete(self, key: str, /) -> None:
        """Remove a file, if it exists."""
        Path(key).unlink(missing_ok=True)


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
            return cls(uri=root, s3=s3, _place=LocalPlace(), _root=root)
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

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            StorageError: The file does not exist or cannot be read.
        """
        data: bytes = self._do("read", path, lambda: self._place.read(self._full(path)))
        count_bytes(read=len(data))
        return data

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

    def find_json(self, path: str) -> dict[str, Any] | None:
        """Read a JSON object; None if there is no such file."""
        try:
            return self.read_json(path)
        except StorageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            if gone or (isinstance(error.__cause__, S3Error) and error.__cause__.kind == "missing"):
                return None
            raise

    def read_json(self, path: str) -> dict[str, Any]:
        """Read a JSON object."""
        content: dict[str, Any] = json.loads(self.read_bytes(path))
        return content

    def write_json(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON object, indented and with sorted keys."""
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        self.write_bytes(path, text.encode() + b"\n")

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet table, or some of its columns."""
        reader = pa.BufferReader(self.read_bytes(path))
        try:
            return pq.read_table(reader, columns=columns)
        except (pa.ArrowException, OSError) as error:
            where = self.locate(path)
            raise StorageError(f"{where} is not a Parquet file: {one_line(error)}") from error

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet table; equal tables give equal bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(path, sink.getvalue().to_pybytes())

    def is_committed(self, folder: str) -> bool:
        """True if a step has finished this folder."""
        return self.exists(f"{folder}/{MANIFEST}")

    def commit(self, folder: str, manifest: dict[str, Any]) -> None:
        """Mark a folder as finished: write its manifest, after all its files."""
        self.write_json(f"{folder}/{MANIFEST}", manifest)

    def read_manifest(self, folder: str) -> dict[str, Any]:
        """Read the manifest of a finished folder."""
        return self.read_json(f"{folder}/{MANIFEST}")

    def _full(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _do(self, action: str, path: str, call: Callable[[], T]) -> T:
        """Make a call, and retry it after transient local errors; S3Objects retries by itself."""
        try:
            return retried(call, lambda e: isinstance(e, OSError) and e.errno in _TRANSIENT)
        except OSError as error:
            raise StorageError(f"cannot {action} {self.locate(path)}: {one_line(error)}") from error


def _write_local(full: str, data: bytes) -> None:
    path = Path(full)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part:
        part.write_bytes(data)
