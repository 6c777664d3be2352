"""What fails in a run: told, counted, given up for, and tried again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.films import SMALL, Ran, vcn
from vcn_ray.io.storage import Storage

pytestmark = pytest.mark.slow

LOCAL = ["--local", *SMALL]


def index(film: Path, output: Path, pack: Path, *words: str | Path) -> Ran:
    return vcn("index", film, "--output", output, "--pack", pack, *LOCAL, *words)


def tables(output: Path) -> dict[str, bytes]:
    found = (p for part in ("videos", "titles") for p in (output / part).rglob("*.parquet"))
    return {str(p.relative_to(output)): p.read_bytes() for p in found}


def test_a_run_records_what_each_step_took(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    first = index(film, tmp_path, yunet_pack, "--log-format", "json")
    assert first.code == 0
    work = first.record["work"]
    assert set(work) == {"detect", "track", "adapt", "cluster"}
    segments = list(tmp_path.glob("videos/*/detect-*/seg-*.json"))
    assert work["detect"]["steps"] == len(segments) >= 2
    markers = [json.loads(path.read_text()) for path in segments]
    for name in ("frames", "faces"):
        assert work["detect"][name] == sum(marker[name] for marker in markers) > 0
    assert work["detect"]["seconds"] >= sum(marker["seconds"] for marker in markers) > 0
    written = sum(p.stat().st_size for p in tmp_path.rglob("detect-*/seg-*"))
    written += sum(p.stat().st_size for p in tmp_path.rglob("detect-*/frames-*"))
    assert work["detect"]["bytes_written"] == written
    assert work["track"]["bytes_read"] >= written - sum(p.stat().st_size for p in segments)
    assert {each["gpu_seconds"] for each in work.values()} == {0}
    # Each line of the log is one event with the run, and the video or title where there is one.
    lines = [json.loads(line) for line in first.err.splitlines()]
    assert {line["run"] for line in lines} == {first.record["run_id"]}
    done = [line for line in lines if line["event"] == "step_done"]
    assert [line["step"] for line in done] == [
        *["detect"] * len(segments),
        "track",
        "adapt",
        "cluster",
    ]
    assert {line["subject"] for line in done[:-2]} == {path.parts[-3] for path in segments}
    assert [line["event"] for line in lines].count("title_done") == 1
    # What is there already is no work.
    assert index(film, tmp_path, yunet_pack).record["work"] == {}


def test_a_segment_that_failed_is_done_again_and_the_rest_is_kept(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    assert index(film, tmp_path, yunet_pack).code == 0
    whole = tables(tmp_path)
    lame = next(tmp_path.glob("videos/*/detect-*/seg-00001.json"))
    # As a decoder leaves it that could not read the segment, and a run that came after it.
    failure = {"reason": "crash", "message": "the decoder died", "attempts": 2}
    storage, path = Storage.open(str(tmp_path)), str(lame.relative_to(tmp_path))
    content = storage.read_json(path) | {"frames": 0, "faces": 0, "failure": failure}
    storage.write_json(path, content)
    for step in ("detect", "track", "adapt", "cluster"):
        for manifest in tmp_path.glob(f"*/*/{step}-*/manifest.json"):
            manifest.unlink()
    partial = index(film, tmp_path, yunet_pack)
    assert partial.code == 1
    assert partial.record["titles"][0]["warnings"] == ["partial"]
    assert tables(tmp_path) != whole
    kept = next(tmp_path.glob("videos/*/detect-*/seg-00000.json")).stat().st_mtime_ns
    assert index(film, tmp_path, yunet_pack).record["work"] == {}  # not tried by itself
    # What failed in an earlier run ends no later one, and other settings' results go too.
    other = index(film, tmp_path, yunet_pack, "--max-failures", "0", "--set", "cluster.rule=paper")
    assert not other.record["gave_up"]
    assert other.record["titles"][0]["warnings"][-1] == "partial"
    again = index(film, tmp_path, yunet_pack, "--retry-failed")
    assert again.code == 0
    assert "retried 1 failed video" in again.out
    assert again.record["work"]["detect"]["steps"] == 1
    assert next(tmp_path.glob("videos/*/detect-*/seg-00000.json")).stat().st_mtime_ns == kept
    assert {name: content for name, content in tables(tmp_path).items() if name in whole} == whole
    other = index(film, tmp_path, yunet_pack, "--set", "cluster.rule=paper")
    assert "partial" not in other.record["titles"][0]["warnings"]
    assert set(other.record["work"]) == {"cluster"}


def test_a_run_gives_up_when_more_fail_than_may(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.csv"
    catalog.write_text(f"uri\nmissing-1.mp4\nmissing-2.mp4\n{film}\n")
    output = tmp_path / "output"
    gave_up = index(catalog, output, yunet_pack, "--max-failures", "1")
    assert gave_up.code == 1
    assert "gave up: more than 1 video failed" in gave_up.err
    assert gave_up.record["gave_up"]
    assert gave_up.record["titles"] == []
    assert (gave_up.record["videos"]["failed"], gave_up.record["videos"]["open"]) == (2, 1)
    went_on = index(catalog, output, yunet_pack, "--max-failures", "2")
    assert went_on.code == 1
    assert not went_on.record["gave_up"]
    assert [title["title"] for title in went_on.record["titles"]] == ["film"]
    assert vcn("index", film, "--output", output, "--max-failures", "-1").code == 2
