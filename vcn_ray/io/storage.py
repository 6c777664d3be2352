"""One way to read and write results, on a folder or an S3 prefix; it does not know what is stored.

A stage's output is a folder that counts only once its `manifest.json` is there, written last. On a
local disk a file appears whole by a rename from a temporary name; on S3 a put is whole by itself.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vcn_ray.errors import StorageError

MANIFEST = "manifest.json"


def is_remote(uri: str) -> bool:
    """True where `uri` names an object store rather than a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


@dataclass(frozen=True, slots=True)
class Storage:
    """A root below which paths like `videos/x/faces-1/seg-00000.parquet` are read and written.

    Attributes:
        uri: The root, absolute; enough to open it again in another process.
    """

    uri: str
    _filesystem: pafs.FileSystem
    _root: str

    @classmethod
    def open(cls, uri: str) -> Storage:
        """Open a folder or `s3://bucket/prefix`; nothing is created or read yet.

        Raises:
            StorageError: The uri's scheme or bucket cannot be used.
        """
        if is_remote(uri) and not uri.startswith("s3://"):
            raise StorageError(f"cannot open {uri}: name a folder or s3://bucket/prefix")
        try:
            if is_remote(uri):
                filesystem, root = pafs.FileSystem.from_uri(uri)
            else:
                filesystem = pafs.LocalFileSystem()
                # Other processes have other working directories: only an absolute path travels.
                uri = root = str(Path(uri.removeprefix("file://")).expanduser().absolute())
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise StorageError(f"cannot open {uri}: {one_line(error)}") from error
        return cls(uri=uri, _filesystem=filesystem, _root=root.rstrip("/"))

    def __reduce__(self) -> tuple[Any, ...]:
        # File systems of pyarrow do pickle, but reopening from the uri needs no trust in that.
        return (Storage.open, (self.uri,))

    def locate(self, path: str) -> str:
        """The full address of `path`, for people."""
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The file system below, for libraries that take one."""
        return self._filesystem

    def inner_path(self, path: str) -> str:
        """The path of a file within `filesystem`."""
        return self._full(path)

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StorageError: Nothing can be written here.
        """
        probe = f".vcn-probe-{uuid.uuid4().hex}"
        self.write_bytes(probe, b"probe")  # some S3 servers refuse an empty upload in parts
        self.delete(probe)

    def exists(self, path: str) -> bool:
        """True where a file or folder of that name is stored."""
        try:
            info = self._filesystem.get_file_info(self._full(path))
        except OSError as error:
            raise StorageError(f"cannot look at {self.locate(path)}: {one_line(error)}") from error
        return bool(info.type != pafs.FileType.NotFound)

    def names(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; empty where there is no such folder."""
        selector = pafs.FileSelector(self._full(path), allow_not_found=True)
        try:
            infos = self._filesystem.get_file_info(selector)
        except OSError as error:
            raise StorageError(f"cannot list {self.locate(path)}: {one_line(error)}") from error
        return sorted(info.base_name for info in infos)

    def read_bytes(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            StorageError: It is not there or cannot be read.
        """
        try:
            with self._filesystem.open_input_stream(self._full(path)) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"cannot read {self.locate(path)}: {one_line(error)}") from error

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file at once; readers see the old one or the new one, never a part.

        Raises:
            StorageError: It cannot be written.
        """
        full = self._full(path)
        try:
            if isinstance(self._filesystem, pafs.LocalFileSystem):
                _write_local(full, data)
            else:
                with self._filesystem.open_output_stream(full) as stream:
                    stream.write(data)
        except OSError as error:
            raise StorageError(f"cannot write {self.locate(path)}: {one_line(error)}") from error

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        try:
            self._filesystem.delete_file(self._full(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"cannot remove {self.locate(path)}: {one_line(error)}") from error

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
        return f"{self._root}/{path}" if path else self._root


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


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
