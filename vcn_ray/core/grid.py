"""On which analysed frames the detector runs, and the faces of the frames between them.

Faces move little in half a second. So the detector runs on a grid of analysed frames, and on both
sides of each change of picture. Between two neighbours the faces are interpolated where those of
both match one to one and the pictures between show them where they are expected. Elsewhere, as
where a face comes or goes, the detector runs on the middle frame too, and both halves are treated
alike, down to single frames.

What is decided between two frames of the grid depends on nothing outside them, so no face depends
on how frames are put into batches. This module knows no networks, no files and no tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.core.shots import layout_change
from vcn_ray.core.vectors import area, pairwise_iou
from vcn_ray.records import F32, F64, U8, Detections

BATCH = 8  # frames given to the detector at once
WINDOW_BYTES = 96 << 20  # of pictures that wait; 60 at 960 x 540

CUT_CHANGE = 0.7  # change of layout between two frames that may be a cut, as ShotConfig.min_change
MAX_GAP = 2.5  # intervals of analysis; across a longer gap, as in slide shows, nothing is known

MIN_OVERLAP = 0.3  # IoU of a face in two frames, as the tracker takes it for one face
MAX_CROSSING = 0.1  # IoU of two faces in one frame; those that overlap more may change places
MAX_GROWTH = 1.5  # of a face's area, either way
MIN_LIKENESS = 0.7  # correlation of a face with the same one before or after
MIN_CONTRAST = 2.0  # standard deviation of its grey levels; a plain patch is like anything
PATCH_SIDE = 16  # pixels to which a face is shrunk or enlarged to be compared
MAX_STEP = 1.5  # pixels of a picture in one of a patch; larger faces are shrunk first, by area
SEARCH = 0.5  # how far around its expected place a face is sought, as a fraction of its sides

GridStep = Annotated[int, Field(ge=1, le=16)]  # pictures between two runs wait in memory

Detect = Callable[[U8], list[Detections]]
"""Finds the faces of frames (b, h, w, 3) of one size, b up to BATCH."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GridConfig:
    """On how many analysed frames the detector runs. One setting for every title."""

    grid_step: GridStep = 4  # analysed frames from one detector run to the next where faces can be
    # interpolated; 1: the detector runs on every analysed frame. On real clips, 4 loses
    # nobody and 8 one person; see benchmarks/results/grid.md


class FrameFound(NamedTuple):
    """The faces of an analysed frame."""

    faces: Detections
    measured: bool  # the detector ran on the frame; false: its faces are interpolated


class _Picture(NamedTuple):
    """An analysed frame that waits for its faces."""

    image: U8  # (h, w, 3) RGB
    seconds: float
    on_grid: bool  # the detector runs on it in any case


class GridDetector:
    """Finds the faces of a segment's analysed frames, which come one by one.

    Args:
        detect: The detector.
        config: The step of the grid.
        analysis_fps: Analysed frames per second.
    """

    def __init__(self, detect: Detect, config: GridConfig, analysis_fps: float) -> None:
        self._detect = detect
        self._step = config.grid_step
        self._max_gap_seconds = MAX_GAP / analysis_fps
        self._waiting: list[_Picture] = []
        self._first: Detections | None = None  # faces of the first one, if they are given out
        self._layouts: list[U8] = []  # (192,) of the last analysed frame and those since then

    def add(self, image: U8 | None, seconds: float, layout: U8) -> list[FrameFound]:
        """Add the next frame.

        Args:
            image: (h, w, 3) uint8 RGB; None: the frame is not analysed.
            seconds: Its time.
            layout: (8, 8, 3) mean colours of its cells, by which cuts are noticed.

        Returns:
            The faces of the analysed frames that are decided now, in order: mostly none, then those
            of many frames.
        """
        self._layouts.append(layout.reshape(-1))
        if image is None:
            return []
        self._append(_Picture(image, seconds, False))
        self._layouts = self._layouts[-1:]
        return self._decide() if self._is_full() else []

    def finish(self) -> list[FrameFound]:
        """Return the faces of the analysed frames that are still open."""
        if not self._waiting:
            return []
        self._put_on_grid(-1)
        found = self._decide()
        self._waiting, self._first = [], None
        return found

    def _append(self, picture: _Picture) -> None:
        self._waiting.append(picture)
        if len(self._waiting) == 1:
            self._put_on_grid(-1)
            return
        last = self._waiting[-2]
        if (
            _may_be_cut(np.stack(self._layouts))
            or picture.image.shape != last.image.shape
            or picture.seconds - last.seconds > self._max_gap_seconds
        ):
            self._put_on_grid(-2)
            self._put_on_grid(-1)
        elif not any(other.on_grid for other in self._waiting[-self._step :]):
            self._put_on_grid(-1)

    def _put_on_grid(self, index: int) -> None:
        self._waiting[index] = self._waiting[index]._replace(on_grid=True)

    def _is_full(self) -> bool:
        if not self._waiting[-1].on_grid:
            return False
        ready = sum(picture.on_grid for picture in self._waiting) - (self._first is not None)
        return ready >= BATCH or sum(p.image.nbytes for p in self._waiting) >= WINDOW_BYTES

    def _decide(self) -> list[FrameFound]:
        """Find the faces of all waiting frames, the last of which is on the grid and stays."""
        known = {} if self._first is None else {0: FrameFound(self._first, True)}
        given = len(known)
        found = _find_all(self._waiting, self._detect, known)
        self._waiting, self._first = self._waiting[-1:], found[-1].faces
        return found[given:]


def _find_all(
    pictures: Sequence[_Picture], detect: Detect, known: dict[int, FrameFound]
) -> list[FrameFound]:
    """Find the faces of pictures in order, the first and the last of which are on the grid.

    Args:
        pictures: n of them; those on both sides of a cut are on the grid.
        detect: The detector, which runs level by level: on the grid, then on all middles, ...
        known: Faces of some pictures on the grid; those of the others are added.

    Returns:
        The faces of each picture.
    """
    grid = [number for number, picture in enumerate(pictures) if picture.on_grid]
    wanted = [number for number in grid if number not in known]
    spans = list(pairwise(grid))
    while wanted or spans:
        known.update(_detect_all(pictures, wanted, detect))
        wanted, halves = [], []
        for first, last in spans:
            if last - first < 2:
                continue
            span = pictures[first : last + 1]
            between = interpolate_faces(
                [picture.image for picture in span],
                np.array([picture.seconds for picture in span], np.float64),
                known[first].faces,
                known[last].faces,
            )
            if between is None:
                middle = (first + last) // 2
                wanted.append(middle)
                halves += [(first, middle), (middle, last)]
            else:
                known.update((first + 1 + n, FrameFound(f, False)) for n, f in enumerate(between))
        spans = halves
    return [known[number] for number in range(len(pictures))]


def _detect_all(
    pictures: Sequence[_Picture], wanted: Sequence[int], detect: Detect
) -> dict[int, FrameFound]:
    """Run the detector on some pictures, in batches of one size."""
    found: dict[int, FrameFound] = {}
    for _, group in groupby(wanted, lambda number: pictures[number].image.shape):
        numbers = list(group)
        for start in range(0, len(numbers), BATCH):
            some = numbers[start : start + BATCH]
            faces = detect(np.stack([pictures[number].image for number in some]))
            found |= {n: FrameFound(f, True) for n, f in zip(some, faces, strict=True)}
    return found


def interpolate_faces(
    images: Sequence[U8], seconds: F64, before: Detections, after: Detections
) -> list[Detections] | None:
    """Interpolate the faces of the frames between two frames.

    Boxes, landmarks and scores change in proportion to time; then boxes and landmarks move to where
    the picture looks most like the face before or after.

    Args:
        images: t pictures (h, w, 3) of one size, t at least 3.
        seconds: (t,) their times.
        before: Faces of the first.
        after: Faces of the last.

    Returns:
        The faces of t - 2 frames; None where they do not follow from those before and after.
    """
    if not len(before) and not len(after):
        return [before] * (len(images) - 2)
    partner = match_faces(before, after)
    if partner is None:
        return None
    after = after[partner]
    looks = [
        (_patch(images[0], box, 0.0), _patch(images[-1], other, 0.0))
        for box, other in zip(before.boxes, after.boxes, strict=True)
    ]
    result = []
    for image, time in zip(images[1:-1], seconds[1:-1], strict=True):
        passed = float((time - seconds[0]) / max(seconds[-1] - seconds[0], 1e-9))
        faces = _blend(before, after, passed)
        for row, look in enumerate(looks):
            move = _find(image, faces.boxes[row], look)
            if move is None:
                return None
            faces.boxes[row] += np.tile(move, 2)
            faces.landmarks[row] += move
        result.append(faces[np.argsort(-faces.scores, kind="stable")])
    return result


def match_faces(before: Detections, after: Detections) -> list[int] | None:
    """Match the faces of two frames one to one.

    Returns:
        The row in `after` of each face of `before`; None where a face has no partner of its own
        that is near and of like size, or could be taken for another one.
    """
    if len(before) != len(after) or _cross(before.boxes) or _cross(after.boxes):
        return None
    overlap = pairwise_iou(before.boxes, after.boxes)
    partner = overlap.argmax(axis=1)
    if len(np.unique(partner)) < len(partner):
        return None
    growth = area(after.boxes[partner]) / np.maximum(area(before.boxes), 1e-6)
    near = overlap[np.arange(len(partner)), partner] >= MIN_OVERLAP
    alike = (growth <= MAX_GROWTH) & (growth >= 1 / MAX_GROWTH)
    return partner.tolist() if (near & alike).all() else None


def _cross(boxes: F32) -> bool:
    """Whether two of a frame's boxes (n, 4) overlap, so that their faces may change places."""
    overlap = pairwise_iou(boxes, boxes)
    np.fill_diagonal(overlap, 0)
    return bool((overlap > MAX_CROSSING).any())


def _may_be_cut(layouts: U8) -> bool:
    """Whether the picture changes as at a cut between two of t frames (t, 192), or over all."""
    before = np.concatenate([layouts[:-1], layouts[:1]])
    after = np.concatenate([layouts[1:], layouts[-1:]])
    return bool((layout_change(before, after) >= CUT_CHANGE).any())


def _blend(before: Detections, after: Detections, passed: float) -> Detections:
    """The faces at a fraction of the way from `before` to `after`, whose rows belong together."""

    def between(left: F32, right: F32) -> F32:
        return (left + np.float32(passed) * (right - left)).astype(np.float32)

    return Detections(
        boxes=between(before.boxes, after.boxes),
        scores=between(before.scores, after.scores),
        landmarks=between(before.landmarks, after.landmarks),
    )


def _find(image: U8, box: F32, looks: tuple[U8, U8]) -> F32 | None:
    """Find a face around its expected place.

    Args:
        image: (h, w, 3).
        box: (4,) where it is expected.
        looks: How it looks before and after, as `_patch` cuts it.

    Returns:
        (2,) pixels by which it is right of and below that place; None if it is not there.
    """
    if min(float(look.std()) for look in looks) < MIN_CONTRAST:
        return None
    around = _patch(image, box, SEARCH)
    likeness = np.maximum(*(cv2.matchTemplate(around, o, cv2.TM_CCOEFF_NORMED) for o in looks))
    y, x = np.unravel_index(likeness.argmax(), likeness.shape)
    if not likeness[y, x] >= MIN_LIKENESS:
        return None
    right = x + _peak(likeness[y, max(x - 1, 0) : x + 2])
    down = y + _peak(likeness[max(y - 1, 0) : y + 2, x])
    middle = (np.array(likeness.shape) - 1) / 2
    sides = box[2:] - box[:2]
    return np.asarray((np.array([right, down]) - middle[::-1]) * sides / PATCH_SIDE, np.float32)


def _peak(values: F32) -> float:
    """How far the peak of a parabola through three values is from the middle one, their largest.

    0 at an edge, where there are fewer.
    """
    if len(values) < 3:
        return 0.0
    left, middle, right = (float(value) for value in values)
    curve = left - 2 * middle + right
    return 0.5 * (left - right) / curve if curve < 0 else 0.0


def _patch(image: U8, box: F32, margin: float) -> U8:
    """Cut a box out of a picture in grey, scaled to PATCH_SIDE; beyond the edge, pixels repeat.

    Args:
        image: (h, w, 3).
        box: (4,) pixels.
        margin: Added on each side, as a fraction of the side.

    Returns:
        (n, n), n = PATCH_SIDE (1 + 2 margin).
    """
    side = round(PATCH_SIDE * (1 + 2 * margin))
    extent = np.maximum(box[2:] - box[:2], 1e-3).astype(np.float64) * (1 + 2 * margin)
    start = (box[:2] + box[2:]) / 2 - extent / 2
    limit = np.array(image.shape[1::-1])
    low = np.clip(np.floor(start), 0, limit - 1).astype(np.int64)
    high = np.clip(np.ceil(start + extent), low + 1, limit).astype(np.int64)
    part = cv2.cvtColor(image[low[1] : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY)
    step = extent / side  # pixels of the picture in one of the patch
    shrink = max(1.0, float(step.min()))
    if shrink > MAX_STEP:
        size = np.maximum((high - low) / shrink, 1).round().astype(int)
        part = cv2.resize(part, tuple(size.tolist()), interpolation=cv2.INTER_AREA)
    scale = np.array(part.shape[::-1]) / (high - low)
    offset = (start + step / 2 - low) * scale - 0.5
    matrix = np.column_stack([np.diag(step * scale), offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(part, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, np.uint8)
