"""Writes the sample film and its labels to a folder; it does not know how a frame is drawn."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from vcn_ray.errors import StorageError, UsageError
from vcn_ray.io.atomic import atomic_file
from vcn_ray.records import U8
from vcn_ray.sample.render import Frame, film_length, paint_film
from vcn_ray.sample.script import FRAME_RATE, FRAME_SIZE, SHOTS, Shot

VIDEO_NAME = "sample.mp4"
LABELS_NAME = "labels.csv"
LABEL_COLUMNS = ("video", "frame", "seconds", "x0", "y0", "x1", "y1", "identity")
# With one thread every run writes the same bytes; x264 adds a keyframe at each cut it detects.
ENCODER = {
    "preset": "veryfast",
    "crf": "21",
    "x264-params": "threads=1:lookahead-threads=1:keyint=125:min-keyint=10:scenecut=40",
}


@dataclass(frozen=True, slots=True)
class SampleFilm:
    """The files of a sample film, and what they contain."""

    video: Path
    labels: Path
    frames: int
    seconds: float
    faces: int  # rows of the labels
    shots: int
    tracks: int  # each person counts once in every shot


def write_sample(
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    shots: tuple[Shot, ...] = SHOTS,
) -> SampleFilm:
    """Render a short film of people from the bundled pictures, and label every face.

    Args:
        folder: Where ``sample.mp4`` and ``labels.csv`` are written, over older ones; it is created
            if missing.
        seed: Sets scenery, sway and grain; 0 or more. The same seed gives the same labels and,
            with the same libraries, the same bytes.
        progress: Called with the number of frames written and the number of all frames.
        shots: The script.

    Raises:
        StorageError: The folder cannot be created or written.
        UsageError: The seed is negative.
    """
    if seed < 0:
        raise UsageError(f"a seed is a whole number, 0 or more; got {seed}")
    try:
        faces = _write_files(folder, seed, progress, shots)
    except (OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"cannot write the sample film to {folder}: {reason}") from error
    frames = film_length(shots)
    return SampleFilm(
        video=folder / VIDEO_NAME,
        labels=folder / LABELS_NAME,
        frames=frames,
        seconds=frames / FRAME_RATE,
        faces=faces,
        shots=len(shots),
        tracks=sum(len(shot.roles) for shot in shots),
    )


def _write_files(
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None] | None,
    shots: tuple[Shot, ...],
) -> int:
    """Write film and labels; return the number of labelled faces."""
    faces, total = 0, film_length(shots)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_file(folder / LABELS_NAME) as labels_part,
        atomic_file(folder / VIDEO_NAME) as video_part,
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
    return faces


def _rows(index: int, frame: Frame) -> list[tuple[object, ...]]:
    seconds = f"{index / FRAME_RATE:.3f}"
    return [(VIDEO_NAME, index, seconds, *label.box, label.identity) for label in frame.labels]


@contextmanager
def _encoder(path: Path) -> Iterator[Callable[[U8], None]]:
    """Yield a function that appends an RGB frame to an H.264 film."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=ENCODER)
        stream.width, stream.height = FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1

        def encode(rgb: U8) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))

        yield encode
        container.mux(stream.encode(None))
