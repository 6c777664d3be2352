"""Pictures of faces for people: which faces get one, and how it is cut out of the frame.

The encoder's crops are no good for that: they are warped, tight, and black beyond the frame's edge.
A picture is an upright part of the frame, the face with a margin. A segment keeps about one for
each second of a face, and a track up to three of them. It knows no networks and no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np

from vcn_ray.core.vectors import area, pairwise_iou
from vcn_ray.records import F32, F64, I64, U8, Mask

MARGIN = 0.35  # of the box, added on each side
MAX_HEIGHT = 160  # pixels; higher pictures are shrunk
FULL_SIDE = 100.0  # pixels; larger faces show no more in a picture of MAX_HEIGHT

LINK_OVERLAP = 0.5  # IoU of one face in two frames
LINK_SECONDS = 0.5  # from one frame with faces to the next; after a longer time, faces are new ones
CUT_CHANGE = 12.0  # mean change of the layout, grey levels, after which faces are new ones
PICTURE_SECONDS = 1.0  # of a face, with one picture
CLEARLY_BETTER = 1.2  # a face must be better by this factor to replace a picture

MAX_PICTURES = 3  # of a track
MIN_VALUE = 0.5  # of a track's second and third picture, as a fraction of the best one's


def cut_face(frame: U8, box: F32) -> U8:
    """Cut a face with a margin out of a frame.

    At the frame's edge the picture moves inwards, so it keeps its shape and is never black.

    Args:
        frame: (h, w, 3) uint8.
        box: (4,) x0 y0 x1 y1 in pixels of the frame; it may reach out of it.

    Returns:
        (h', w', 3) uint8, h' at most MAX_HEIGHT; all of it lies inside the frame.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    columns, rows = _enlarge(x0, x1, frame.shape[1]), _enlarge(y0, y1, frame.shape[0])
    part = np.ascontiguousarray(frame[rows, columns])
    if len(part) <= MAX_HEIGHT:
        return part
    size = (max(1, round(part.shape[1] * MAX_HEIGHT / len(part))), MAX_HEIGHT)
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def _enlarge(low: float, high: float, limit: int) -> slice:
    """The pixels of a side with its margins, moved into 0..limit."""
    size = min(max((1 + 2 * MARGIN) * (high - low), 1.0), float(limit))
    start = min(max(low - MARGIN * (high - low), 0.0), limit - size)
    return slice(floor(start), min(ceil(start + size), limit))


def picture_value(boxes: F32, scores: F32, sharpness: F32, frontality: F32) -> F32:
    """Measure how well people can recognise faces: frontal, surely a face, sharp and large.

    Args:
        boxes: (n, 4) displayed pixels.
        scores: (n,) of the detector.
        sharpness: (n,) by `face_sharpness`.
        frontality: (n,) in [0, 1].

    Returns:
        (n,) above 0; comparable within a video.
    """
    size = np.minimum(np.sqrt(area(boxes)) / FULL_SIDE, 1)
    sure = np.maximum(scores, 0.05)
    value = (0.05 + frontality) * sure * np.log1p(np.maximum(sharpness, 0) + 1) * (0.01 + size)
    return np.asarray(value, np.float32)


@dataclass(slots=True)
class _Face:
    """A face that is followed from frame to frame."""

    box: F32  # in the previous frame
    begun: float  # seconds; when its present picture could first be taken
    value: float  # of its present picture
    number: int  # of the face that has it


class Chosen(NamedTuple):
    """Which of a frame's faces get a picture."""

    taken: Mask  # (n,)
    replaced: tuple[int, ...]  # numbers of earlier faces that lose theirs


class PictureChooser:
    """Decides frame by frame which faces of a segment get a picture.

    A face is followed from each frame to the next by the overlap of its boxes, and gets one picture
    a second: the first, which gives way to a clearly better one of the same second. A face that
    was missing in a frame is a new one, and so are all faces where the frame changes at once, as at
    a cut, so that two people share no picture and nearly every track has one.
    """

    def __init__(self) -> None:
        self._open: list[_Face] = []
        self._layout: U8 | None = None
        self._seconds = 0.0
        self._count = 0

    def choose(self, seconds: float, layout: U8, boxes: F32, value: F32, kept: Mask) -> Chosen:
        """Choose among the n faces of the next frame.

        Args:
            seconds: Its time.
            layout: (8, 8, 3) mean colours of its cells.
            boxes: (n, 4).
            value: (n,) by `picture_value`.
            kept: (n,) true for faces that may get a picture.

        Returns:
            The choice; faces are numbered from 0 in the order in which they are given, kept or not.
        """
        self._forget(seconds, layout)
        taken = np.zeros(len(boxes), np.bool_)
        replaced: list[int] = []
        linked = self._link(boxes, kept)
        for row in np.flatnonzero(kept).tolist():
            number, face = self._count + row, linked.get(row)
            if face is None:
                face = _Face(boxes[row], seconds, float(value[row]), number)
                linked[row] = face
                taken[row] = True
            elif seconds - face.begun >= PICTURE_SECONDS:
                face.begun, face.value, face.number = seconds, float(value[row]), number
                taken[row] = True
            elif value[row] > CLEARLY_BETTER * face.value:
                replaced.append(face.number)
                face.value, face.number = float(value[row]), number
                taken[row] = True
            face.box = boxes[row]
        self._open = [linked[row] for row in sorted(linked)]
        self._count += len(boxes)
        return Chosen(taken, tuple(replaced))

    def _forget(self, seconds: float, layout: U8) -> None:
        before, self._layout = self._layout, layout
        change = 0.0 if before is None else np.abs(layout.astype(np.float64) - before).mean()
        if change > CUT_CHANGE or seconds - self._seconds > LINK_SECONDS:
            self._open = []
        self._seconds = seconds

    def _link(self, boxes: F32, kept: Mask) -> dict[int, _Face]:
        """The open face that each row continues, largest overlap first."""
        links: dict[int, _Face] = {}
        if not self._open or not kept.any():
            return links
        overlap = pairwise_iou(np.stack([face.box for face in self._open]), boxes)
        overlap[:, ~kept] = 0
        used: set[int] = set()
        for at in np.argsort(-overlap, axis=None, kind="stable").tolist():
            face, row = divmod(at, len(boxes))
            if overlap[face, row] < LINK_OVERLAP:
                break
            if face not in used and row not in links:
                used.add(face)
                links[row] = self._open[face]
        return links


def best_pictures(seconds: F64, track: I64, value: F32, pictured: Mask) -> Mask:
    """Choose the pictures that tracks keep: the best one, and up to two of other moments.

    Args:
        seconds: (n,) in rising order.
        track: (n,) track number, or -1.
        value: (n,) by `picture_value`.
        pictured: (n,) true for faces that have a picture.

    Returns:
        (n,) true for one to MAX_PICTURES faces of each track that has pictures.
    """
    chosen = np.zeros(len(track), np.bool_)
    rows = np.flatnonzero(pictured & (track >= 0))
    rows = rows[np.argsort(track[rows], kind="stable")]
    for own in np.split(rows, np.flatnonzero(np.diff(track[rows])) + 1):
        if len(own):
            chosen[_spread(seconds, value, own)] = True
    return chosen


def _spread(seconds: F64, value: F32, own: I64) -> list[int]:
    """The best of a track's pictures, then good ones far from those chosen before."""
    span = max(float(seconds[own[-1]] - seconds[own[0]]) / MAX_PICTURES, PICTURE_SECONDS)
    best = int(own[np.argmax(value[own])])
    chosen = [best]
    good = own[value[own] >= MIN_VALUE * value[best]]
    while len(chosen) < MAX_PICTURES:
        gap = np.abs(seconds[good][:, None] - seconds[chosen][None]).min(axis=1)
        worth = np.where(gap >= PICTURE_SECONDS, value[good] * np.minimum(gap / span, 1), 0)
        if not worth.any():
            break
        chosen.append(int(good[np.argmax(worth)]))
    return chosen
