"""What does a whole film cost, from the file to the people?

    python -m benchmarks.system.long_film CLIP ... [--minutes 120] [--pack P] [--workers 2]

The clips are joined to a reel of 1920 x 1080 pixels and 24 frames a second, and the reel is
repeated until it is as long as asked: a film of real faces, cuts and motion, in which everybody
comes back many times. It is indexed as users do it, by `vcn index` on a local Ray with so many
workers, in one go. How many people are found says nothing about accuracy: `method.real` measures
that.

First table: length, frames, faces, tracks, people; hours of wall time, start-up of Ray included;
hours that all steps computed; hours of video for an hour of a core; the fraction of the work that
decoding and detection are; the largest sum of memory over all processes, without what they share;
and MiB written.
Second table, for each step: calls, seconds of work, CPU seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.processes import marked_processes
from benchmarks.system.reels import REEL_RATE, repeat_film, write_reel
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.steps import STEPS

MARK = "VCN_LONG_FILM"  # of all processes of a run
LOOK_SECONDS = 2.0  # between two looks at their memory

WHOLE = {
    "pack": "",
    "minutes": ".1f",
    "frames": "",
    "faces": "",
    "tracks": "",
    "people": "",
    "hours": ".2f",
    "CPU hours": ".2f",
    "h a core-hour": ".2f",
    "limit": ".0%",
    "peak MiB": ".0f",
    "written MiB": ".0f",
}
BY_STEP = {"pack": "", "step": "", "calls": "", "seconds": ".0f", "CPU seconds": ".0f"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--minutes", type=float, default=120.0, metavar="M")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="0: without Ray")
    parser.add_argument("--film", type=Path, help="keep the film here, or use the one that is here")
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT_PACK}")
    options = read_options(parser, argv)
    pack = options.pack or DEFAULT_PACK
    with tempfile.TemporaryDirectory() as folder:
        film = options.film or Path(folder) / "film.mp4"
        if not film.exists():
            write_film(options.clips, film, options.minutes)
        output = Path(folder) / "out"
        cost = run(film, output, pack, options.workers)
        record = read_record(output)
        written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    name = Path(pack).name
    whole, steps = Report(WHOLE), Report(BY_STEP)
    whole.add({"pack": name, **whole_row(record, cost), "written MiB": written / 2**20})
    for row in step_rows(record):
        steps.add({"pack": name, **row})
    save(options, whole, steps)


def write_film(clips: Sequence[Path], film: Path, minutes: float) -> None:
    """Join clips, and repeat them until the film has at least so many minutes."""
    with tempfile.TemporaryDirectory() as folder:
        reel = write_reel(clips, Path(folder) / "reel.mp4")
        times = -(-round(minutes * 60) // seconds_of(reel))
        say(f"repeating it {times} times")
        repeat_film(reel, film, times)


def seconds_of(reel: Path) -> int:
    """The length of a reel."""
    with av.open(str(reel)) as film:
        frames: int = film.streams.video[0].frames
    return max(1, frames // REEL_RATE)


class Cost:
    """What a run took.

    Attributes:
        seconds: Wall time.
        peak: The largest sum of the private memory of all processes that was seen, in bytes.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak = 0


def run(film: Path, output: Path, pack: str, workers: int) -> Cost:
    """Index a film in a process of its own.

    Raises:
        CalledProcessError: The run failed.
    """
    words = ["index", str(film), "--output", str(output), "--pack", pack]
    words += ["--set", f"resources.detect_workers_max={workers}"] if workers else ["--local"]
    cost, value = Cost(), str(os.getpid())
    environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: value}
    began = time.monotonic()
    with watched(cost, value):
        subprocess.run(
            [sys.executable, "-m", "vcn_ray", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
    cost.seconds = time.monotonic() - began
    return cost


@contextmanager
def watched(cost: Cost, value: str) -> Iterator[None]:
    """Look at the memory of marked processes until the block ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            total = sum(private_bytes(pid) for pid in marked_processes(MARK, value))
            cost.peak = max(cost.peak, total)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def private_bytes(pid: int) -> int:
    """Resident memory of a process that no file backs and no other process shares."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def read_record(output: Path) -> dict[str, Any]:
    """The record of the only run."""
    (path,) = output.glob("runs/*/run.json")
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def whole_row(record: dict[str, Any], cost: Cost) -> dict[str, Cell]:
    """The row of the first table, but for the pack and what was written."""
    (title,) = record["titles"]
    detect, speed = record["work"]["detect"], record["speed"]
    work = sum(step["cpu_seconds"] for step in record["work"].values())
    return {
        "minutes": record["video_seconds"] / 60,
        "frames": detect["frames"],
        "faces": detect["faces"],
        "tracks": title["tracks"],
        "people": title["people"],
        "hours": cost.seconds / 3600,
        "CPU hours": work / 3600,
        "h a core-hour": speed["video_hours_per_core_hour"],
        "limit": speed["limit_fraction"],
        "peak MiB": cost.peak / 2**20,
    }


def step_rows(record: dict[str, Any]) -> Iterator[dict[str, Cell]]:
    """The rows of the second table, but for the pack."""
    for step in STEPS:
        work = record["work"][step.name]
        yield {
            "step": step.name,
            "calls": work["steps"],
            "seconds": work["seconds"],
            "CPU seconds": work["cpu_seconds"],
        }


if __name__ == "__main__":
    main()
