"""What does the way to a segment cost, and do two workers do twice as much as one?

    python benchmarks/overhead.py [--segments 10000]
    python benchmarks/overhead.py --pack DIR --workers 1 2 VIDEO ...

Without videos: so many planned segments go through a worker that does nothing, on a Ray of this
machine, as the product sends them. Printed are the milliseconds each took once the actors were up,
the driver's resident memory and the bytes in Ray's object store, at every tenth of the way: both
must stay flat.

With videos: their segments are decoded and detected by so many workers of one thread each, one
number after the other, into an empty folder each time; first with decoders in processes of their
own, as they are by default, then in the workers. Only what happens while all workers are at work
counts: from when the last of them has done its first segment, so without the start of actors,
models and decoders, until the first of them has done its last. Printed are segments a minute (one
that is done in part counts in part), their ratio to the first number of workers, how many cores the
workers and their decoders kept busy, and the seconds of CPU of a segment. Where one worker
takes more than a core, because its decoder works beside it, two cannot be twice as fast on two
cores; where the workers together take less than their number, something else had the cores, and the
pace tells little.

How to read it: a segment of 30 s of film takes several seconds of a core, so 20 ms are nothing.
"""

from __future__ import annotations

import argparse
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
from ray._private.internal_api import memory_summary
from running import resident

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.distributed.segments import SegmentRow, SegmentStream, SegmentWorker
from vcn_ray.distributed.session import cluster
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.video import DecodeConfig
from vcn_ray.packs.load import load_pack
from vcn_ray.run.plan import PackHashes, SegmentJob
from vcn_ray.run.planning import group_titles, plan_titles

TITLE_SEGMENTS = 180  # of a film of 90 minutes
POLL_SECONDS = 0.05
SEGMENT_SECONDS = 4.0  # shorter than usual: films of a minute have enough of them


class IdleWorker(SegmentWorker):
    """Says of every segment that it is done."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        self._said = (config, output, run_id)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow for each out."""
        jobs = [(row["number"], SegmentJob(**json.loads(row["job"]))) for row in batch.to_pylist()]
        rows = [SegmentRow(n, job.video_id, job.uri, job.index) for n, job in jobs]
        return pa.Table.from_pylist([row.packed() for row in rows])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO")
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--pack", help="built-in name or folder, with videos")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], metavar="N")
    options = parser.parse_args(argv)
    if options.videos and not options.pack:
        parser.error("videos need a --pack to find faces with")
    with cluster(ResourceConfig()):
        if options.videos:
            compare_workers(options.videos, options.pack, options.workers)
        else:
            send_idle(options.segments)


def send_idle(segments: int) -> None:
    """Send planned segments through workers that do nothing."""
    todo = (
        SegmentJob(
            uri=f"/films/film-{number // 180:05d}.mp4",
            etag="",
            video_id=f"film-{number // 180:05d}-0123456789ab",
            faces=f"videos/film-{number // 180:05d}-0123456789ab/faces-0123456789abcdef",
            index=number % 180,
            start_pts=number,
            end_pts=number + 1,
            start_seconds=0.0,
            end_seconds=30.0,
        )
        for number in range(segments)
    )
    print("| segments | ms each | driver MiB | object store MiB |")
    print("| --- | --- | --- | --- |")
    began = 0.0
    rows = pass_through(todo, SegmentStream(RunConfig(), "/nowhere", "overhead", IdleWorker))
    for number, _ in enumerate(rows):
        began = began or time.perf_counter()  # the first row: Ray Data and its actors are up
        if number and number % max(segments // 10, 1) == 0:
            each = 1000 * (time.perf_counter() - began) / number
            print(f"| {number} | {each:.1f} | {resident():.0f} | {_store():.1f} |", flush=True)
    each = 1000 * (time.perf_counter() - began) / segments
    print(f"| {segments} | {each:.1f} | {resident():.0f} | {_store():.1f} |")


def pass_through(todo: Iterator[SegmentJob], stream: SegmentStream) -> Iterator[SegmentRow]:
    """Put segments in as there is room for them, as the driver does; what comes out."""
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
    """Says of each segment when it was done, by whom, and what CPU it took."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow with a Span in its message for each out."""
        began, before = time.time(), _cpu_seconds()
        (row,) = super().__call__(batch).to_pylist()
        span = Span(os.getpid(), began, time.time(), _cpu_seconds() - before)
        return pa.Table.from_pylist([row | {"message": row["message"] or json.dumps(span)}])


class Span(NamedTuple):
    """When a segment was worked on."""

    worker: int
    began: float
    ended: float
    cpu_seconds: float  # of the worker and its decoder

    def share(self, start: float, end: float) -> float:
        """How much of it lies in a stretch of time."""
        inside = min(self.ended, end) - max(self.began, start)
        return max(0.0, inside) / (self.ended - self.began)


class Pace(NamedTuple):
    """What was done while all workers were at work."""

    seconds: float
    segments: float
    cpu_seconds: float


def compare_workers(videos: list[str], pack_name: str, workers: list[int]) -> None:
    """Decode and detect the same videos with more and more workers."""
    print("| decoders | workers | segments | seconds | a minute | ratio | cores busy | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    pack = str(Path(pack_name).absolute()) if Path(pack_name).is_dir() else pack_name
    for isolate, name in ((True, "apart"), (False, "in the workers")):
        first = None
        for count in workers:
            config = RunConfig(
                pack=pack,
                threads=1,
                decode=DecodeConfig(segment_seconds=SEGMENT_SECONDS),
                resources=ResourceConfig(segment_workers_min=count, segment_workers_max=count),
                isolation=IsolationConfig(isolate=isolate),
            )
            seconds, segments, cpu_seconds = steady_pace(_spans(videos, config), count)
            pace = 60 * segments / seconds
            first = first or pace
            cells = [name, str(count), f"{segments:.1f}", f"{seconds:.1f}", f"{pace:.1f}"]
            cells += [f"{pace / first:.2f}"]
            cells += [f"{cpu_seconds / seconds:.2f}", f"{cpu_seconds / segments:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def steady_pace(spans: list[Span], workers: int) -> Pace:
    """What was done from when all had done their first segment until one had done its last."""
    ends = [[s.ended for s in spans if s.worker == each] for each in {s.worker for s in spans}]
    start, end = max(map(min, ends)), min(map(max, ends))
    if len(ends) < workers or start >= end:
        raise SystemExit(f"{len(spans)} segments are too few for {workers} workers")
    shares = [(span, span.share(start, end)) for span in spans]
    return Pace(
        end - start,
        sum(share for _, share in shares),
        sum(share * span.cpu_seconds for span, share in shares),
    )


def _spans(videos: list[str], config: RunConfig) -> list[Span]:
    """Do all segments of videos, and say when each was done."""
    pack = load_pack(config.pack)
    hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
    titles = plan_titles(group_titles(read_catalog(videos, config.s3)), config, hashes)
    spans = []
    with tempfile.TemporaryDirectory() as output:
        found = [planned.title for planned in titles if planned.title]
        todo = (job for title in found for video in title.videos for job in video.jobs())
        stream = SegmentStream(config, output, "overhead", TimedWorker)
        for row in pass_through(todo, stream):
            if row.reason:
                raise SystemExit(f"{row.uri}, segment {row.segment}: {row.message}")
            spans.append(Span(*json.loads(row.message)))
    return spans


def _cpu_seconds() -> float:
    """What this process and its children that live have computed."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if os.getpid() in (int(stat.parent.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _store() -> float:
    summary = memory_summary(stats_only=True)
    used = [line for line in summary.splitlines() if "Plasma memory usage" in line]
    return float(used[0].split()[3]) if used else 0.0


if __name__ == "__main__":
    main()
