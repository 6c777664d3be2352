"""A film made of real clips: people who speak, cut into shots and joined in a shuffled order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.videos import FINE, encode, read_frames
from vcn_ray.records import U8

WIDTH, HEIGHT = 480, 384
SHOT_FRAMES = 18


@dataclass(frozen=True)
class MontageShot:
    """One shot of the film and whom it shows."""

    start_frame: int
    end_frame: int  # one past the last
    identity: str


def write_montage(clips: list[Path], target: Path, seed: int = 0) -> list[MontageShot]:
    """Cut each clip into shots, join them so that no two neighbours show one person, and encode."""
    rng = np.random.default_rng(seed)
    pieces = [
        (clip.stem, frames[start : start + SHOT_FRAMES])
        for clip in clips
        for frames in [read_frames(clip)]
        for start in range(0, len(frames) - SHOT_FRAMES + 1, SHOT_FRAMES)
    ]
    shots, clock, written = [], 0, []
    for name, frames in (pieces[i] for i in _shuffled([name for name, _ in pieces], rng)):
        mirror, zoom = rng.random() < 0.5, float(rng.uniform(0.85, 1.25))
        gain = float(rng.uniform(0.8, 1.15))
        written += [_render(frame, mirror, zoom, gain) for frame in frames]
        shots.append(MontageShot(clock, clock + len(frames), name))
        clock += len(frames)
    encode(target, written, options=FINE)
    return shots


def _shuffled(names: list[str], rng: np.random.Generator) -> list[int]:
    while True:
        order: list[int] = rng.permutation(len(names)).tolist()
        if all(names[a] != names[b] for a, b in itertools.pairwise(order)):
            return order


def _render(frame: U8, mirror: bool, zoom: float, gain: float) -> U8:
    height, width = frame.shape[:2]
    scale = zoom * min(WIDTH / width, HEIGHT / height)
    move = np.array(
        [
            [scale, 0, WIDTH / 2 - scale * width / 2],
            [0, scale, HEIGHT / 2 - scale * height / 2],
        ]
    )
    image = cv2.warpAffine(frame, move, (WIDTH, HEIGHT), borderValue=(30, 30, 30))
    image = np.clip(image.astype(np.float32) * gain, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image[:, ::-1]) if mirror else image
