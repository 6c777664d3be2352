"""What the parts of `benchmarks.system.gpu` share: a task, its films, rows that may fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch

from benchmarks.machine import peak_resident
from benchmarks.report import Cell
from benchmarks.system.gpu_floors import Rates
from vcn_ray.config import RunConfig, load_config, with_pack
from vcn_ray.errors import VcnError
from vcn_ray.io import isolation
from vcn_ray.io.video import DecodeConfig
from vcn_ray.models.detector_inputs import shrink
from vcn_ray.packs.check import read_picture
from vcn_ray.records import Segment
from vcn_ray.redact import one_line
from vcn_ray.sample.film import write_sample

Row = dict[str, Cell]

MIB = 1 << 20
FILMS = {
    "H.264, 8 bits": ("libx264", "yuv420p", {"preset": "veryfast", "crf": "21"}),
    "HEVC, 10 bits": ("libx265", "yuv420p10le", {"preset": "ultrafast", "crf": "24"}),
}


class Task(NamedTuple):
    """What a part measures, and on what."""

    device: str  # cpu or cuda
    pack: str
    folder: Path  # for films and rates that parts share
    quick: bool

    @property
    def seconds(self) -> float:
        """For which one thing is repeated."""
        return 0.02 if self.quick else 0.5

    def config(self, device: str, **settings: str) -> RunConfig:
        """Settings of a run on a device."""
        gpus = "0" if device == "cpu" else "1"
        words = {"resources.detect_gpus": gpus, "resources.adapt_gpus": gpus}
        return with_pack(load_config(None, words | settings), self.pack)

    def rates(self, precision: str) -> Rates | None:
        """What the part "machine" has measured; None: it did not."""
        path = self.folder / "rates.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        flops, moved = known.get(f"product in {precision}"), known.get("copy")
        return Rates(flops, moved) if flops and moved else None


def sample_film(task: Task) -> Path:
    """The film of `vcn sample`, or a short one for tests; made once."""
    path = task.folder / "sample" / "sample.mp4"
    if path.exists():
        return path
    if not task.quick:
        return write_sample(path.parent).video
    path.parent.mkdir(exist_ok=True)
    picture = shrink(read_picture(), 640)[:360]
    pictures = [np.roll(picture, 2 * number, axis=1) for number in range(24)]
    return write_film(path, "H.264, 8 bits", (640, 360), pictures)


def large_film(task: Task, name: str) -> Path:
    """The first frames of the sample film at 1080 lines; made once."""
    path = task.folder / f"{name}.mp4"
    if not path.exists():
        size, count = ((320, 180), 12) if task.quick else ((1920, 1080), 240)
        with av.open(str(sample_film(task))) as source:
            frames = (frame.to_ndarray(format="rgb24") for frame in source.decode(video=0))
            pictures = (picture for picture, _ in zip(frames, range(count), strict=False))
            write_film(path, name, size, pictures)
    return path


def write_film(path: Path, name: str, size: tuple[int, int], pictures: Any) -> Path:
    """Encode pictures (h, w, 3) at a size."""
    codec, pixels, options = FILMS[name]
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, 25, options=options | quiet)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            scaled = frame.reformat(*size, format=pixels)
            scaled.pts, scaled.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(scaled))
        film.mux(stream.encode(None))
    return path


def whole_film(path: Path) -> tuple[Segment, DecodeConfig]:
    """A film as one segment."""
    config = replace(DecodeConfig(), segment_seconds=1e6)
    (segment,) = isolation.plan_segments(path, config, isolation.IsolationConfig())
    return segment, config


def or_reason(measure: Callable[[], Row]) -> Row:
    """What was measured, or a note of what failed: other rows need not fail alike."""
    try:
        return measure()
    except (VcnError, RuntimeError, OSError) as error:  # also where a GPU's memory is full
        return {"note": f"failed: {one_line(error, 200)}".replace("|", "/")}


def peak_mib(device: str) -> float:
    """MiB of a GPU that are taken now, by whatever uses it; else the peak of this process."""
    if device == "cpu":
        return peak_resident()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / MIB
