"""The parts of `benchmarks.system.gpu` that compare a device with the CPU and share it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from benchmarks.system.gpu_speed import picture_title
from benchmarks.system.gpu_task import (
    FILMS,
    Row,
    Task,
    large_film,
    peak_mib,
    sample_film,
    whole_film,
)
from vcn_ray.api import index
from vcn_ray.config import part_of
from vcn_ray.io import isolation
from vcn_ray.io.storage import Storage
from vcn_ray.io.video import DecodeConfig
from vcn_ray.learn.encoder import encode_tail, mixed_precision
from vcn_ray.packs.load import load_pack
from vcn_ray.redact import one_line
from vcn_ray.run.devices import open_detecting_pack
from vcn_ray.run.process import prepare_process
from vcn_ray.run.stored import read_title
from vcn_ray.schema import BOX_COLUMNS
from vcn_ray.steps import detect_segment

PERSON = ("track_id", "person_id")
WORKERS = (1, 2, 4)
WAIT_SECONDS = 60.0  # for other workers
SHARE_SECONDS = 8.0  # of measuring


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
    "rows": measure_rows,
    "people": measure_people,
    "sharing": measure_sharing,
}
"""What measures a part, by its name."""
