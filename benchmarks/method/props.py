"""Things that a face detector takes for faces: patches of pictures that show none.

The pictures ship with scikit-image. Detectors fire on about one patch in a thousand, and a film has
millions, so patches are searched for: from random ones, small changes are kept while the score of
CenterFace rises. Every score is the detector's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage.data

from benchmarks.method.cache import digest, load, store
from benchmarks.method.photographs import COLUMNS, ROWS, make_sheet
from vcn_ray.models.detectors import CenterFaceDetector
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.embedded import CENTERFACE, CENTERFACE_PIXELS
from vcn_ray.packs.face_pack import Detector
from vcn_ray.records import F32, F64, U8

NAMES = (
    "brick.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Pictures of scikit-image without a human face that are installed with it."""

CELL = 160  # pixels of a patch with its surroundings; on a sheet as in a frame 640 pixels wide
LOW_SCORE = 0.05
"""Where the search begins to see a slope; far below the minimum of any pack."""


class Patch(NamedTuple):
    """Where a patch is in a picture, and how it is shown."""

    picture: int
    y: float
    x: float
    size: float  # pixels of the picture
    shown: float  # pixels of the cell
    blur: float  # standard deviation, as a fraction of `shown`
    gain: float
    back: float  # grey level around
    angle: float  # degrees


class Props(NamedTuple):
    """Patches and what the detector says of them, the best score first."""

    cells: U8  # (n, CELL, CELL, 3)
    boxes: F32  # (n, 4) where the detector sees a face, pixels of the cell
    landmarks: F32  # (n, 5, 2)
    scores: F32  # (n,)


class Rating(NamedTuple):
    """The best face of each cell; score 0 where there is none."""

    scores: F64  # (n,)
    boxes: F64  # (n, 4)
    landmarks: F64  # (n, 5, 2)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long patches are searched for."""

    patches: int = 320
    rounds: int = 24
    min_score: float = 0.35
    seed: int = 11


@cache
def pictures() -> tuple[U8, ...]:
    """The pictures without faces, RGB; calls share them."""
    folder = Path(skimage.data.__file__).parent
    stored = [cv2.imread(str(folder / name)) for name in NAMES]
    found = [picture for picture in stored if picture is not None]
    if len(found) < len(NAMES):
        raise ValueError(f"{len(NAMES) - len(found)} pictures of scikit-image are not installed")
    return tuple(np.asarray(cv2.cvtColor(p, cv2.COLOR_BGR2RGB), np.uint8) for p in found)


def find_props(config: SearchConfig, folder: Path | None) -> Props:
    """Search for patches, or read those of an earlier search with the same settings.

    Args:
        config: How long to search.
        folder: Cache; None: search again.
    """
    place = folder / f"props-{digest(config, NAMES, CENTERFACE.sha256)}.npz" if folder else None
    stored = load(place) if place else None
    if stored:
        arrays: dict[str, np.ndarray] = dict(stored[0])
        return Props(*(arrays[name] for name in Props._fields))
    threads = 1  # scores must not depend on the machine
    path = find_shipped(CENTERFACE)
    found = search(config, CenterFaceDetector(path, LOW_SCORE, CENTERFACE_PIXELS, threads))
    if place:
        store(place, found._asdict(), {})
    return found


def search(config: SearchConfig, detector: Detector) -> Props:
    """Climb from random patches to some that the detector takes for faces."""
    random = np.random.default_rng(config.seed)
    patches = [draw_patch(random) for _ in range(config.patches)]
    cells = [show_patch(patch) for patch in patches]
    best = rate(cells, detector)
    for _ in range(config.rounds):
        tried = [change_patch(patch, random) for patch in patches]
        shown = [show_patch(patch) for patch in tried]
        rating = rate(shown, detector)
        for i in range(len(patches)):
            if rating.scores[i] > best.scores[i]:
                patches[i], cells[i] = tried[i], shown[i]
                for mine, its in zip(best, rating, strict=True):
                    mine[i] = its[i]
            elif best.scores[i] == 0:
                patches[i] = draw_patch(random)
    order = np.argsort(-best.scores, kind="stable")
    order = order[best.scores[order] >= config.min_score]
    chosen = np.stack([cells[i] for i in order]) if len(order) else np.zeros((0, CELL, CELL, 3))
    found = (best.boxes[order], best.landmarks[order], best.scores[order])
    return Props(chosen.astype(np.uint8), *(part.astype(np.float32) for part in found))


def draw_patch(random: np.random.Generator) -> Patch:
    """A random patch of a random picture."""
    number = int(random.integers(len(pictures())))
    height, width = pictures()[number].shape[:2]
    size = float(np.exp(random.uniform(np.log(24), np.log(min(height, width)))))
    shown = float(np.exp(random.uniform(np.log(24), np.log(120))))
    place = random.uniform(0, height), random.uniform(0, width)
    look = random.uniform(0, 0.06), random.uniform(0.3, 1), random.uniform(0, 120)
    return Patch(number, *place, size, shown, *look, random.uniform(-180, 180))


def change_patch(patch: Patch, random: np.random.Generator) -> Patch:
    """A patch near another one."""
    step: F64 = random.normal(size=8)
    return Patch(
        patch.picture,
        patch.y + 0.1 * patch.size * step[0],
        patch.x + 0.1 * patch.size * step[1],
        patch.size * np.exp(0.15 * step[2]),
        float(np.clip(patch.shown * np.exp(0.15 * step[3]), 20, 140)),
        abs(patch.blur + 0.01 * step[4]),
        float(np.clip(patch.gain * np.exp(0.15 * step[5]), 0.2, 1.2)),
        float(np.clip(patch.back + 15 * step[6], 0, 160)),
        patch.angle + 10 * step[7],
    )


def show_patch(patch: Patch) -> U8:
    """A patch in the middle of a cell of one grey level."""
    scale, middle = patch.shown / patch.size, CELL / 2
    matrix = cv2.getRotationMatrix2D((patch.x, patch.y), patch.angle, scale)
    matrix[:, 2] += middle - np.array([patch.x, patch.y])
    picture = pictures()[patch.picture]
    if scale < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    cell = cv2.warpAffine(picture, matrix, (CELL, CELL), borderMode=cv2.BORDER_REFLECT_101)
    cell = cv2.GaussianBlur(cell.astype(np.float32), (0, 0), max(0.3, patch.blur * patch.shown))
    inside = np.zeros((CELL, CELL), np.float32)
    edge = int(middle - patch.shown / 2)
    inside[edge : CELL - edge, edge : CELL - edge] = 1
    cover = cv2.GaussianBlur(inside, (0, 0), 2.0)[..., None]
    return np.asarray((cell * patch.gain * cover + patch.back * (1 - cover)).clip(0, 255), np.uint8)


def rate(cells: Sequence[U8], detector: Detector) -> Rating:
    """The best face of each cell, found on sheets of eight."""
    count = len(cells)
    best = Rating(np.zeros(count), np.zeros((count, 4)), np.zeros((count, 5, 2)))
    for start in range(0, len(cells), COLUMNS * ROWS):
        some = list(cells[start : start + COLUMNS * ROWS])
        faces = detector.detect(make_sheet(some)[None])[0]
        for face, score in enumerate(faces.scores):
            box = faces.boxes[face]
            column, row = ((box[:2] + box[2:]) / 2 // CELL).astype(int)
            number = start + row * COLUMNS + column
            inside = 0 <= column < COLUMNS and 0 <= row < ROWS and number < start + len(some)
            if inside and score > best.scores[number]:
                corner = np.array([column * CELL, row * CELL])
                best.scores[number] = score
                best.boxes[number] = box - np.tile(corner, 2)
                best.landmarks[number] = faces.landmarks[face] - corner
    return best
