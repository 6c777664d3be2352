"""Measures a pack on a labelled folder of faces: who is found, and who is told from whom.

Of each picture one face counts, that which covers its middle best: labels say nothing of others
behind. A face that fills a large picture is over the greatest size that detectors know, so where
none is found the picture is looked at once more, within a black border.

Colours in another order than the encoder's own show here: labels tell what `pack_check` cannot see.
It knows packs only by their three parts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from vcn_ray.core.metrics import separate_people, verify_people
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_encoder import OnnxEncoder
from vcn_ray.packs.face_folder import FaceFile, find_faces, read_face
from vcn_ray.packs.face_pack import Detector, FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, F64, U8, Detections

RATES = (1e-2, 1e-3)
"""Of false acceptance, at which true acceptance is told."""

BORDER = 0.5  # on each side, of a picture's longer one
BATCH = 64  # crops

SWAPPED_EACH = 8
"""Crops of each person that are tried with their colours in the other order."""
SWAPPED_PEOPLE = 10  # needed for a word on it: people differ more than orders do
CLEARLY = 1.03  # times as far apart; in its own order MobileFaceNet's people stand 1.09 times
SURELY = 3.0  # standard errors of the mean over people

LEAST_RECALL = 0.9  # under which a pack is said to miss faces
LEAST_ACCEPTED = 0.5  # at the first of RATES; random embeddings have that rate itself

Progress = Callable[[float], None]


@dataclass(frozen=True)
class FaceCheck:
    """How a pack did on a labelled folder."""

    name: str
    people: int
    pictures: int  # that could be read
    unreadable: list[str]  # person and file
    found: int  # pictures with a face
    bordered: int  # of these, found only within a border
    same_pairs: int  # of faces found
    different_pairs: int
    accepted: tuple[float | None, ...]  # TAR at each of RATES as FAR; None: too few pairs
    detect_seconds: float
    embed_seconds: float
    problems: list[str]  # empty where all is well

    @property
    def recall(self) -> float:
        """Share of the readable pictures in which a face was found."""
        return self.found / max(1, self.pictures)


def check_faces(
    name_or_folder: str, folder: Path, long_side: int, tell: Progress | None = None
) -> FaceCheck:
    """Try a pack on a labelled folder of faces.

    Args:
        name_or_folder: The pack.
        folder: With a sub-folder for each person (see `face_folder`).
        long_side: Pixels to which larger pictures are shrunk, as frames of a film are.
        tell: Is told the share that is done, 0 to 1.

    Raises:
        PackError: As `load_pack`.
        UsageError: The folder is no such folder, or holds too little.
    """
    files = find_faces(folder)
    pack = load_pack(name_or_folder)
    look = Look(pack.load_encoder())
    for number, file in enumerate(files):
        picture = read_face(file.path, long_side)
        if picture is None:
            look.unreadable.append(f"{file.path.parent.name}/{file.path.name}")
        else:
            look.add(file, pack, picture)
        if tell:
            tell((number + 1) / len(files))
    return look.finish(pack.name)


@dataclass
class Look:
    """What has been seen of a folder so far; crops are held a batch at a time."""

    encoder: Backbone
    pictures: int = 0
    unreadable: list[str] = field(default_factory=list)
    bordered: int = 0
    detect_seconds: float = 0.0
    embed_seconds: float = 0.0
    everybody: set[int] = field(default_factory=set)
    people: list[int] = field(default_factory=list)  # whose each crop is
    crops: list[U8] = field(default_factory=list)  # not yet embedded
    own: list[F32] = field(default_factory=list)  # embeddings, in parts
    tried: list[int] = field(default_factory=list)  # of those, rows that are in `swapped` too
    swapped: list[F32] = field(default_factory=list)  # with colours in the other order, likewise

    def add(self, file: FaceFile, pack: FacePack, picture: U8) -> None:
        """Look at one more picture (h, w, 3) uint8 RGB."""
        self.pictures += 1
        self.everybody.add(file.person)
        start = time.perf_counter()
        found = central_face(pack.detector, picture)
        if not len(found):
            picture = with_border(picture)
            found = central_face(pack.detector, picture)
            self.bordered += len(found)
        self.detect_seconds += time.perf_counter() - start
        if len(found):
            self.crops.append(pack.aligner.align(picture, found)[0])
            self.people.append(file.person)
        if len(self.crops) == BATCH:
            self._embed()

    def finish(self, name: str) -> FaceCheck:
        """All that was seen."""
        self._embed()
        people = np.array(self.people, np.int64)
        own = np.concatenate(self.own)
        scores = verify_people(own, people, RATES)
        problems = problems_of(len(people), self.pictures, scores.accepted[0])
        if isinstance(self.encoder, OnnxEncoder):
            given = separate_people(own[self.tried], people[self.tried])
            other = separate_people(np.concatenate(self.swapped), people[self.tried])
            problems += colour_problems(given, other, self.encoder.scale.bgr)
        return FaceCheck(
            name=name,
            people=len(self.everybody),
            pictures=self.pictures,
            unreadable=self.unreadable,
            found=len(people),
            bordered=self.bordered,
            same_pairs=scores.same_pairs,
            different_pairs=scores.different_pairs,
            accepted=scores.accepted,
            detect_seconds=self.detect_seconds,
            embed_seconds=self.embed_seconds,
            problems=problems,
        )

    def _embed(self) -> None:
        """Embed the crops that wait."""
        first = len(self.people) - len(self.crops)
        side = self.encoder.input_pixels
        crops = np.stack(self.crops) if self.crops else np.zeros((0, side, side, 3), np.uint8)
        self.crops.clear()
        start = time.perf_counter()
        self.own.append(self.encoder.embed(torch.from_numpy(crops)).numpy())
        self.embed_seconds += time.perf_counter() - start
        if isinstance(self.encoder, OnnxEncoder):
            rows = self._rows_to_try(first)
            other = np.ascontiguousarray(crops[[row - first for row in rows], :, :, ::-1])
            self.swapped.append(self.encoder.embed(torch.from_numpy(other)).numpy())
            self.tried += rows

    def _rows_to_try(self, first: int) -> list[int]:
        """Rows from `first` on that are among the first SWAPPED_EACH of their person."""
        seen = Counter(self.people[:first])
        rows = []
        for row in range(first, len(self.people)):
            seen[self.people[row]] += 1
            if seen[self.people[row]] <= SWAPPED_EACH:
                rows.append(row)
        return rows


def central_face(detector: Detector, picture: U8) -> Detections:
    """The face that covers the middle of a picture best; none where none is found.

    It is the one from whose own middle the picture's lies the fewest of its sizes away, so of two
    as near the larger, and of equals the surer.

    Args:
        detector: Of the pack.
        picture: (h, w, 3) uint8 RGB.
    """
    (found,) = detector.detect(picture[None])
    if not len(found):
        return found
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    away = np.abs((low + high) / 2 - np.array(picture.shape[1::-1]) / 2)
    best = int((away / np.maximum(high - low, 1)).max(axis=1).argmin())
    rows = slice(best, best + 1)
    return Detections(found.boxes[rows], found.scores[rows], found.landmarks[rows])


def with_border(picture: U8) -> U8:
    """The picture (h, w, 3) in the middle of a black one."""
    width = round(BORDER * max(picture.shape[:2]))
    return np.pad(picture, ((width, width), (width, width), (0, 0)))


def problems_of(found: int, pictures: int, accepted: float | None) -> list[str]:
    """What is wrong with a pack by its figures, a sentence each."""
    problems = []
    if found < LEAST_RECALL * pictures:
        problems.append(f"found a face in {found} of {pictures} pictures: lower min_score?")
    if accepted is not None and accepted < LEAST_ACCEPTED:
        problems.append(
            f"of pairs of one person {accepted:.0%} are told from those of others at FAR "
            f"{RATES[0]:g}: the encoder, its alignment or the labels are wrong"
        )
    return problems


def colour_problems(given: F64, other: F64, bgr: bool) -> list[str]:
    """A sentence where the other order of colours tells people apart clearly and surely better.

    Args:
        given: (g,) how far each person stands apart (see `separate_people`), as the pack says.
        other: (g,) likewise, with colours in the other order.
        bgr: Whether the pack says that blue comes first.
    """
    gain = other - given
    if len(gain) < SWAPPED_PEOPLE or other.mean() <= CLEARLY * given.mean():
        return []
    if gain.mean() <= SURELY * gain.std(ddof=1) / np.sqrt(len(gain)):
        return []
    return [
        f"people are told apart better ({other.mean():.2f} deviations for {given.mean():.2f}) with "
        f'channels = "{"rgb" if bgr else "bgr"}": was the encoder trained like that?'
    ]
