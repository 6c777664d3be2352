"""What does it cost to decode in a child process?

Makes a 1080p film, then reads it in this process, in a decoder process, and there through a file
object that this process reads, by turns. A row is one way to look at frames: at 8 a second as the
pipeline does, or at every frame, when all pictures cross over. For each way it prints frames a
second, and milliseconds of CPU a frame of both processes together, which other load on the machine
changes less; and at first the milliseconds until a new decoder is ready.

The consumer drops each frame at once, so that nothing hides the cost. Where frames go through a
detector, the child decodes meanwhile, which a machine with a core to spare gains.

    python benchmarks/isolation.py [--seconds 20] [--repeats 7] [--file FILM]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from vcn_ray.io import frames, isolation
from vcn_ray.io.decoder import borrowed, close_idle
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig

RATE = 25
LIMITS = IsolationConfig()


class Pace(NamedTuple):
    """How fast a film was read."""

    fps: float
    cpu_milliseconds: float  # a frame


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of the film")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--file", type=Path, help="a film to read instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = options.file or write_film(Path(folder) / "film.mp4", options.seconds)
        starts = [start_up(film) for _ in range(options.repeats)]
        print(f"start-up: median {statistics.median(starts) * 1000:.0f} ms", end=", ")
        print(f"least {min(starts) * 1000:.0f} ms")
        print("| frames looked at | fps here, isolated, by file | ratio | CPU ms a frame | ratio |")
        print("| --- | --- | --- | --- | --- |")
        base = DecodeConfig(segment_seconds=1e6)
        for name, config in (
            ("8 a second", base),
            ("every one", replace(base, analysis_fps=RATE)),
            ("every one, 1920 pixels", replace(base, analysis_fps=RATE, long_side_pixels=1920)),
        ):
            print(f"| {name} | {row(film, config, options.repeats)} |", flush=True)


def row(film: Path, config: DecodeConfig, repeats: int) -> str:
    """Medians of each way, taken by turns, and the median ratio of a turn."""
    (segment,) = plan_segments(film, config)
    with film.open("rb") as file:
        ways: list[Callable[[], Iterable[object]]] = [
            lambda: frames.read_segment(film, segment, config),
            lambda: isolation.read_segment(film, segment, config, LIMITS),
            lambda: isolation.read_segment(file, segment, config, LIMITS),
        ]
        turns = [[pace(way) for way in ways] for _ in range(repeats)]
    parts = []
    for number in range(2):
        medians = [statistics.median(turn[way][number] for turn in turns) for way in range(3)]
        ratio = statistics.median(turn[1][number] / turn[0][number] for turn in turns)
        parts += [", ".join(f"{value:.1f}" for value in medians), f"{ratio:.2f}"]
    return " | ".join(parts)


def pace(way: Callable[[], Iterable[object]]) -> Pace:
    began, before = time.perf_counter(), cpu_seconds()
    count = sum(1 for _ in way())
    took = time.perf_counter() - began
    return Pace(count / took, (cpu_seconds() - before) / count * 1000)


def cpu_seconds() -> float:
    """Of this process and its decoder, which must be there and idle."""
    with borrowed(0) as decoder:
        return time.process_time() + decoder.cpu_seconds()


def start_up(film: Path) -> float:
    """Seconds that the first question to a new decoder takes, less those of the second."""
    close_idle()
    began = time.perf_counter()
    isolation.probe(film, LIMITS)
    between = time.perf_counter()
    isolation.probe(film, LIMITS)
    return 2 * between - began - time.perf_counter()


def write_film(path: Path, seconds: float) -> Path:
    """Drifting noise in 1080p, at a bit rate as films have it."""
    rng = np.random.default_rng(0)
    cloud = rng.normal(128, 40, (140, 250, 3)).clip(0, 255).astype(np.uint8)
    cloud = cloud.repeat(8, 0).repeat(8, 1)
    options = {"preset": "veryfast", "threads": "1", "b": "6000000"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(round(seconds * RATE)):
            shift = number % 40
            picture = np.ascontiguousarray(cloud[shift : shift + 1080, shift : shift + 1920])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
