"""What does it cost to decode in a child process?

    python -m benchmarks.system.isolation [--seconds 20] [--repeats 7] [--file FILM]

The script makes a 1080p film and reads it in three ways by turns: in this process, in a decoder
process that opens the path, and in a decoder process through a file object of this process. A row
is one sampling of frames: 8 a second, as in a run, or every frame, which sends every picture to
this process. Its columns are frames a second, and milliseconds of CPU a frame of both processes
together, which other load on the machine changes less. Ratios are decoder process over this
process. Before the table, the milliseconds until a new decoder is ready are printed.

The consumer drops each frame at once, so nothing hides the cost. In a run the child decodes while a
detector works on earlier frames, which is faster where a core is free.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.io import frames, isolation
from vcn_ray.io.decoder import borrowed, close_idle
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig

RATE = 25
LIMITS = IsolationConfig()
WAYS = ("in process", "isolated", "by file object")
COLUMNS = {
    "frames": "",
    **{f"fps {way}": ".1f" for way in WAYS},
    "fps ratio": ".2f",
    **{f"CPU ms {way}": ".1f" for way in WAYS},
    "CPU ratio": ".2f",
}


class Pace(NamedTuple):
    """How fast a film was read."""

    fps: float
    cpu_milliseconds: float  # a frame


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the film")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--file", type=Path, help="a film to read instead")
    options = read_options(parser, argv)
    with tempfile.TemporaryDirectory() as folder:
        film = options.file or write_film(Path(folder) / "film.mp4", options.seconds)
        starts = [start_up(film) for _ in range(options.repeats)]
        median = statistics.median(starts)
        say(f"start-up: median {median * 1000:.0f} ms, min {min(starts) * 1000:.0f} ms")
        report = Report(COLUMNS)
        base = DecodeConfig(segment_seconds=1e6)
        for name, config in (
            ("8 a second, 960 pixels", base),
            ("all of 25 a second, 960 pixels", replace(base, analysis_fps=RATE)),
            (
                "all of 25 a second, 1920 pixels",
                replace(base, analysis_fps=RATE, long_side_pixels=1920),
            ),
        ):
            report.add({"frames": name, **row(film, config, options.repeats)})
    save(options, report)


def row(film: Path, config: DecodeConfig, repeats: int) -> dict[str, Cell]:
    """Medians of each way over the turns, and medians of the ratios within a turn."""
    (segment,) = plan_segments(film, config)
    with film.open("rb") as file:
        ways: list[Callable[[], Iterable[object]]] = [
            lambda: frames.read_segment(film, segment, config),
            lambda: isolation.read_segment(film, segment, config, LIMITS),
            lambda: isolation.read_segment(file, segment, config, LIMITS),
        ]
        turns = [[pace(way) for way in ways] for _ in range(repeats)]
    cells: dict[str, Cell] = {}
    for number, unit in enumerate(("fps", "CPU ms")):
        for way, name in enumerate(WAYS):
            cells[f"{unit} {name}"] = statistics.median(turn[way][number] for turn in turns)
        ratio = statistics.median(turn[1][number] / turn[0][number] for turn in turns)
        cells[f"{unit.removesuffix(' ms')} ratio"] = ratio
    return cells


def pace(way: Callable[[], Iterable[object]]) -> Pace:
    began, before = time.perf_counter(), cpu_seconds()
    count = sum(1 for _ in way())
    took = time.perf_counter() - began
    return Pace(count / took, (cpu_seconds() - before) / count * 1000)


def cpu_seconds() -> float:
    """CPU seconds of this process and its decoder, which must be running and idle."""
    with borrowed(0) as decoder:
        return time.process_time() + decoder.cpu_seconds()


def start_up(film: Path) -> float:
    """Seconds of the first request to a new decoder, less those of the second."""
    close_idle()
    began = time.perf_counter()
    isolation.probe(film, LIMITS)
    between = time.perf_counter()
    isolation.probe(film, LIMITS)
    return 2 * between - began - time.perf_counter()


def write_film(path: Path, seconds: float) -> Path:
    """Write drifting noise in 1080p, at the bit rate of a film."""
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
