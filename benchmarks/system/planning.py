"""How fast is a catalog planned, and does planning take more memory the longer it is?

    python -m benchmarks.system.planning VIDEO [--videos 2000]

An S3 server (moto, from the extra `test`) runs on loopback in a process of its own, and holds the
video under --videos names. The catalog is listed and planned as `vcn index` does it: first from
scratch, which opens each video in a decoder process and stores its plan; then again, from the
stored plans. The first row is a lower bound: one decoder that reads the local file again and again.

How to read a row: memory is the resident memory of the planning process, after a tenth of the
videos and at the end; between them it must hardly grow. The seconds are those of planning without
the listing; moto takes about as much of a core as planning, so another server would be faster.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3

from benchmarks.command import make_parser, read_options, save
from benchmarks.machine import resident
from benchmarks.report import Report, say
from benchmarks.system.processes import free_ports
from vcn_ray.config import RunConfig, load_config
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.decoder import close_idle
from vcn_ray.io.isolation import IsolationConfig, plan_segments, probe
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig
from vcn_ray.run.parallel import THREADS
from vcn_ray.run.plan import PackHashes
from vcn_ray.run.planning import group_titles, plan_titles
from vcn_ray.run.sources import PlanCache

COLUMNS = {
    "what": "",
    "videos": "",
    "seconds": ".1f",
    "videos/s": ".1f",
    "MiB after a tenth": ".0f",
    "MiB at the end": ".0f",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "nothing"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--videos", type=int, default=2000, metavar="N")
    options = read_options(parser, argv)
    os.environ.update(KEYS)
    report = Report(COLUMNS)
    report.add({"what": "one decoder, one file", **probe_again(options.video)})
    with s3_server() as url:
        put_copies(url, options.video, options.videos)
        config = load_config(None, {"s3.endpoint": url, "s3.region": "us-east-1"})
        began = time.perf_counter()
        catalog = read_catalog(["s3://films/catalog"], config.s3)
        say(f"listed in {time.perf_counter() - began:.1f} s; {THREADS} videos in parallel")
        storage = Storage.open("s3://films/out", config.s3)
        for what in ("planned from scratch", "planned again"):
            report.add({"what": what, **plan_all(catalog, config, storage)})
    save(options, report)


def probe_again(video: Path, times: int = 100) -> dict[str, Any]:
    """Probe and plan one local video many times."""
    limits, config = IsolationConfig(), DecodeConfig()
    probe(str(video), limits)  # starts it
    began = time.perf_counter()
    for _ in range(times):
        probe(str(video), limits)
        plan_segments(str(video), config, limits)
    took = time.perf_counter() - began
    close_idle()
    return {"videos": times, "seconds": took, "videos/s": times / took}


def plan_all(catalog: list[CatalogVideo], config: RunConfig, storage: Storage) -> dict[str, Any]:
    """Plan a catalog without keeping the plans in memory."""
    began, early = time.perf_counter(), 0.0
    hashes = PackHashes("detector", "encoder")
    titles = plan_titles(group_titles(catalog), config, hashes, PlanCache(storage, keep=True))
    for number, planned in enumerate(titles):
        if planned.failures:
            raise SystemExit(planned.failures[0].message)
        if number == len(catalog) // 10:
            early = resident()
    took = time.perf_counter() - began
    return {
        "videos": len(catalog),
        "seconds": took,
        "videos/s": len(catalog) / took,
        "MiB after a tenth": early,
        "MiB at the end": resident(),
    }


def put_copies(url: str, video: Path, count: int) -> None:
    """Put a video on the server under many names, each copy with another content."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket="films")
    data = video.read_bytes()
    for number in range(count):
        # Bytes after the last box of a file change its content, and no decoder reads them.
        client.put_object(
            Bucket="films", Key=f"catalog/{number:06d}.mp4", Body=data + b"%d" % number
        )


@contextmanager
def s3_server() -> Iterator[str]:
    """Start an S3 server on loopback, and end it afterwards."""
    (port,) = free_ports(1)
    words = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                with socket.socket() as attempt:
                    if attempt.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
