"""Does any damaged media file hang, crash or pass for sound?

    python -m benchmarks.system.media_fuzz [--files 450] [--seed 1] [--timeout 3600]

The script writes a short film with sound in twelve containers, and from these a folder of damaged
files: a file is cut, or bytes in it are flipped, zeroed, replaced by noise, removed, inserted or
exchanged, anywhere or in its first kilobyte. The twelve sound files stand among them. One
`vcn index --local` reads the folder. A row is one kind of damage: how many of its files are done,
partial or failed, and why they failed. "silent" counts cut files that are done, and "bad" counts
timeouts, crashes and internal errors.

Files that are cut so early that nothing of the film is left fail; all others that are cut must be
partial. What flips in the middle of a picture or of the sound can be noticed by nobody, so files
with other damage may be done.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pyarrow.parquet as pq

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say

SECONDS, RATE, SIZE = 3, 25, (160, 96)
SOUND_RATE = 48_000
X264 = ("libx264", "aac")
OLD = ("mpeg2video", "mp2")
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "front.mp4": (*X264, {"movflags": "faststart"}),
    "live.mp4": (*X264, {"movflags": "frag_keyframe+empty_moov"}),
    "a.mkv": (*X264, {}),
    "live.mkv": (*X264, {"live": "1"}),
    "a.webm": ("libvpx", "libopus", {}),
    "live.webm": ("libvpx", "libopus", {"live": "1"}),
    "a.avi": ("mpeg4", "mp2", {}),
    "a.ts": (*X264, {}),
    "a.m2ts": (*OLD, {}),
    "a.flv": (*X264, {}),
    "a.mpg": (*OLD, {}),
    "a.mxf": ("mpeg2video", "pcm_s16le", {}),
}
"""Name of each sound file: encoders of picture and sound, and options of the container."""

MIN_KEPT = 0.2  # of a cut file; with less, nothing of the film may be left
BAD = ("timeout", "crash", "out_of_memory", "internal_error")
COLUMNS = {
    "damage": "",
    "files": "d",
    "done": "d",
    "partial": "d",
    "failed": "d",
    "reasons": "",
    "silent": "d",
    "bad": "d",
}

Damage = Callable[[bytes, random.Random], bytes]


class Outcome(NamedTuple):
    """What a run said of one file."""

    status: str  # of RUN_VIDEOS
    reasons: tuple[str, ...]  # of its failures


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--files", type=int, default=450)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for the whole run")
    options = read_options(parser, argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = write_folder(folder / "films", options.files, options.seed)
        began = time.monotonic()
        outcomes = index(folder, options.timeout)
        took = time.monotonic() - began
    report = Report(COLUMNS)
    for kind in ("none", *DAMAGES):
        report.add(row(kind, [outcomes[path] for path, its in kinds.items() if its == kind]))
    say(f"{len(kinds)} files in {took:.0f} s")
    save(options, report)


def write_folder(folder: Path, count: int, seed: int) -> dict[str, str]:
    """Write sound and damaged files; returns the kind of damage of each, by name."""
    folder.mkdir()
    for name, (picture, sound, options) in FORMATS.items():
        write_film(folder / name, picture, sound, options)
    kinds = dict.fromkeys(FORMATS, "none")
    rng = random.Random(seed)
    for number in range(count):
        source = folder / list(FORMATS)[number % len(FORMATS)]
        kind = list(DAMAGES)[number // len(FORMATS) % len(DAMAGES)]
        name = f"{number:04}-{kind}-{source.name}"
        (folder / name).write_bytes(DAMAGES[kind](source.read_bytes(), rng))
        kinds[name] = kind
    return kinds


def index(folder: Path, timeout: float) -> dict[str, Outcome]:
    """Index the files; returns what the run recorded of each, by name.

    Raises:
        subprocess.TimeoutExpired: It hangs.
    """
    words = ["index", str(folder / "films"), "--output", str(folder / "out"), "--local"]
    words += ["--set", "detect.segment_seconds=1", "--set", "isolation.stall_seconds=20"]
    run = subprocess.run(
        [sys.executable, "-m", "vcn_ray", *words], capture_output=True, text=True, timeout=timeout
    )
    if "Traceback" in run.stderr + run.stdout or run.returncode not in (0, 1):
        raise RuntimeError(f"exit code {run.returncode}: {run.stderr[-2000:]}")
    record = json.loads(run.stdout.splitlines()[-1])
    tables = folder / "out" / "runs" / record["run_id"]
    reasons: dict[str, list[str]] = {}
    for failure in pq.read_table(tables / "failures.parquet").to_pylist():
        reasons.setdefault(Path(failure["uri"]).name, []).append(failure["reason"])
    return {
        Path(video["uri"]).name: Outcome(
            video["status"], tuple(reasons.get(Path(video["uri"]).name, ()))
        )
        for video in pq.read_table(tables / "videos.parquet").to_pylist()
    }


def row(kind: str, outcomes: Sequence[Outcome]) -> dict[str, Cell]:
    statuses = Counter(outcome.status for outcome in outcomes)
    reasons = Counter(reason for outcome in outcomes for reason in set(outcome.reasons))
    return {
        "damage": kind,
        "files": len(outcomes),
        **{status: statuses[status] for status in ("done", "partial", "failed")},
        "reasons": ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())),
        "silent": statuses["done"] if kind == "cut" else 0,
        "bad": sum(reasons[reason] for reason in BAD),
    }


def write_film(path: Path, picture: str, sound: str, options: dict[str, str]) -> None:
    """Write a film under a moving camera, with noise as its sound."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (480, 320), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w", options=options) as container:
        film = container.add_stream(picture, rate=RATE)
        film.width, film.height = SIZE
        film.pix_fmt = "yuv420p"
        film.codec_context.gop_size = 12
        film.codec_context.thread_count = 1
        audio = container.add_stream(sound, rate=SOUND_RATE, layout="stereo")
        heard = 0
        for number in range(SECONDS * RATE):
            x, y = 2 * number, number
            seen = np.ascontiguousarray(scene[y : y + SIZE[1], x : x + SIZE[0]])
            frame = av.VideoFrame.from_ndarray(seen, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(film.encode(frame))
            while heard < (number + 1) * SOUND_RATE // RATE:
                samples = audio.codec_context.frame_size or 1024
                noise = rng.normal(0, 3000, (1, 2 * samples)).astype(np.int16)
                part = av.AudioFrame.from_ndarray(noise, format="s16", layout="stereo")
                part.sample_rate, part.pts = SOUND_RATE, heard
                part.time_base = Fraction(1, SOUND_RATE)
                container.mux(audio.encode(part))
                heard += samples
        container.mux(film.encode(None))
        container.mux(audio.encode(None))


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(int(MIN_KEPT * len(data)), len(data) - 16)]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 64)):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damage_head(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 16)):
        changed[rng.randrange(1024)] = rng.randrange(256)
    return bytes(changed)


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    size = rng.randrange(256, 16_384)
    start = rng.randrange(len(data) - size)
    return start, start + size


def zero(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def noise(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def remove(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[start:]


def exchange(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    middle = (start + end) // 2
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


DAMAGES: dict[str, Damage] = {
    "cut": cut,
    "flip": flip,
    "head": damage_head,
    "zero": zero,
    "noise": noise,
    "remove": remove,
    "insert": insert,
    "exchange": exchange,
}
"""Kind of damage -> what it makes of a file."""

if __name__ == "__main__":
    main()
