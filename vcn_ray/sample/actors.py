"""Draws one person of a shot, turned, moved and lit for a frame, and locates the face.

It does not know backgrounds, other people or files. A head turns by shifting the pixels of the
cut-out as the front of a round head would shift, and tilts about the neck; the shoulders stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from vcn_ray.records import F32, U8
from vcn_ray.sample.cutouts import CutOut, cut_out
from vcn_ray.sample.portraits import PORTRAITS
from vcn_ray.sample.scenes import Light
from vcn_ray.sample.script import FRAME_SIZE, Pose, Role

HEAD_REACH = (1.35, 1.02)  # how far beside and below a face pixels move, in face heights
HEAD_DEPTH = 0.36  # distance from the ears forward to the nose, in face heights
LUMA = (0.299, 0.587, 0.114)
ELLIPSE = np.linspace(0, 2 * np.pi, 24, endpoint=False)


class Layer(NamedTuple):
    """A person in a frame, to be blended over the picture behind."""

    corner: tuple[int, int]  # x0 y0 of the patch in the frame
    rgb: F32  # (h, w, 3) in [0, 1], may exceed 1 in strong light
    alpha: F32  # (h, w)
    face: F32  # (4,) x0 y0 x1 y1, pixels of the frame, not clipped to it


@dataclass(frozen=True)
class _Head:
    """How pixels near the head move with it; fields of one shape, in pixels."""

    x: F32  # pixel columns
    y: F32  # pixel rows
    right: F32  # columns from the neck for pixels of the head; 0 on the shoulders
    down: F32  # rows from the neck, likewise
    depth: F32  # pixels towards the camera


class Actor:
    """Draws one role in the frames of one shot.

    Args:
        role: The person and their movement.
        light: The place's light; tint and saturation are applied on construction.
        max_size: Largest face height that will be drawn, in pixels, zoom included.
    """

    def __init__(self, role: Role, light: Light, max_size: float) -> None:
        source = cut_out(PORTRAITS[role.person - 1])
        scale = max_size / float(source.face[3] - source.face[1])
        self._cut = _resize(source, scale, role.mirrored)
        rgb = self._cut.rgba[..., :3].astype(np.float32)
        luma = (rgb @ np.array(LUMA, np.float32))[..., None]
        rgb = (luma + light.saturation * (rgb - luma)) * np.array(light.tint, np.float32)
        self._rgba: U8 = np.dstack(
            [rgb.round().clip(0, 255).astype(np.uint8), self._cut.rgba[..., 3]]
        )
        self._height = float(self._cut.face[3] - self._cut.face[1])
        self._middle = (self._cut.face[:2] + self._cut.face[2:]) / 2
        mx, my = self._middle
        low = np.maximum((mx - HEAD_REACH[0] * self._height, 0), 0).astype(int)
        high = np.ceil((mx + HEAD_REACH[0] * self._height, my + HEAD_REACH[1] * self._height))
        width, height = np.minimum(high, self._rgba.shape[1::-1]).astype(int).tolist()
        self._window = (slice(int(low[1]), height), slice(int(low[0]), width))
        rows, columns = np.mgrid[self._window]
        self._head = self._fields(columns.astype(np.float32), rows.astype(np.float32))

    def draw(self, pose: Pose, gain: float, key: float, blur: tuple[float, float, float]) -> Layer:
        """Draw the person.

        Args:
            pose: Where the face is in the frame, after the camera.
            gain: Brightness.
            key: Side of the light, from -1 (left) to 1 (right).
            blur: Defocus, then motion during the exposure in x and y, all in pixels.

        Returns:
            A patch of the frame; nothing is drawn outside it.
        """
        scale = pose.size / self._height
        low = np.floor(np.array((pose.x, pose.y)) - self._middle * scale).astype(int)
        high = np.ceil(low + np.array(self._rgba.shape[1::-1]) * scale).astype(int) + 1
        low = np.clip(low, 0, np.array(FRAME_SIZE) - 2)
        high = np.clip(high, low + 2, FRAME_SIZE)
        shift = (
            pose.x - scale * self._middle[0] - low[0],
            pose.y - scale * self._middle[1] - low[1],
        )
        affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
        turned = self._turn(pose)
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        patch = cv2.warpAffine(turned, affine, size, flags=cv2.INTER_LINEAR)
        patch = _smear(patch, *blur)
        lit = _key_light(size, pose.x - low[0], pose.size, gain, key)
        rgb = patch[..., :3].astype(np.float32) * lit[None, :, None]
        alpha = patch[..., 3].astype(np.float32) / np.float32(255)
        return Layer((int(low[0]), int(low[1])), rgb, alpha, self._face(pose, scale))

    def _fields(self, x: F32, y: F32) -> _Head:
        tall, (mx, my) = self._height, self._middle
        below = np.clip((y - (my + 0.42 * tall)) / ((HEAD_REACH[1] - 0.42) * tall), 0, 1)
        beside = np.clip((np.abs(x - mx) - 0.75 * tall) / ((HEAD_REACH[0] - 0.75) * tall), 0, 1)
        weight = (1 - _smooth(below)) * (1 - _smooth(beside))
        round_head = np.exp(-(((x - mx) / (0.52 * tall)) ** 2) - ((y - my) / (0.72 * tall)) ** 2)
        depth = HEAD_DEPTH * tall * round_head * weight
        neck = my + 0.75 * tall
        return _Head(x, y, weight * (x - mx), weight * (y - neck), depth)

    def _shift(self, head: _Head, pose: Pose) -> tuple[F32, F32]:
        """Return how far turning the head moves each pixel."""
        yaw, roll, pitch = np.radians((pose.yaw, pose.roll, pose.pitch)).astype(np.float32)
        across = head.right * (np.cos(yaw) * np.cos(roll) - 1) - head.down * np.sin(roll)
        along = head.down * (np.cos(roll) - 1) + head.right * np.sin(roll)
        return across + head.depth * np.sin(yaw), along + head.depth * np.sin(pitch)

    def _turn(self, pose: Pose) -> U8:
        across, along = self._shift(self._head, pose)
        turned = self._rgba.copy()
        turned[self._window] = cv2.remap(
            self._rgba,
            self._head.x - across,
            self._head.y - along,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return turned

    def _face(self, pose: Pose, scale: float) -> F32:
        half = (self._cut.face[2:] - self._cut.face[:2]) / 2
        x = (self._middle[0] + half[0] * np.cos(ELLIPSE)).astype(np.float32)
        y = (self._middle[1] + half[1] * np.sin(ELLIPSE)).astype(np.float32)
        across, along = self._shift(self._fields(x, y), pose)
        points = np.stack([x + across, y + along], axis=1)
        moved = (points - self._middle) * scale + np.array((pose.x, pose.y))
        return np.concatenate([moved.min(axis=0), moved.max(axis=0)]).astype(np.float32)


def _smooth(fraction: F32) -> F32:
    return fraction * fraction * (3 - 2 * fraction)


def _resize(source: CutOut, scale: float, mirrored: bool) -> CutOut:
    """Scale a cut-out to the size of a shot, and sharpen it a little if it is enlarged."""
    rgba = cv2.resize(source.rgba, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if scale > 1:
        soft = cv2.GaussianBlur(rgba, (0, 0), 1.2 * scale)
        rgba[..., :3] = cv2.addWeighted(rgba, 1.35, soft, -0.35, 0)[..., :3]
    ratio = np.array(rgba.shape[1::-1]) / np.array(source.rgba.shape[1::-1])
    face = (source.face.reshape(2, 2) * ratio).ravel().astype(np.float32)
    if mirrored:
        rgba = np.ascontiguousarray(rgba[:, ::-1])
        face[[0, 2]] = rgba.shape[1] - face[[2, 0]]
    return CutOut(rgba, face)


def _smear(patch: U8, defocus: float, across: float, along: float) -> U8:
    """Blur by defocus and by motion during the exposure."""
    if defocus > 0.2:
        patch = cv2.GaussianBlur(patch, (0, 0), defocus)
    return smear_motion(patch, across, along)


def smear_motion(patch: np.ndarray, across: float, along: float) -> np.ndarray:
    """Blur along a line of that many pixels; shorter than 1.5 pixels, return `patch` itself."""
    length = float(np.hypot(across, along))
    if length < 1.5:
        return patch
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in np.linspace(-0.5, 0.5, 8 * reach):
        kernel[round(reach + step * along), round(reach + step * across)] += 1
    return np.asarray(cv2.filter2D(patch, -1, kernel / kernel.sum()), patch.dtype)


def _key_light(size: tuple[int, int], face_x: float, tall: float, gain: float, key: float) -> F32:
    """Return a factor (w,) for each column from 8 bits to 1; one side of a face is lighter."""
    side = np.tanh((np.arange(size[0], dtype=np.float32) - face_x) / (0.55 * tall))
    return np.asarray((gain / 255) * (1 + 0.42 * key * side), np.float32)
