"""Times a pack on one thread of this machine; it knows packs only by their three parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from vcn_ray.models.letterbox import shrink
from vcn_ray.packs.check import read_picture
from vcn_ray.packs.face_pack import FacePack

TURNS = 3  # of which the best counts
FACES = 32  # embedded at once

Clock = Callable[[], float]


class PackSpeed(NamedTuple):
    """What a pack does in a second."""

    frames: float  # searched for faces, one at a time
    faces: float  # aligned ones embedded, FACES at a time


def measure_speed(
    pack: FacePack, long_side: int, clock: Clock = time.perf_counter, turns: int = TURNS
) -> PackSpeed:
    """Time detection on insightface's picture of six people, and the embedding of its faces.

    Args:
        pack: Loaded for one thread.
        long_side: Pixels to which the picture is shrunk first, as frames of a film are; the
            detector may shrink it more.
        clock: Seconds that rise; `time.process_time` for those of the CPU, which other load on the
            machine changes less.
        turns: Of which the best counts, after one that does not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(pack, long_side, clock, turns)
    finally:
        torch.set_num_threads(before)


def _measure(pack: FacePack, long_side: int, clock: Clock, turns: int) -> PackSpeed:
    frame = shrink(read_picture(), long_side)
    (found,) = pack.detector.detect(frame[None])
    crops = pack.aligner.align(frame, found)
    if not len(crops):  # noise takes an encoder as long as a face
        side = pack.aligner.input_pixels
        crops = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    several = torch.from_numpy(np.resize(crops, (FACES, *crops.shape[1:])))
    encoder = pack.load_encoder()
    detect = _best(lambda: pack.detector.detect(frame[None]), clock, turns)
    embed = _best(lambda: encoder.embed(several), clock, turns)
    return PackSpeed(1 / detect, FACES / embed)


def _best(work: Callable[[], object], clock: Clock, turns: int) -> float:
    """Seconds of the shortest turn, after one that is not counted."""
    work()
    seconds = []
    for _ in range(turns):
        start = clock()
        work()
        seconds.append(clock() - start)
    return max(min(seconds), 1e-9)
