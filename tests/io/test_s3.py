"""S3 as it is reached and read, against a real server on loopback."""

from __future__ import annotations

import errno
import itertools
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.committed import commit
from tests.helpers.s3_server import KEYS, Harm, S3Server
from tests.helpers.videos import encode
from vcn_ray.errors import MediaError, StorageError, UsageError
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.s3_file import BLOCK_BYTES, S3File, open_source
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig

pytestmark = pytest.mark.network

_numbers = itertools.count(1)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """An empty bucket; nothing is counted yet, and nothing goes wrong."""
    name = f"bucket-{next(_numbers)}"
    s3_server.client.create_bucket(Bucket=name)
    s3_server.calm()
    return name


@pytest.fixture
def reach(s3_server: S3Server) -> Callable[..., S3Config]:
    """The settings that lead to the server, and others."""

    def make(**settings: Any) -> S3Config:
        return S3Config(endpoint=s3_server.url, region="us-east-1", **settings)

    return make


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of several MiB with its index at the end."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (144, 256, 3), dtype=np.uint8) for _ in range(175)]
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(path, pictures, options={"crf": "10", "g": "25"})
    data = path.read_bytes()
    assert len(data) > 6 * BLOCK_BYTES
    assert data.rfind(b"moov") > len(data) - BLOCK_BYTES
    return path


def _put(server: S3Server, bucket: str, key: str, data: bytes) -> str:
    etag: str = server.client.put_object(Bucket=bucket, Key=key, Body=data)["ETag"]
    server.calm()
    return etag.strip('"')


def test_storage_on_s3_is_storage(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    storage = Storage.open(f"s3://{bucket}/out put", reach())
    storage.write_bytes("a/b.bin", b"12")
    storage.write_bytes("a/empty", b"")
    storage.write_json("a/c.json", {"x": [1, "ü"]})
    storage.write_table("a/d/e.parquet", pa.table({"n": [1, 2]}))
    assert storage.read_bytes("a/b.bin") == b"12"
    assert storage.read_bytes("a/empty") == b""
    assert storage.read_json("a/c.json") == {"x": [1, "ü"]}
    assert storage.find_json("a/none.json") is None
    assert storage.read_table("a/d/e.parquet").to_pydict() == {"n": [1, 2]}
    assert storage.names("a") == ["b.bin", "c.json", "d", "empty"]
    assert storage.names("") == ["a"]
    assert storage.names("nothing") == []
    assert (storage.exists("a/b.bin"), storage.exists("a/b")) == (True, False)
    commit(storage, "a", {})
    assert storage.is_committed("a")
    storage.delete("a/b.bin")
    storage.delete("a/b.bin")
    assert not storage.exists("a/b.bin")
    storage.check_writable()
    assert pickle.loads(pickle.dumps(storage)).read_json("a/c.json") == {"x": [1, "ü"]}
    assert pickle.loads(pickle.dumps(storage)) == storage
    assert KEYS["aws_secret_access_key"].encode() not in pickle.dumps(storage)
    head = s3_server.client.head_object(Bucket=bucket, Key="out put/a/c.json")
    assert head["ContentType"] == "application/json"


def test_listing_goes_on_past_the_first_page(
    s3_server: S3Server,
    bucket: str,
    reach: Callable[..., S3Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vcn_ray.io.s3_objects.PAGE_KEYS", 3)
    objects = S3Objects(bucket, reach())
    for number in range(5):
        objects.write(f"many/{number}.mp4", b"")
    s3_server.calm()
    found = read_catalog([f"s3://{bucket}/many"], reach())
    assert [video.uri for video in found] == [f"s3://{bucket}/many/{n}.mp4" for n in range(5)]
    assert len([request for request in s3_server.log if request.lists]) == 2
    assert s3_server.count("HEAD") == 0
    assert all(video.etag for video in found)


def test_every_request_says_who_pays_and_every_write_names_the_key(
    s3_server: S3Server,
    bucket: str,
    reach: Callable[..., S3Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vcn_ray.io.s3_objects.PART_BYTES", 5 << 20)  # the least S3 takes
    config = reach(requester_pays=True, kms_key="alias/studio")
    storage = Storage.open(f"s3://{bucket}", config)
    storage.write_bytes("x", b"1")
    storage.write_bytes("large", bytes((5 << 20) + 1))
    storage.write_bytes("small", b"1")
    storage.read_bytes("x")
    storage.exists("x")
    storage.names("")
    storage.delete("x")
    S3File(f"s3://{bucket}/large", config=config).read(10)
    assert {r.method for r in s3_server.log} == {"GET", "HEAD", "PUT", "POST", "DELETE"}
    silent = [r for r in s3_server.log if r.headers.get("x-amz-request-payer") != "requester"]
    assert silent == []
    for key in ("large", "small"):
        head = s3_server.client.head_object(Bucket=bucket, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/studio")
    assert len(s3_server.requests("PUT", bucket, "large")) == 2


def test_without_those_settings_nothing_is_said(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    Storage.open(f"s3://{bucket}", reach()).write_bytes("x", b"1")
    (request,) = s3_server.log
    assert "x-amz-request-payer" not in request.headers
    assert "x-amz-server-side-encryption" not in request.headers
    assert "authorization" in request.headers


def test_anonymous_requests_are_not_signed(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    s3_server.client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    s3_server.calm()
    storage = Storage.open(f"s3://{bucket}", reach(anonymous=True))
    storage.write_bytes("x", b"1")
    S3File(f"s3://{bucket}/x", config=reach(anonymous=True)).read()
    storage.exists("x")
    assert len(s3_server.log) >= 3
    assert not [request for request in s3_server.log if "authorization" in request.headers]


def _key_id(request: Any) -> str:
    return str(request.headers["authorization"].split("Credential=")[1].split("/")[0])


def test_a_profile_s_credentials_and_region_are_used(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        "[studio]\naws_access_key_id=STUDIO\naws_secret_access_key=x\n"
    )
    (tmp_path / "config").write_text("[profile studio]\nregion=eu-west-3\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    config = S3Config(endpoint=s3_server.url, profile="studio")
    storage = Storage.open(f"s3://{bucket}", config)
    storage.write_bytes("x", b"1")
    storage.exists("x")
    assert {_key_id(request) for request in s3_server.log} == {"STUDIO"}
    assert all("/eu-west-3/s3/" in r.headers["authorization"] for r in s3_server.log)
    wrong = Storage.open(f"s3://{bucket}", S3Config(endpoint=s3_server.url, profile="nobody"))
    with pytest.raises(StorageError, match=r"profile \(nobody\) could not be found: s3.profile"):
        wrong.exists("x")


def test_a_role_is_assumed_and_its_credentials_used(
    s3_server: S3Server,
    bucket: str,
    reach: Callable[..., S3Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3_server.url)
    role = "arn:aws:iam::123456789012:role/reader"
    storage = Storage.open(f"s3://{bucket}", reach(role_arn=role))
    storage.write_bytes("x", b"1")
    storage.exists("x")
    asked = [request for request in s3_server.log if "/sts/" in request.headers["authorization"]]
    assert [_key_id(request) for request in asked] == [KEYS["aws_access_key_id"]]
    rest = [request for request in s3_server.log if request not in asked]
    assert {request.method for request in rest} == {"PUT", "HEAD"}
    assert all("x-amz-security-token" in request.headers for request in rest)
    assert KEYS["aws_access_key_id"] not in {_key_id(request) for request in rest}


def test_the_endpoint_may_come_from_the_environment(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    Storage.open(f"s3://{bucket}", S3Config(region="us-west-2")).write_bytes("x", b"1")
    assert s3_server.count("PUT", bucket) == 1


@pytest.mark.parametrize("harm", ["500", "503", "reset", "cut"])
def test_what_breaks_off_is_tried_again(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config], harm: Harm
) -> None:
    storage = Storage.open(f"s3://{bucket}", reach())
    storage.write_bytes("x", bytes(100_000))
    s3_server.harm(harm, 2, "GET", "x")
    assert storage.read_bytes("x") == bytes(100_000)
    s3_server.harm(harm, 1, "GET", "x")
    assert len(S3File(f"s3://{bucket}/x", config=reach()).read(100_000)) == 100_000
    if harm != "cut":
        s3_server.harm(harm, 2, "PUT", "x")
        storage.write_bytes("x", b"new")
        assert storage.read_bytes("x") == b"new"


def test_after_a_few_tries_it_is_an_error(
    s3_server: S3Server,
    bucket: str,
    reach: Callable[..., S3Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vcn_ray.io.retry.FIRST_WAIT_SECONDS", 0.01)
    storage = Storage.open(f"s3://{bucket}", reach())
    storage.write_bytes("x", b"1")
    s3_server.harm("503", 1000, "GET", "x")
    with pytest.raises(StorageError, match=r"cannot read s3://.*/x: S3 is too busy .*503"):
        storage.read_bytes("x")
    assert 4 <= s3_server.count("GET", bucket) <= 20
    with pytest.raises(MediaError, match="too busy") as caught:
        S3File(f"s3://{bucket}/x", config=reach()).read()
    assert caught.value.reason == "storage_error"


def test_what_a_server_does_not_know_is_not_tried_again(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    storage = Storage.open(f"s3://{bucket}", reach(kms_key="k"))
    s3_server.harm("501", 100, "PUT", "x")
    with pytest.raises(StorageError, match=r"cannot write s3://.*/x: .*501") as caught:
        storage.write_bytes("x", b"1")
    assert "again" not in str(caught.value)
    assert s3_server.count("PUT", bucket) == 1
    s3_server.calm()


def test_an_answer_in_other_words_than_those_of_s3_is_told(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    s3_server.harm("page", 1, "GET", "x")
    with pytest.raises(StorageError, match=r"answered 400 without an S3 error code: .*endpoint"):
        Storage.open(f"s3://{bucket}", reach()).read_bytes("x")


def test_a_local_folder_is_tried_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.io.retry.FIRST_WAIT_SECONDS", 0.01)
    storage = Storage.open(str(tmp_path))
    storage.write_bytes("x", b"1")
    read, failures = Path.read_bytes, [OSError(errno.ESTALE, "stale file handle")]

    def sometimes(path: Path) -> bytes:
        if failures:
            raise failures.pop()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", sometimes)
    assert storage.read_bytes("x") == b"1"


def test_a_file_seeks_and_reads_like_any(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    data = np.random.default_rng(0).bytes(3 * BLOCK_BYTES + 17)
    etag = _put(s3_server, bucket, "a b/ü?.mp4", data)
    file = S3File(f"s3://{bucket}/a b/ü?.mp4", etag, config=reach())
    assert file.name == "a b/ü?.mp4"
    assert file.seek(-17, 2) == len(data) - 17
    assert file.read() == data[-17:]
    assert file.read(1) == b""
    file.seek(BLOCK_BYTES - 5)
    assert len(file.read(10)) == 5  # to the end of a block, as raw files may
    file.seek(0)
    assert b"".join(iter(lambda: file.read(300_000), b"")) == data
    gets = s3_server.requests("GET", bucket)
    assert len(gets) == 4  # each block once
    assert {request.headers["if-match"] for request in gets} == {f'"{etag}"'}
    with pytest.raises(ValueError, match="cannot seek"):
        file.seek(-1)


def test_a_file_travels_between_processes(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    etag = _put(s3_server, bucket, "x", b"0123456789")
    file = S3File(f"s3://{bucket}/x", config=reach())
    file.read(4)
    data = pickle.dumps(file)
    assert KEYS["aws_secret_access_key"].encode() not in data
    again = pickle.loads(data)
    assert (again.uri, again.etag, again.size, again.tell()) == (file.uri, etag, 10, 0)
    assert again.read() == b"0123456789"


def test_an_empty_object_is_an_empty_file(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    _put(s3_server, bucket, "empty.mp4", b"")
    file = S3File(f"s3://{bucket}/empty.mp4", config=reach())
    assert (file.size, file.read()) == (0, b"")
    with pytest.raises(MediaError, match="is empty"):
        probe(open_source(f"s3://{bucket}/empty.mp4", "", reach()))


def test_a_film_with_its_index_at_the_end_is_read_by_few_ranges(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config], film: Path
) -> None:
    etag = _put(s3_server, bucket, "film.mp4", film.read_bytes())
    source = open_source(f"s3://{bucket}/film.mp4", etag, reach())
    config = DecodeConfig(segment_seconds=1)
    assert asdict(probe(source)) == asdict(probe(film))
    segments = plan_segments(source, config)
    assert [asdict(s) for s in segments] == [asdict(s) for s in plan_segments(film, config)]
    assert len(segments) == 7
    assert s3_server.count("GET", bucket) <= 8
    s3_server.calm()
    fresh = open_source(f"s3://{bucket}/film.mp4", etag, reach())
    frames = [frame.seconds for frame in read_segment(fresh, segments[3], config)]
    assert frames == [frame.seconds for frame in read_segment(film, segments[3], config)]
    gets = s3_server.requests("GET", bucket)
    assert len(gets) <= 5
    assert sum(request.sent for request in gets) < film.stat().st_size / 1.5
    assert len({request.headers["range"] for request in gets}) == len(gets)


def test_a_film_replaced_while_it_is_read_is_told(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config], film: Path
) -> None:
    etag = _put(s3_server, bucket, "film.mp4", film.read_bytes())
    config = DecodeConfig(segment_seconds=1)
    segments = plan_segments(film, config)
    source = open_source(f"s3://{bucket}/film.mp4", etag, reach())
    frames = iter(read_segment(source, segments[0], DecodeConfig(segment_seconds=1)))
    next(frames)
    _put(s3_server, bucket, "film.mp4", film.read_bytes()[::-1])
    with pytest.raises(MediaError, match=r"film\.mp4: it was replaced while") as caught:
        list(read_segment(source, segments[4], config))
    assert caught.value.reason == "source_changed"
    with pytest.raises(MediaError, match="replaced") as caught:
        probe(open_source(f"s3://{bucket}/film.mp4", etag, reach()))
    assert caught.value.reason == "source_changed"


def test_what_is_missing_or_denied_is_one_clear_line(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    for uri, message in (
        (f"s3://{bucket}/no.mp4", f"s3://{bucket}/no.mp4: there is no such object"),
        ("s3://no-such-bucket-here/no.mp4", "there is no bucket no-such-bucket-here"),
    ):
        with pytest.raises(MediaError, match=message) as caught:
            S3File(uri, config=reach()).read()
        assert caught.value.reason == "missing"
    with pytest.raises(UsageError, match=r"cannot be listed .*no bucket no-such-bucket-here"):
        read_catalog(["s3://no-such-bucket-here/films"], reach())
    with pytest.raises(UsageError, match=f"no videos below s3://{bucket}/films"):
        read_catalog([f"s3://{bucket}/films"], reach())
    with pytest.raises(StorageError, match=r"cannot write .*no bucket no-such-bucket-here"):
        Storage.open("s3://no-such-bucket-here/x", reach()).check_writable()


def test_access_denied_says_what_to_do(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    s3_server.harm("403", 100, "GET")
    s3_server.harm("403", 100, "PUT")
    with pytest.raises(UsageError, match=r"access denied to ListObjectsV2.*s3\.profile"):
        read_catalog([f"s3://{bucket}/films"], reach())
    with pytest.raises(StorageError, match=r"cannot write .*access denied to PutObject"):
        Storage.open(f"s3://{bucket}", reach()).check_writable()
    with pytest.raises(MediaError, match="access denied to GetObject") as caught:
        S3File(f"s3://{bucket}/film.mp4", config=reach()).read()
    assert caught.value.reason == "unreadable"
    s3_server.calm()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_manifests_on_s3_and_of_s3(
    s3_server: S3Server,
    bucket: str,
    reach: Callable[..., S3Config],
    tmp_path: Path,
    ending: str,
) -> None:
    uris = ["e1.mp4", "../b/e 2.mp4", "s3://other/x.mp4", "/films/local.mp4"]
    path = tmp_path / f"catalog.{ending}"
    if ending == "csv":
        path.write_text("uri,title\n" + "".join(f"{uri},Season\n" for uri in uris))
    elif ending == "jsonl":
        path.write_text("".join(f'{{"uri": "{uri}", "title": "Season"}}\n' for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris, "title": ["Season"] * 4}), path)
    _put(s3_server, bucket, f"a/catalog.{ending}", path.read_bytes())
    expected = [f"s3://{bucket}/a/e1.mp4", f"s3://{bucket}/b/e 2.mp4", *uris[2:]]
    found = read_catalog([f"s3://{bucket}/a/catalog.{ending}"], reach())
    assert found == [CatalogVideo(uri, "Season") for uri in expected]
    here = [str(tmp_path / "e1.mp4"), str(tmp_path / "../b/e 2.mp4"), *uris[2:]]
    assert read_catalog([str(path)], reach()) == [CatalogVideo(uri, "Season") for uri in here]
    with pytest.raises(UsageError, match="cannot be listed or read: there is no such object"):
        read_catalog([f"s3://{bucket}/none.{ending}"], reach())


def test_one_video_or_a_folder_of_them(
    s3_server: S3Server, bucket: str, reach: Callable[..., S3Config]
) -> None:
    for key in ("films/b.MKV", "films/a/x.mp4", "films/notes.txt", "films/", "films2/c.mp4", "odd"):
        _put(s3_server, bucket, key, b"1")
    at = f"s3://{bucket}"
    below = [f"{at}/films/a/x.mp4", f"{at}/films/b.MKV"]
    assert [v.uri for v in read_catalog([f"{at}/films"], reach())] == below
    assert [v.uri for v in read_catalog([f"{at}/films/"], reach())] == below
    assert [v.uri for v in read_catalog([at], reach())] == [*below, f"{at}/films2/c.mp4"]
    assert read_catalog([f"{at}/odd"], reach()) == [CatalogVideo(f"{at}/odd")]
    s3_server.calm()
    assert read_catalog([f"{at}/films/none.mp4"], reach()) == [CatalogVideo(f"{at}/films/none.mp4")]
    assert s3_server.log == []
