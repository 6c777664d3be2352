"""How much time does Ray add to a segment, and are two workers twice as fast as one?

    python -m benchmarks.system.overhead [--segments 10000]
    python -m benchmarks.system.overhead --pack DIR --workers 1 2 [--pin] VIDEO ...

Without videos: --segments planned segments pass through workers that do nothing, on a local Ray, as
a run sends them. The rows show, after each tenth of the segments, the milliseconds a segment since
the actors started, the driver's resident memory and the bytes in Ray's object store. Memory must
stay flat. A segment of 30 s of film takes several seconds of a core, so 20 ms are negligible.

With videos: workers of one thread decode their segments and detect faces, into an empty folder for
each number of workers; first with decoders in child processes, the default, then within the
workers. Only the time while all workers are busy counts: from the moment when each has finished its
first segment, so without the start of actors, models and decoders, until one finishes its last. A
partly finished segment counts in part. The rows show segments a minute, their ratio to the first
number of workers, the cores that workers and decoders kept busy, and the CPU seconds of a segment.
Where one worker takes more than a core, because its decoder runs in parallel, two workers cannot be
twice as fast on two cores. With --pin each worker and its decoder have one core to themselves, so
that two workers on two cores are compared with one on one. Where the workers together take fewer
cores than their number, other programs took the cores, and the rate shows little.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import ray
from ray._private.internal_api import memory_summary

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.machine import cpu_seconds, resident
from benchmarks.report import Cell, Report
from vcn_ray.config import DetectSettings, ResourceConfig, RunConfig
from vcn_ray.distributed.segments import SegmentRow, SegmentStream, SegmentWorker
from vcn_ray.distributed.session import cluster
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.packs.load import load_pack
from vcn_ray.run.plan import PackHashes, SegmentJob
from vcn_ray.run.planning import group_titles, plan_titles

IDLE_COLUMNS = {
    "segments": "",
    "ms a segment": ".1f",
    "driver MiB": ".0f",
    "object store MiB": ".1f",
}
WORKER_COLUMNS = {
    "decoders": "",
    "workers": "",
    "segments": ".1f",
    "seconds": ".1f",
    "segments a minute": ".1f",
    "ratio": ".2f",
    "cores busy": ".2f",
    "CPU s a segment": ".2f",
}
TITLE_SEGMENTS = 180  # of a film of 90 minutes
POLL_SECONDS = 0.05
SEGMENT_SECONDS = 4.0  # shorter than usual: films of a minute have enough of them


class IdleWorker(SegmentWorker):
    """Reports every segment as finished without reading it."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        self._said = (config, output, run_id)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow for each out."""
        jobs = [(row["number"], SegmentJob(**json.loads(row["job"]))) for row in batch.to_pylist()]
        rows = [SegmentRow(n, job.video_id, job.uri, job.index) for n, job in jobs]
        return pa.Table.from_pylist([row.packed() for row in rows])


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="*", metavar="VIDEO")
    parser.add_argument("--segments", type=int, default=10_000)
    add_pack(parser, required=False)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--pin", action="store_true", help="one core for a worker and its decoder")
    options = read_options(parser, argv)
    if options.videos and not options.pack:
        parser.error("videos need a --pack whose detector finds their faces")
    with cluster(ResourceConfig()):
        if options.videos:
            worker = PinnedWorker if options.pin else TimedWorker
            report = compare_workers(options.videos, options.pack, options.workers, worker)
        else:
            report = send_idle(options.segments)
    save(options, report)


def send_idle(segments: int) -> Report:
    """Send planned segments through workers that do nothing."""
    todo = (
        SegmentJob(
            uri=f"/films/film-{number // 180:05d}.mp4",
            etag="",
            video_id=f"film-{number // 180:05d}-0123456789ab",
            detect_folder=f"videos/film-{number // 180:05d}-0123456789ab/detect-0123456789ab",
            index=number % 180,
            start_pts=number,
            end_pts=number + 1,
            start_seconds=0.0,
            end_seconds=30.0,
        )
        for number in range(segments)
    )
    report = Report(IDLE_COLUMNS)
    began = 0.0
    rows = pass_through(todo, SegmentStream(RunConfig(), "/nowhere", "overhead", IdleWorker))
    for number, _ in enumerate(rows):
        began = began or time.perf_counter()  # the first row: Ray Data and its actors are up
        if number and number % max(segments // 10, 1) == 0:
            report.add(_idle_row(number, time.perf_counter() - began))
    report.add(_idle_row(segments, time.perf_counter() - began))
    return report


def _idle_row(segments: int, seconds: float) -> dict[str, Cell]:
    return {
        "segments": segments,
        "ms a segment": 1000 * seconds / segments,
        "driver MiB": resident(),
        "object store MiB": _store(),
    }


def pass_through(todo: Iterator[SegmentJob], stream: SegmentStream) -> Iterator[SegmentRow]:
    """Send segments while there is room for them, as the driver does; returns the rows."""
    ended = False
    stream.start()
    while not stream.over:
        while stream.has_room and not ended:
            jobs = list(itertools.islice(todo, TITLE_SEGMENTS))
            stream.put(jobs)
            ended = not jobs
            if ended:
                stream.end()
        yield from stream.take()
        time.sleep(POLL_SECONDS)


class TimedWorker(SegmentWorker):
    """Reports when each segment was processed, by which worker, and its CPU seconds."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow with a Span in its message for each out."""
        began, before = time.time(), cpu_seconds()
        (row,) = super().__call__(batch).to_pylist()
        span = Span(os.getpid(), began, time.time(), cpu_seconds() - before)
        return pa.Table.from_pylist([row | {"message": row["message"] or json.dumps(span)}])


class PinnedWorker(TimedWorker):
    """A TimedWorker that has a core to itself, on which its decoder runs, too."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        for core in sorted(os.sched_getaffinity(0)):
            with suppress(FileExistsError):
                Path(output, f"core-{core}").touch(exist_ok=False)  # taken by this worker
                os.sched_setaffinity(0, {core})
                break
        else:
            raise SystemExit("there are more workers than cores")
        super().__init__(config, output, run_id)


class Span(NamedTuple):
    """The time in which a worker processed a segment."""

    worker: int
    began: float
    ended: float
    cpu_seconds: float  # of the worker and its decoder

    def fraction(self, start: float, end: float) -> float:
        """The fraction of it that lies between two moments."""
        inside = min(self.ended, end) - max(self.began, start)
        return max(0.0, inside) / (self.ended - self.began)


class Pace(NamedTuple):
    """The work done while all workers were busy."""

    seconds: float
    segments: float
    cpu_seconds: float


def compare_workers(
    videos: list[str], pack: str, workers: list[int], kind: type[TimedWorker]
) -> Report:
    """Decode and detect the same videos with each number of workers."""
    report = Report(WORKER_COLUMNS)
    for isolate, name in ((True, "in child processes"), (False, "in the workers")):
        first = None
        for count in workers:
            config = RunConfig(
                pack=pack,
                threads=1,
                detect=DetectSettings(segment_seconds=SEGMENT_SECONDS),
                resources=ResourceConfig(detect_workers_min=count, detect_workers_max=count),
                isolation=IsolationConfig(isolate=isolate),
            )
            seconds, segments, cpu_seconds = steady_pace(_spans(videos, config, kind), count)
            pace = 60 * segments / seconds
            first = first or pace
            row: dict[str, Cell] = {
                "decoders": name,
                "workers": count,
                "segments": segments,
                "seconds": seconds,
                "segments a minute": pace,
                "ratio": pace / first,
                "cores busy": cpu_seconds / seconds,
                "CPU s a segment": cpu_seconds / segments,
            }
            report.add(row)
    return report


def steady_pace(spans: list[Span], workers: int) -> Pace:
    """The work done from the first segment of the slowest worker to the last of the first one."""
    ends = [[s.ended for s in spans if s.worker == each] for each in {s.worker for s in spans}]
    start, end = max(map(min, ends)), min(map(max, ends))
    if len(ends) < workers or start >= end:
        raise SystemExit(
            f"{len(spans)} segments are too few for {workers} workers: give more videos"
        )
    parts = [(span, span.fraction(start, end)) for span in spans]
    return Pace(
        end - start,
        sum(fraction for _, fraction in parts),
        sum(fraction * span.cpu_seconds for span, fraction in parts),
    )


def _spans(videos: list[str], config: RunConfig, kind: type[TimedWorker]) -> list[Span]:
    """Process all segments of videos, and return when each was processed."""
    pack = load_pack(config.pack)
    hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
    titles = plan_titles(group_titles(read_catalog(videos, config.s3)), config, hashes)
    spans = []
    with tempfile.TemporaryDirectory() as output:
        found = [planned.title for planned in titles if planned.title]
        todo = (job for title in found for video in title.videos for job in video.jobs())
        stream = SegmentStream(config, output, "overhead", kind)
        for row in pass_through(todo, stream):
            if row.reason:
                raise SystemExit(f"{row.uri}, segment {row.segment}: {row.message}")
            spans.append(Span(*json.loads(row.message)))
    return spans


def _store() -> float:
    """MiB in the object store of our Ray; the machine may run another one."""
    summary = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    used = [line for line in summary.splitlines() if "Plasma memory usage" in line]
    return float(used[0].split()[3]) if used else 0.0


if __name__ == "__main__":
    main()
