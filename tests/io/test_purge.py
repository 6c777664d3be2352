"""Hidden versions of a bucket are deleted below a prefix, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage


@pytest.mark.network
def test_only_hidden_versions_below_the_prefix_go(s3_server: S3Server) -> None:
    client = s3_server.client
    client.create_bucket(Bucket="purged")
    status = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="purged", VersioningConfiguration=status)
    storage = Storage.open("s3://purged/out", S3Config(endpoint=s3_server.url, region="us-east-1"))
    for text in (b"1", b"2", b"3"):
        storage.write_bytes("a/kept", text)
        storage.write_bytes("a/gone", text)
        storage.write_bytes("ab", text)
    storage.delete("a/gone")
    done = storage.purge("a/")
    assert done.left == ()
    assert sorted(version.path for version in done.deleted) == ["a/gone"] * 4 + ["a/kept"] * 2
    assert storage.read_bytes("a/kept") == b"3"
    assert storage.names("a") == ["kept"]
    left = client.list_object_versions(Bucket="purged")
    assert sorted(v["Key"] for v in left["Versions"]) == ["out/a/kept", *["out/ab"] * 3]
    assert "DeleteMarkers" not in left
    assert storage.purge("a/").deleted == ()


@pytest.mark.network
def test_a_bucket_without_versions_is_not_even_listed(s3_server: S3Server) -> None:
    s3_server.client.create_bucket(Bucket="plain")
    storage = Storage.open("s3://plain/out", S3Config(endpoint=s3_server.url, region="us-east-1"))
    storage.write_bytes("a", b"1")
    assert storage.purge("") == ((), ())
    assert storage.read_bytes("a") == b"1"


def test_a_folder_goes_only_where_it_is_empty(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write_bytes("a/b/file", b"1")
    storage.tidy("a/b")
    assert storage.exists("a/b/file")
    storage.delete("a/b/file")
    storage.tidy("a/b")
    assert storage.names("a") == []
    assert storage.purge("a") == ((), ())
