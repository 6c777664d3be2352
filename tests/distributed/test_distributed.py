"""The run on a real Ray cluster gives the rows of the run without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.helpers.films import SMALL, Ran, vcn
from tests.helpers.montage import write_montage
from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.distributed.segments import SegmentRow, SegmentStream, SegmentWorker
from vcn_ray.distributed.session import check_room, cluster
from vcn_ray.errors import UsageError
from vcn_ray.run.plan import SegmentJob

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

FATAL = 666  # index of the segment at which a worker of these tests breaks


@pytest.fixture(scope="module")
def catalog(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with a title of two videos, one of one, and a file that is missing."""
    folder = tmp_path_factory.mktemp("catalog")
    clips = sorted((shared / "data/videos").glob("grid_*.mpg"))
    write_montage(clips[:3], folder / "one.mp4", seed=1)
    write_montage(clips[2:], folder / "two.mp4", seed=2)
    manifest = folder / "catalog.csv"
    manifest.write_text(
        f"uri,title\none.mp4,Series\ntwo.mp4,Series\n{clips[0]},\nmissing.mp4,\n", encoding="utf-8"
    )
    return manifest


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """One Ray for all tests of this module."""
    with cluster(ResourceConfig()):
        yield


@pytest.fixture(scope="module")
def both(
    catalog: Path, yunet_pack: Path, here: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Ran, Path]]:
    """The same catalog indexed without and with Ray."""
    ran = {}
    for name, words in (("local", ["--local"]), ("ray", [])):
        output = tmp_path_factory.mktemp(name)
        words = [*SMALL, *words]
        ran[name] = (
            vcn("index", catalog, "--output", output, "--pack", yunet_pack, *words),
            output,
        )
    return ran


def _tables(folder: Path) -> dict[str, bytes]:
    kinds = ("*.parquet", "*.safetensors")
    found = [
        p for kind in kinds for part in ("videos", "titles") for p in (folder / part).rglob(kind)
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_rows_equal_the_local_run_s(both: dict[str, tuple[Ran, Path]]) -> None:
    assert [both[name][0].code for name in both] == [1, 1], both["ray"][0].err
    local, distributed = (_tables(both[name][1]) for name in ("local", "ray"))
    assert len(local) > 20
    assert set(local) == set(distributed)
    assert [name for name in local if local[name] != distributed[name]] == []


def test_the_same_titles_and_failures_are_reported(both: dict[str, tuple[Ran, Path]]) -> None:
    local, distributed = both["local"][0].record, both["ray"][0].record
    by_id = [sorted(r["titles"], key=lambda t: t["title_id"]) for r in (local, distributed)]
    assert by_id[0] == by_id[1]
    assert {t["title"]: t["people"] for t in local["titles"]} == {"Series": 5, "grid_bbaf2n": 1}
    assert (
        local["videos"]
        == distributed["videos"]
        == {
            "done": 3,
            "reused": 0,
            "partial": 0,
            "failed": 1,
            "open": 0,
        }
    )


def test_a_second_run_reuses_all(
    both: dict[str, tuple[Ran, Path]], catalog: Path, yunet_pack: Path
) -> None:
    output = both["ray"][1]
    before = _tables(output)
    again = vcn("index", catalog, "--output", output, "--pack", yunet_pack, *SMALL)
    assert "nothing to do" in again.out
    assert all(title["reused"] for title in again.record["titles"])
    assert _tables(output) == before


def test_a_large_title_gets_a_train_job_with_the_same_rows(
    both: dict[str, tuple[Ran, Path]], catalog: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    video = catalog.parent / "one.mp4"
    ran = {}
    for name, crops in (("actor", 20_000), ("job", 0)):
        words = [*SMALL, "--set", f"resources.adapt_job_crops={crops}"]
        ran[name] = vcn("index", video, "--output", tmp_path / name, "--pack", yunet_pack, *words)
        assert ran[name].code == 0, ran[name].err
    assert _tables(tmp_path / "actor") == _tables(tmp_path / "job")
    written = {name: ran[name].record["work"]["adapt"]["bytes_written"] for name in ran}
    assert written["actor"] > 0 == written["job"]  # other processes than the caller of a job write
    computed = {name: ran[name].record["work"]["adapt"]["cpu_seconds"] for name in ran}
    assert computed["job"] > computed["actor"] > 0  # it imports torch, too
    assert not (tmp_path / "job" / "train").exists()


def test_a_title_that_was_tracked_before_is_clustered_again(
    both: dict[str, tuple[Ran, Path]], catalog: Path, yunet_pack: Path
) -> None:
    output = both["ray"][1]
    words = [*SMALL, "--set", "cluster.quality.min_score=-2.4"]
    again = vcn("index", catalog, "--output", output, "--pack", yunet_pack, *words)
    titles = {title["title"]: title["reused"] for title in again.record["titles"]}
    assert titles == {"Series": False, "grid_bbaf2n": False}
    assert set(again.record["work"]) == {"cluster"}
    assert again.record["videos"]["failed"] == 1  # the one that is missing


def idle_worker() -> type[SegmentWorker]:
    """A worker class for these tests; made here, because Ray's processes cannot import a test."""

    class Idle(SegmentWorker):
        """Reports every segment as done, and breaks at one of them."""

        def __init__(self, *_: object) -> None:
            return

        def _run(self, number: int, fields: dict[str, Any] | None) -> SegmentRow:
            job = SegmentJob(**(fields or {}))
            if job.index == FATAL:
                raise ValueError("a fault of the worker itself")
            return SegmentRow(number, job.video_id, job.uri, job.index)

    return Idle


def test_a_segment_ends_while_the_next_is_not_known(here: None) -> None:
    job = SegmentJob("film.mp4", "film-1", "videos/film-1/faces-1", 0, 0, None, 0.0, 1.0)
    stream = SegmentStream(RunConfig(), "/nowhere", "run", idle_worker())
    stream.start()
    try:
        for number in range(3):
            stream.put([replace(job, index=number)])
            rows = _wait_for(stream)
            assert [row.segment for row in rows] == [number]
            assert (stream.open, stream.over) == (0, False)
        stream.end()
        assert _wait_for(stream) == []
        assert stream.over
    finally:
        stream.stop()


def test_a_stream_that_breaks_off_gives_what_it_had(here: None) -> None:
    job = SegmentJob("film.mp4", "film-1", "videos/film-1/faces-1", 0, 0, None, 0.0, 1.0)
    stream = SegmentStream(RunConfig(), "/nowhere", "run", idle_worker())
    stream.start()
    try:
        stream.put([job])
        assert len(_wait_for(stream)) == 1
        stream.put([replace(job, index=FATAL)])
        with pytest.raises(RuntimeError, match="segments broke off"):
            _wait_for(stream)
        assert stream.over
    finally:
        stream.stop()


def _wait_for(stream: SegmentStream) -> list[SegmentRow]:
    """The next rows, or none at the end."""
    for _ in range(600):
        rows = stream.take()
        if rows or stream.over:
            return rows
        time.sleep(0.1)
    raise AssertionError("no row came within a minute")


def test_a_run_gives_up_when_more_fail_than_may(
    catalog: Path, yunet_pack: Path, here: None, tmp_path: Path
) -> None:
    films, output = (tmp_path / "missing.mp4", catalog), tmp_path / "out"
    words = [*SMALL, "--max-failures", "0"]
    ran = vcn("index", *films, "--output", output, "--pack", yunet_pack, *words)
    assert ran.code == 1
    assert ran.record["gave_up"]
    assert (ran.record["videos"]["failed"], ran.record["videos"]["open"]) == (1, 4)
    assert not list((tmp_path / "out").glob("videos/*/detect-*/seg-*.json"))  # nothing was started


def test_settings_that_ask_for_more_than_the_machine_has() -> None:
    for settings, available in (
        ({"detect_gpus": 0.5, "adapt_gpus": 1.0}, {"CPU": 4.0, "GPU": 1.0}),
        ({"adapt_job_workers": 4}, {"CPU": 4.0}),
    ):
        with pytest.raises(UsageError, match="there is room for"):
            check_room(ResourceConfig(**settings), available)
    check_room(ResourceConfig(detect_gpus=0.25, adapt_gpus=0.25), {"CPU": 4.0, "GPU": 1.0})


def test_two_processes_train_a_title_together(
    catalog: Path, yunet_pack: Path, here: None, tmp_path: Path
) -> None:
    words = [
        *SMALL,
        "--set",
        "resources.adapt_job_crops=0",
        "--set",
        "resources.adapt_job_workers=2",
    ]
    video = catalog.parent / "one.mp4"
    ran = vcn("index", video, "--output", tmp_path, "--pack", yunet_pack, *words)
    assert ran.code == 0, ran.err
    assert [title["people"] for title in ran.record["titles"]] == [3]
    assert not list(tmp_path.rglob("checkpoint.safetensors"))
    work = ran.record["work"]["adapt"]
    assert 0 < work["cpu_seconds"] != pytest.approx(2 * work["seconds"])  # computed, not reserved


def test_the_cluster_of_this_process_is_left_alone(here: None) -> None:
    with cluster(ResourceConfig()):
        assert ray.is_initialized()
    assert ray.is_initialized()
