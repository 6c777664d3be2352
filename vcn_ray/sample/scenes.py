"""The places of the sample film, painted by formula: rooms, streets, gardens and their light.

It does not know people, shots or cameras. Every place is a canvas larger than the frame, so that a
camera can move over it. It is slightly out of focus, like the background of people in a film.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from vcn_ray.records import F32

WIDTH, HEIGHT = 880, 500
"""Size of a canvas in pixels; its middle lies behind the middle of the frame."""

Colour = tuple[float, float, float]
Random = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of a place on the people in it."""

    tint: Colour = (1.0, 1.0, 1.0)  # RGB gain on people
    exposure: float = 1.0
    saturation: float = 1.0
    key: float = 0.0  # -1: all light from the left; 1: all from the right
    grain: float = 0.008  # standard deviation of film grain, of a full scale of 1


@dataclass(frozen=True)
class Place:
    """A function that paints the canvas of a place, and the light there."""

    paint: Callable[[Random], F32]
    light: Light


def _gradient(top: Colour, bottom: Colour) -> F32:
    down = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - down) + np.array(bottom, np.float32) * down
    return np.tile(rows, (1, WIDTH, 1))


def _box(canvas: F32, corners: tuple[int, int, int, int], colour: Colour) -> None:
    x0, y0, x1, y1 = corners
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, -1, cv2.LINE_AA)


def _soften(canvas: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma), np.float32)


def _clouds(random: Random, cells: tuple[int, int], strength: float) -> F32:
    """Return smooth noise around 1, (HEIGHT, WIDTH, 1)."""
    coarse = random.standard_normal((cells[1], cells[0])).astype(np.float32)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1 + strength * smooth[..., None], np.float32)


def _lamps(
    canvas: F32, random: Random, count: int, radius: tuple[int, int], colours: tuple[Colour, ...]
) -> None:
    """Add lights far out of focus: bright discs with a brighter rim, mostly in the upper half."""
    for _ in range(count):
        place = (int(random.uniform(0, WIDTH)), int(random.beta(1.6, 2.6) * HEIGHT))
        size = int(random.uniform(*radius))
        disc = np.zeros(canvas.shape[:2], np.float32)
        cv2.circle(disc, place, size, 0.75, -1, cv2.LINE_AA)
        cv2.circle(disc, place, size, 1.0, 2, cv2.LINE_AA)
        disc = _soften(disc, 1.6) * random.uniform(0.2, 0.6)
        colour = np.array(colours[random.integers(len(colours))], np.float32)
        canvas += disc[..., None] * colour


def _glow(canvas: F32, centre: tuple[int, int], reach: float, colour: Colour) -> None:
    """Add a round pool of light."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    pool = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * reach**2))
    canvas += pool[..., None] * np.array(colour, np.float32)


def _bar(random: Random) -> F32:
    canvas = _gradient((0.10, 0.06, 0.05), (0.20, 0.11, 0.07))
    for shelf in (130, 215):
        _box(canvas, (60, shelf, 820, shelf + 7), (0.30, 0.18, 0.10))
        for x in range(75, 810, 24):
            tall, hue = int(random.uniform(35, 62)), random.uniform(0.1, 0.5)
            glass = (hue, 0.22, 0.12) if random.random() < 0.6 else (0.12, 0.26, hue * 0.7)
            _box(canvas, (x, shelf - tall, x + int(random.uniform(9, 15)), shelf - 1), glass)
    canvas = _soften(canvas, 6.0)
    _lamps(canvas, random, 22, (10, 30), ((1.0, 0.62, 0.25), (1.0, 0.4, 0.2), (0.9, 0.75, 0.5)))
    return canvas


def _living_room(random: Random) -> F32:
    canvas = _gradient((0.66, 0.60, 0.50), (0.52, 0.44, 0.36)) * _clouds(random, (9, 6), 0.03)
    _box(canvas, (90, 40, 300, 330), (0.86, 0.84, 0.78))
    for x in (102, 200):
        for y in (52, 192):
            _box(canvas, (x, y, x + 88, y + 128), (1.05, 1.08, 1.10))
    _box(canvas, (60, 20, 112, 400), (0.62, 0.30, 0.24))
    _box(canvas, (280, 20, 330, 400), (0.62, 0.30, 0.24))
    _box(canvas, (520, 90, 640, 180), (0.30, 0.21, 0.15))
    _box(canvas, (530, 100, 630, 170), (0.38, 0.50, 0.52))
    _box(canvas, (0, 380, WIDTH, HEIGHT), (0.34, 0.26, 0.22))
    canvas = _soften(canvas, 5.0)
    _glow(canvas, (200, 180), 130, (0.16, 0.16, 0.15))
    _glow(canvas, (760, 150), 70, (0.40, 0.28, 0.12))
    return canvas


def _street(random: Random) -> F32:
    canvas = _gradient((0.10, 0.14, 0.30), (0.24, 0.22, 0.34))
    x = 0
    while x < WIDTH:
        wide, top = int(random.uniform(70, 140)), int(random.uniform(30, 180))
        dark = random.uniform(0.05, 0.12)
        _box(canvas, (x, top, x + wide - 6, 430), (dark, dark * 1.1, dark * 1.6))
        for wx in range(x + 10, x + wide - 20, 22):
            for wy in range(top + 14, 400, 30):
                if random.random() < 0.4:
                    _box(canvas, (wx, wy, wx + 11, wy + 15), (0.95, 0.72, 0.34))
        x += wide
    _box(canvas, (0, 430, WIDTH, HEIGHT), (0.09, 0.09, 0.13))
    canvas = _soften(canvas, 4.5)
    _lamps(canvas, random, 16, (8, 24), ((1.0, 0.7, 0.35), (0.9, 0.2, 0.2), (0.3, 0.8, 0.9)))
    return canvas


def _office(random: Random) -> F32:
    canvas = _gradient((0.62, 0.70, 0.76), (0.46, 0.52, 0.58)) * _clouds(random, (8, 5), 0.02)
    for x in range(40, 560, 26):
        bright = 0.88 + 0.10 * random.random()
        _box(canvas, (x, 30, x + 18, 330), (bright * 0.94, bright, bright * 1.04))
    _box(canvas, (620, 70, 790, HEIGHT), (0.36, 0.42, 0.47))
    _box(canvas, (642, 95, 768, 300), (0.56, 0.66, 0.72))
    _box(canvas, (0, 345, 600, 366), (0.28, 0.32, 0.36))
    for x in (90, 250, 430):
        _box(canvas, (x, 290, x + 70, 345), (0.20, 0.24, 0.28))
    return _soften(canvas, 5.5)


def _garden(random: Random) -> F32:
    canvas = _gradient((0.62, 0.78, 0.62), (0.20, 0.34, 0.14))
    for _ in range(420):
        place = (int(random.uniform(0, WIDTH)), int(random.uniform(60, HEIGHT)))
        shade = random.uniform(0.35, 1.0) * (1.15 - 0.6 * place[1] / HEIGHT)
        size = int(random.uniform(8, 34))
        cv2.circle(canvas, place, size, (0.42 * shade, 0.62 * shade, 0.24 * shade), -1, cv2.LINE_AA)
    canvas = _soften(canvas, 9.0)
    _lamps(canvas, random, 26, (9, 26), ((0.85, 0.95, 0.55), (0.95, 0.95, 0.8)))
    _glow(canvas, (700, 20), 190, (0.35, 0.32, 0.18))
    return canvas


def _theatre(random: Random) -> F32:
    x = np.linspace(0, 1, WIDTH, dtype=np.float32)
    bend = np.sin(x * 9 + random.uniform(0, 6)) * 1.6
    folds = 0.5 + 0.32 * np.sin(x * 88 + bend) + 0.18 * np.sin(x * 41 + 2 * bend)
    curtain = folds[None, :, None] * np.array((0.50, 0.05, 0.07), np.float32)
    canvas = np.repeat(curtain, HEIGHT, axis=0).astype(np.float32) + 0.02
    _box(canvas, (0, 420, WIDTH, HEIGHT), (0.18, 0.10, 0.06))
    canvas = _soften(canvas, 3.5)
    y = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None]
    beam = np.exp(-(((x[None] - 0.5) / (0.10 + 0.22 * y)) ** 2))
    return np.asarray(canvas * (0.55 + 1.1 * beam[..., None]), np.float32)


def _night_train(random: Random) -> F32:
    canvas = _gradient((0.07, 0.10, 0.13), (0.10, 0.13, 0.15))
    for x in range(-40, WIDTH, 300):
        _box(canvas, (x, 60, x + 250, 290), (0.02, 0.03, 0.06))
        for _ in range(7):
            y, start = int(random.uniform(80, 270)), int(random.uniform(x + 6, x + 150))
            streak = (0.9, 0.8 * random.random() + 0.1, 0.3)
            _box(canvas, (start, y, start + int(random.uniform(20, 90)), y + 3), streak)
        _box(canvas, (x + 250, 0, x + 300, HEIGHT), (0.16, 0.20, 0.21))
    _box(canvas, (0, 330, WIDTH, HEIGHT), (0.14, 0.26, 0.27))
    _box(canvas, (0, 14, WIDTH, 26), (0.70, 0.86, 0.84))
    return _soften(canvas, 4.0)


def _shore(random: Random) -> F32:
    canvas = _gradient((0.22, 0.20, 0.42), (1.0, 0.56, 0.28))
    _glow(canvas, (470, 285), 60, (0.7, 0.5, 0.2))
    cv2.circle(canvas, (470, 285), 30, (1.2, 0.95, 0.6), -1, cv2.LINE_AA)
    canvas[300:] = canvas[300:0:-1][:200] * np.array((0.55, 0.5, 0.62), np.float32)
    ripples = random.standard_normal((HEIGHT // 4, WIDTH // 40)).astype(np.float32)
    shimmer = cv2.resize(ripples, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    canvas[300:] *= 1 + 0.16 * shimmer[300:, :, None]
    return _soften(canvas, 1.2)


PLACES: dict[str, Place] = {
    "bar": Place(_bar, Light(tint=(1.06, 0.90, 0.74), exposure=0.84, key=0.35, grain=0.011)),
    "living room": Place(_living_room, Light(tint=(1.0, 0.98, 0.95), exposure=1.02, key=-0.3)),
    "street": Place(
        _street,
        Light(tint=(0.84, 0.92, 1.12), exposure=0.78, saturation=0.8, key=-0.4, grain=0.012),
    ),
    "office": Place(_office, Light(tint=(0.93, 1.0, 1.04), exposure=1.0, saturation=0.72)),
    "garden": Place(_garden, Light(tint=(1.0, 1.03, 0.9), exposure=1.08, key=0.3)),
    "theatre": Place(_theatre, Light(tint=(1.05, 0.96, 0.9), exposure=0.98, key=0.15, grain=0.010)),
    "night train": Place(
        _night_train,
        Light(tint=(0.88, 1.03, 1.0), exposure=0.86, saturation=0.75, key=0.3, grain=0.011),
    ),
    "shore": Place(_shore, Light(tint=(1.08, 0.9, 0.78), exposure=0.86, key=0.4)),
}


def _counter(random: Random) -> F32:
    front = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    cv2.rectangle(front, (0, 398), (WIDTH, HEIGHT), (0.16, 0.09, 0.05, 1.0), -1)
    cv2.rectangle(front, (0, 398), (WIDTH, 405), (0.46, 0.29, 0.16, 1.0), -1)
    for x in range(150, WIDTH, 210):
        left = x + int(random.uniform(-40, 40))
        cv2.rectangle(front, (left, 352), (left + 30, 404), (0.62, 0.42, 0.20, 0.55), -1)
        cv2.rectangle(front, (left, 340), (left + 30, 352), (0.80, 0.75, 0.66, 0.30), -1)
    return _soften(front, 3.5)


def _leaves(random: Random) -> F32:
    front = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    for _ in range(60):
        left = random.random() < 0.5
        x = int(random.normal(130 if left else WIDTH - 130, 34))
        y = int(HEIGHT - 40 - random.beta(1, 2.5) * 190)
        shade = random.uniform(0.4, 1.0)
        axes = (int(random.uniform(20, 44)), int(random.uniform(7, 15)))
        colour = (0.16 * shade, 0.34 * shade, 0.10 * shade, 1.0)
        cv2.ellipse(front, (x, y), axes, random.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    return _soften(front, 6.0)


FRONTS: dict[str, Callable[[Random], F32]] = {"counter": _counter, "leaves": _leaves}
"""Scenery between the camera and the people: (HEIGHT, WIDTH, 4), colours times alpha."""
