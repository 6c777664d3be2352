"""Cuts a person out of a picture, with soft edges; it does not know shots, light or motion.

The pictures are part of insightface and scikit-image, so nothing is downloaded. Clothes that a
picture does not show are continued in their own colour.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from insightface.data import get_image
from skimage.data import astronaut

from vcn_ray.records import F32, U8
from vcn_ray.sample.portraits import Points, Portrait

MARGIN_PIXELS = 12  # around a silhouette, so that a turning head stays inside the cut-out
FOLD_SEED = 7  # the folds of continued clothes are the same in every film


class CutOut(NamedTuple):
    """A person without their surroundings."""

    rgba: U8  # (h, w, 4) straight alpha; colours continue beyond the edge, so blending shows no rim
    face: F32  # (4,) x0 y0 x1 y1, pixels of the cut-out


def picture_pixels(name: str) -> U8:
    """Read a bundled picture.

    Args:
        name: ``astronaut`` of scikit-image, or a name that ``insightface.data.get_image`` knows.

    Returns:
        (h, w, 3) RGB.
    """
    rgb = astronaut() if name == "astronaut" else get_image(name)[..., ::-1]
    return np.ascontiguousarray(rgb, dtype=np.uint8)


@cache
def cut_out(portrait: Portrait) -> CutOut:
    """Cut one person out of a picture, at the picture's own size.

    Args:
        portrait: The picture and the outlines of the person in it.

    Returns:
        The person with soft edges; calls share the arrays, so do not write to them.
    """
    outlines = (portrait.keep, portrait.body, *(part.outline for part in portrait.paint))
    corners = np.concatenate([np.array(points) for points in outlines])
    low = corners.min(axis=0) - MARGIN_PIXELS
    width, height = (corners.max(axis=0) + MARGIN_PIXELS - low).tolist()
    size = (width, height)
    picture = picture_pixels(portrait.picture).astype(np.float32)
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]]], np.float32)
    rgb = cv2.warpAffine(picture, shift, size, borderMode=cv2.BORDER_REPLICATE)
    rgb *= np.array(portrait.tone, np.float32)
    pictured = cv2.warpAffine(np.ones(picture.shape[:2], np.float32), shift, size)

    kept = _area(portrait.keep, low, size, 1.0) * (pictured > 0)
    shape = np.maximum(_area(portrait.body, low, size, 2.0), kept)
    rgb = _clothe(rgb, kept, shape, portrait.cloth)
    for part in portrait.paint:
        cover = _area(part.outline, low, size, 2.0)
        colour = np.array(part.colour, np.float32) * _folds(cover)[..., None]
        rgb += cover[..., None] * (colour - rgb)
        shape = np.maximum(shape, cover)
    rgba = np.dstack([rgb, shape * 255]).round().clip(0, 255).astype(np.uint8)
    return CutOut(rgba, (np.array(portrait.face) - np.tile(low, 2)).astype(np.float32))


def _area(outline: Points, low: np.ndarray, size: tuple[int, int], feather: float) -> F32:
    """Return the inside of a rounded outline as (h, w) alpha in [0, 1]."""
    fine = 4  # the area is drawn larger and shrunk, for smooth edges
    points = (np.array(outline) - low) * fine
    mask = np.zeros((size[1] * fine, size[0] * fine), np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    mask = cv2.GaussianBlur(mask, (0, 0), fine * 2.5)
    mask = np.where(mask > 127, 255, 0).astype(np.uint8)  # rounds the corners of the polygon
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(small, (0, 0), feather), np.float32)


def _clothe(rgb: F32, kept: F32, shape: F32, cloth: tuple[int, int, int]) -> F32:
    """Return the picture (h, w, 3) inside `kept`; outside, its colours fade into cloth."""
    solid = cv2.erode((kept > 0.9).astype(np.float32), np.ones((3, 3), np.uint8))
    colours = np.zeros_like(rgb)
    known = np.zeros_like(kept)
    for sigma in (2.0, 6.0):
        weight = cv2.GaussianBlur(solid, (0, 0), sigma)
        near = cv2.GaussianBlur(rgb * solid[..., None], (0, 0), sigma) / (weight[..., None] + 1e-6)
        take = np.clip((weight - 0.02) / 0.1, 0, 1) * (1 - known)
        colours += take[..., None] * near
        known += take
    far = np.clip(1.6 - 2.2 * cv2.GaussianBlur(kept, (0, 0), 6.0), 0, 1)
    folds = 1 + (_folds(shape) - 1) * far
    colours += (1 - known)[..., None] * np.array(cloth, np.float32)
    inner = cv2.GaussianBlur(solid, (0, 0), 0.8)[..., None]
    return np.asarray(rgb * inner + colours * folds[..., None] * (1 - inner), np.float32)


def _folds(shape: F32) -> F32:
    """Return the light on cloth, (h, w) near 1: soft folds, darker towards the edge of `shape`."""
    height, width = shape.shape
    random = np.random.default_rng(FOLD_SEED)
    coarse = random.standard_normal((max(height // 60, 2), max(width // 22, 2))).astype(np.float32)
    waves = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    weave = cv2.GaussianBlur(random.standard_normal(shape.shape).astype(np.float32), (0, 0), 0.8)
    depth = cv2.distanceTransform((shape > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / 26
    round_off = 0.62 + 0.38 * np.sin(np.clip(depth, 0, 1) * np.pi / 2)
    return np.asarray((1 + 0.09 * waves + 0.05 * weave) * round_off, np.float32)
