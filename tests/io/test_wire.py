"""A fault between S3 and us is tried again, or an error of storage; it is never a short video."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.system.wire import ANSWERS, body, flipped, half, header, ranged, status
from tests.helpers.s3_server import Answer, Request, S3Server
from vcn_ray.errors import DamagedError, MediaError, S3Error, StorageError
from vcn_ray.io.committed import CommittedFolder, FolderWriter
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.s3_file import BLOCK_BYTES, S3File
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.io.storage import Storage

pytestmark = [
    pytest.mark.network,
    # boto3 leaves a connection to the garbage collector where it cannot read an answer's headers.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DATA = np.random.default_rng(0).integers(0, 256, 3 * BLOCK_BYTES + 12345, np.uint8).tobytes()
ERROR = b"<Error><Code>%s</Code><Message>no</Message></Error>"

PASSING = [
    mode
    for mode in ANSWERS
    if mode.startswith("range: ")
    and mode.split(": ")[1]
    not in ("not found", "forbidden", "replaced", "no ETag", "bytes altered, lengths honest")
]
"""Modes that a repeated request gets over."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.io.retry.FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def config(s3_server: S3Server) -> S3Config:
    s3_server.calm()
    return S3Config(endpoint=s3_server.url, region="us-east-1")


@pytest.fixture
def bucket(s3_server: S3Server, config: S3Config) -> str:
    name = f"wire-{uuid.uuid4().hex[:12]}"
    s3_server.client.create_bucket(Bucket=name)
    s3_server.client.put_object(Bucket=name, Key="film.mp4", Body=DATA)
    return name


def spoil(
    server: S3Server,
    change: Callable[[Request, Answer], Answer],
    times: int,
    method: str = "GET",
    key: str = "",
) -> None:
    """Change the next answers to a method for keys that start so."""
    left = [times]

    def alter(request: Request, answer: Answer) -> Answer:
        if request.method != method or not request.key.startswith(key) or not left[0]:
            return answer
        left[0] -= 1
        return change(request, answer)

    server.alter = alter


def whole(file: S3File) -> bytes:
    return b"".join(iter(lambda: file.read(BLOCK_BYTES), b""))


@pytest.mark.parametrize("mode", PASSING)
def test_a_wrong_answer_is_asked_again(
    s3_server: S3Server, config: S3Config, bucket: str, mode: str
) -> None:
    etag = S3Objects(bucket, config).head("film.mp4").etag
    file = S3File(f"s3://{bucket}/film.mp4", etag, len(DATA), config)
    spoil(s3_server, ANSWERS[mode][1], 2, key="film.mp4")
    assert whole(file) == DATA


@pytest.mark.parametrize("mode", [mode for mode in PASSING if mode != "range: late"])
def test_what_stays_wrong_is_an_error_of_storage(
    s3_server: S3Server, config: S3Config, bucket: str, mode: str
) -> None:
    etag = S3Objects(bucket, config).head("film.mp4").etag
    file = S3File(f"s3://{bucket}/film.mp4", etag, len(DATA), config)
    file.read(BLOCK_BYTES)  # the first is right
    spoil(s3_server, ANSWERS[mode][1], 10_000, key="film.mp4")
    with pytest.raises(MediaError) as caught:
        file.read(BLOCK_BYTES)
    assert caught.value.reason == "storage_error"
    assert len(caught.value.message.splitlines()) == 1


def test_a_length_that_planning_did_not_find_is_a_fault(
    s3_server: S3Server, config: S3Config, bucket: str
) -> None:
    file = S3File(f"s3://{bucket}/film.mp4", "", len(DATA) - 1, config)
    with pytest.raises(MediaError, match=rf"of an object of {len(DATA)} bytes, not of") as caught:
        file.read(10)
    assert caught.value.reason == "storage_error"


def test_without_an_etag_the_reason_is_clear(
    s3_server: S3Server, config: S3Config, bucket: str
) -> None:
    spoil(s3_server, header("ETag", None), 100, "HEAD")
    with pytest.raises(S3Error, match=r"answer for film\.mp4 has no ETag, .*check s3\.endpoint"):
        S3Objects(bucket, config).head("film.mp4")
    spoil(s3_server, header("ETag", None), 100)
    with pytest.raises(MediaError, match="has no ETag") as caught:
        S3File(f"s3://{bucket}/film.mp4", config=config).read(10)
    assert caught.value.reason == "unreadable"


def test_altered_bytes_are_found_before_a_video_is_blamed(
    s3_server: S3Server, config: S3Config, bucket: str
) -> None:
    file = S3File(f"s3://{bucket}/film.mp4", config=config)
    file.read(10)
    file.confirm()
    spoil(s3_server, body(flipped), 1, key="film.mp4")
    file.seek(BLOCK_BYTES)
    file.read(10)
    with pytest.raises(MediaError, match="two reads of the same bytes differ") as caught:
        file.confirm()
    assert caught.value.reason == "storage_error"


def test_a_checksum_that_s3_gives_is_compared(
    s3_server: S3Server, config: S3Config, bucket: str
) -> None:
    client = s3_server.client
    client.put_object(Bucket=bucket, Key="x", Body=b"x" * 1000, ChecksumAlgorithm="CRC32")
    objects = S3Objects(bucket, config)
    s3_server.calm()
    assert objects.read("x") == b"x" * 1000
    (request,) = s3_server.requests("GET", bucket)
    assert request.headers["x-amz-checksum-mode"] == "ENABLED"
    for change in (half, flipped):
        spoil(s3_server, body(change), 2, key="x")
        assert objects.read("x") == b"x" * 1000
        spoil(s3_server, body(change), 100, key="x")
        with pytest.raises(S3Error) as caught:
            objects.read("x")
        assert caught.value.kind == "altered"
        with pytest.raises(DamagedError, match="x is damaged: its bytes do not match the checksum"):
            Storage.open(f"s3://{bucket}", config).read_bytes("x")


def test_a_list_of_videos_is_never_cut(s3_server: S3Server, config: S3Config, bucket: str) -> None:
    objects = S3Objects(bucket, config)
    strip = header("x-amz-checksum-crc32", None)
    spoil(s3_server, lambda r, a: strip(r, replace(a, content=half(a.content))), 2, key="film.mp4")
    assert objects.read_whole("film.mp4") == DATA
    spoil(s3_server, lambda r, a: strip(r, replace(a, content=half(a.content))), 99, key="film.mp4")
    with pytest.raises(S3Error, match="came of an object of") as caught:
        objects.read_whole("film.mp4")
    assert caught.value.kind == "unavailable"


@pytest.mark.parametrize("mode", [mode for mode in ANSWERS if mode.startswith("list: ")])
def test_a_listing_is_whole_or_an_error(
    s3_server: S3Server, config: S3Config, bucket: str, mode: str
) -> None:
    storage = Storage.open(f"s3://{bucket}", config)
    storage.write_bytes("a", b"1")
    change = ANSWERS[mode][1]

    def alter(request: Request, answer: Answer) -> Answer:
        return change(request, answer) if request.lists else answer

    s3_server.alter = alter
    if mode in ("list: no ETags", "list: other sizes"):
        assert storage.names("") == ["a", "film.mp4"]
        return
    with pytest.raises(StorageError) as caught:
        storage.names("")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("change", [half, flipped, lambda data: b""])
def test_a_table_that_comes_wrong_is_not_read(
    s3_server: S3Server, config: S3Config, bucket: str, change: Callable[[bytes], bytes]
) -> None:
    storage = Storage.open(f"s3://{bucket}/out", config)
    writer = FolderWriter(storage, "one")
    writer.write_bytes("model", DATA[:1000])
    writer.commit({})
    folder = CommittedFolder.open(storage, "one")
    # Without the checksum that S3 may keep: our own still tells.
    strip = header("x-amz-checksum-crc32", None)
    spoil(s3_server, lambda r, a: strip(r, replace(a, content=change(a.content))), 2)
    assert folder.read_bytes("model") == DATA[:1000]
    assert CommittedFolder.open(storage, "one").files == folder.files
    spoil(s3_server, lambda r, a: strip(r, replace(a, content=change(a.content))), 3)
    with pytest.raises(DamagedError, match="one/model is damaged: its bytes are not those"):
        folder.read_bytes("model")
    assert folder.read_bytes("model") == DATA[:1000]


@pytest.mark.parametrize("stored", [half, None])
def test_a_write_that_was_not_kept_is_not_committed(
    s3_server: S3Server,
    config: S3Config,
    bucket: str,
    stored: Callable[[bytes], bytes] | None,
) -> None:
    storage = Storage.open(f"s3://{bucket}/out", config)
    writer = FolderWriter(storage, "one")

    def intercept(request: Request, data: bytes) -> bytes | Answer:
        if request.method != "PUT":
            return data
        return stored(data) if stored else Answer(200, {"ETag": '"0"'}, b"")

    s3_server.intercept = intercept
    writer.write_bytes("model", DATA[:1000])
    s3_server.calm()
    with pytest.raises(DamagedError, match="it was written, and is missing or cut now"):
        writer.commit({})
    assert not storage.is_committed("one")


def test_a_server_without_ranges_is_told(
    s3_server: S3Server, config: S3Config, bucket: str
) -> None:
    spoil(s3_server, header("Content-Range", None), 100)
    with pytest.raises(MediaError, match="this server may not read objects by range"):
        S3File(f"s3://{bucket}/film.mp4", config=config).read(10)
    spoil(s3_server, status(404, ERROR % b"NoSuchKey"), 100)
    with pytest.raises(MediaError, match="there is no such object"):
        S3File(f"s3://{bucket}/film.mp4", config=config).read(10)
    spoil(s3_server, ranged(lambda a, b, n: f"bytes {a}-{b}/*"), 1)
    assert len(S3File(f"s3://{bucket}/film.mp4", config=config).read(10)) == 10
