"""S3 as OpenStack Swift speaks it: the whole run and all that storage asks of a server.

What was found with Swift 2.38.3: nothing that a run needs is missing. Reads by range keep to
If-Match, also of what was uploaded in parts, and a range past the end is InvalidRange. We write
without conditions, which is as well: Swift refuses If-Match on a PUT (501), and 16 writers with
If-None-Match had more or fewer than one winner in 11 of 12 races. It has no encryption by a named
key (501, which we used to try again and to call "too busy"), and answers an unsigned request with a
page for people, for only a signature tells it that S3 is meant.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.clusters import PROJECT
from tests.helpers.films import QUICK, Ran, titles_of, vcn, without_ids
from tests.helpers.swift_server import (
    PAGE_KEYS,
    REGION,
    NoSwiftError,
    SwiftServer,
    find_swift,
    swift_s3,
)
from tests.helpers.videos import FINE, encode, read_frames
from vcn_ray.errors import MediaError, S3Error, StorageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.s3_file import S3File
from vcn_ray.io.s3_objects import PART_BYTES, S3Objects
from vcn_ray.io.storage import Storage

pytestmark = pytest.mark.interop

VIDEOS = 3
BUCKETS = ("films", "results", "things")
OUTPUT = "s3://results/out"
TABLES = ("people", "tracks", "appearances", "merges", "shots", "crops")


@pytest.fixture(scope="module")
def swift() -> Iterator[SwiftServer]:
    """Swift with some buckets, and the credentials for it in the environment."""
    try:
        programs = find_swift()
    except NoSwiftError as reason:
        pytest.skip(str(reason))
    with pytest.MonkeyPatch.context() as patch, swift_s3(programs) as server:
        for name, value in server.credentials.items():
            patch.setenv(name, value)
        for bucket in BUCKETS:
            server.client.create_bucket(Bucket=bucket)
        yield server


@pytest.fixture(scope="module")
def config(swift: SwiftServer) -> S3Config:
    return S3Config(endpoint=swift.url, region=REGION)


@pytest.fixture(scope="module")
def objects(config: S3Config) -> S3Objects:
    return S3Objects("things", config)


@pytest.fixture(scope="module")
def folder(swift: SwiftServer, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a second and a half, here and in a bucket."""
    made = tmp_path_factory.mktemp("films")
    for number, clip in enumerate(sorted((shared / "data/videos").glob("grid_*.mpg"))[:VIDEOS]):
        path = made / f"film {number}.mp4"
        encode(path, read_frames(clip)[:36], options=FINE | {"g": "12"})
        swift.client.upload_file(str(path), "films", f"season/{path.name}")
    return made


@pytest.fixture(scope="module")
def first(folder: Path, yunet_pack: Path, swift: SwiftServer) -> Ran:
    return _index(yunet_pack, swift)


def _index(pack: Path, swift: SwiftServer) -> Ran:
    """The command as one types it: a process of its own, from bucket to bucket."""
    words = ["index", "s3://films/season", "--output", OUTPUT, "--pack", str(pack), "--local"]
    done = subprocess.run(
        [sys.executable, "-m", "vcn_ray", *words, *QUICK, *swift.settings],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def _stored(swift: SwiftServer) -> dict[str, str]:
    """When each object of the output was written."""
    pages = swift.client.get_paginator("list_objects_v2").paginate(Bucket="results")
    return {
        entry["Key"]: str(entry["LastModified"]) for page in pages for entry in page["Contents"]
    }


def test_rows_equal_those_of_a_local_folder(
    first: Ran, folder: Path, yunet_pack: Path, config: S3Config, tmp_path: Path
) -> None:
    assert first.code == 0, first.err
    assert first.record["videos"]["done"] == VIDEOS
    ran = vcn("index", folder, "--output", tmp_path, "--pack", yunet_pack, "--local", *QUICK)
    assert ran.code == 0, ran.err
    here, there = titles_of(Storage.open(str(tmp_path))), titles_of(Storage.open(OUTPUT, config))
    assert len(there) == VIDEOS
    assert set(here) == set(there)
    for name, title in here.items():
        assert title.people.num_rows >= 1
        assert title.summary["counts"] == there[name].summary["counts"]
        for table in TABLES:
            mine, theirs = getattr(title, table), getattr(there[name], table)
            assert without_ids(mine) == without_ids(theirs), (name, table)


def test_a_second_run_writes_only_its_record(
    first: Ran, yunet_pack: Path, swift: SwiftServer
) -> None:
    before = _stored(swift)
    again = _index(yunet_pack, swift)
    assert again.code == 0, again.err
    assert "nothing to do" in again.out
    assert again.record["videos"]["reused"] == VIDEOS
    after = _stored(swift)
    run = f"out/runs/{again.record['run_id']}/"
    assert {key: at for key, at in after.items() if not key.startswith(run)} == before
    assert f"{run}run.json" in after


def test_pages_of_results(first: Ran, swift: SwiftServer) -> None:
    ran = vcn("report", OUTPUT, *swift.settings)
    assert ran.code == 0, ran.err
    head = swift.client.head_object(Bucket="results", Key="out/index.html")
    assert head["ContentType"].startswith("text/html")


def test_ranges_are_of_the_version_that_is_meant(objects: S3Objects) -> None:
    objects.write("ranges", b"0123456789")
    etag = objects.head("ranges").etag
    assert objects.read_part("ranges", 2, 3, etag) == (b"234", 10, etag)
    assert objects.read_part("ranges", 8, 30, etag).data == b"89"
    assert objects.read_part("ranges", 10, 3).data == b""
    objects.write("ranges", b"9876543210")
    with pytest.raises(S3Error, match="replaced while it was read") as caught:
        objects.read_part("ranges", 2, 3, etag)
    assert caught.value.kind == "changed"
    with pytest.raises(MediaError) as told:
        S3File("s3://things/ranges", etag, config=objects.config).read()
    assert told.value.reason == "source_changed"


def test_an_upload_in_parts_is_read_by_range(objects: S3Objects) -> None:
    data = os.urandom(PART_BYTES + (6 << 20))
    objects.write("large", data)
    found = objects.head("large")
    assert found.size == len(data)
    seam = slice(PART_BYTES - 5, PART_BYTES + 5)
    part = objects.read_part("large", seam.start, 10, found.etag)
    assert part == (data[seam], len(data), found.etag)
    assert objects.read("large") == data
    objects.delete("large")
    assert not objects.exists("large")


def test_listings_go_on_past_the_first_page(objects: S3Objects) -> None:
    keys = [f"many/{number:03}.txt" for number in range(PAGE_KEYS + 2)]
    for key in keys:
        objects.write(key, b"x")
    assert [entry.key for entry in objects.list("many/")] == keys
    assert sorted(objects.names("many")) == [key.removeprefix("many/") for key in keys]
    assert objects.names("man") == {}


@pytest.mark.parametrize("name", ["a b+c", "ü/é", "100%25 & #1?", "x=y;z~'(1)"])
def test_names_stay_as_they_are(objects: S3Objects, name: str) -> None:
    objects.write(f"odd/{name}", b"1")
    assert [entry.key for entry in objects.list("odd/")] == [f"odd/{name}"]
    assert objects.read(f"odd/{name}") == b"1"
    objects.delete(f"odd/{name}")
    objects.delete(f"odd/{name}")
    assert list(objects.list("odd/")) == []


def test_what_is_missing_is_told_from_a_bucket_that_is(
    objects: S3Objects, config: S3Config
) -> None:
    nowhere = S3Objects("no-bucket-here", config)
    for call in (objects.read, objects.head):
        with pytest.raises(S3Error) as caught:
            call("none")
        assert caught.value.kind == "missing"
    calls = (nowhere.read, nowhere.head, partial(nowhere.write, data=b""))
    for refused in calls:
        with pytest.raises(S3Error) as caught:
            refused("none")
        assert caught.value.kind == "no_bucket"


def test_versions_are_kept_where_they_are_asked_for(swift: SwiftServer, config: S3Config) -> None:
    swift.client.create_bucket(Bucket="versions")
    status = {"Status": "Enabled"}
    swift.client.put_bucket_versioning(Bucket="versions", VersioningConfiguration=status)
    kept = S3Objects("versions", config)
    assert kept.has_versions()
    assert not S3Objects("things", config).has_versions()
    versions = set()
    for _ in range(2):
        kept.write("film.mp4", b"the same")
        versions.add(kept.head("film.mp4").version)
    assert len(versions) == 2
    assert "" not in versions


def test_wrong_keys_are_refused_in_one_line(
    swift: SwiftServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-it")
    other = S3Config(endpoint=swift.url, region=REGION, requester_pays=True)  # a client of its own
    with pytest.raises(StorageError, match="refuses the AWS credentials"):
        Storage.open("s3://things", other).check_writable()


def test_what_swift_lacks_is_told_at_once(swift: SwiftServer) -> None:
    locked = S3Config(endpoint=swift.url, region=REGION, kms_key="key")
    with pytest.raises(StorageError, match="NotImplemented") as caught:
        Storage.open("s3://things", locked).check_writable()
    assert "again" not in str(caught.value)
    open_to_all = S3Config(endpoint=swift.url, region=REGION, anonymous=True)
    with pytest.raises(StorageError, match=r"answered 400.*s3\.anonymous"):
        Storage.open("s3://things", open_to_all).read_bytes("x")
