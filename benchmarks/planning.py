"""How fast is a catalog planned, and does planning take more memory the longer it is?

    python benchmarks/planning.py VIDEO [--videos 2000] [--json OUT]

An S3 server (moto) runs on loopback, in a process of its own, and holds the video under as many
names as asked for. The catalog is listed and planned as `vcn index` does: first anew, so that each
video is opened in a decoder process and what it holds is written down; then again, from what was
written down. The first row is the floor: one decoder that looks at the local file again and again.

How to read a row: memory is the resident memory of the planning process, at a tenth of the way and
at the end; between them it must hardly grow. Requests are those of planning, the listing left out;
moto takes about as much of a core as we do, so another server would let it go faster.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from running import resident, say
from scoring import Report

from vcn_ray.config import RunConfig, load_config
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.decoder import close_idle
from vcn_ray.io.isolation import IsolationConfig, plan_segments, probe
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig
from vcn_ray.run.plan import PackHashes
from vcn_ray.run.planning import THREADS, group_titles, plan_titles
from vcn_ray.run.sources import Memory

COLUMNS = {
    "what": "",
    "videos": "",
    "seconds": ".1f",
    "a second": ".1f",
    "MiB at a tenth": ".0f",
    "MiB at the end": ".0f",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "nothing"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--videos", type=int, default=2000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="OUT", help="the rows as data")
    options = parser.parse_args(argv)
    os.environ.update(KEYS)
    report = Report(COLUMNS)
    report.add({"what": "one decoder, one file", **look_again(options.video)})
    with s3_server() as url:
        put_copies(url, options.video, options.videos)
        config = load_config(None, {"s3.endpoint": url, "s3.region": "us-east-1"})
        began = time.perf_counter()
        catalog = read_catalog(["s3://films/catalog"], config.s3)
        say(f"listed in {time.perf_counter() - began:.1f} s; {THREADS} videos in parallel")
        storage = Storage.open("s3://films/out", config.s3)
        for what in ("planned anew", "planned again"):
            report.add({"what": what, **plan_all(catalog, config, storage)})
    report.save(options.json)


def look_again(video: Path, times: int = 100) -> dict[str, Any]:
    """What a decoder alone needs to look at a video."""
    limits, config = IsolationConfig(), DecodeConfig()
    probe(str(video), limits)  # starts it
    began = time.perf_counter()
    for _ in range(times):
        probe(str(video), limits)
        plan_segments(str(video), config, limits)
    took = time.perf_counter() - began
    close_idle()
    return {"videos": times, "seconds": took, "a second": times / took}


def plan_all(catalog: list[CatalogVideo], config: RunConfig, storage: Storage) -> dict[str, Any]:
    """Plan a catalog and hold nothing of it."""
    began, early = time.perf_counter(), 0.0
    hashes = PackHashes("detector", "encoder")
    titles = plan_titles(group_titles(catalog), config, hashes, Memory(storage, keep=True))
    for number, planned in enumerate(titles):
        if planned.failures:
            raise SystemExit(planned.failures[0].message)
        if number == len(catalog) // 10:
            early = resident()
    took = time.perf_counter() - began
    return {
        "videos": len(catalog),
        "seconds": took,
        "a second": len(catalog) / took,
        "MiB at a tenth": early,
        "MiB at the end": resident(),
    }


def put_copies(url: str, video: Path, count: int) -> None:
    """Have the server hold a video under many names, each with content of its own."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket="films")
    data = video.read_bytes()
    for number in range(count):
        # What follows the last box of a file is not looked at, but makes it another one.
        client.put_object(
            Bucket="films", Key=f"catalog/{number:06d}.mp4", Body=data + b"%d" % number
        )


@contextmanager
def s3_server() -> Iterator[str]:
    """A server of our own on loopback."""
    with closing(socket.socket()) as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
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
