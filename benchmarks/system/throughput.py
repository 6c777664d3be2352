"""What does a film cost beside decoding it and looking at it, and where does the time go?

    python -m benchmarks.system.throughput [FILM ...] [--sample] [--reel DIR] [--no-loop]

All costs are CPU seconds on one thread, of all processes together: other load on the machine
changes them less than wall time. A row is a film; --sample adds the film of `vcn sample`, and
--reel the sample film and the videos of a folder in one film of 1080 lines.

"decode" is decoding every frame and nothing else, "detector" the pack's detector on the frames on
which a run detects faces, "runs" of those that it analyses, and "encoder" one pass of the pack's
encoder over the crops that it samples. "start-up" is the import of the modules of `vcn index`;
"index" is `vcn index --local` in a process of its own, without start-up; "adapt" is the part of it
that belongs to a title, and "detect" the rest, with decoding and tracking. The limit is decode and
detector; "limit / detect" and "limit / index" are the fractions that they would take. "loop" is the
plain program: every frame, at full size, through detector, aligner and encoder, and DBSCAN of
scikit-learn over the faces, cut where the pack's prior says. "h a core-hour" are hours of video
that a core indexes in an hour, with start-up.

The second table has the parts of the same run, again in this process, with the decoder in it too.
Time of a part excludes that of parts inside it; "other" is what no part has.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import av
import numpy as np
import torch

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.reels import write_reel
from vcn_ray.api import index
from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig, part_of, with_pack
from vcn_ray.core.grid import GridConfig, GridDetector
from vcn_ray.core.signals import SignalReader, picture_layout
from vcn_ray.io import decoding, frames
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig
from vcn_ray.learn import views
from vcn_ray.learn.stability import StabilityMeter
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.records import U8, Detections
from vcn_ray.rows.segment_rows import FaceRows
from vcn_ray.rows.title_rows import decode_crops, gather_tracks
from vcn_ray.run import local
from vcn_ray.run.process import prepare_process
from vcn_ray.run.stored import StoredTitle, read_title
from vcn_ray.sample.film import write_sample

ENCODER_BATCH = 16
LOOP_MIN_SAMPLES = 5  # of DBSCAN

COSTS = {
    "film": "",
    "video s": ".1f",
    "frames": "",
    "analysed": "",
    "runs": "",
    "decode": ".1f",
    "detector": ".1f",
    "encoder": ".1f",
    "start-up": ".1f",
    "index": ".1f",
    "detect": ".1f",
    "adapt": ".1f",
    "limit / detect": ".2f",
    "limit / index": ".2f",
    "h a core-hour": ".1f",
    "people": "",
    "loop": ".1f",
    "loop / detect": ".1f",
    "loop / index": ".1f",
    "loop people": "",
}
VIDEO_PARTS = (
    "decode",
    "scale",
    "signals",
    "detector",
    "interpolate",
    "align",
    "rows and JPEG",
    "write tables",
    "track",
)
TITLE_PARTS = ("augment", "encoder", "stability", "rest of adapt", "cluster")
PARTS = (*VIDEO_PARTS, *TITLE_PARTS, "other")


class Floor(NamedTuple):
    """What the parts cost alone that no run can do without, in CPU seconds."""

    frames: int
    analysed: int
    runs: int  # of the detector
    decode: float
    detector: float


class Loop(NamedTuple):
    """What the plain program took and found."""

    seconds: float
    people: int


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("films", type=Path, nargs="*", metavar="FILM")
    parser.add_argument("--sample", action="store_true", help="add the film of `vcn sample`")
    parser.add_argument("--reel", type=Path, metavar="DIR", help="add it and DIR at 1080 lines")
    parser.add_argument("--no-loop", action="store_true", help="leave the plain program out")
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT_PACK}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting"
    )
    parser.set_defaults(config=None)
    options = read_options(parser, argv)
    config = with_pack(given_settings(options, {}), options.pack or DEFAULT_PACK)
    prepare_process(config.threads)
    start_up = min(cpu_of([sys.executable, "-c", "import vcn_ray.cli.commands"]) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        films = chosen_films(options, Path(folder))
        costs = Report(COSTS)
        rows = [measure(film, config, Path(folder), start_up, options) for film in films]
        for row, _ in rows:
            costs.add(row)
        parts = Report({"film": "", **dict.fromkeys(PARTS, ".1f")})
        for _, row in rows:
            parts.add(row)
    save(options, costs, parts)


def chosen_films(options: argparse.Namespace, folder: Path) -> list[Path]:
    """The films of the command line, the made ones written into a folder."""
    films = list(options.films)
    if options.sample or options.reel:
        sample = write_sample(folder).video
        films += [sample] if options.sample else []
    if options.reel:
        videos = [path for path in sorted(options.reel.iterdir()) if path.suffix != ".md"]
        films.append(write_reel([sample, *videos], folder / "reel.mp4"))
    if not films:
        raise SystemExit("give a film, --sample or --reel")
    return films


def measure(
    film: Path, config: RunConfig, folder: Path, start_up: float, options: argparse.Namespace
) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """The rows of a film in both tables."""
    say(f"{film.stem}: vcn index")
    output = folder / f"{film.stem}-index"
    words = ["index", str(film), "--output", str(output), "--pack", config.pack, "--local"]
    words += [word for setting in options.set for word in ("--set", setting)]
    total = cpu_of([sys.executable, "-m", "vcn_ray", *words])
    title = read_only_title(output)
    say(f"{film.stem}: decoder, detector and encoder alone")
    pack, decode = open_pack(config), part_of(config.detect, DecodeConfig)
    floor = measure_floor(film, pack, config)
    crops = decode_crops(gather_tracks([title.tracks], [title.crops])).crops
    encoder = encoder_seconds(pack, crops)
    loop = None if options.no_loop else run_loop(film, pack)
    say(f"{film.stem}: parts of a run")
    parts = profile(film, config, folder / f"{film.stem}-parts")
    limit, run = floor.decode + floor.detector, total - start_up
    adapt = sum(float(parts[name] or 0) for name in TITLE_PARTS)
    seconds = plan_segments(str(film), decode)[-1].end_seconds
    return {
        "film": film.stem,
        "video s": seconds,
        "frames": floor.frames,
        "analysed": floor.analysed,
        "runs": floor.runs,
        "decode": floor.decode,
        "detector": floor.detector,
        "encoder": encoder,
        "start-up": start_up,
        "index": run,
        "detect": run - adapt,
        "adapt": adapt,
        "limit / detect": limit / (run - adapt),
        "limit / index": limit / run,
        "h a core-hour": seconds / total,
        "people": title.people.num_rows,
        "loop": loop and loop.seconds,
        "loop / detect": loop and loop.seconds / (run - adapt),
        "loop / index": loop and loop.seconds / run,
        "loop people": loop and loop.people,
    }, {"film": film.stem, **parts}


def cpu_of(words: Sequence[str]) -> float:
    """CPU seconds of a command and all of its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_only_title(output: Path) -> StoredTitle:
    """The one title of an output."""
    storage = Storage.open(str(output))
    (title_id,) = storage.names("titles")
    return read_title(title_id, storage)


def measure_floor(film: Path, pack: FacePack, config: RunConfig) -> Floor:
    """Decode a film, and run the detector on the frames on which a run does."""
    began, count = time.process_time(), 0
    with av.open(str(film)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        count = sum(1 for _ in container.decode(video=0))
    decode = time.process_time() - began
    detector, runs, analysed = 0.0, 0, 0

    def detect(images: U8) -> list[Detections]:
        nonlocal detector, runs
        began = time.process_time()
        found = pack.detector.detect(images)
        detector += time.process_time() - began
        runs += len(images)
        return found

    settings = part_of(config.detect, DecodeConfig)
    for segment in plan_segments(str(film), settings):
        grid = GridDetector(detect, part_of(config.detect, GridConfig), settings.analysis_fps)
        for frame in frames.read_segment(str(film), segment, settings):
            grid.add(frame.image, frame.seconds, picture_layout(frame.small))
            analysed += frame.analysed
        grid.finish()
    return Floor(count, analysed, runs, decode, detector)


def encoder_seconds(pack: FacePack, crops: U8) -> float:
    """CPU seconds of one pass of the pretrained encoder over crops (m, p, p, 3)."""
    encoder, crops_ = pack.load_encoder(), torch.from_numpy(crops)
    trunk = encoder.frozen_trunk()
    with torch.inference_mode():
        began = time.process_time()
        for batch in torch.split(crops_, ENCODER_BATCH):
            encoder.project(encoder.tail(trunk(encoder.prepare(batch))))
        return time.process_time() - began


def run_loop(film: Path, pack: FacePack) -> Loop:
    """Every frame through detector, aligner and encoder, and DBSCAN over all faces."""
    from sklearn.cluster import DBSCAN

    say(f"{film.stem}: the plain loop")
    encoder, cut = pack.load_encoder(), pack.prior.cut if pack.prior else 0.5
    began = time.process_time()
    embedded = []
    with av.open(str(film)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            (faces,) = pack.detector.detect(image[None])
            if len(faces):
                crops = torch.from_numpy(pack.aligner.align(image, faces))
                embedded.append(encoder.embed(crops, ENCODER_BATCH).numpy())
    rows = np.concatenate(embedded) if embedded else np.zeros((0, encoder.dim))
    people = 0
    if len(rows):
        dbscan = DBSCAN(eps=cut, min_samples=LOOP_MIN_SAMPLES, metric="cosine")
        people = int(dbscan.fit_predict(rows).max()) + 1
    return Loop(time.process_time() - began, people)


class PartTimer:
    """CPU seconds of parts of a run, each without those of parts inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = [0.0]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block."""
        began = time.process_time()
        self._inside.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - began
            self.seconds[name] += took - self._inside.pop()
            self._inside[-1] += took

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def timed_steps(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A generator function whose steps are counted."""

        def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with self.part(name):
                iterator = iter(function(*args, **kwargs))
            while True:
                with self.part(name):
                    item = next(iterator, None)
                if item is None:
                    return
                yield item

        return call


def profile(film: Path, config: RunConfig, output: Path) -> dict[str, Cell]:
    """CPU seconds of the parts of a run in this process."""
    timer, pack = PartTimer(), open_pack(config)
    config = replace(config, isolation=replace(config.isolation, isolate=False))
    with ExitStack() as stack:
        decode = timer.timed_steps("decode", decoding.decode_frames)
        stack.enter_context(mock.patch.object(frames, "decode_frames", decode))
        for owner, attribute, name in (
            (frames, "_upright", "scale"),
            (SignalReader, "add", "signals"),
            (type(pack.detector), "detect", "detector"),
            (GridDetector, "add", "interpolate"),
            (GridDetector, "finish", "interpolate"),
            (type(pack.aligner), "align", "align"),
            (FaceRows, "add", "rows and JPEG"),
            (FolderWriter, "write_table", "write tables"),
            (local, "commit_track", "track"),
            (views.CropViews, "images", "augment"),
            (views.CropViews, "encode", "encoder"),
            (StabilityMeter, "rate", "stability"),
            (local, "commit_adapt", "rest of adapt"),
            (local, "commit_cluster", "cluster"),
        ):
            timed = timer.timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        with timer.part("other"):
            index(str(film), str(output), local=True, config=config)
    return {name: timer.seconds[name] for name in PARTS}


if __name__ == "__main__":
    main()
