"""Requests for the objects of one bucket, made under the options of a config; it opens no video.

Every request says who pays, every write says with which key it is encrypted, and what breaks off is
tried again. pyarrow's own S3 file system can say neither, so it is not used.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from vcn_ray.errors import S3Error
from vcn_ray.io.retry import retried
from vcn_ray.io.s3 import SCHEME, S3Config, explained, is_transient, no_bucket, s3_client

T = TypeVar("T")

PAGE_KEYS = 1000  # of a listing; the most there is
PART_BYTES = 64 << 20  # larger objects are written in parts of this size; one put ends at 5 GiB
CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


class StoredObject(NamedTuple):
    """What S3 says of an object without its content."""

    key: str
    size: int
    etag: str  # without quotes
    version: str = ""  # empty where the bucket keeps no versions, or was not asked


class Part(NamedTuple):
    """Some bytes of an object, and which object they are of."""

    data: bytes
    size: int  # of the whole object
    etag: str


@dataclass(frozen=True, slots=True)
class S3Objects:
    """A bucket's objects. Every method raises S3Error, in one line that says what to do."""

    bucket: str
    config: S3Config = field(default_factory=S3Config)

    def head(self, key: str) -> StoredObject:
        """Size, ETag and version of an object."""
        try:
            found = self._head(key)
        except S3Error as error:
            if error.kind == "missing" and not self._has_bucket():
                raise S3Error("no_bucket", no_bucket(self.bucket)) from error
            raise
        version = found.get("VersionId") or ""
        return StoredObject(
            key,
            int(found["ContentLength"]),
            found["ETag"].strip('"'),
            "" if version == "null" else version,
        )

    def exists(self, key: str) -> bool:
        """True where there is an object of that key; one request, whatever it says."""
        try:
            self._head(key)
        except S3Error as error:
            if error.kind == "missing":
                return False
            raise
        return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key starts with `prefix`, page by page, by key."""
        for page in self._pages(prefix, {}):
            for entry in page.get("Contents", []):
                yield StoredObject(entry["Key"], int(entry["Size"]), entry["ETag"].strip('"'))

    def names(self, folder: str) -> dict[str, int | None]:
        """Names directly below a folder: sizes of objects, None for folders."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        found: dict[str, int | None] = {}
        for page in self._pages(prefix, {"Delimiter": "/"}):
            for entry in page.get("CommonPrefixes", []):
                found[entry["Prefix"][len(prefix) :].rstrip("/")] = None
            for entry in page.get("Contents", []):
                found[entry["Key"][len(prefix) :]] = int(entry["Size"])
        found.pop("", None)  # some tools put an empty object for the folder itself
        return found

    def has_versions(self) -> bool:
        """False where the bucket surely never kept versions."""
        return _has_versions(self)

    def read(self, key: str) -> bytes:
        """All of an object."""
        return self._read(key, {}).data

    def read_part(self, key: str, start: int, length: int, etag: str = "") -> Part:
        """Bytes of an object from `start` on; none where it is not that long.

        Args:
            key: Which object.
            start: Number of the first byte.
            length: Bytes at most.
            etag: Of the version that is meant; another is an error of kind `changed`. Empty: any.
        """
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        return self._read(key, wanted | ({"IfMatch": f'"{etag}"'} if etag else {}))

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object; it is there in full or not at all."""
        ending = key[key.rfind(".") :]
        extra = self.config.encryption | self.config.payer
        extra |= {"ContentType": CONTENT_TYPES[ending]} if ending in CONTENT_TYPES else {}
        if len(data) <= PART_BYTES:
            self._ask(key, lambda s3: s3.put_object(**self._at(key), Body=data, **extra))
            return
        parts = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
        )
        self._ask(
            key,
            lambda s3: s3.upload_fileobj(
                io.BytesIO(data), self.bucket, key, ExtraArgs=extra, Config=parts
            ),
        )

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._ask(key, lambda s3: s3.delete_object(**self._at(key), **self.config.payer))

    def _head(self, key: str) -> dict[str, Any]:
        asked = self._at(key) | self.config.payer
        return self._ask(key, lambda s3: dict(s3.head_object(**asked)))

    def _has_bucket(self) -> bool:
        """False where the bucket surely is not there: S3 says 404 of it, too, but not of which."""
        try:
            s3_client(self.config).head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as error:
            return explained(error, f"{SCHEME}{self.bucket}").kind != "missing"
        return True

    def _read(self, key: str, how: dict[str, str]) -> Part:
        def once(s3: Any) -> Part:
            try:
                got = s3.get_object(**self._at(key), **how, **self.config.payer)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "InvalidRange":
                    return Part(b"", 0, "")
                raise
            # A connection may also break while the content comes: that, too, is tried again.
            data = bytes(got["Body"].read())
            return Part(data, _size_of(got, how, len(data)), got["ETag"].strip('"'))

        return self._ask(key, once)

    def _pages(self, prefix: str, how: dict[str, str]) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            asked: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": PAGE_KEYS}
            asked |= how | token | self.config.payer
            page = self._ask(prefix, functools.partial(_list_page, asked))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _ask(self, key: str, call: Callable[[Any], T]) -> T:
        s3 = s3_client(self.config)
        try:
            return retried(lambda: call(s3), is_transient)
        except (BotoCoreError, ClientError) as error:
            raise explained(error, f"{SCHEME}{self.bucket}/{key}") from error

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}


def _list_page(asked: dict[str, Any], s3: Any) -> dict[str, Any]:
    page: dict[str, Any] = s3.list_objects_v2(**asked)
    return page


def _size_of(got: dict[str, Any], how: dict[str, str], read: int) -> int:
    """The size of the whole object that a GET answered of."""
    if "Range" not in how:
        return read
    told = re.fullmatch(r"bytes \d+-\d+/(\d+)", got.get("ContentRange", ""))
    if told is None:
        raise S3Error("other", "this server does not read objects by range: use another one")
    return int(told[1])


@functools.lru_cache(maxsize=256)
def _has_versions(objects: S3Objects) -> bool:
    try:
        asked = s3_client(objects.config).get_bucket_versioning(Bucket=objects.bucket)
    except (BotoCoreError, ClientError):
        return True  # not ours to know: each object is asked, which tells in any case
    return "Status" in asked
