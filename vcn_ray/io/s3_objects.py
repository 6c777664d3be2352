"""Requests for the objects of one bucket, under the settings of a config; it knows no videos.

Every request for an object names the payer, every write names its encryption key, and transient
errors are retried. docs/s3.md says why boto3 makes the requests and not a storage library.
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
from vcn_ray.io.s3 import (
    REQUEST_ERRORS,
    SCHEME,
    S3Config,
    ShortAnswerError,
    explained,
    is_transient,
    no_bucket,
    s3_client,
)

T = TypeVar("T")

PAGE_KEYS = 1000  # of a listing; S3 allows no more
PART_BYTES = 64 << 20  # objects above this size are written in parts; S3 limits a put to 5 GiB
_EXISTS = ("PreconditionFailed", "412")
_NO_CONDITIONS = ("NotImplemented", "501")
CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


class StoredObject(NamedTuple):
    """Metadata of an object."""

    key: str
    size: int
    etag: str  # without quotes
    version: str = ""  # empty if the bucket keeps no versions, and in listings


class Entry(NamedTuple):
    """What a listing says of a file."""

    size: int  # bytes
    changed: float  # time stamp of the last change of it or its name, by the clock of the storage


class HiddenVersion(NamedTuple):
    """What a bucket keeps of an object that was overwritten or removed."""

    path: str
    version: str  # empty where versions cannot even be listed
    why: str = ""  # it could not be deleted


class Purged(NamedTuple):
    """What was done about hidden versions."""

    deleted: tuple[HiddenVersion, ...] = ()
    left: tuple[HiddenVersion, ...] = ()  # the credentials do not allow to delete these


class ByteRange(NamedTuple):
    """Some bytes of an object, with the size and ETag of that object."""

    data: bytes
    size: int  # of the whole object
    etag: str


@dataclass(frozen=True, slots=True)
class S3Objects:
    """The objects of a bucket. Every method may raise S3Error: one line that says what to do."""

    bucket: str
    config: S3Config = field(default_factory=S3Config)

    def head(self, key: str) -> StoredObject:
        """Request size, ETag and version of an object."""
        try:
            found = self._head(key)
        except S3Error as error:
            if error.kind == "missing" and not self._has_bucket():
                raise S3Error("no_bucket", no_bucket(self.bucket)) from error
            raise
        version = found.get("VersionId") or ""
        return StoredObject(
            key,
            int(_part(found, "ContentLength", key)),
            _part(found, "ETag", key).strip('"'),
            "" if version == "null" else version,
        )

    def exists(self, key: str) -> bool:
        """True if there is an object of that key; this costs exactly one request."""
        try:
            self._head(key)
        except S3Error as error:
            if error.kind == "missing":
                return False
            raise
        return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List all objects whose key starts with `prefix`, sorted by key; one request per page."""
        for page in self._pages(prefix, {}):
            for entry in page.get("Contents", []):
                etag = entry.get("ETag", "")  # where it is missing, a HEAD asks for it
                yield StoredObject(entry["Key"], int(entry["Size"]), etag.strip('"'))

    def names(self, folder: str) -> dict[str, int | None]:
        """List the names directly below a folder: an object's size, or None for a folder."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        found: dict[str, int | None] = {}
        for page in self._pages(prefix, {"Delimiter": "/"}):
            for entry in page.get("CommonPrefixes", []):
                found[entry["Prefix"][len(prefix) :].rstrip("/")] = None
            for entry in page.get("Contents", []):
                found[entry["Key"][len(prefix) :]] = int(entry["Size"])
        found.pop("", None)  # some tools write an empty object for the folder itself
        return found

    def entries(self, folder: str) -> dict[str, Entry]:
        """List the objects directly below a folder, and when each was written."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        return {
            entry["Key"][len(prefix) :]: Entry(
                int(entry["Size"]), entry["LastModified"].timestamp()
            )
            for page in self._pages(prefix, {"Delimiter": "/"})
            for entry in page.get("Contents", [])
            if entry["Key"] != prefix
        }

    def has_versions(self) -> bool:
        """False if the bucket certainly never kept versions."""
        return _has_versions(self)

    def read(self, key: str) -> bytes:
        """Read a whole object; its checksum is compared, where S3 gives one."""

        def once(s3: Any) -> bytes:
            # The client compares the checksum while it reads the body.
            got = s3.get_object(**self._at(key), ChecksumMode="ENABLED", **self.config.payer)
            # The connection may also break while the content arrives: read it within the retry.
            return bytes(got["Body"].read())

        return self._request(key, once)

    def read_whole(self, key: str) -> bytes:
        """Read a whole object of which nothing is known, and compare its length with a HEAD."""

        def once() -> bytes:
            size, data = self.head(key).size, self.read(key)
            if len(data) != size:
                raise ShortAnswerError(f"{len(data)} bytes came of an object of {size}")
            return data

        try:
            return retried(once, lambda error: isinstance(error, ShortAnswerError))
        except ShortAnswerError as error:
            raise explained(error, f"{SCHEME}{self.bucket}/{key}") from error

    def read_part(
        self, key: str, start: int, length: int, etag: str = "", size: int | None = None
    ) -> ByteRange:
        """Read a range of an object, all of it; it may reach past the end, or lie there.

        An answer that is shorter or longer, of another place, or of an object of another length is
        a fault of the wire: the request is repeated.

        Args:
            key: The object.
            start: Offset of the first byte.
            length: Maximum number of bytes.
            etag: The expected ETag; any other is an error of kind `changed`. Empty: accept any.
            size: Bytes of the whole object; None: unknown.
        """
        options = {"Range": f"bytes={start}-{start + length - 1}"}
        options |= {"IfMatch": f'"{etag}"'} if etag else {}

        def once(s3: Any) -> ByteRange:
            try:
                got = s3.get_object(**self._at(key), **options, **self.config.payer)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "InvalidRange":
                    raise
                whole = self.head(key)  # a range past the end: of that the answer says too little
                if start < whole.size:
                    raise ShortAnswerError("a range inside the object was refused") from error
                return ByteRange(b"", whole.size, whole.etag)
            part = ByteRange(
                bytes(got["Body"].read()),
                _size_of(got.get("ContentRange", ""), start),
                _part(got, "ETag", key).strip('"'),
            )
            _check_part(part, start, length, etag, size)
            return part

        return self._request(key, once)

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object where there is none; False where there is one, which stays.

        A server that knows no conditional writes is asked first.
        """
        options = self._write_options(key)

        def once(s3: Any) -> bool:
            try:
                s3.put_object(**self._at(key), Body=data, IfNoneMatch="*", **options)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code in _EXISTS:
                    return False
                if code not in _NO_CONDITIONS:
                    raise
                if self.exists(key):
                    return False
                s3.put_object(**self._at(key), Body=data, **options)
            return True

        return self._request(key, once)

    def _write_options(self, key: str) -> dict[str, Any]:
        ending = key[key.rfind(".") :]
        extra = self.config.encryption | self.config.payer
        return extra | ({"ContentType": CONTENT_TYPES[ending]} if ending in CONTENT_TYPES else {})

    def write(self, key: str, data: bytes) -> None:
        """Write a whole object; readers never see a part of it."""
        extra = self._write_options(key)
        if len(data) <= PART_BYTES:
            self._request(key, lambda s3: s3.put_object(**self._at(key), Body=data, **extra))
            return
        parts = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
        )
        self._request(
            key,
            lambda s3: s3.upload_fileobj(
                io.BytesIO(data), self.bucket, key, ExtraArgs=extra, Config=parts
            ),
        )

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        self._request(key, lambda s3: s3.delete_object(**self._at(key), **self.config.payer))

    def tidy(self, folder: str) -> None:
        """Nothing: a bucket has no folders."""

    def purge(self, prefix: str) -> Purged:
        """Delete all versions below a prefix but the present ones, and all delete markers."""
        if not self.has_versions():
            return Purged()
        deleted, left = [], []
        try:
            for version in self._hidden(prefix):
                try:
                    self._delete_version(version)
                    deleted.append(version)
                except S3Error as error:
                    if error.kind != "denied":
                        raise
                    left.append(version._replace(why=str(error)))
        except S3Error as error:
            if error.kind != "denied":
                raise
            left.append(HiddenVersion(prefix, "", str(error)))
        return Purged(tuple(deleted), tuple(left))

    def hidden(self, prefix: str) -> Purged:
        """What `purge` would try to delete."""
        if not self.has_versions():
            return Purged()
        try:
            return Purged(tuple(self._hidden(prefix)))
        except S3Error as error:
            if error.kind != "denied":
                raise
            return Purged(left=(HiddenVersion(prefix, "", str(error)),))

    def _hidden(self, prefix: str) -> Iterator[HiddenVersion]:
        """The versions below a prefix that a plain listing does not show."""
        options: dict[str, Any] = {"Prefix": prefix, "MaxKeys": PAGE_KEYS} | self.config.payer
        while True:
            page = self._versions_page(options)
            markers = page.get("DeleteMarkers", [])
            for entry in [*page.get("Versions", []), *markers]:
                if entry in markers or not entry["IsLatest"]:
                    yield HiddenVersion(entry["Key"], entry["VersionId"])
            if not page.get("IsTruncated"):
                return
            options |= {"KeyMarker": page["NextKeyMarker"]}
            options |= {"VersionIdMarker": page.get("NextVersionIdMarker", "")}

    def _versions_page(self, options: dict[str, Any]) -> dict[str, Any]:
        def once(s3: Any) -> dict[str, Any]:
            return dict(s3.list_object_versions(Bucket=self.bucket, **options))

        return self._request(options["Prefix"], once)

    def _delete_version(self, version: HiddenVersion) -> None:
        at = self._at(version.path) | {"VersionId": version.version}
        self._request(version.path, lambda s3: s3.delete_object(**at, **self.config.payer))

    def _head(self, key: str) -> dict[str, Any]:
        return self._request(
            key, lambda s3: dict(s3.head_object(**self._at(key), **self.config.payer))
        )

    def _has_bucket(self) -> bool:
        """False if the bucket certainly does not exist: a HEAD answers 404 in both cases."""
        try:
            s3_client(self.config).head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as error:
            return explained(error, f"{SCHEME}{self.bucket}").kind != "missing"
        return True

    def _pages(self, prefix: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        options = {"Prefix": prefix, "MaxKeys": PAGE_KEYS} | self.config.payer | options
        page = self._page(options)
        yield page
        while page.get("IsTruncated"):
            token = _part(page, "NextContinuationToken", "")
            page = self._page(options | {"ContinuationToken": token})
            yield page

    def _page(self, options: dict[str, Any]) -> dict[str, Any]:
        def once(s3: Any) -> dict[str, Any]:
            page = dict(s3.list_objects_v2(Bucket=self.bucket, **options))
            if "Name" not in page:  # it repeats the name of the bucket, even where that is empty
                raise ShortAnswerError("a listing came without its beginning")
            return page

        return self._request(options["Prefix"], once)

    def _request(self, key: str, call: Callable[[Any], T]) -> T:
        s3 = s3_client(self.config)
        try:
            return retried(lambda: call(s3), is_transient)
        except REQUEST_ERRORS as error:
            raise explained(error, f"{SCHEME}{self.bucket}/{key}") from error

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}


def _part(answer: dict[str, Any], name: str, key: str) -> Any:
    """Return a part of an answer that S3 always sends.

    Raises:
        S3Error: It is missing, as behind a gateway that drops headers.
    """
    if not answer.get(name) and answer.get(name) != 0:
        raise S3Error(
            "other",
            f"the server's answer for {key or 'a listing'} has no {name}, which S3 always sends: "
            "check s3.endpoint, and what stands between",
        )
    return answer[name]


def _size_of(content_range: str, start: int) -> int:
    """Size of the whole object, from the header of an answer to a ranged GET."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
    if found is None:
        raise ShortAnswerError(
            "the answer is no range of the object: this server may not read objects by range"
        )
    if int(found[1]) != start:
        raise ShortAnswerError(f"a range from byte {found[1]} came instead of byte {start}")
    return int(found[2])


def _check_part(part: ByteRange, start: int, length: int, etag: str, size: int | None) -> None:
    """Compare an answer with what was asked for.

    Raises:
        ShortAnswerError: Its length, its object's length, or its ETag is another.
    """
    wanted = min(length, part.size - start)
    if len(part.data) != wanted:
        raise ShortAnswerError(f"{len(part.data)} of {wanted} bytes came")
    if size is not None and part.size != size:
        raise ShortAnswerError(f"the answer is of an object of {part.size} bytes, not of {size}")
    if etag and part.etag != etag:
        raise ShortAnswerError("the answer is of another version of the object")


@functools.lru_cache(maxsize=256)
def _has_versions(objects: S3Objects) -> bool:
    try:
        answer = s3_client(objects.config).get_bucket_versioning(Bucket=objects.bucket)
    except (BotoCoreError, ClientError):
        return True  # this right is optional: a HEAD of each object names its version in any case
    return "Status" in answer
