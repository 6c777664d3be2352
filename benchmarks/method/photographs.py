"""Photographs of known people, with the face that a pack's detector finds in each.

A folder has a sub-folder of pictures for each person, as for `vcn packs check --faces`. Detection
runs on sheets of eight pictures, so a person costs a few hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vcn_ray.packs.face_pack import Detector
from vcn_ray.records import F32, U8

Part = Literal["dev", "held-out"]
PARTS: tuple[Part, ...] = ("dev", "held-out")
"""The two halves of the people; nobody is in both."""

PART_SEED = 5
CELL = 250  # pixels of a picture on a sheet
COLUMNS, ROWS = 4, 2
ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class Photograph:
    """One picture of a person; its main face is the one next to the middle."""

    pixels: U8  # (CELL, CELL, 3) RGB
    box: F32  # (4,) x0 y0 x1 y1
    landmarks: F32  # (5, 2) eyes, nose, corners of the mouth, image-left first

    @property
    def turned(self) -> float:
        """How far the nose is from the middle of the eyes, in distances of the eyes, signed."""
        eyes = self.landmarks[1] - self.landmarks[0]
        nose = self.landmarks[2] - self.landmarks[:2].mean(axis=0)
        return float(nose @ eyes / max(float(eyes @ eyes), 1.0))


class Gallery:
    """The people of a folder; pictures are read and searched when they are first needed.

    Args:
        folder: Has a sub-folder for each person.
        detector: Finds the faces.

    Attributes:
        names: Of the people, sorted.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        self.names = sorted(p.name for p in folder.iterdir() if p.is_dir())
        self._folder, self._detector = folder, detector
        self._known: dict[str, list[Photograph]] = {}

    def photographs(self, person: str) -> list[Photograph]:
        """The pictures of a person in which a face is found, the most frontal first."""
        if person not in self._known:
            paths = sorted((self._folder / person).iterdir())
            cells = [read_cell(path) for path in paths if path.suffix.lower() in ENDINGS]
            found = [photo for photo in find_main_faces(cells, self._detector) if photo]
            self._known[person] = sorted(found, key=lambda photo: abs(photo.turned))
        return self._known[person]

    def part(self, part: Part) -> list[str]:
        """The people of one part, in an order of their own."""
        order = np.random.default_rng(PART_SEED).permutation(len(self.names))
        return [self.names[i] for i in np.sort(order[PARTS.index(part) :: len(PARTS)])]


def read_cell(path: Path) -> U8:
    """Read a picture, scaled so that it fills the middle of a cell, black around."""
    stored = cv2.imread(str(path))
    if stored is None:
        raise ValueError(f"{path} is no picture: remove it, or name another folder")
    picture = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    matrix = np.array([[scale, 0, (CELL - scale * width) / 2], [0, scale, 0]])
    matrix[1, 2] = (CELL - scale * height) / 2
    if scale == 1 and height == width:
        return np.asarray(picture, np.uint8)
    return np.asarray(cv2.warpAffine(picture, matrix, (CELL, CELL)), np.uint8)


def find_main_faces(cells: list[U8], detector: Detector) -> list[Photograph | None]:
    """The face next to the middle of each cell; None where no face is near the middle."""
    found: list[Photograph | None] = []
    for start in range(0, len(cells), COLUMNS * ROWS):
        some = cells[start : start + COLUMNS * ROWS]
        faces = detector.detect(make_sheet(some)[None])[0]
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        for number, cell in enumerate(some):
            corner = np.array([number % COLUMNS, number // COLUMNS], np.float32) * CELL
            away = np.abs(centres - corner - CELL / 2).max(axis=1)
            if not len(away) or away.min() > CELL / 4:
                found.append(None)
                continue
            best = int(away.argmin())
            box = faces.boxes[best] - np.tile(corner, 2)
            found.append(Photograph(cell, box, faces.landmarks[best] - corner))
    return found


def make_sheet(cells: list[U8]) -> U8:
    """Lay up to eight cells on one picture, black where cells are missing."""
    side = cells[0].shape[0]
    sheet = np.zeros((ROWS * side, COLUMNS * side, 3), np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // COLUMNS * side, number % COLUMNS * side
        sheet[top : top + side, left : left + side] = cell
    return sheet
