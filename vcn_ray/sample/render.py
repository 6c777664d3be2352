"""Draws the sample film and locates every face; it does not know video files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from vcn_ray.records import F32, U8
from vcn_ray.sample.actors import Actor, Layer, smear_motion
from vcn_ray.sample.portraits import PORTRAITS
from vcn_ray.sample.scenes import FRONTS, HEIGHT, PLACES, WIDTH
from vcn_ray.sample.script import FRAME_RATE, FRAME_SIZE, Camera, Pose, Role, Shot

FAR, NEAR = 0.4, 1.6  # movement of background and foreground, relative to the people's
SHUTTER = 0.5  # fraction of a frame's time during which the shutter is open
MIN_VISIBLE = 0.5  # fraction of a face; a face that is hidden more is not labelled
MIDDLE = np.array(FRAME_SIZE) / 2


class Label(NamedTuple):
    """A visible face."""

    box: tuple[float, float, float, float]  # x0 y0 x1 y1, pixels of the frame
    identity: str


class Frame(NamedTuple):
    """A picture of the film and the visible faces in it."""

    rgb: U8  # (360, 640, 3)
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class _Sway:
    """Small involuntary motions of camera and body; a seed sets their phases."""

    phase: F32  # (6,) radians

    def hand(self, seconds: float) -> tuple[float, float]:
        """Return the shake of a hand-held camera in x and y, in pixels."""
        p = self.phase
        x = 1.1 * np.sin(2.1 * seconds + p[0]) + 0.5 * np.sin(5.3 * seconds + p[1])
        y = 0.8 * np.sin(1.7 * seconds + p[2]) + 0.4 * np.sin(4.7 * seconds + p[3])
        return float(x), float(y)

    def body(self, pose: Pose, seconds: float) -> Pose:
        """Add breathing and shifting from foot to foot to a pose."""
        p, tall = self.phase, pose.size / 120
        return replace(
            pose,
            x=pose.x + 1.8 * tall * float(np.sin(1.9 * seconds + p[4])),
            y=pose.y + 1.4 * tall * float(np.sin(3.1 * seconds + p[5])),
            roll=pose.roll + 1.3 * float(np.sin(2.3 * seconds + p[0])),
            yaw=pose.yaw + 2.0 * float(np.sin(1.3 * seconds + p[1])),
        )


class ShotPainter:
    """Draws the frames of one shot.

    Args:
        shot: Its part of the script.
        seed: Of the film; it sets scenery, sway and grain. A place looks the same in all shots.
        number: The shot's index in the film.
    """

    def __init__(self, shot: Shot, seed: int, number: int) -> None:
        self._shot = shot
        place = PLACES[shot.place]
        self._light = place.light
        scenery = np.random.default_rng([seed, sorted(PLACES).index(shot.place)])
        self._back = place.paint(scenery)
        self._front = FRONTS[shot.front](scenery) if shot.front else None
        self._random = np.random.default_rng([seed, 1000 + number])
        zoom = max(shot.start.zoom, shot.end.zoom)
        self._sways = [self._new_sway() for _ in range(len(shot.roles) + 1)]
        self._actors = [
            Actor(role, self._light, zoom * max(pose.size for pose in role.poses))
            for role in shot.roles
        ]
        self._grain = self._random.standard_normal((2 * FRAME_SIZE[1], 2 * FRAME_SIZE[0]))
        self._grain = cv2.GaussianBlur(self._grain.astype(np.float32), (0, 0), 0.7)
        self._grain *= self._light.grain / self._grain.std()

    def paint(self, index: int) -> Frame:
        """Draw frame `index` of the shot; call it in order, because each frame draws new grain."""
        progress = index / max(self._shot.frames - 1, 1)
        gain, key = self._lighting(progress)
        canvas = self._backdrop(index) * (0.3 + 0.7 * gain / self._light.exposure)
        layers = []
        for role, actor, sway in zip(self._shot.roles, self._actors, self._sways[1:], strict=True):
            pose, later = (self._pose(role, sway, moment) for moment in (index, index + SHUTTER))
            defocus = role.focus[0] + (role.focus[1] - role.focus[0]) * progress
            layer = actor.draw(pose, gain, key, (defocus, later.x - pose.x, later.y - pose.y))
            _blend(canvas, layer)
            layers.append(layer)
        self._cover(canvas, index)
        labels = tuple(
            Label(box, PORTRAITS[role.person - 1].identity)
            for number, role in enumerate(self._shot.roles)
            if (box := visible_box(layers[number], layers[number + 1 :])) is not None
        )
        return Frame(self._develop(canvas), labels)

    def _new_sway(self) -> _Sway:
        return _Sway(self._random.uniform(0, 2 * np.pi, 6).astype(np.float32))

    def _lighting(self, progress: float) -> tuple[float, float]:
        """Return the brightness of people and the side of the light."""
        first, last = self._shot.exposure
        passing = self._shot.sweep * np.sin(progress * 5 * np.pi)
        gain = self._light.exposure * (first + (last - first) * progress) * (1 + 0.3 * passing)
        return float(gain), float(np.clip(self._light.key + 2 * passing, -1, 1))

    def _camera(self, index: float) -> Camera:
        progress = _ease(index / max(self._shot.frames - 1, 1))
        a, b = self._shot.start, self._shot.end
        x, y = self._sways[0].hand(index / FRAME_RATE)
        return Camera(
            a.x + (b.x - a.x) * progress + x,
            a.y + (b.y - a.y) * progress + y,
            a.zoom + (b.zoom - a.zoom) * progress,
        )

    def _pose(self, role: Role, sway: _Sway, index: float) -> Pose:
        """Return the pose of a face in the frame: the role's movement, then the camera's."""
        along = min(index / max(self._shot.frames - 1, 1), 1.0) * (len(role.poses) - 1)
        left = min(int(along), len(role.poses) - 2)
        a, b = role.poses[left], role.poses[left + 1]
        values = np.array(astuple(a)) + (np.array(astuple(b)) - astuple(a)) * _ease(along - left)
        pose = sway.body(Pose(*values.tolist()), index / FRAME_RATE)
        camera = self._camera(index)
        x, y = MIDDLE + (np.array((pose.x - camera.x, pose.y - camera.y)) - MIDDLE) * camera.zoom
        return replace(pose, x=float(x), y=float(y), size=pose.size * camera.zoom)

    def _view(self, index: float, parallax: float) -> F32:
        """Return (2, 3) from canvas to frame; scenery moves `parallax` times as far as people."""
        camera = self._camera(index)
        zoom = 1 + (camera.zoom - 1) * parallax
        shift = MIDDLE - zoom * (
            np.array((WIDTH, HEIGHT)) / 2 + parallax * np.array((camera.x, camera.y))
        )
        return np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32)

    def _backdrop(self, index: int) -> F32:
        here, later = self._view(index, FAR), self._view(index + SHUTTER, FAR)
        seen = cv2.warpAffine(self._back, here, FRAME_SIZE, borderMode=cv2.BORDER_REPLICATE)
        motion = later[:, 2] - here[:, 2]
        return np.asarray(smear_motion(seen, float(motion[0]), float(motion[1])), np.float32)

    def _cover(self, canvas: F32, index: int) -> None:
        """Draw the foreground over everything."""
        if self._front is None:
            return
        seen = cv2.warpAffine(self._front, self._view(index, NEAR), FRAME_SIZE)
        top = int(np.argmax(seen[..., 3].max(axis=1) > 0))
        canvas[top:] *= 1 - seen[top:, :, 3:]
        canvas[top:] += seen[top:, :, :3]

    def _develop(self, canvas: F32) -> U8:
        """Add vignette and grain, and convert to 8 bits."""
        x, y = self._random.integers(0, FRAME_SIZE[0]), self._random.integers(0, FRAME_SIZE[1])
        canvas *= VIGNETTE
        canvas += self._grain[y : y + FRAME_SIZE[1], x : x + FRAME_SIZE[0], None]
        return np.asarray(cv2.convertScaleAbs(canvas.clip(0, 1), alpha=255), np.uint8)


def paint_film(shots: tuple[Shot, ...], seed: int) -> Iterator[Frame]:
    """Draw a whole film.

    During a dissolve, only the faces of the shot with the greater weight are labelled.

    Args:
        shots: In order; the frames of a dissolve belong to the previous shot too.
        seed: Sets scenery, sway and grain; the same seed draws the same film.

    Yields:
        The frames in order.
    """
    leaving: list[Frame] = []  # the last frames of the previous shot, kept for a dissolve
    for number, shot in enumerate(shots):
        painter = ShotPainter(shot, seed, number)
        following = shots[number + 1].dissolve if number + 1 < len(shots) else 0
        kept: list[Frame] = []
        for index in range(shot.frames):
            frame = painter.paint(index)
            if index < shot.dissolve:
                frame = _dissolve(leaving[index], frame, (index + 1) / (shot.dissolve + 1))
            if index < shot.frames - following:
                yield frame
            else:
                kept.append(frame)
        leaving = kept


def film_length(shots: tuple[Shot, ...]) -> int:
    """Return the number of frames that `paint_film` yields."""
    return sum(shot.frames - shot.dissolve for shot in shots)


def visible_box(layer: Layer, nearer: list[Layer]) -> tuple[float, float, float, float] | None:
    """Return the part of a face's box inside the frame, or None if less than half is visible.

    Args:
        layer: The person.
        nearer: People in front of that person. The foreground of a place never covers faces.
    """
    box = np.clip(layer.face, 0, np.tile(np.array(FRAME_SIZE, np.float32), 2))
    x0, y0, x1, y1 = box.round().astype(int).tolist()
    whole = float(np.prod(layer.face[2:] - layer.face[:2]))
    seen = np.ones((y1 - y0, x1 - x0), np.float32)
    for other in nearer:
        left, top = other.corner
        tall, wide = other.alpha.shape
        rows = slice(max(y0, top), max(min(y1, top + tall), max(y0, top)))
        columns = slice(max(x0, left), max(min(x1, left + wide), max(x0, left)))
        inner = other.alpha[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        seen[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] *= 1 - inner
    if float(seen.sum()) < MIN_VISIBLE * whole:
        return None
    a, b, c, d = (round(float(value), 1) for value in box)
    return a, b, c, d


def _dissolve(leaving: Frame, coming: Frame, weight: float) -> Frame:
    rgb = cv2.addWeighted(leaving.rgb, 1 - weight, coming.rgb, weight, 0)
    if weight == 0.5:
        return Frame(rgb, ())
    return Frame(rgb, coming.labels if weight > 0.5 else leaving.labels)


def _blend(canvas: F32, layer: Layer) -> None:
    left, top = layer.corner
    tall, wide = layer.alpha.shape
    under = canvas[top : top + tall, left : left + wide]
    under += layer.alpha[..., None] * (layer.rgb - under)


def _ease(progress: float) -> float:
    """Map 0..1 to 0..1 along half a cosine, so that motion starts and stops gently."""
    return float(0.5 - 0.5 * np.cos(np.pi * min(max(progress, 0.0), 1.0)))


def _vignette() -> F32:
    x = np.linspace(-1, 1, FRAME_SIZE[0], dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, FRAME_SIZE[1], dtype=np.float32)[:, None, None]
    return np.asarray(1 - 0.16 * (x**2 + y**2) ** 1.5 / 2, np.float32)


VIGNETTE = _vignette()
