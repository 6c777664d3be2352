"""An object on S3 as a seekable file that is read by range; it knows no video formats.

Each block of 1 MiB is one GET that names the expected ETag. The file keeps a few blocks, because a
demuxer jumps between a file's index and its frames. It notes a checksum of each, because S3 gives
none for a range: before a fault is put down to the video, its bytes can be read again and compared.
"""

from __future__ import annotations

import io
import os
import zlib
from collections import OrderedDict
from typing import Any, BinaryIO, cast

from vcn_ray.errors import MediaError, Reason, S3Error
from vcn_ray.io.meter import count_bytes
from vcn_ray.io.paths import local_path
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.io.video import Source
from vcn_ray.redact import redact

BLOCK_BYTES = 1 << 20
KEPT_BLOCKS = 8

_REASONS: dict[str, Reason] = {
    "missing": "missing",
    "no_bucket": "missing",
    "changed": "source_changed",
    "altered": "storage_error",
    "unavailable": "storage_error",
}


def media_error(uri: str, error: S3Error) -> MediaError:
    """Turn S3's refusal of a video into the failure of that video."""
    return MediaError(_REASONS.get(error.kind, "unreadable"), f"{redact(uri)}: {error}")


class S3File(io.RawIOBase):
    """A seekable, read-only binary file over an object; a pickled file opens again elsewhere.

    Reading raises MediaError: `source_changed` if the object was replaced, `missing`,
    `unreadable`, or `storage_error` if S3 does not answer.

    Attributes:
        uri: The object.
        etag: The expected ETag; if none is given, that of the first read.
        name: The key, for messages.
    """

    def __init__(
        self, uri: str, etag: str = "", size: int | None = None, config: S3Config | None = None
    ) -> None:
        super().__init__()
        bucket, self.name = split_uri(uri)
        self.uri = uri
        self.etag = etag
        self._config = config or S3Config()
        self._objects = S3Objects(bucket, self._config)
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._sums: dict[int, int] = {}  # CRC-32 of each block that was read

    def __reduce__(self) -> tuple[Any, ...]:
        return (S3File, (self.uri, self.etag, self._size, self._config))

    @property
    def size(self) -> int:
        """Bytes of the object; reads the first block if no size is known."""
        if self._size is None:
            self._block(0)
        return self._size or 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Offset of the next byte to read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset; this sends no request."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self.size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if offset < 0:
            raise ValueError(f"cannot seek to byte {offset}")
        self._position = offset
        return offset

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer up to the end of a block; return 0 at the end of the file."""
        view = memoryview(buffer).cast("B")
        if not len(view) or self._position >= self.size:
            return 0
        number, inside = divmod(self._position, BLOCK_BYTES)
        part = self._block(number)[inside : inside + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def confirm(self) -> None:
        """Read again every block that was read, and compare; for files that seem damaged.

        Raises:
            MediaError: `storage_error`: a block has other bytes than before.
        """
        for number, known in self._sums.items():
            if zlib.crc32(self._fetch(number)) != known:
                raise MediaError(
                    "storage_error",
                    f"{redact(self.uri)}: two reads of the same bytes differ: the server, or what "
                    "stands before it, alters them; run the same command again",
                )

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        data = self._blocks[number] = self._fetch(number)
        self._sums[number] = zlib.crc32(data)
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return data

    def _fetch(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        try:
            part = self._objects.read_part(self.name, start, BLOCK_BYTES, self.etag, self._size)
        except S3Error as error:
            raise media_error(self.uri, error) from error
        count_bytes(read=len(part.data))
        if self._size is None:
            self._size = part.size
        self.etag = self.etag or part.etag
        return part.data


def open_source(uri: str, etag: str, s3: S3Config, size: int | None = None) -> Source:
    """Turn the uri of a video into something that can be opened; nothing is read yet.

    Args:
        uri: A path, or `s3://bucket/key`.
        etag: The version of the object to read, so that any other is an error; empty: any version.
        s3: How S3 is reached.
        size: Bytes of that version; an answer of another one is a fault. None: unknown.

    Returns:
        The path of a local file; a seekable file that reads an object by range.

    Raises:
        UsageError: An S3 uri that names no object.
    """
    if not uri.startswith(SCHEME):
        return local_path(uri)
    return cast(BinaryIO, S3File(uri, etag, size, s3))  # a RawIOBase, which typeshed keeps apart
