"""What do large, fast and odd videos cost, and how much memory do they take?

    python -m benchmarks.system.formats [--film FILM] [--seconds 10] [--pack P] [--only NAME ...]

The pictures of a film (by default that of `vcn sample`) are stretched to each size and encoded, and
each video is detected in a process of its own, by one worker and its decoder process. Faces in
portrait are too narrow for the detector, which changes little for the cost.

How to read a row: "CPU ms" are CPU milliseconds for each frame of the video: of decoding alone, and
of the whole step `detect`. "ratio" is the first over the second. "faces" are those found. "worker
MiB" is the peak memory of the worker above what it takes with its models loaded and one frame
detected, "decoder MiB" the peak of the decoder process, all of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.machine import peak_resident, resident
from benchmarks.report import Cell, Report, say
from vcn_ray.config import load_config, part_of, with_pack
from vcn_ray.io.decoder import borrowed
from vcn_ray.io.isolation import plan_segments
from vcn_ray.io.video import DecodeConfig
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.find import open_pack
from vcn_ray.run.process import prepare_process
from vcn_ray.sample.film import write_sample
from vcn_ray.steps import detect_segment

COLUMNS = {
    "format": "",
    "frames": "",
    "decode CPU ms": ".1f",
    "detect CPU ms": ".1f",
    "ratio": ".2f",
    "faces": "",
    "worker MiB": ".0f",
    "decoder MiB": ".0f",
}
CODECS = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "21"}),
    "hevc": ("libx265", {"preset": "ultrafast", "crf": "21", "x265-params": "log-level=error"}),
}
INTERLACED = {"flags": "+ilme+ildct"}


class Format(NamedTuple):
    """One kind of video."""

    codec: str
    width: int
    height: int
    rate: int
    pixels: str = "yuv420p"
    interlaced: bool = False
    variable: bool = False  # frames stand for one, two or three times their usual time
    hdr: bool = False


FORMATS = {
    "1080p24": Format("h264", 1920, 1080, 24),
    "1080p60": Format("h264", 1920, 1080, 60),
    "1080i25": Format("h264", 1920, 1080, 25, interlaced=True),
    "1080p variable": Format("h264", 1920, 1080, 24, variable=True),
    "portrait": Format("h264", 1080, 1920, 30),
    "2160p24": Format("h264", 3840, 2160, 24),
    "2160p60": Format("h264", 3840, 2160, 60),
    "2160p24 HEVC HDR": Format("hevc", 3840, 2160, 24, "yuv420p10le", hdr=True),
}


class Cost(NamedTuple):
    """What one video took."""

    detecting: float  # CPU seconds of worker and decoder
    faces: int
    worker: float  # MiB above the models
    decoder: float  # MiB


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--film", type=Path, help="whose pictures are shown")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each video")
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT_PACK}")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        film = options.film or write_sample(Path(folder)).video
        for name in options.only:
            report.add({"format": name, **row(name, film, Path(folder), options)})
    save(options, report)


def row(name: str, film: Path, folder: Path, options: argparse.Namespace) -> dict[str, Cell]:
    """Write a video, and measure it in a new process."""
    video = folder / f"{name.replace(' ', '_')}.mp4"
    say(f"{name}: encoding")
    encode(film, video, FORMATS[name], options.seconds)
    say(f"{name}: detecting")
    fresh = multiprocessing.get_context("spawn")
    with fresh.Pool(1, maxtasksperchild=1) as pool:  # each in a process that did nothing before
        frames, decoding = pool.apply(decode, (video,))
        cost = pool.apply(measure, (video, options.pack or DEFAULT_PACK))
    video.unlink()
    return {
        "frames": frames,
        "decode CPU ms": 1000 * decoding / frames,
        "detect CPU ms": 1000 * cost.detecting / frames,
        "ratio": decoding / cost.detecting,
        "faces": cost.faces,
        "worker MiB": cost.worker,
        "decoder MiB": cost.decoder,
    }


def encode(film: Path, path: Path, kind: Format, seconds: float) -> None:
    """Show the frames of a film, again and again, in another format."""
    codec, settings = CODECS[kind.codec]
    with av.open(str(path), "w") as video:
        stream = video.add_stream(
            codec, kind.rate, options=settings | (INTERLACED if kind.interlaced else {})
        )
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, kind.pixels
        stream.codec_context.thread_count = 2
        stream.time_base = Fraction(1, kind.rate)
        if kind.hdr:  # the numbers of BT.2020 and PQ in ITU-T H.273
            stream.codec_context.color_primaries, stream.codec_context.color_trc = 9, 16
            stream.codec_context.colorspace = 9
        time_stamp = 0
        rng = np.random.default_rng(0)
        for frame in islice(frames_of(film, kind), round(seconds * kind.rate)):
            frame.pts, frame.time_base = time_stamp, Fraction(1, kind.rate)
            time_stamp += int(rng.integers(1, 4)) if kind.variable else 1
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))


def frames_of(film: Path, kind: Format) -> Iterator[av.VideoFrame]:
    """The frames of a film in a size, without end."""
    for path in cycle([film]):
        with av.open(str(path)) as source:
            for frame in source.decode(video=0):
                yield frame.reformat(kind.width, kind.height, format=kind.pixels)


def measure(video: Path, pack_name: str) -> Cost:
    """Detect the faces of a video, in a process that did nothing before."""
    config = with_pack(load_config(None, {"detect.segment_seconds": "1000"}), pack_name)
    prepare_process(config.threads)
    pack = open_pack(config)
    settings = part_of(config.detect, DecodeConfig)
    pack.detector.detect(np.zeros((1, 64, 64, 3), np.uint8))
    before, began = resident(), time.process_time()
    parts = [
        detect_segment(str(video), segment, pack, config)
        for segment in plan_segments(str(video), settings, config.isolation)
    ]
    computed = time.process_time() - began
    worker = peak_resident() - before
    with borrowed(0) as child:
        decoder = peak_resident(child.pid)
    spent = computed + sum(part.decoder_seconds for part in parts)
    faces = sum(part.detections.num_rows for part in parts)
    return Cost(spent, faces, worker, decoder)


def decode(video: Path) -> tuple[int, float]:
    """Frames of a video, and CPU seconds to decode them."""
    began = time.process_time()
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        count = sum(1 for _ in container.decode(video=0))
    return count, time.process_time() - began


if __name__ == "__main__":
    main()
