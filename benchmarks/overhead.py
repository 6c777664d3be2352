"""What does the way to a segment cost, and do two workers do twice as much as one?

    python benchmarks/overhead.py [--segments 10000]
    python benchmarks/overhead.py --pack DIR --workers 1 2 VIDEO ...

Without videos: so many planned segments go through a worker that does nothing, on a Ray of this
machine, as the product sends them. Printed are the milliseconds each took once the actors were up,
the driver's resident memory and the bytes in Ray's object store, at every tenth of the way: both
must stay flat. With videos: their segments are decoded and detected by so many single-threaded
workers, one number after the other, into an empty folder each time; printed are segments a minute
and the ratio to the first.

How to read it: a segment of 30 s of film takes several seconds of a core, so 20 ms are nothing.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from ray._private.internal_api import memory_summary

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.distributed.cluster import cluster
from vcn_ray.distributed.segments import SegmentRow, SegmentWorker, open_segments, run_segments
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.storage import Storage
from vcn_ray.models.packs import load_pack
from vcn_ray.run.plan import PackHashes, SegmentJob, plan_catalog

MIB = 1 << 20


class IdleWorker(SegmentWorker):
    """Says of every segment that it is done."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        self._said = (config, output, run_id)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow for each out."""
        jobs = [SegmentJob(**row) for row in batch.to_pylist()]
        rows = [SegmentRow(job.video_id, job.uri, job.index) for job in jobs]
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
    todo = [
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
    ]
    print("| segments | ms each | driver MiB | object store MiB |")
    print("| --- | --- | --- | --- |")
    began = 0.0
    rows = run_segments(todo, RunConfig(), "/nowhere", "overhead", IdleWorker)
    for number, _ in enumerate(rows):
        began = began or time.perf_counter()  # the first row: Ray Data and its actors are up
        if number and number % max(segments // 10, 1) == 0:
            each = 1000 * (time.perf_counter() - began) / number
            print(f"| {number} | {each:.1f} | {_resident():.0f} | {_store():.1f} |", flush=True)
    each = 1000 * (time.perf_counter() - began) / segments
    print(f"| {segments} | {each:.1f} | {_resident():.0f} | {_store():.1f} |")


def compare_workers(videos: list[str], pack_name: str, workers: list[int]) -> None:
    """Decode and detect the same videos with more and more workers."""
    pack = load_pack(pack_name)
    hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
    print("| workers | segments | seconds | segments a minute | ratio |")
    print("| --- | --- | --- | --- | --- |")
    first = None
    for count in workers:
        resources = ResourceConfig(segment_workers_min=count, segment_workers_max=count)
        config = replace(RunConfig(pack=str(Path(pack_name).absolute())), resources=resources)
        plan = plan_catalog(read_catalog(videos, config.s3), config, hashes)
        with tempfile.TemporaryDirectory() as output:
            todo = open_segments(plan.videos, Storage.open(output, config.s3))
            # The first row of each worker comes late: its models are loaded before.
            ends = [end for _, end in _timed(run_segments(todo, config, output, "overhead"))]
        rest = len(ends) - count
        if rest <= 0:
            raise SystemExit(f"{len(ends)} segments are too few for {count} workers")
        pace = 60 * rest / (ends[-1] - ends[count - 1])
        first = first or pace
        took = ends[-1] - ends[count - 1]
        print(f"| {count} | {rest} | {took:.1f} | {pace:.1f} | {pace / first:.2f} |", flush=True)


def _timed(rows: Iterator[SegmentRow]) -> Iterator[tuple[SegmentRow, float]]:
    for row in rows:
        if row.reason:
            raise SystemExit(f"{row.uri}, segment {row.segment}: {row.message}")
        yield row, time.perf_counter()


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / MIB


def _store() -> float:
    summary = memory_summary(stats_only=True)
    used = [line for line in summary.splitlines() if "Plasma memory usage" in line]
    return float(used[0].split()[3]) if used else 0.0


if __name__ == "__main__":
    main()
