"""Rights on folders and buckets are tried one by one, and nothing is left behind."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from vcn_ray.health.finding import Finding
from vcn_ray.health.places import input_findings, output_findings
from vcn_ray.io.s3 import S3Config

_numbers = itertools.count(1)
RIGHTS = ["ListBucket", "PutObject", "GetObject", "AbortMultipartUpload", "DeleteObject"]


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "new/below"):
        findings = list(output_findings(str(tmp_path / name), S3Config()))
        assert findings[0].state == "ok"
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_is_a_file_or_closed_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    (found,) = output_findings(str(tmp_path / "file"), S3Config())
    assert (found.state, found.text) == ("fault", "a file")
    (found,) = output_findings("/proc/nothing", S3Config())  # nobody can write there
    assert found.state == "fault"
    assert "cannot be written" in found.text


def test_inputs_of_this_machine(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"0123456789abcdef")
    (tmp_path / "list.csv").write_text("uri\na.mp4\nb.mp4\n")
    assert states(list(input_findings(str(tmp_path), S3Config()))) == ["ok", "ok"]
    listed, read = input_findings(str(tmp_path / "list.csv"), S3Config())
    assert listed.text == "manifest of 2 videos"
    assert read.text == f"{video} can be read"
    assert states(list(input_findings(str(tmp_path / "b.mp4"), S3Config()))) == ["ok", "fault"]
    (found,) = input_findings(str(tmp_path / "none") + "/", S3Config())
    assert found.state == "fault"


@pytest.fixture
def reach(s3_server: S3Server) -> tuple[str, S3Config]:
    """An empty bucket, and how to reach it."""
    name = f"doctor-{next(_numbers)}"
    s3_server.client.create_bucket(Bucket=name)
    s3_server.calm()
    return name, S3Config(endpoint=s3_server.url, region="us-east-1")


def assert_empty(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client
    found = client.list_object_versions(Bucket=bucket)
    assert found.get("Versions", []) + found.get("DeleteMarkers", []) == []
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


@pytest.mark.network
@pytest.mark.parametrize("versions", [False, True])
@pytest.mark.parametrize("prefix", ["", "/results/all/"])
def test_every_right_is_tried_and_nothing_is_left(
    s3_server: S3Server, reach: tuple[str, S3Config], versions: bool, prefix: str
) -> None:
    bucket, config = reach
    if versions:
        s3_server.client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    findings = list(output_findings(f"s3://{bucket}{prefix}", config))
    assert [f.text for f in findings] == [
        *(f"s3:{right} works" for right in RIGHTS),
        "nothing is left behind",
    ]
    assert set(states(findings)) == {"ok"}
    assert_empty(s3_server, bucket)


@pytest.mark.network
@pytest.mark.parametrize(
    ("method", "right", "state"),
    [
        ("PUT", "s3:PutObject", "fault"),
        ("POST", "s3:AbortMultipartUpload", "warning"),
        ("DELETE", "s3:DeleteObject", "fault"),
    ],
)
def test_a_right_that_is_missing_is_named(
    s3_server: S3Server, reach: tuple[str, S3Config], method: str, right: str, state: str
) -> None:
    bucket, config = reach
    # Of the two DELETE requests the first one ends the upload of parts.
    s3_server.harm("403", 2 if method == "DELETE" else 1, method)
    findings = list(output_findings(f"s3://{bucket}/out", config))
    bad = [f for f in findings if f.state != "ok" and f.text.startswith(right)]
    assert [(f.state, right in f.advice) for f in bad] == [(state, True)]
    assert findings[-1].text == "nothing is left behind" or right == "s3:PutObject"
    assert s3_server.client.list_objects_v2(Bucket=bucket).get("KeyCount") == 0


@pytest.mark.network
def test_what_cannot_be_removed_is_said(s3_server: S3Server, reach: tuple[str, S3Config]) -> None:
    bucket, config = reach
    s3_server.harm("403", 9, "DELETE", "out/.vcn-doctor")
    *_, last = output_findings(f"s3://{bucket}/out", config)
    s3_server.calm()
    assert last.state == "warning"
    assert "could not be removed" in last.text
    assert "s3:DeleteObjectVersion" in last.advice


@pytest.mark.network
def test_a_bucket_that_is_missing(s3_server: S3Server, reach: tuple[str, S3Config]) -> None:
    _, config = reach
    findings = list(output_findings("s3://no-such-bucket/out", config))
    assert set(states(findings)) == {"fault"}
    (found,) = input_findings("s3://no-such-bucket/films/", config)
    assert found.state == "fault"


@pytest.mark.network
def test_inputs_on_s3(s3_server: S3Server, reach: tuple[str, S3Config]) -> None:
    bucket, config = reach
    s3_server.client.put_object(Bucket=bucket, Key="films/a.mp4", Body=b"0123456789")
    s3_server.calm()
    listed, read = input_findings(f"s3://{bucket}/films", config)
    assert listed.text == "input of 1 videos"
    assert read.text == f"s3://{bucket}/films/a.mp4 can be read"
    assert [r.headers.get("range") for r in s3_server.requests("GET", bucket)] == ["bytes=0-9"]
    s3_server.harm("403", 1, "GET", "films/a")
    assert states(list(input_findings(f"s3://{bucket}/films", config))) == ["ok", "fault"]
