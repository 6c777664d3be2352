"""Measures a pack on labelled faces: how many it finds, and how well it separates people.

The folder has one sub-folder for each person. One face of each picture counts, the most central
one, because labels say nothing of other people behind. A face that fills a large picture exceeds
the largest size that detectors know, so a picture without a face is searched again within a black
border.

Labels also show colours in another order than the encoder's own, which `check` cannot see. This
module uses only the pack's three parts.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from vcn_ray.core.metrics import separate_people, verify_people
from vcn_ray.errors import UsageError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.detector_inputs import shrink
from vcn_ray.models.onnx_encoder import OnnxEncoder
from vcn_ray.packs.face_pack import Detector, FacePack, Progress, no_progress
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, F64, U8, Detections

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}

FALSE_RATES = (1e-2, 1e-3)
"""Rates of false acceptance (FAR) for which the rate of true acceptance (TAR) is reported."""

BORDER = 0.5  # on each side, as a fraction of a picture's longer side
BATCH = 64  # crops

SWAPPED_CROPS = 8  # of each person, embedded again with red and blue exchanged
MIN_SWAPPED_PEOPLE = 10  # for a statement on colours: people differ more than orders do
MIN_GAIN = 1.03  # of the separation; for MobileFaceNet the right order is 1.09 times the wrong one
MIN_STANDARD_ERRORS = 3.0  # of the mean gain over people

MIN_RECALL = 0.9  # below this, the pack misses faces
MIN_ACCEPTED = 0.5  # TAR at the first of FALSE_RATES; random embeddings have that rate itself


class FaceFile(NamedTuple):
    """A picture of a person."""

    path: Path
    person: int  # number of the sub-folder, from 0, in the order of names


def find_faces(folder: Path) -> list[FaceFile]:
    """List the pictures of a labelled folder, person by person, in the order of names.

    Hidden files, files with other endings and folders within a person's folder do not count.

    Raises:
        UsageError: There is no such folder, or it holds too little to compare.
    """
    pictures = list_people(folder)
    if max(map(len, pictures)) < 2:
        raise UsageError(
            f"{folder} has one picture of each of {len(pictures)} people: at least one person "
            "needs two"
        )
    return [FaceFile(path, person) for person, files in enumerate(pictures) for path in files]


def list_people(folder: Path) -> list[list[Path]]:
    """List the pictures of each person of a labelled folder, in the order of names.

    Raises:
        UsageError: There is no such folder, or it holds pictures of fewer than two people.
    """
    layout = "give one sub-folder for each person, with pictures in it"
    try:
        people = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
        pictures = [_picture_files(person) for person in people]
    except OSError as error:
        where = error.filename or folder
        raise UsageError(f"{where} cannot be read ({error.strerror}): {layout}") from error
    pictures = [files for files in pictures if files]
    if len(pictures) < 2:
        raise UsageError(
            f"{folder} has pictures of {len(pictures)} people, needed are two: {layout}"
        )
    return pictures


def _picture_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()
    )


def read_face(path: Path, max_side: int) -> U8 | None:
    """Read a picture (h, w, 3) uint8 RGB upright, shrunk to `max_side`; None: unreadable."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # about odd pictures that are readable all the same
            image.draft("RGB", (max_side, max_side))  # JPEG only: decode no larger than needed
            picture = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # decoders of broken pictures raise any class
        return None
    return shrink(picture, max_side)


@dataclass(frozen=True)
class FaceCheck:
    """How a pack did on a labelled folder."""

    name: str
    people: int
    pictures: int  # readable ones
    unreadable: list[str]  # person/file
    found: int  # pictures with a face
    bordered: int  # pictures with a face only within a border
    same_pairs: int  # pairs of found faces of one person
    different_pairs: int  # pairs of found faces of two people
    accepted: tuple[float | None, ...]  # TAR at each of FALSE_RATES; None: too few pairs
    detect_seconds: float
    embed_seconds: float
    problems: list[str]  # empty if the pack passes

    @property
    def recall(self) -> float:
        """Fraction of the readable pictures in which a face was found."""
        return self.found / max(1, self.pictures)


def check_faces(
    name_or_folder: str, folder: Path, max_side: int, progress: Progress = no_progress
) -> FaceCheck:
    """Check a pack on a labelled folder of faces.

    Args:
        name_or_folder: The pack.
        folder: Pictures in one sub-folder for each person.
        max_side: Pixels to which larger pictures are shrunk, like frames of a film.
        progress: Called after each picture.

    Raises:
        PackError: As `load_pack`.
        UsageError: The folder is no such folder, or holds too little to compare.
    """
    files = find_faces(folder)
    pack = load_pack(name_or_folder)
    measured = _Measurements(pack.load_encoder())
    for number, file in enumerate(files):
        picture = read_face(file.path, max_side)
        if picture is None:
            measured.unreadable.append(f"{file.path.parent.name}/{file.path.name}")
        else:
            measured.add(file.person, pack, picture)
        progress((number + 1) / len(files))
    return measured.summary(pack.name)


@dataclass
class _Measurements:
    """Results so far; crops wait until there is a batch of them."""

    encoder: Backbone
    pictures: int = 0
    unreadable: list[str] = field(default_factory=list)
    bordered: int = 0
    detect_seconds: float = 0.0
    embed_seconds: float = 0.0
    people: set[int] = field(default_factory=set)  # with a readable picture
    person: list[int] = field(default_factory=list)  # of each found face
    crops: list[U8] = field(default_factory=list)  # the last faces, not yet embedded
    embeddings: list[F32] = field(default_factory=list)  # of the other faces, by batch
    swapped_rows: list[int] = field(default_factory=list)  # faces that `swapped` holds
    swapped: list[F32] = field(default_factory=list)  # embeddings with red and blue exchanged

    def add(self, person: int, pack: FacePack, picture: U8) -> None:
        """Find the face of a picture (h, w, 3) uint8 RGB."""
        self.pictures += 1
        self.people.add(person)
        start = time.perf_counter()
        framed, found = framed_face(pack.detector, picture)
        self.bordered += len(found) if framed is not picture else 0
        self.detect_seconds += time.perf_counter() - start
        if len(found):
            self.crops.append(pack.aligner.align(framed, found)[0])
            self.person.append(person)
        if len(self.crops) == BATCH:
            self._embed()

    def summary(self, name: str) -> FaceCheck:
        """Compare all faces found."""
        self._embed()
        person = np.array(self.person, np.int64)
        embeddings = np.concatenate(self.embeddings)
        scores = verify_people(embeddings, person, FALSE_RATES)
        problems = rate_problems(len(person), self.pictures, scores.accepted[0])
        if isinstance(self.encoder, OnnxEncoder):
            rows = self.swapped_rows
            own = separate_people(embeddings[rows], person[rows])
            swapped = separate_people(np.concatenate(self.swapped), person[rows])
            problems += colour_problems(own, swapped, self.encoder.scale.bgr)
        return FaceCheck(
            name=name,
            people=len(self.people),
            pictures=self.pictures,
            unreadable=self.unreadable,
            found=len(person),
            bordered=self.bordered,
            same_pairs=scores.same_pairs,
            different_pairs=scores.different_pairs,
            accepted=scores.accepted,
            detect_seconds=self.detect_seconds,
            embed_seconds=self.embed_seconds,
            problems=problems,
        )

    def _embed(self) -> None:
        """Embed the waiting crops."""
        first = len(self.person) - len(self.crops)
        side = self.encoder.input_pixels
        crops = np.stack(self.crops) if self.crops else np.zeros((0, side, side, 3), np.uint8)
        self.crops.clear()
        start = time.perf_counter()
        self.embeddings.append(self.encoder.embed(torch.from_numpy(crops)).numpy())
        self.embed_seconds += time.perf_counter() - start
        if isinstance(self.encoder, OnnxEncoder):
            rows = self._rows_to_swap(first)
            swapped = np.ascontiguousarray(crops[[row - first for row in rows], :, :, ::-1])
            self.swapped.append(self.encoder.embed(torch.from_numpy(swapped)).numpy())
            self.swapped_rows += rows

    def _rows_to_swap(self, first: int) -> list[int]:
        """Faces from `first` on that are among the first SWAPPED_CROPS of their person."""
        seen = Counter(self.person[:first])
        rows = []
        for row in range(first, len(self.person)):
            seen[self.person[row]] += 1
            if seen[self.person[row]] <= SWAPPED_CROPS:
                rows.append(row)
        return rows


def central_face(detector: Detector, picture: U8) -> Detections:
    """Find the most central face of a picture; the record is empty if there is no face.

    The distance from a face's middle to the picture's is measured in sizes of the face. So of two
    faces at the same distance the larger one counts, and of equal faces the one with the higher
    score.

    Args:
        detector: The pack's detector.
        picture: (h, w, 3) uint8 RGB.
    """
    (found,) = detector.detect(picture[None])
    if not len(found):
        return found
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    distance = np.abs((low + high) / 2 - np.array(picture.shape[1::-1]) / 2)
    best = int((distance / np.maximum(high - low, 1)).max(axis=1).argmin())
    rows = slice(best, best + 1)
    return Detections(found.boxes[rows], found.scores[rows], found.landmarks[rows])


def framed_face(detector: Detector, picture: U8) -> tuple[U8, Detections]:
    """Find the most central face of a picture, within a black border where there is none without.

    Returns:
        The picture in which it was sought last, and the face: no row if there is none.
    """
    found = central_face(detector, picture)
    if not len(found):
        picture = with_border(picture)
        found = central_face(detector, picture)
    return picture, found


def with_border(picture: U8) -> U8:
    """Put a picture (h, w, 3) in the middle of a larger black one."""
    width = round(BORDER * max(picture.shape[:2]))
    return np.pad(picture, ((width, width), (width, width), (0, 0)))


def rate_problems(found: int, pictures: int, accepted: float | None) -> list[str]:
    """Say what is wrong with a pack's rates, one sentence per problem."""
    problems = []
    if found < MIN_RECALL * pictures:
        problems.append(f"found a face in {found} of {pictures} pictures: lower min_score?")
    if accepted is not None and accepted < MIN_ACCEPTED:
        problems.append(
            f"TAR is {accepted:.0%} at FAR {FALSE_RATES[0]:g}: the encoder, its alignment or the "
            "labels are wrong"
        )
    return problems


def colour_problems(own: F64, swapped: F64, bgr: bool) -> list[str]:
    """Say that colours are in the wrong order if the other one is clearly and surely better.

    Args:
        own: (g,) separation of each person (see `separate_people`) in the pack's order.
        swapped: (g,) separation of each person with red and blue exchanged.
        bgr: Whether the pack says that blue comes first.
    """
    gain = swapped - own
    if len(gain) < MIN_SWAPPED_PEOPLE or swapped.mean() <= MIN_GAIN * own.mean():
        return []
    if gain.mean() <= MIN_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
        return []
    return [
        f"people are told apart better ({swapped.mean():.2f} deviations for {own.mean():.2f}) with "
        f'channels = "{"rgb" if bgr else "bgr"}": was the encoder trained like that?'
    ]
