"""S3 as a pyarrow file system for libraries that take one (Ray Train); ours use `storage`.

pyarrow's own cannot encrypt with a named key, pay as the requester or use a profile, so this one
goes through the same requests as everything else. Paths are `bucket/key`.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from vcn_ray.errors import S3Error
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.s3_objects import S3Objects


def s3_filesystem(config: S3Config) -> pafs.FileSystem:
    """A pyarrow file system under the options of a config; it travels between processes."""
    return pafs.PyFileSystem(S3Handler(config))


class S3Handler(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """What pyarrow asks of a file system; folders are only parts of names."""

    def __init__(self, config: S3Config) -> None:
        self._config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Handler) and other._config == self._config

    def __hash__(self) -> int:
        return hash(self._config)

    def __reduce__(self) -> tuple[Any, ...]:
        return (S3Handler, (self._config,))

    def get_type_name(self) -> str:
        """For messages."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """A path as the others take it."""
        return path.strip("/")

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What each path is."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What is in a folder, and below it where that is asked for."""
        found: list[pafs.FileInfo] = []
        objects, key = self._split(selector.base_dir)
        names = objects.names(key)
        if not names and not selector.allow_not_found:
            raise FileNotFoundError(selector.base_dir)
        for name, size in names.items():
            path = f"{selector.base_dir.rstrip('/')}/{name}"
            kind = pafs.FileType.Directory if size is None else pafs.FileType.File
            found.append(pafs.FileInfo(path, kind, size=size))
            if size is None and selector.recursive:
                below = pafs.FileSelector(path, allow_not_found=True, recursive=True)
                found += self.get_file_info_selector(below)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: there are no folders to be made."""

    def delete_dir(self, path: str) -> None:
        """Remove everything below a folder."""
        self.delete_dir_contents(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = True) -> None:
        """Remove everything below a folder."""
        objects, key = self._split(path)
        if not key.strip("/"):
            raise ValueError("a whole bucket is not emptied")
        for entry in objects.list(f"{key}/"):
            objects.delete(entry.key)

    def delete_root_dir_contents(self) -> None:
        """Refused: that would be all buckets."""
        raise ValueError("all buckets are not emptied")

    def delete_file(self, path: str) -> None:
        """Remove an object."""
        objects, key = self._split(path)
        objects.delete(key)

    def move(self, src: str, dest: str) -> None:
        """Give an object another name."""
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        """Write an object again under another name."""
        (source, key), (target, other) = self._split(src), self._split(dest)
        target.write(other, source.read(key))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """An object's content."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """An object's content, seekable."""
        objects, key = self._split(path)
        return pa.BufferReader(objects.read(key))

    def open_output_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        """A new object, written when the stream is closed."""
        objects, key = self._split(path)
        return pa.PythonFile(_Upload(objects, key), mode="w")

    def open_append_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        """Refused: an object cannot be added to."""
        raise NotImplementedError("an object on S3 cannot be appended to")

    def _info(self, path: str) -> pafs.FileInfo:
        objects, key = self._split(path)
        try:
            return pafs.FileInfo(path, pafs.FileType.File, size=objects.head(key).size)
        except S3Error as error:
            if error.kind != "missing":
                raise
            there = bool(objects.names(key))
            kind = pafs.FileType.Directory if there else pafs.FileType.NotFound
            return pafs.FileInfo(path, kind)

    def _split(self, path: str) -> tuple[S3Objects, str]:
        bucket, _, key = path.partition("/")
        return S3Objects(bucket, self._config), key.rstrip("/")


class _Upload(io.BytesIO):
    """Holds what is written, and uploads it when closed."""

    def __init__(self, objects: S3Objects, key: str) -> None:
        super().__init__()
        self._objects, self._key = objects, key

    def close(self) -> None:
        if not self.closed:
            self._objects.write(self._key, self.getvalue())
        super().close()
