"""Tries the rights that a run needs on its inputs and its output, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from vcn_ray.errors import StorageError, VcnError
from vcn_ray.health.finding import Finding, fault, ok, warning
from vcn_ray.health.machine import disk_finding, existing
from vcn_ray.io.catalog import MANIFEST_ENDINGS, read_catalog
from vcn_ray.io.s3 import SCHEME, S3Config, explained, s3_client, split_uri
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.io.storage import is_remote

PROBE = b"vcn doctor"
OLD_SERVER = (
    "; a server without checksums needs AWS_REQUEST_CHECKSUM_CALCULATION=when_required on all nodes"
)


def input_findings(place: str, s3: S3Config) -> Iterator[Finding]:
    """Try to list an input and to read a part of its first video.

    Args:
        place: A video, folder, prefix or manifest.
        s3: Access to S3.
    """
    subject = f"input {place}"
    try:
        videos = read_catalog([place], s3)
    except VcnError as error:
        yield fault(subject, str(error), _rights("s3:ListBucket", "s3:GetObject", place=place))
        return
    what = "manifest" if place.lower().endswith(tuple(MANIFEST_ENDINGS)) else "input"
    yield ok(subject, f"{what} of {len(videos)} videos")
    first = videos[0].uri
    try:
        read = _read_start(first, s3)
    except (VcnError, OSError) as error:
        yield fault(subject, f"{first}: {error}", _rights("s3:GetObject", place=first))
    else:
        yield ok(subject, f"{first} can be read" if read else f"{first} is empty")


def _read_start(uri: str, s3: S3Config) -> bytes:
    """The first bytes of a video."""
    if not is_remote(uri):
        with Path(uri).open("rb") as file:
            return file.read(len(PROBE))
    bucket, key = split_uri(uri)
    return S3Objects(bucket, s3).read_part(key, 0, len(PROBE)).data


def output_findings(place: str, s3: S3Config) -> Iterator[Finding]:
    """Try every right that a run needs on its output.

    Args:
        place: A folder, or an S3 prefix.
        s3: Access to S3.
    """
    if is_remote(place):
        yield from _remote_findings(place, s3)
    else:
        yield from _local_findings(Path(place.removeprefix("file://")).expanduser())


def _local_findings(folder: Path) -> Iterator[Finding]:
    subject = f"output {folder}"
    if folder.exists() and not folder.is_dir():
        yield fault(subject, "a file", "name a folder")
        return
    there = existing(folder)
    try:
        handle, name = tempfile.mkstemp(prefix=".vcn-doctor-", dir=there)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(PROBE)
                file.flush()
                os.fsync(file.fileno())
            readable = Path(name).read_bytes() == PROBE
        finally:
            Path(name).unlink()
    except OSError as error:
        text = f"{there} cannot be written ({error.strerror})"
        yield fault(subject, text, "give yourself the right to write there, or name another folder")
        return
    if not readable:
        yield fault(subject, f"{there} returns other bytes than written", "use another disk")
        return
    yield ok(
        subject, f"{there} can be written and read" + ("" if folder.exists() else "; it is new")
    )
    yield disk_finding(subject, there)


def _remote_findings(place: str, s3: S3Config) -> Iterator[Finding]:
    """The rights one after the other; without one, those that need it are not tried."""
    try:
        bucket, prefix = split_uri(place)
        client = s3_client(s3)
    except VcnError as error:
        yield fault(f"output {place}", str(error), "name s3://bucket/prefix")
        return
    probe = _Probe(client, s3, bucket, "/".join(p for p in (prefix.strip("/"), _name()) if p))
    try:
        for right, call in probe.rights():
            finding = probe.attempt(right, call)
            yield finding
            if finding.state == "fault" and right == "s3:PutObject":
                return
    finally:
        left = probe.clear()
    yield left if left is not None else ok(f"output {place}", "nothing is left behind")


def _name() -> str:
    return f".vcn-doctor-{uuid.uuid4().hex}"


class _Probe:
    """An object that is written, read and removed below an output.

    Args:
        client: Of boto3.
        s3: Access to S3.
        bucket: Name of the bucket.
        key: Of the object.
    """

    def __init__(self, client: Any, s3: S3Config, bucket: str, key: str) -> None:
        self._client, self._s3, self._bucket, self._key = client, s3, bucket, key
        self._objects = S3Objects(bucket, s3)
        self._at = {"Bucket": bucket, "Key": key}
        self._versions: list[str] = []  # of the object; a bucket that keeps them keeps all
        self._there = False
        self._subject = f"output {SCHEME}{bucket}/{key.rpartition('/')[0]}".rstrip("/")

    def rights(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each right that a run needs, and what tries it."""
        yield "s3:ListBucket", lambda: self._objects.names(self._key.rpartition("/")[0])
        yield "s3:PutObject", self._put
        yield "s3:GetObject", self._read
        yield "s3:AbortMultipartUpload", self._abort
        yield "s3:DeleteObject", self._delete

    def attempt(self, right: str, call: Callable[[], object]) -> Finding:
        """Try one right."""
        try:
            call()
        except (BotoCoreError, ClientError, VcnError) as error:
            shown = error if isinstance(error, VcnError) else explained(error, self._uri)
            advice = _rights(right, place=self._uri)
            if right == "s3:PutObject":
                advice += OLD_SERVER
            if right == "s3:AbortMultipartUpload":
                return warning(
                    self._subject, f"{right}: {shown}", f"{advice}; for files over 64 MiB"
                )
            return fault(self._subject, f"{right}: {shown}", advice)
        return ok(self._subject, f"{right} works")

    def clear(self) -> Finding | None:
        """Remove what is left, hidden versions too; what cannot be removed is a finding."""
        try:
            if self._there:
                self._delete()
            for version in self._versions:
                self._client.delete_object(**self._at, VersionId=version, **self._s3.payer)
        except (BotoCoreError, ClientError) as error:
            shown = explained(error, self._uri)
            what = "hidden versions of it" if self._versions and not self._there else "it"
            return warning(
                self._subject,
                f"{self._uri} of {len(PROBE)} bytes was written, and {what} could not be removed "
                f"({shown})",
                f"remove {self._uri}, and allow s3:DeleteObject and s3:DeleteObjectVersion",
            )
        return None

    @property
    def _uri(self) -> str:
        return f"{SCHEME}{self._bucket}/{self._key}"

    def _put(self) -> None:
        extra = self._s3.encryption | self._s3.payer
        self._there = True  # also where the answer is lost
        try:
            self._note(self._client.put_object(**self._at, Body=PROBE, **extra))
        except ClientError:
            self._there = False
            raise

    def _read(self) -> None:
        part = self._objects.read_part(self._key, 4, len(PROBE))
        if part.data != PROBE[4:]:
            raise StorageError(f"{self._uri} returns other bytes than written: use another server")

    def _abort(self) -> None:
        extra = self._s3.encryption | self._s3.payer
        begun = self._client.create_multipart_upload(**self._at, **extra)
        self._client.abort_multipart_upload(
            **self._at, UploadId=begun["UploadId"], **self._s3.payer
        )

    def _delete(self) -> None:
        self._note(self._client.delete_object(**self._at, **self._s3.payer))
        self._there = False

    def _note(self, answer: dict[str, Any]) -> None:
        version = answer.get("VersionId")
        if version and version != "null":
            self._versions.append(version)


def _rights(*actions: str, place: str) -> str:
    if not is_remote(place):
        return "check the path, and that you may read it"
    return f"allow {' and '.join(actions)}, see docs/s3.md, or check endpoint, region and profile"
