"""Writes the sample film and its labels into a folder; it does not know how a frame is drawn."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from vcn_ray.errors import StorageError, UsageError
from vcn_ray.records import U8
from vcn_ray.sample.render import Frame, film_length, paint_film
from vcn_ray.sample.script import FRAME_RATE, FRAME_SIZE, SHOTS, Shot

VIDEO_NAME = "sample.mp4"
LABELS_NAME = "labels.csv"
LABEL_COLUMNS = ("video", "frame", "seconds", "x0", "y0", "x1", "y1", "identity")
# One thread gives the same bytes on every run; x264 sets a keyframe wherever it sees a cut.
ENCODER = {
    "preset": "veryfast",
    "crf": "21",
    "x264-params": "threads=1:lookahead-threads=1:keyint=125:min-keyint=10:scenecut=40",
}


@dataclass(frozen=True, slots=True)
class SampleFilm:
    """What was written."""

    video: Path
    labels: Path
    frames: int
    seconds: float
    faces: int  # rows of the labels
    shots: int
    tracks: int  # people counted once in every shot


def write_sample(
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    shots: tuple[Shot, ...] = SHOTS,
) -> SampleFilm:
    """Render a short film of people of the bundled pictures, and where each face is.

    Args:
        folder: Gets ``sample.mp4`` and ``labels.csv``, in place of older ones; made if missing.
        seed: 0 or more, for scenery, sway and grain. The same seed gives the same labels and,
            with the same libraries, the same bytes.
        progress: Called with the frames done and the frames in all.
        shots: The script.

    Returns:
        The files and what is in them.

    Raises:
        StorageError: The folder cannot be made or written.
        UsageError: The seed is negative.
    """
    if seed < 0:
        raise UsageError(f"a seed is a whole number, 0 or more; got {seed}")
    total = film_length(shots)
    faces = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            _whole(folder / LABELS_NAME) as labels_part,
            _whole(folder / VIDEO_NAME) as video_part,
            labels_part.open("w", newline="", encoding="utf-8") as stream,
            _encoder(video_part) as encode,
        ):
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(LABEL_COLUMNS)
            for index, frame in enumerate(paint_film(shots, seed)):
                encode(frame.rgb)
                table.writerows(_rows(index, frame))
                faces += len(frame.labels)
                if progress is not None:
                    progress(index + 1, total)
    except (OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"cannot write the sample film to {folder}: {reason}") from error
    return SampleFilm(
        video=folder / VIDEO_NAME,
        labels=folder / LABELS_NAME,
        frames=total,
        seconds=total / FRAME_RATE,
        faces=faces,
        shots=len(shots),
        tracks=sum(len(shot.roles) for shot in shots),
    )


def _rows(index: int, frame: Frame) -> list[tuple[object, ...]]:
    seconds = f"{index / FRAME_RATE:.3f}"
    return [(VIDEO_NAME, index, seconds, *label.box, label.identity) for label in frame.labels]


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes it in the end: no half-written film is left."""
    part = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _encoder(path: Path) -> Iterator[Callable[[U8], None]]:
    """A function that appends an RGB frame to an H.264 film."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=ENCODER)
        stream.width, stream.height = FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1

        def encode(rgb: U8) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))

        yield encode
        container.mux(stream.encode(None))
