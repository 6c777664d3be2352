"""One way to read and write results, on a folder or an S3 prefix; it does not know what is stored.

A stage's output is a folder that counts only once its `manifest.json` is there, written last. On a
local disk a file appears whole by a rename from a temporary name; on S3 a put is whole by itself.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vcn_ray.errors import S3Error, StorageError, UsageError
from vcn_ray.io.meter import count_bytes
from vcn_ray.io.retry import retried
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.redact import one_line as one_line  # where those who use storage look for it
from vcn_ray.redact import redact

T = TypeVar("T")

MANIFEST = "manifest.json"
_PASSING = frozenset(
    [errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
)
"""Errors of a folder on another machine that may be over by the next try."""


def is_remote(uri: str) -> bool:
    """True where `uri` names an object store rather than a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


class Place(Protocol):
    """Where files are kept, by path below a root; S3Objects is one."""

    def exists(self, key: str, /) -> bool:
        """True where there is a file."""

    def names(self, folder: str, /) -> dict[str, Any]:
        """Names directly below a folder, as keys."""

    def read(self, key: str, /) -> bytes:
        """A file's content."""

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file at once."""

    def delete(self, key: str, /) -> None:
        """Remove a file, if there is one."""


class LocalPlace:
    """Files of this machine, by absolute path."""

    def exists(self, key: str, /) -> bool:
        """True where there is a file."""
        try:
            os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, folder: str, /) -> dict[str, Any]:
        """Names directly below a folder, as keys; none where there is no folder."""
        try:
            return dict.fromkeys(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def read(self, key: str, /) -> bytes:
        """A file's content."""
        return Path(key).read_bytes()

    def write(self, key: str, data: bytes, /) -> None:
        """Write a whole file under another name, then rename it."""
        _write_local(key, data)

    def delete(self, key: str, /) -> None:
        """Remove a file, if there is one."""
        Path(key).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Storage:
    """A root below which paths like `videos/x/faces-1/seg-00000.parquet` are read and written.

    Attributes:
        uri: The root, absolute; with `s3` enough to open it again in another process.
        s3: How S3 is reached.
    """

    uri: str
    s3: S3Config
    _place: Place
    _root: str

    @classmethod
    def open(cls, uri: str, s3: S3Config | None = None) -> Storage:
        """Open a folder or `s3://bucket/prefix`; nothing is created or read yet.

        Raises:
            StorageError: The uri's scheme or bucket cannot be used.
        """
        s3 = s3 or S3Config()
        if not is_remote(uri):
            # Other processes have other working directories: only an absolute path travels.
            root = str(Path(uri.removeprefix("file://")).expanduser().absolute())
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
        # Connections do not travel: it is opened again there, with the credentials found there.
        return (Storage.open, (self.uri, self.s3))

    def locate(self, path: str) -> str:
        """The full address of `path`, for people."""
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StorageError: Nothing can be written here.
        """
        probe = f".vcn-probe-{uuid.uuid4().hex}"
        self.write_bytes(probe, b"probe")  # some S3 servers refuse an empty upload in parts
        self.delete(probe)

    def exists(self, path: str) -> bool:
        """True where a file of that name is stored."""
        return self._do("look at", path, lambda: self._place.exists(self._full(path)))

    def names(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; empty where there is no such folder."""
        return self._do("list", path, lambda: sorted(self._place.names(self._full(path))))

    def read_bytes(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            StorageError: It is not there or cannot be read.
        """
        data: bytes = self._do("read", path, lambda: self._place.read(self._full(path)))
        count_bytes(read=len(data))
        return data

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file at once; readers see the old one or the new one, never a part.

        Raises:
            StorageError: It cannot be written.
        """
        self._do("write", path, lambda: self._place.write(self._full(path), data))
        count_bytes(written=len(data))

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        self._do("remove", path, lambda: self._place.delete(self._full(path)))

    def find_json(self, path: str) -> dict[str, Any] | None:
        """A JSON object, or None where there is no such file."""
        try:
            return self.read_json(path)
        except StorageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            if gone or (isinstance(error.__cause__, S3Error) and error.__cause__.kind == "missing"):
                return None
            raise

    def read_json(self, path: str) -> dict[str, Any]:
        """A JSON object."""
        content: dict[str, Any] = json.loads(self.read_bytes(path))
        return content

    def write_json(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON object for machines and people."""
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        self.write_bytes(path, text.encode() + b"\n")

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet table, or some of its columns."""
        reader = pa.BufferReader(self.read_bytes(path))
        try:
            return pq.read_table(reader, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"{self.locate(path)} is no Parquet: {one_line(error)}") from error

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a Parquet table; equal tables give equal bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(path, sink.getvalue().to_pybytes())

    def is_committed(self, folder: str) -> bool:
        """True where a stage has finished this folder."""
        return self.exists(f"{folder}/{MANIFEST}")

    def commit(self, folder: str, manifest: dict[str, Any]) -> None:
        """Declare a folder finished: its manifest, written after all its files."""
        self.write_json(f"{folder}/{MANIFEST}", manifest)

    def read_manifest(self, folder: str) -> dict[str, Any]:
        """The manifest of a finished folder."""
        return self.read_json(f"{folder}/{MANIFEST}")

    def _full(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _do(self, what: str, path: str, call: Callable[[], T]) -> T:
        """Do something with a file, again after errors that pass; S3Objects tries again itself."""
        try:
            return retried(call, lambda e: isinstance(e, OSError) and e.errno in _PASSING)
        except OSError as error:
            raise StorageError(f"cannot {what} {self.locate(path)}: {one_line(error)}") from error


def _write_local(full: str, data: bytes) -> None:
    folder = os.path.dirname(full)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{full}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, full)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
