"""The whole run from S3 to S3, on a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.films import QUICK, Ran, titles_of, vcn, without_ids
from tests.helpers.s3_server import KEYS, S3Server
from tests.helpers.videos import FINE, encode, read_frames
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage

pytestmark = [pytest.mark.network, pytest.mark.slow]

VIDEOS = 12
BUCKETS = {"films", "results", "models"}


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a second or two, with one person in each."""
    made = tmp_path_factory.mktemp("films")
    clips = sorted((shared / "data/videos").glob("grid_*.mpg"))[:4]
    for number, clip in enumerate(clips):
        frames = read_frames(clip)
        for part in range(VIDEOS // 4):
            length = 36 if part == 0 else 25
            pictures = frames[part * 20 : part * 20 + length]
            encode(made / f"{number}-{part}.mp4", pictures, options=FINE | {"g": "12"})
    return made


@pytest.fixture(scope="module")
def reach(s3_server: S3Server) -> list[str]:
    for bucket in BUCKETS:
        s3_server.client.create_bucket(Bucket=bucket)
    return s3_server.settings


@pytest.fixture(scope="module")
def local(folder: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of them, indexed where they lie."""
    output = tmp_path_factory.mktemp("local")
    some = sorted(folder.iterdir())[::5]
    ran = vcn("index", *some, "--output", output, "--pack", yunet_pack, "--local", *QUICK)
    assert ran.code == 0, ran.err
    return output


@pytest.fixture(scope="module")
def remote_pack(
    yunet_pack: Path,
    s3_server: S3Server,
    reach: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The same pack on S3; fetched into a cache of these tests."""
    for file in yunet_pack.iterdir():
        s3_server.client.upload_file(str(file), "models", f"packs/mine/{file.name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield "s3://models/packs/mine"


@pytest.fixture(scope="module")
def first(folder: Path, remote_pack: str, s3_server: S3Server, reach: list[str]) -> Ran:
    for path in folder.iterdir():
        s3_server.client.upload_file(str(path), "films", f"season/{path.name}")
    s3_server.calm()
    return _index(remote_pack, reach)


def _index(
    pack: Path | str, reach: list[str], *more: str, source: str = "s3://films/season"
) -> Ran:
    words = [source, "--output", "s3://results/out", "--pack", pack, "--local"]
    return vcn("index", *words, *QUICK, *reach, *more)


def _storage(s3_server: S3Server) -> Storage:
    config = S3Config(endpoint=s3_server.url, region="us-east-1")
    return Storage.open("s3://results/out", config)


def test_rows_equal_those_of_a_local_folder(first: Ran, local: Path, s3_server: S3Server) -> None:
    assert first.code == 0, first.err
    assert first.record["videos"]["done"] == VIDEOS
    here, there = titles_of(Storage.open(str(local))), titles_of(_storage(s3_server))
    assert len(there) == VIDEOS
    assert set(here) < set(there)
    for name, title in here.items():
        other = there[name]
        assert title.summary["counts"] == other.summary["counts"]
        for table in ("people", "tracks", "appearances", "merges", "shots", "crops"):
            mine, theirs = getattr(title, table), getattr(other, table)
            assert without_ids(mine) == without_ids(theirs), (name, table)
    assert sum(title.people.num_rows for title in there.values()) >= VIDEOS


def test_videos_are_never_fetched_whole_to_be_told_apart(first: Ran, s3_server: S3Server) -> None:
    # Planning and one segment or two each read a block; these videos are smaller than one.
    assert s3_server.count("HEAD", "films") == 0
    assert s3_server.count("GET", "films") <= 3 * VIDEOS + VIDEOS // 3
    for request in s3_server.requests("GET", "films"):
        assert request.headers["range"].startswith("bytes=")


def test_a_second_run_reads_no_video_and_writes_only_its_record(
    first: Ran, yunet_pack: Path, s3_server: S3Server, reach: list[str]
) -> None:
    s3_server.calm()
    again = _index(yunet_pack, reach)
    assert again.code == 0
    assert "nothing to do" in again.out
    assert s3_server.count("GET", "films") == s3_server.count("HEAD", "films") == 0
    written = sorted(request.key for request in s3_server.requests("PUT"))
    run = f"out/runs/{again.record['run_id']}"
    assert [key for key in written if not key.startswith(f"{run}/")] == []
    assert {f"{run}/{n}" for n in ("failures.parquet", "run.json", "videos.parquet")} <= set(
        written
    )
    assert s3_server.count("DELETE") == s3_server.count("POST") == 0


def test_plan_writes_nothing(
    first: Ran, yunet_pack: Path, s3_server: S3Server, reach: list[str]
) -> None:
    s3_server.calm()
    words = ["--output", "s3://results/out", "--pack", str(yunet_pack), *QUICK, *reach]
    ran = vcn("plan", "s3://films/season", *words)
    assert ran.record["titles_finished"] == VIDEOS
    assert s3_server.count("PUT") == 0
    other = ["--output", "s3://results/new", "--pack", str(yunet_pack), *QUICK, *reach]
    assert vcn("plan", "s3://films/season/0-0.mp4", *other).record["titles"] == 1
    assert s3_server.count("PUT") == 0


def test_pages_and_scores_of_results_on_s3(
    first: Ran, s3_server: S3Server, reach: list[str], tmp_path: Path
) -> None:
    ran = vcn("report", "s3://results/out", *reach)
    assert ran.code == 0, ran.err
    assert "open s3://results/out/index.html" in ran.out
    head = s3_server.client.head_object(Bucket="results", Key="out/index.html")
    assert head["ContentType"].startswith("text/html")
    title = titles_of(_storage(s3_server))["0-0"]
    lines = ["video,frame,x0,y0,x1,y1,identity"]
    for row in title.crops.to_pylist():
        box = ",".join(str(row[f"{side}_pixels"]) for side in ("x0", "y0", "x1", "y1"))
        lines.append(f"0-0.mp4,{row['frame']},{box},somebody")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    words = ["evaluate", "s3://results/out", "--labels", str(tmp_path / "labels.csv"), *reach]
    assert vcn(*words).record["titles"][0]["wcp"] == 1.0


def test_failures_are_rows_and_name_no_credentials(
    first: Ran, yunet_pack: Path, s3_server: S3Server, reach: list[str], tmp_path: Path
) -> None:
    s3_server.client.put_object(Bucket="films", Key="odd/text.mp4", Body=b"no film " * 99)
    manifest = tmp_path / "catalog.csv"
    manifest.write_text(
        "uri\ns3://films/odd/text.mp4\ns3://films/none.mp4\ns3://no-bucket-here/x.mp4\n"
        "s3://films/season/0-0.mp4\n"
    )
    ran = _index(yunet_pack, reach, source=str(manifest))
    assert ran.code == 1
    path = f"runs/{ran.record['run_id']}/failures.parquet"
    rows = _storage(s3_server).read_table(path).to_pylist()
    assert {row["uri"]: row["reason"] for row in rows} == {
        "s3://films/odd/text.mp4": "unreadable",
        "s3://films/none.mp4": "missing",
        "s3://no-bucket-here/x.mp4": "missing",
    }
    lines = [line for line in ran.err.splitlines() if not line.startswith("reading the catalog")]
    assert len(lines) == 3
    assert all(line.startswith("failed: s3://") for line in lines)
    assert ran.record["videos"] == {"done": 0, "reused": 1, "partial": 0, "failed": 3, "open": 0}


def test_no_credential_is_in_anything_that_is_kept_or_said(
    first: Ran, s3_server: S3Server, reach: list[str]
) -> None:
    storage = _storage(s3_server)
    said = [first.out, first.err]
    pages = s3_server.client.get_paginator("list_objects_v2").paginate(
        Bucket="results", Prefix="out/"
    )
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    said += [
        storage.read_bytes(key.removeprefix("out/")).decode(errors="replace")
        for key in keys
        if key.endswith((".json", "videos.parquet", "failures.parquet"))
    ]
    for secret in (*KEYS.values(), "X-Amz-Signature", "Signature="):
        assert not [text for text in said if secret in text]


def test_a_new_version_is_another_video(
    folder: Path, yunet_pack: Path, s3_server: S3Server, reach: list[str]
) -> None:
    client = s3_server.client
    client.create_bucket(Bucket="versions")
    status = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration=status)
    ids = set()
    for name in ("0-0.mp4", "0-0.mp4", "1-1.mp4"):
        client.upload_file(str(folder / name), "versions", "film.mp4")
        s3_server.calm()
        ran = _index(yunet_pack, reach, source="s3://versions")
        assert ran.code == 0, ran.err
        assert s3_server.count("HEAD", "versions") == 1
        ids.add(ran.record["titles"][0]["title_id"])
    assert len(ids) == 3


def test_a_video_replaced_while_it_is_indexed_is_told_and_done_the_next_time(
    folder: Path, yunet_pack: Path, s3_server: S3Server, reach: list[str]
) -> None:
    key, client = "changing/film.mp4", s3_server.client
    client.upload_file(str(folder / "2-0.mp4"), "films", key)
    s3_server.before("GET", key, lambda: client.upload_file(str(folder / "3-0.mp4"), "films", key))
    ran = _index(yunet_pack, reach, source="s3://films/changing")
    assert ran.code == 1
    assert "source_changed: it was replaced while it was read" in ran.err
    assert _index(yunet_pack, reach, source="s3://films/changing").code == 0
