"""The parts of `benchmarks.system.gpu`: each measures in this process and yields rows."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
import torch

from benchmarks.machine import peak_resident
from benchmarks.method.floor import count_passes, floor_seconds
from benchmarks.method.running import Bench
from benchmarks.report import Cell
from benchmarks.system.gpu_floors import (
    Rates,
    Work,
    copy_rate,
    device_clock,
    encoder_work,
    matrix_rate,
    measured,
    onnx_work,
    upload_rate,
)
from vcn_ray.api import index
from vcn_ray.config import RunConfig, load_config, part_of, with_pack
from vcn_ray.errors import DeviceError, VcnError
from vcn_ray.io import decoder, isolation
from vcn_ray.io.decoding import decode_frames
from vcn_ray.io.hardware import open_device
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig, open_video
from vcn_ray.learn.adapt import adapt_encoded
from vcn_ray.learn.encoder import encode_tail, mixed_precision
from vcn_ray.learn.views import encode_views
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.detector_inputs import shrink
from vcn_ray.models.detectors import OnnxDetector
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.check import read_picture
from vcn_ray.packs.embedded import BUILT_IN_NAMES, CENTERFACE
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.inspect import read_pack
from vcn_ray.packs.load import find_folder, load_pack
from vcn_ray.records import F32, U8, Detections, Segment, TitleCrops
from vcn_ray.redact import one_line
from vcn_ray.run.devices import open_detecting_pack
from vcn_ray.run.process import prepare_process
from vcn_ray.run.stored import read_title
from vcn_ray.sample.film import write_sample
from vcn_ray.schema import BOX_COLUMNS
from vcn_ray.steps import detect_segment

Row = dict[str, Cell]

MIB = 1 << 20
DETECTOR_BATCHES = (1, 4, 8, 16, 32, 64)
ENCODER_BATCHES = (16, 32, 64, 128, 256, 512)
WORKERS = (1, 2, 4)
FILMS = {
    "H.264, 8 bits": ("libx264", "yuv420p", {"preset": "veryfast", "crf": "21"}),
    "HEVC, 10 bits": ("libx265", "yuv420p10le", {"preset": "ultrafast", "crf": "24"}),
}
PRECISIONS = ("float32", "tf32", "float16")
"""Kinds of matrix products. A GPU computes the convolutions of float32 networks in torch in TF32,
those of onnxruntime here in float32; mixed precision is float16."""


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


def measure_machine(task: Task) -> Iterator[Row]:
    """Rates of the device, from which floors follow."""
    side, size = (256, 16 * MIB) if task.quick else (8192, 1024 * MIB)
    kinds = PRECISIONS if task.device != "cpu" else PRECISIONS[:1]
    if task.device == "cpu" and not task.quick:
        side, size = 2048, 256 * MIB
    for kind in kinds:
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        dtype = torch.float16 if kind == "float16" else torch.float32
        rate = matrix_rate(task.device, dtype, side, task.seconds)
        yield {"machine": f"product in {kind}", "rate": rate, "unit": "operations/s"}
    yield {
        "machine": "copy",
        "rate": copy_rate(task.device, size, task.seconds),
        "unit": "bytes/s read and written",
    }
    if task.device != "cpu":
        rate = upload_rate(task.device, size // 4, task.seconds)
        yield {"machine": "upload", "rate": rate, "unit": "bytes/s from main memory"}


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


def make_films(task: Task) -> Iterator[Row]:
    """Make the films of later parts ahead of them."""
    for name in ("sample", *FILMS):
        began = time.perf_counter()
        path = sample_film(task) if name == "sample" else large_film(task, name)
        yield {
            "film": name,
            "seconds to make": time.perf_counter() - began,
            "MiB": path.stat().st_size / MIB,
        }


def whole_film(path: Path) -> tuple[Segment, DecodeConfig]:
    """A film as one segment."""
    config = replace(DecodeConfig(), segment_seconds=1e6)
    (segment,) = isolation.plan_segments(path, config, isolation.IsolationConfig())
    return segment, config


def measure_decoder(task: Task) -> Iterator[Row]:
    """Frames a second of one decoder."""
    for name in FILMS:
        for device in dict.fromkeys(("cpu", task.device)):
            row: Row = {"film": name, "decoder": device}
            problem = "" if device == "cpu" else open_device(device).problem
            measure = partial(decode_row, task, name, device)
            yield row | ({"note": problem} if problem else or_reason(measure))


def or_reason(measure: Callable[[], Row]) -> Row:
    """What was measured, or a note of what failed: other rows need not fail alike."""
    try:
        return measure()
    except (VcnError, RuntimeError, OSError) as error:  # also where a GPU's memory is full
        return {"note": f"failed: {one_line(error, 200)}".replace("|", "/")}


def decode_row(task: Task, name: str, device: str) -> Row:
    """Decode a film alone, and as a run does; a first time does not count."""
    path, limits = large_film(task, name), isolation.IsolationConfig()
    segment, config = whole_film(path)
    gpu = None if device == "cpu" else device
    opened = None if gpu is None else open_device(gpu)
    frames: list[int] = []

    def alone() -> None:
        with open_video(path, device=opened) as video:
            frames.append(sum(1 for _ in decode_frames(video, [])))

    def in_run() -> isolation.Frames:
        read = isolation.read_segment(path, segment, config, limits, gpu)
        for _ in read:
            pass
        return read

    took = measured(alone, time.perf_counter, task.seconds)
    in_run()
    (child,) = decoder._idle[os.getpid()]
    before, began = child.cpu_seconds() + time.process_time(), time.perf_counter()
    decoded_on = in_run().decoded_on
    in_run_took = time.perf_counter() - began
    cpu = child.cpu_seconds() + time.process_time() - before
    count = frames[-1]
    return {
        "fps alone": count / took,
        "fps in a run": count / in_run_took,
        "decoded on": decoded_on,
        "CPU ms a frame": 1000 * cpu / count,
    }


def picture_frames(count: int) -> U8:
    """The picture of six people at the size that a run analyses, shifted from frame to frame."""
    picture = shrink(read_picture(), DecodeConfig().long_side_pixels)
    return np.stack([np.roll(picture, 3 * number, axis=1) for number in range(count)])


def detector_pack(task: Task) -> tuple[FacePack, str]:
    """The pack with its detector on the device, or on the CPU and a note that says why."""
    try:
        return load_pack(task.pack, device=task.device), ""
    except DeviceError as error:
        return load_pack(task.pack), f"on the CPU: {error}"


def detector_graph(pack: str) -> Path:
    """The file of the pack's detector."""
    if pack in BUILT_IN_NAMES:
        return find_shipped(CENTERFACE)
    folder = find_folder(pack)
    return folder / read_pack(folder).detector.file


def measure_detector(task: Task) -> Iterator[Row]:
    """Frames a second of the detector by batch."""
    pack, note = detector_pack(task)
    device = "cpu" if note else task.device
    batches = (1, 4) if task.quick else DETECTOR_BATCHES
    frames = picture_frames(max(batches))
    for batch in batches:
        row: Row = {"detector": pack.name, "batch": batch, "note": note}
        yield row | or_reason(partial(detector_row, task, pack, frames[:batch], device))


def detector_row(task: Task, pack: FacePack, frames: U8, device: str) -> Row:
    """The speed of a detector with one batch of frames."""
    batch = len(frames)
    took, runs, calls = detector_runs(pack, frames, device, task.seconds)
    row: Row = {"a second": batch / took, "peak MiB": peak_mib(device)}
    rates = task.rates("float32") if device == task.device else None
    if runs:
        network = batch * calls / sum(run.seconds for run in runs)
        row["network"] = network
        row |= floors(frame_work(task.pack, runs, batch * calls), rates, 1, network)
    return row


class NetworkRun(NamedTuple):
    """One call of a detector's network."""

    shape: tuple[int, ...]  # (b, 3, h, w)
    seconds: float


def detector_runs(
    pack: FacePack, frames: U8, device: str, seconds: float
) -> tuple[float, list[NetworkRun], int]:
    """Seconds of one batch, the calls of the network meanwhile, and the number of batches.

    Only a detector that is an ONNX graph tells of its calls.
    """
    runs: list[NetworkRun] = []
    calls: list[int] = []
    if isinstance(pack.detector, OnnxDetector):
        session = pack.detector._session
        session.max_batch = len(frames)
        plain = type(session)._run.__get__(session)

        def run(pictures: F32) -> list[F32]:
            began = time.perf_counter()
            outputs: list[F32] = plain(pictures)
            runs.append(NetworkRun(pictures.shape, time.perf_counter() - began))
            return outputs

        session._run = run  # type: ignore[method-assign]  # to time it

    def detect() -> None:
        pack.detector.detect(frames)
        calls.append(len(runs))

    took = measured(detect, device_clock(device), seconds)
    return took, runs[calls[0] :], len(calls) - 1  # the first does not count


def frame_work(pack: str, runs: Sequence[NetworkRun], frames: int) -> Work:
    """The work of the network on one frame; second looks at other sizes are a part of it."""
    graph = detector_graph(pack)
    works = {size: onnx_work(graph, *size) for size in {run.shape[2:] for run in runs}}
    flops = sum(run.shape[0] * works[run.shape[2:]].flops for run in runs)
    moved = sum(run.shape[0] * works[run.shape[2:]].moved for run in runs)
    weights = sum(works[run.shape[2:]].weights for run in runs)  # once a call
    return Work(flops / frames, (moved + weights) / frames, 0.0)


def floors(work: Work, rates: Rates | None, batch: int, speed: float) -> Row:
    """Both floors, and how much of the lower one a speed reaches; nothing without rates."""
    if rates is None:
        return {}
    arithmetic, moved = work.fastest(rates, batch)
    return {
        "arithmetic floor": arithmetic,
        "bytes floor": moved,
        "of floor": speed / min(arithmetic, moved),
    }


def peak_mib(device: str) -> float:
    """MiB of a GPU that are taken now, by whatever uses it; else the peak of this process."""
    if device == "cpu":
        return peak_resident()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / MIB


def measure_encoder(task: Task) -> Iterator[Row]:
    """Crops a second of the encoder by batch, in float32 and in mixed precision."""
    encoder = load_pack(task.pack).load_encoder().to(task.device)
    batches = (16, 32) if task.quick else ENCODER_BATCHES
    on_gpu = task.device != "cpu"
    trunk = encoder.frozen_trunk()
    for mixed in (False, True) if on_gpu else (False,):
        precision = ("float16" if mixed else "tf32") if on_gpu else "float32"
        work = encoder_work(encoder, 2 if mixed else 4)
        rates = task.rates(precision)
        for batch in batches:
            name = "mixed" if mixed else "float32"
            row: Row = {"encoder": task.pack, "precision": name, "batch": batch}
            encode = partial(encode_batch, encoder, trunk, random_images(encoder, batch), mixed)
            yield row | or_reason(partial(encoder_row, task, encode, batch, work, rates))


def random_images(encoder: Backbone, batch: int) -> torch.Tensor:
    """Pictures (b, 3, p, p) on the device of an encoder."""
    side, device = encoder.input_pixels, next(encoder.parameters()).device
    return torch.rand(batch, 3, side, side, device=device) * 255


def encoder_row(
    task: Task, encode: Callable[[], object], batch: int, work: Work, rates: Rates | None
) -> Row:
    """The speed of an encoder with one batch of crops."""
    on_gpu = task.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    speed = batch / measured(encode, device_clock(task.device), task.seconds)
    peak = torch.cuda.max_memory_allocated() / MIB if on_gpu else peak_resident()
    return {"a second": speed, "peak MiB": peak, **floors(work, rates, batch, speed)}


def encode_batch(
    encoder: Backbone,
    trunk: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    mixed: bool,
) -> None:
    """Encode pictures as fine-tuning encodes views."""
    with torch.no_grad(), mixed_precision(images.device) if mixed else nullcontext():
        encode_tail(encoder, trunk(encoder.prepare(images)).float())


def picture_title(pack: FacePack, tracks: int, crops: int) -> TitleCrops:
    """Tracks of the six people in the picture, each in its own light, size and place."""
    rng = np.random.default_rng(0)
    picture = read_picture()
    (found,) = pack.detector.detect(picture[None])
    parts = []
    for number in range(tracks):
        row = np.full(crops, number % len(found))
        landmarks = found.landmarks[row] + rng.normal(0, 1.5, (crops, *found.landmarks.shape[1:]))
        faces = Detections(found.boxes[row], found.scores[row], landmarks.astype(np.float32))
        light = np.clip(picture * rng.uniform(0.6, 1.3), 0, 255).astype(np.uint8)
        parts.append(pack.aligner.align(light, faces))
    track = np.repeat(np.arange(tracks), crops)
    nothing = np.zeros((0, 2), np.int64)
    return TitleCrops(np.concatenate(parts), track, nothing, np.ones(len(track), np.float32))


def measure_fine_tune(task: Task) -> Iterator[Row]:
    """Seconds of adapting to a title of ordinary length, and those of the encoder's passes."""
    pack = load_pack(task.pack)
    encoder = pack.load_encoder().to(task.device)
    bench = Bench(encoder, pack.encoder_hash, 0, None, task.quick, pack.prior)
    config = bench.profile("default")
    tracks, crops = (12, 3) if task.quick else (300, 8)
    prior = None if task.quick else pack.prior  # with one, no title as short is trained on
    title = picture_title(pack, tracks, crops)
    for time_of in ("first", "second"):  # the first loads kernels
        began = bench.clock()
        encoded = encode_views(title, encoder, config.adapt, seed=0, augmented=False)
        adapted = adapt_encoded(encoded, config.adapt, config.cluster.cut, seed=0, prior=prior)
        took = bench.clock() - began
        passes = count_passes(title, config.adapt, adapted.history, encoded.views.kept)
        floor = floor_seconds(passes, bench, config.adapt) if adapted.history else None
        yield {
            "fine-tune": time_of,
            "tracks": title.tracks,
            "crops": len(title.crops),
            "seconds": took,
            "floor": floor,
            "over floor": floor and took / floor,
            "peak MiB": adapted.peak_bytes / MIB,
            "note": ", ".join(adapted.warnings),
        }


def measure_rows(task: Task) -> Iterator[Row]:
    """How far rows of the device are from those of the CPU."""
    yield from picture_rows(task)
    yield from detection_rows(task)
    yield from embedding_rows(task)


def picture_rows(task: Task) -> Iterator[Row]:
    """Decoded pictures, which have to be equal."""
    gpu = None if task.device == "cpu" else task.device
    limits = isolation.IsolationConfig()
    for name in FILMS:
        path = large_film(task, name)
        segment, config = whole_film(path)
        ours = isolation.read_segment(path, segment, config, limits, gpu)
        theirs = isolation.read_segment(path, segment, config, limits)
        largest = count = 0
        kept = [(frame.image, frame.small) for frame in theirs]
        for frame, (image, small) in zip(ours, kept, strict=True):
            pairs = [(frame.small, small)]
            if frame.image is not None and image is not None:
                pairs.append((frame.image, image))
            for left, right in pairs:
                largest = max(largest, int(np.abs(left.astype(np.int16) - right).max()))
                count += 1
        note = f"decoded on {ours.decoded_on}"
        row: Row = {"rows": f"pictures, {name}", "compared": count}
        yield row | {"largest difference": largest, "note": note}


def detection_rows(task: Task) -> Iterator[Row]:
    """Faces of a film: scores, and boxes and landmarks in pixels."""
    path = large_film(task, next(iter(FILMS)))
    segment, _ = whole_film(path)
    tables = []
    for device in ("cpu", task.device):
        said: list[str] = []
        pack = open_detecting_pack(task.config(device), said.append)
        tables.append(detect_segment(path, segment, pack, task.config(device)).detections)
    ours, theirs = (frame_faces(table) for table in reversed(tables))
    matched = [
        (face, nearest)
        for frame, faces in theirs.items()
        for face in faces
        if (nearest := nearest_face(face, ours.get(frame, [])))
    ]
    note = "; ".join([*said, f"{tables[0].num_rows} and {tables[1].num_rows} faces"])
    for name in ("score", "box", "landmarks"):
        largest = max(
            (float(np.abs(left[name] - right[name]).max()) for left, right in matched), default=None
        )
        yield {"rows": name, "compared": len(matched), "largest difference": largest, "note": note}


def frame_faces(table: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """Faces by frame."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        face = {
            "box": np.array([row[side] for side in BOX_COLUMNS]),
            "landmarks": np.array(row["landmarks_pixels"]),
            "score": np.array([row["score"]]),
        }
        found.setdefault(row["frame_in_segment"], []).append(face)
    return found


def nearest_face(face: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The face of another table with the nearest box, if its middle lies within half of it."""
    best = min(others, key=lambda other: np.abs(other["box"] - face["box"]).sum(), default=None)
    if best is None or np.abs(best["box"] - face["box"]).mean() > np.ptp(face["box"][::2]) / 2:
        return None
    return best


def embedding_rows(task: Task) -> Iterator[Row]:
    """Embeddings of crops, in both precisions."""
    pack = load_pack(task.pack)
    crops = torch.from_numpy(picture_title(pack, 12, 4).crops)
    expected = pack.load_encoder().embed(crops)
    encoder = pack.load_encoder().to(task.device)
    images = encoder.prepare(crops.to(task.device))
    for name in ("float32", "mixed precision"):
        mixed = nullcontext() if name == "float32" else mixed_precision(images.device)
        with torch.no_grad(), mixed:
            found = encode_tail(encoder, encoder.trunk(images).float()).embeddings
        near = torch.nn.functional.cosine_similarity(found.float().cpu(), expected)
        yield {
            "rows": f"embeddings, {name}",
            "compared": len(crops),
            "largest difference": float((found.float().cpu() - expected).abs().max()),
            "note": f"least cosine {float(near.min()):.6f}",
        }


def measure_people(task: Task) -> Iterator[Row]:
    """Whole runs of the sample film: on the CPU, and on the device."""
    film = sample_film(task)
    people: list[dict[str, str | None]] = []
    for number, device in enumerate(("cpu", task.device)):
        output = task.folder / f"run-{number}"
        began = time.perf_counter()
        done = index(str(film), str(output), local=True, config=task.config(device))
        took = time.perf_counter() - began
        storage = Storage.open(str(output))
        (title_id,) = storage.names("titles")
        title = read_title(title_id, storage)
        people.append(dict(zip(*(title.tracks.column(n).to_pylist() for n in PERSON), strict=True)))
        yield {
            "run": device,
            "seconds": took,
            "tracks": title.tracks.num_rows,
            "people": title.people.num_rows,
            "same": same_people(people[0], people[-1]),
            "note": f"decoded on {title.summary['videos'][0]['decoded_on']}"
            + "".join(f"; {failure}" for failure in done.failures),
        }


PERSON = ("track_id", "person_id")


def same_people(ours: dict[str, str | None], theirs: dict[str, str | None]) -> str:
    """How many tracks of both runs are in the same group in both."""
    both = sorted(ours.keys() & theirs.keys())
    groups: list[dict[str | None, set[str]]] = [{}, {}]
    for side, found in zip(groups, (ours, theirs), strict=True):
        for track in both:
            side.setdefault(found[track], set()).add(track)
    same = sum(groups[0][ours[track]] == groups[1][theirs[track]] for track in both)
    return f"{same} of {max(len(ours), len(theirs))} tracks"


class Share(NamedTuple):
    """What one of several workers did."""

    video_seconds: float  # a second
    frames: float  # analysed, a second
    faces: float  # a second
    decoded_on: str


def measure_sharing(task: Task) -> Iterator[Row]:
    """Several workers on one device, each decoding and detecting."""
    film = sample_film(task)
    context = multiprocessing.get_context("spawn")
    for count in WORKERS[:1] if task.quick else WORKERS:
        barrier, results = context.Barrier(count + 1), context.Queue()
        words = (task, film, barrier, results)
        workers = [context.Process(target=share, args=words) for _ in range(count)]
        for worker in workers:
            worker.start()
        try:
            barrier.wait(WAIT_SECONDS)  # all have their networks
            shares = [results.get(timeout=WAIT_SECONDS) for _ in workers]
            used = peak_mib(task.device) if task.device != "cpu" else None
            barrier.wait(WAIT_SECONDS)  # all have measured, and still hold their memory
        except threading.BrokenBarrierError as error:
            raise RuntimeError(results.get(timeout=1.0)) from error
        for worker in workers:
            worker.join(WAIT_SECONDS)
        yield {"workers": count, "GPU MiB used": used, **shared_row(shares)}


def shared_row(shares: Sequence[Share]) -> Row:
    """What several workers did together."""
    video = sum(share.video_seconds for share in shares)
    return {
        "video s a second": video,
        "frames a second": sum(share.frames for share in shares),
        "faces a GPU-day": sum(share.faces for share in shares) * 86_400,
        "video hours a GPU-day": video * 24,
        "note": f"decoded on {', '.join(sorted({share.decoded_on for share in shares}))}",
    }


WAIT_SECONDS = 60.0  # for other workers
SHARE_SECONDS = 8.0  # of measuring


def share(task: Task, film: Path, barrier: Barrier, results: Queue[Any]) -> None:
    """One of several workers; where it fails, the others do not wait for it."""
    try:
        work_along(task, film, barrier, results)
    except Exception as error:
        results.put(one_line(error, 200))
        barrier.abort()
        raise


def work_along(task: Task, film: Path, barrier: Barrier, results: Queue[Any]) -> None:
    """Go through a film again and again for some seconds, beside other workers."""
    config = task.config(task.device, **{"detect.segment_seconds": "5"})
    prepare_process(config.threads)
    pack = open_detecting_pack(config, lambda _: None)
    decode = part_of(config.detect, DecodeConfig)
    segments = isolation.plan_segments(film, decode, config.isolation)
    detect_segment(film, segments[0], pack, config)  # loads kernels, starts the decoder
    video = frames = faces = 0.0
    tables = None
    barrier.wait(WAIT_SECONDS)
    began = time.perf_counter()
    while tables is None or time.perf_counter() - began < (0.1 if task.quick else SHARE_SECONDS):
        for segment in segments:
            tables = detect_segment(film, segment, pack, config)
            video += segment.end_seconds - segment.start_seconds
            frames += sum(tables.frames.column("analysed").to_pylist())
            faces += tables.detections.num_rows
            if time.perf_counter() - began > SHARE_SECONDS:
                break
    took = time.perf_counter() - began
    results.put(Share(video / took, frames / took, faces / took, tables.decoded_on))
    barrier.wait(WAIT_SECONDS)


MEASURES: dict[str, Callable[[Task], Iterator[Row]]] = {
    "machine": measure_machine,
    "films": make_films,
    "decode": measure_decoder,
    "detector": measure_detector,
    "encoder": measure_encoder,
    "fine-tune": measure_fine_tune,
    "rows": measure_rows,
    "people": measure_people,
    "sharing": measure_sharing,
}
"""What measures a part, by its name."""
