"""Made-up tables of step detect: many tracks, ten at a time, in shots of half a second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from vcn_ray.core.signals import NO_MOTION
from vcn_ray.io.tables import encode_png
from vcn_ray.records import KEPT
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.schema import DETECTIONS, FRAMES

FACES = 10  # in each frame
FRAMES_A_SHOT = 4  # so each track has as many faces
SHOTS_A_SEGMENT = 60
RATE = 8  # frames a second, all of them analysed
SIZE = (1280, 720)
PICTURE = b"a picture"  # no part of the step decodes it


def made_segments(tracks: int, seed: int = 0) -> Iterator[SegmentTables]:
    """The segments of a video with a number of tracks, a multiple of FACES."""
    rng = np.random.default_rng(seed)
    shots = tracks // FACES
    for number, start in enumerate(range(0, shots, SHOTS_A_SEGMENT)):
        yield made_segment(number, start, min(SHOTS_A_SEGMENT, shots - start), rng)


def made_segment(number: int, start: int, shots: int, rng: np.random.Generator) -> SegmentTables:
    """A segment of some shots, each with faces of its own that move a little.

    Args:
        number: Of the segment.
        start: Shots before it.
        shots: In it.
        rng: Draws pictures and places.
    """
    frames = shots * FRAMES_A_SHOT
    layout = rng.integers(0, 256, (shots, 192), np.uint8).repeat(FRAMES_A_SHOT, axis=0)
    histogram = rng.multinomial(255, rng.dirichlet(np.full(64, 0.1), shots)).astype(np.uint8)
    thumbnails: list[bytes | None] = [None] * frames
    thumbnails[0] = thumbnails[-1] = encode_png(rng.integers(0, 256, (36, 64, 3), np.uint8))
    seconds = (start * FRAMES_A_SHOT + np.arange(frames)) / RATE
    table = {
        "segment": np.full(frames, number),
        "frame_in_segment": np.arange(frames),
        "seconds": seconds,
        "end_seconds": seconds + 1 / RATE,
        "width_pixels": np.full(frames, SIZE[0]),
        "height_pixels": np.full(frames, SIZE[1]),
        "analysed": np.ones(frames, np.bool_),
        "layout": [row.tobytes() for row in layout],
        "histogram": [row.tobytes() for row in histogram.repeat(FRAMES_A_SHOT, axis=0)],
        "motion": [NO_MOTION.ravel().tolist()] * frames,
        "thumbnail": thumbnails,
    }
    return SegmentTables(
        detections=made_faces(number, seconds, rng), frames=pa.table(table, schema=FRAMES)
    )


def made_faces(number: int, seconds: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """The faces of a segment: a row of FACES in each frame, at other heights in each shot."""
    frames = len(seconds)
    shots, n = frames // FRAMES_A_SHOT, frames * FACES
    left = np.tile(np.arange(FACES) * SIZE[0] / FACES + 20, frames)
    drift = np.tile(np.arange(FRAMES_A_SHOT).repeat(FACES), shots)
    top = rng.uniform(0, SIZE[1] - 120, (shots, 1, FACES)).repeat(FRAMES_A_SHOT, axis=1).ravel()
    table = {
        "segment": np.full(n, number),
        "frame_in_segment": np.arange(frames).repeat(FACES),
        "seconds": seconds.repeat(FACES),
        "x0_pixels": left + drift,
        "y0_pixels": top + drift,
        "x1_pixels": left + drift + 80,
        "y1_pixels": top + drift + 100,
        "score": np.full(n, 0.9),
        "detected": np.ones(n, np.bool_),
        "landmarks_pixels": [[0.0] * 10] * n,
        "sharpness": rng.uniform(50, 100, n),
        "frontality": np.ones(n),
        "roll_degrees": np.zeros(n),
        "status": [KEPT] * n,
        "image": [PICTURE] * n,
        "face": [PICTURE] * n,
    }
    return pa.table({name: table[name] for name in DETECTIONS.names}, schema=DETECTIONS)
