"""The works whose growth is measured, each on material made for its size.

Each takes a size and a pack, and returns what its parts cost. It is called in a process of its own,
and warms up on little material before anything is counted. Nothing here knows of fits or plots.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import cpu_seconds, forget_peak, peak_of_children, peak_resident
from benchmarks.system.growth_films import (
    CROWD_SECONDS,
    LOOP,
    SHORT_CROWD_SECONDS,
    SHORT_LOOP,
    crowd_frames,
    write_film,
    write_loop,
)
from benchmarks.system.growth_tables import made_segments
from benchmarks.system.reels import repeat_film
from benchmarks.system.scale import made_title, whole_of
from vcn_ray.config import RunConfig, load_config, with_pack
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.decoder import close_idle
from vcn_ray.io.storage import Storage
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.records import TitleCrops
from vcn_ray.report.pages import write_reports
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.rows.video_rows import PICTURES, VideoTables
from vcn_ray.run.commit import commit_detect, commit_track
from vcn_ray.run.events import RunLog
from vcn_ray.run.local import LocalExecutor
from vcn_ray.run.plan import PackHashes, VideoPlan
from vcn_ray.run.planning import group_titles, look_up, plan_titles, skip_finished
from vcn_ray.run.process import prepare_process
from vcn_ray.run.record import RunClock, make_record
from vcn_ray.run.sources import PlanCache
from vcn_ray.sample.render import film_length
from vcn_ray.sample.script import FRAME_RATE, Shot
from vcn_ray.steps import adapt_title, track_video

CROPS = 2  # of each made track
TRACKS_A_PERSON = 50
TINY_PIXELS = 8
OUTPUTS = 32  # of the heads of many titles
MEMORY = Path("/dev/shm")
CLIP = (270, 384)  # height and width of the corner of a crowd with one face


class Cost(NamedTuple):
    """What a part of a work took."""

    part: str
    cpu_seconds: float  # of all processes
    peak_mib: float  # of this process while it lasted, and of its decoders so far
    found: str  # what came out, to see that the work was done


class Meter:
    """Measures the parts of a work."""

    def __init__(self) -> None:
        self.costs: list[Cost] = []

    @contextmanager
    def part(self, name: str) -> Iterator[list[str]]:
        """Measure the block; what came out of it is put into the list."""
        found: list[str] = []
        forget_peak()
        began = cpu_seconds()
        yield found
        took = cpu_seconds() - began
        self.costs.append(Cost(name, took, peak_resident() + peak_of_children(), *found))


class Setup(NamedTuple):
    """What all sizes of a work have in common."""

    pack: str
    loop: tuple[Shot, ...] = LOOP  # repeated twice a minute, and as long as a segment
    crowd_seconds: int = CROWD_SECONDS

    @classmethod
    def quick(cls, pack: str) -> Setup:
        """Films of seconds, for a test: their minutes are shorter."""
        return cls(pack, SHORT_LOOP, SHORT_CROWD_SECONDS)


Work = Callable[[int, Setup], list[Cost]]


def minutes_of_video(minutes: int, setup: Setup) -> list[Cost]:
    """Detect and track a film of so many minutes."""
    config, loaded = _prepare(setup)
    with tempfile.TemporaryDirectory() as name:
        film = write_minutes(minutes, setup, Path(name))
        return detect_and_track(film, Path(name), loaded, config)


def write_minutes(minutes: int, setup: Setup, folder: Path) -> Path:
    """A film of so many minutes: two loops each."""
    return repeat_film(write_loop(folder, setup.loop), folder / "film.mp4", 2 * minutes)


def faces_a_frame(faces: int, setup: Setup) -> list[Cost]:
    """Detect and track a film of pictures with so many faces each."""
    config, loaded = _prepare(setup)
    with tempfile.TemporaryDirectory() as name:
        frames = crowd_frames(faces, setup.crowd_seconds)
        film = write_film(Path(name, "film.mp4"), frames, FRAME_RATE)
        return detect_and_track(film, Path(name), loaded, config)


def _track(segments: list[SegmentTables], config: RunConfig) -> VideoTables:
    pictures = [segment.detections.select(PICTURES) for segment in segments]
    return track_video("film-0123456789ab", segments, config, pictures)


def tables_of_tracks(tracks: int, _: Setup) -> list[Cost]:
    """Join a video's tables and track its faces, without storage."""
    config, meter = RunConfig(), Meter()
    _track(list(made_segments(10)), config)
    segments = list(made_segments(tracks))
    with meter.part("track") as found:
        tables = _track(segments, config)
        found.append(f"{tables.tracks.num_rows} tracks")
    return meter.costs


def adaptation(tracks: int, _: Setup) -> list[Cost]:
    """Adapt to a title, with an encoder that costs next to nothing."""
    config, meter, encoder = RunConfig(), Meter(), TinyEncoder(TINY_PIXELS)
    prepare_process(config.threads)
    adapt_title(made_crops(100), encoder, None, config)
    crops = made_crops(tracks)
    with meter.part("adapt") as found:
        adapted = adapt_title(crops, encoder, None, config)
        found.append(f"{len(adapted.history)} epochs")
    return meter.costs


def clustering(tracks: int, _: Setup) -> list[Cost]:
    """Cluster made-up outputs of so many tracks."""
    meter = Meter()
    with threadpool_limits(1):
        for count in (100, tracks):
            title = made_title(count, max(2, count // TRACKS_A_PERSON), 1024, seed=0)
            work = whole_of(title, "adaptive")
            with meter.part("cluster") as found:
                found.append(f"{work().max() + 1} people")
    return meter.costs[-1:]


def titles_of_a_catalog(titles: int, setup: Setup) -> list[Cost]:
    """Index a catalog of pictures with a face, again when it is finished, and report it."""
    config, loaded = _prepare(setup)
    # A small head: 10,000 models must find room in memory.
    config = replace(config, adapt=replace(config.adapt, outputs=OUTPUTS))
    side = loaded.aligner.input_pixels
    loaded = replace(loaded, make_encoder=lambda: TinyEncoder(side), prior=None)
    meter = Meter()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        frame = next(crowd_frames(1, setup.crowd_seconds))
        clip = write_film(Path(name, "clip.mp4"), [frame[: CLIP[0], : CLIP[1]]], 1).read_bytes()
        for count in (1, titles):
            folder = Path(name, f"{count}-{len(meter.costs)}")
            write_copies(clip, folder / "films", count)
            storage = Storage.open(str(folder / "out"))
            for part in ("index", "index again"):
                with meter.part(part) as found:
                    done = index_with(loaded, folder / "films", storage, config)
                    found.append(f"{len(done)} titles")
            with meter.part("report") as found:
                found.append(f"{len(write_reports(storage).titles)} pages")
            close_idle()
    return meter.costs[3:]


def first_and_last(minutes: int, setup: Setup, repeats: int) -> tuple[float, float]:
    """CPU seconds of the first and of the last segment of a film; the two have equal frames."""
    config, loaded = _prepare(setup)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = write_minutes(minutes, setup, folder)
        jobs = list(_plan(film, loaded, config).jobs())
        took: list[list[float]] = [[], []]
        for number in range(repeats + 1):  # the first round warms up
            for seconds, job in zip(took, (jobs[0], jobs[-1]), strict=True):
                storage = Storage.open(str(folder / f"{number}"))
                began = cpu_seconds()
                commit_detect(job, loaded, config, storage)
                seconds.append(cpu_seconds() - began)
        close_idle()
    first, last = (median(seconds[1:]) for seconds in took)
    return first, last


def detect_and_track(film: Path, folder: Path, pack: FacePack, config: RunConfig) -> list[Cost]:
    """Run the first two steps on a film; its first segment warms up."""
    video, meter = _plan(film, pack, config), Meter()
    jobs = list(video.jobs())
    commit_detect(jobs[0], pack, config, Storage.open(str(folder / "warm")))
    storage = Storage.open(str(folder / "out"))
    with meter.part("detect") as found:
        done = [commit_detect(job, pack, config, storage) for job in jobs]
        faces = sum(work.faces for work in done if work)
        found.append(f"{faces} faces")
    with meter.part("track") as found:
        crops = commit_track(video, config, storage).crops
        found.append(f"{crops} crops")
    close_idle()
    return meter.costs


def index_with(pack: FacePack, films: Path, storage: Storage, config: RunConfig) -> list[object]:
    """What `vcn index --local` does, with a loaded pack; returns the titles that are finished."""
    clock, catalog = RunClock.start(True, None), read_catalog([str(films)], config.s3)
    log, hashes = RunLog(inputs=len(catalog)), PackHashes(pack.detector_hash, pack.encoder_hash)
    cache = PlanCache(storage, keep=True)
    titles = plan_titles(group_titles(catalog), config, hashes, cache)
    rest = skip_finished(look_up(titles, storage), log)
    if rest is not None:
        LocalExecutor(pack, config, storage, log).run(rest)
    outcome = log.outcome()
    make_record(clock, catalog, outcome, config, storage.uri).write(storage)
    return list(outcome.titles)


def write_copies(clip: bytes, folder: Path, count: int) -> None:
    """Write a clip under many names, each copy with another content."""
    folder.mkdir(parents=True)
    for number in range(count):
        # Bytes after the last box of a file change its content, and no decoder reads them.
        (folder / f"{number:06d}.mp4").write_bytes(clip + b"%d" % number)


class TinyEncoder(Backbone):
    """A linear map of a picture of 4 x 4: an encoder whose own cost does not count.

    Args:
        pixels: Side of the crops.
    """

    dim = 128

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.input_pixels = pixels
        self.last = nn.Linear(48, self.dim, bias=False)
        nn.init.normal_(self.last.weight, generator=torch.Generator().manual_seed(0))
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Scale pixels to about -1..1."""
        return (images - 127.5) / 128

    def trunk(self, images: Tensor) -> Tensor:
        """A picture (b, 3, 4, 4)."""
        return functional.adaptive_avg_pool2d(images, 4)

    def tail(self, activations: Tensor) -> Tensor:
        """Its values (b, 48)."""
        return activations.flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Embeddings (b, 128)."""
        projected: Tensor = self.last(features)
        return projected

    def tail_parameters(self) -> list[nn.Parameter]:
        """The last layer."""
        return list(self.last.parameters())


def made_crops(tracks: int) -> TitleCrops:
    """A title of tiny crops: a pattern for each person, and noise for each track and crop."""
    rng, side = np.random.default_rng(0), TINY_PIXELS
    person = rng.integers(0, max(2, tracks // TRACKS_A_PERSON), tracks)
    people = rng.integers(40, 216, (int(person.max()) + 1, 4, 4, 3))
    coarse = people[person] + rng.normal(0, 8, (tracks, 4, 4, 3))
    track = np.arange(tracks).repeat(CROPS)
    shown = coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)[track]
    crops = np.clip(shown + rng.normal(0, 12, shown.shape), 0, 255).astype(np.uint8)
    pairs = np.arange(tracks - tracks % 2).reshape(-1, 2)
    return TitleCrops(crops, track, pairs[person[pairs[:, 0]] != person[pairs[:, 1]]])


def _prepare(setup: Setup) -> tuple[RunConfig, FacePack]:
    seconds = film_length(setup.loop) / FRAME_RATE
    config = with_pack(load_config(None, {"detect.segment_seconds": str(seconds)}), setup.pack)
    prepare_process(config.threads)
    return config, open_pack(config)


def _plan(film: Path, pack: FacePack, config: RunConfig) -> VideoPlan:
    hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
    catalog = read_catalog([str(film)], config.s3)
    (planned,) = plan_titles(group_titles(catalog), config, hashes)
    if planned.title is None:
        raise SystemExit(planned.failures[0].message)
    (video,) = planned.title.videos
    return video
