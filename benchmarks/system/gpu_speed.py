"""The parts of `benchmarks.system.gpu` that measure speed, each in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import peak_resident
from benchmarks.method.floor import count_passes, floor_seconds
from benchmarks.method.running import Bench
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
from benchmarks.system.gpu_task import (
    FILMS,
    MIB,
    Row,
    Task,
    large_film,
    or_reason,
    peak_mib,
    sample_film,
    whole_film,
)
from vcn_ray.errors import DeviceError
from vcn_ray.io import decoder, isolation
from vcn_ray.io.decoding import decode_frames
from vcn_ray.io.hardware import open_device
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
from vcn_ray.records import F32, U8, Detections, TitleCrops

DETECTOR_BATCHES = (1, 4, 8, 16, 32, 64)
ENCODER_BATCHES = (16, 32, 64, 128, 256, 512)
PRECISIONS = ("float32", "tf32", "float16")
"""Kinds of matrix products. A GPU computes the convolutions of float32 networks in torch in TF32,
those of onnxruntime here in float32; mixed precision is float16."""


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


def measure_decoder(task: Task) -> Iterator[Row]:
    """Frames a second of one decoder."""
    for name in FILMS:
        for device in dict.fromkeys(("cpu", task.device)):
            row: Row = {"film": name, "decoder": device}
            problem = "" if device == "cpu" else open_device(device).problem
            measure = partial(decode_row, task, name, device)
            yield row | ({"note": problem} if problem else or_reason(measure))


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


MEASURES: dict[str, Callable[[Task], Iterator[Row]]] = {
    "machine": measure_machine,
    "films": make_films,
    "decode": measure_decoder,
    "detector": measure_detector,
    "encoder": measure_encoder,
    "fine-tune": measure_fine_tune,
}
"""What measures a part, by its name."""
