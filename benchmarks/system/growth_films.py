"""Films of any length and with any number of faces, made of the pictures of the sample film."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from vcn_ray.records import U8
from vcn_ray.sample.cutouts import picture_pixels
from vcn_ray.sample.film import write_sample
from vcn_ray.sample.portraits import PORTRAITS, Portrait
from vcn_ray.sample.script import FRAME_RATE, SHOTS, Shot

SMALL = (160, 90)  # width and height of the long film
LOOP = SHOTS[:13]  # half a minute of the sample film
SHORT_LOOP = SHOTS[:2]
CROWD = (960, 540)
GRID = (5, 4)  # places for faces in a picture of CROWD
CROWD_SECONDS = 20
SHORT_CROWD_SECONDS = 2
FACE_PIXELS = 116  # height of a picture of a face, in a place of 192 by 135
DRIFT_PIXELS = 6


def write_film(path: Path, frames: Iterable[U8], rate: int) -> Path:
    """Encode pictures (h, w, 3) as H.264."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate, options={"crf": "21", "preset": "veryfast"})
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for number, picture in enumerate(frames):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def write_loop(folder: Path, shots: tuple[Shot, ...]) -> Path:
    """Some shots of the sample film, in a small picture."""
    sample = write_sample(folder, shots=shots).video
    return write_film(folder / "loop.mp4", _shrunk(sample), FRAME_RATE)


def _shrunk(film: Path) -> Iterator[U8]:
    with av.open(str(film)) as source:
        for frame in source.decode(video=0):
            yield frame.reformat(*SMALL, format="rgb24").to_ndarray()


def crowd_frames(faces: int, seconds: int) -> Iterator[U8]:
    """Pictures of CROWD with so many faces, which drift a little, each in a place of its own."""
    shown = [face_picture(PORTRAITS[n % len(PORTRAITS)]) for n in range(faces)]
    across, down = CROWD[0] // GRID[0], CROWD[1] // GRID[1]
    for number in range(seconds * FRAME_RATE):
        angle = 2 * math.pi * number / (4 * FRAME_RATE)
        dx, dy = round(DRIFT_PIXELS * math.cos(angle)), round(DRIFT_PIXELS * math.sin(angle))
        picture = np.full((CROWD[1], CROWD[0], 3), 96, np.uint8)
        for n, face in enumerate(shown):
            height, width = face.shape[:2]
            x = (n % GRID[0]) * across + (across - width) // 2 + dx
            y = (n // GRID[0]) * down + (down - height) // 2 + dy
            picture[y : y + height, x : x + width] = face
        yield picture


def face_picture(portrait: Portrait) -> U8:
    """A face with some of its surroundings, FACE_PIXELS high."""
    picture = picture_pixels(portrait.picture)
    x0, y0, x1, y1 = portrait.face
    margin = round(0.3 * (y1 - y0))
    part = picture[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    width = min(round(FACE_PIXELS * part.shape[1] / part.shape[0]), FACE_PIXELS + 20)
    return np.asarray(cv2.resize(part, (width, FACE_PIXELS), interpolation=cv2.INTER_AREA))
