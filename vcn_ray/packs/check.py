"""Checks and times a pack on a picture of six people; it uses only the pack's three parts.

Three faults of a description give crops and embeddings that look right to a program. Landmarks in
another order show by their place in the crops. Pixels in another scale show if a usual scale tells
the six people apart clearly better. Colours in another order change cosines too little to show here
(MobileFaceNet tells people apart 0.8 % worse), so they need labelled faces: see `accuracy`.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch

from vcn_ray.errors import PackError
from vcn_ray.models.align import ARCFACE_TEMPLATE, ArcFaceAligner, fit_similarities
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.detector_inputs import shrink
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.packs.face_pack import Aligner, FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, U8, Mask

MIN_MARGIN = 0.05  # of cosine, of a mirror image over another person; less may be rounding
MAX_OFFSET = 10.0
"""Pixels; landmarks in the right order are 1 to 7 from their place, in a wrong order 14 to 21."""
MIN_GAIN = 1.05  # of the separation by another scale over that by the pack's own

SCALES = (
    InputScale(),
    InputScale((0.0,) * 3, (255.0,) * 3),
    InputScale((0.0,) * 3, (1.0,) * 3),
    InputScale((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
)
"""Usual inputs of face-ID nets: -1 to 1, 0 to 1, grey levels, and by ImageNet's statistics."""

PICTURE_FACES = ((518, 341), (953, 129), (107, 330), (1179, 336), (797, 410), (319, 209))
"""Pixel x y within each of the six faces of insightface's picture `t1`, all of different people."""

SPEED_REPEATS = 3
SPEED_BATCH = 32  # faces embedded at once

T = TypeVar("T")
Clock = Callable[[], float]


@dataclass(frozen=True)
class PackCheck:
    """How a pack did on insightface's picture of six people."""

    name: str
    faces: int  # in the picture
    found: int  # faces of the picture with a box
    extra: int  # boxes on no face
    detect_seconds: float  # for the picture
    embed_seconds: float  # per face
    same_cosine: float | None  # minimum of a face and its mirror image; None: no face found
    different_cosine: float | None  # maximum of two people; None: fewer than two faces found
    landmark_pixels: float | None  # median face's mean distance from the template, in a 112 crop
    separation: float | None  # of views of one person from those of others, in deviations
    better_scale: InputScale | None  # tells people apart clearly better than the pack's own
    problems: list[str]  # empty if the pack passes


def check_pack(name_or_folder: str) -> PackCheck:
    """Check a pack by its name or folder.

    Raises:
        PackError: As `load_pack`; or the encoder cannot be read.
    """
    return check_loaded(load_pack(name_or_folder))


def check_loaded(pack: FacePack) -> PackCheck:
    """Check whether a pack finds six people in a picture and can tell them apart.

    Raises:
        PackError: The encoder cannot be read.
    """
    picture = read_picture()
    pack.detector.detect(picture[None])  # the first call also sets up the network
    (detections,), detect_seconds = _timed(lambda: pack.detector.detect(picture[None]))
    hits = faces_in_boxes(detections.boxes)
    rows = [int(np.flatnonzero(boxes)[0]) for boxes in hits if boxes.any()]  # best box first
    extra = int((~hits.any(axis=0)).sum())

    crops = pack.aligner.align(picture, detections)[rows]
    encoder = pack.load_encoder()
    embeddings, embed_seconds = _timed(lambda: encoder.embed(torch.from_numpy(crops)))
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    same, different = extreme_cosines(embeddings, encoder.embed(torch.from_numpy(mirrored)))
    offset = landmark_offset(pack.aligner, detections.landmarks[rows])

    problems = face_problems(len(rows), extra, same, different) + order_problems(offset)
    separation = scale = None
    if len(rows) > 1:
        separation = separate(encoder, crops)
        scale, scale_problems = find_better_scale(encoder, crops, separation)
        problems += scale_problems
    return PackCheck(
        name=pack.name,
        faces=len(PICTURE_FACES),
        found=len(rows),
        extra=extra,
        detect_seconds=detect_seconds,
        embed_seconds=embed_seconds / max(1, len(rows)),
        same_cosine=same,
        different_cosine=different,
        landmark_pixels=offset,
        separation=separation,
        better_scale=scale,
        problems=problems,
    )


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def read_picture(name: str = "t1.jpg") -> U8:
    """Read a picture (h, w, 3) uint8 RGB that comes with insightface.

    Args:
        name: Of its file; `t1.jpg` shows six people.

    Raises:
        PackError: The picture is missing.
    """
    # insightface is not imported: that takes seconds.
    places = getattr(importlib.util.find_spec("insightface"), "submodule_search_locations", None)
    path = Path((places or ["insightface"])[0]) / "data" / "images" / name
    picture = cv2.imread(str(path))
    if picture is None:
        raise PackError(f"{path} cannot be read: install insightface again")
    rgb: U8 = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return rgb


def faces_in_boxes(boxes: F32) -> Mask:
    """(6, n) true where a face of the picture lies in a box."""
    points = np.array(PICTURE_FACES)[:, None]
    inside: Mask = np.all((boxes[:, :2] <= points) & (points <= boxes[:, 2:]), axis=2)
    return inside


def extreme_cosines(
    embeddings: torch.Tensor, mirrored: torch.Tensor
) -> tuple[float | None, float | None]:
    """Minimum cosine of a face and its mirror image, and maximum of two different faces.

    Args:
        embeddings: (n, d) unit vectors of n different people.
        mirrored: (n, d) unit vectors of their mirror images.
    """
    count = len(embeddings)
    if count == 0:
        return None, None
    same = float((embeddings * mirrored).sum(dim=1).min())
    others = (embeddings @ embeddings.T)[~torch.eye(count, dtype=torch.bool)]
    return same, float(others.max()) if count > 1 else None


def face_problems(found: int, extra: int, same: float | None, different: float | None) -> list[str]:
    """Say what is wrong with the faces found and their embeddings, one sentence per problem."""
    problems = []
    if found < len(PICTURE_FACES):
        problems.append(f"found {found} of {len(PICTURE_FACES)} faces: lower min_score?")
    if extra:
        problems.append(f"{extra} boxes hold no face: raise min_score?")
    if same is not None and different is not None and same < different + MIN_MARGIN:
        problems.append(
            f"two people look as alike (cosine {different:.2f}) as one person and the mirror image "
            f"({same:.2f}): the encoder or its alignment is wrong"
        )
    return problems


def landmark_offset(aligner: Aligner, landmarks: F32) -> float | None:
    """Measure how far aligned landmarks are from the template, in pixels of a crop of 112.

    Args:
        aligner: The pack's aligner.
        landmarks: (n, 5, 2) of n faces.

    Returns:
        The median over faces of the mean over landmarks; None if there is no face, or the aligner
        has another template than ArcFace's.
    """
    if not isinstance(aligner, ArcFaceAligner) or not len(landmarks):
        return None
    matrices = fit_similarities(landmarks, ARCFACE_TEMPLATE)
    aligned = np.einsum("nij,nkj->nki", matrices[:, :, :2], landmarks) + matrices[:, None, :, 2]
    return float(np.median(np.linalg.norm(aligned - ARCFACE_TEMPLATE, axis=2).mean(axis=1)))


def order_problems(offset: float | None) -> list[str]:
    """Say that landmarks are in a wrong order if they are too far from their places."""
    if offset is None or offset <= MAX_OFFSET:
        return []
    return [
        f"landmarks are {offset:.0f} pixels from their places in a crop: they are in another "
        "order than left eye, right eye, nose, left and right corner of the mouth"
    ]


def separate(encoder: Backbone, crops: U8) -> float:
    """Measure how far cosines between views of one person lie above those between people.

    Args:
        encoder: The encoder.
        crops: (n, p, p, 3) uint8 RGB of n different people.

    Returns:
        The difference of both means over their common standard deviation.
    """
    views = [encoder.embed(torch.from_numpy(view)).numpy() for view in views_of(crops)]
    cosines = np.einsum("vnd,wmd->vwnm", views, views)
    first, second = np.triu_indices(len(views), 1)
    pairs = cosines[first, second]
    one = np.eye(len(crops), dtype=bool)
    same, others = pairs[:, one], pairs[:, ~one]
    return float((same.mean() - others.mean()) / np.sqrt((same.var() + others.var()) / 2))


def views_of(crops: U8) -> list[U8]:
    """Give crops (n, p, p, 3) as they are and as another moment of a film might show them."""
    side = crops.shape[1]
    shift = np.array([[1.0, 0.0, side / 28], [0.0, 1.0, -side / 37]])
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 10, 1)
    small = (side * 2 // 7, side * 2 // 7)
    changes: list[Callable[[U8], U8]] = [
        lambda crop: crop[:, ::-1],
        lambda crop: cv2.convertScaleAbs(crop, alpha=0.6),
        lambda crop: cv2.convertScaleAbs(crop, alpha=1.3, beta=10),
        lambda crop: cv2.GaussianBlur(crop, (0, 0), side / 56),
        lambda crop: cv2.resize(
            cv2.resize(crop, small, interpolation=cv2.INTER_AREA), (side, side)
        ),
        lambda crop: cv2.warpAffine(crop, shift, (side, side)),
        lambda crop: cv2.warpAffine(crop, turn, (side, side)),
    ]
    return [crops, *(np.stack([change(crop) for crop in crops]) for change in changes)]


def find_better_scale(
    encoder: Backbone, crops: U8, separation: float
) -> tuple[InputScale | None, list[str]]:
    """Find a usual input scale that separates people clearly better, and say so in a sentence."""
    if not isinstance(encoder, OnnxEncoder):
        return None, []
    scale, best = _best_scale(encoder, crops)
    if best <= MIN_GAIN * separation:
        return None, []
    return scale, [
        f"people are told apart better ({best:.1f} deviations for {separation:.1f}) with "
        f"mean = {list(scale.mean)} and std = {list(scale.std)}: was the encoder trained like that?"
    ]


def _best_scale(encoder: OnnxEncoder, crops: U8) -> tuple[InputScale, float]:
    """The best of the encoder's own scale and the usual ones, and its separation."""
    own = encoder.scale
    found: dict[InputScale, float] = {}
    for scale in (own, *(replace(scale, bgr=own.bgr) for scale in SCALES)):
        if scale not in found:
            encoder.set_scale(scale)
            found[scale] = separate(encoder, crops)
    encoder.set_scale(own)
    best = max(found, key=lambda scale: found[scale])
    return best, found[best]


class PackSpeed(NamedTuple):
    """Speed of a pack on one thread, per second."""

    frames: float  # searched for faces, one per call
    faces: float  # aligned faces embedded, SPEED_BATCH per call


def measure_speed(
    pack: FacePack,
    max_side: int,
    clock: Clock = time.perf_counter,
    repeats: int = SPEED_REPEATS,
) -> PackSpeed:
    """Time detection on the picture of six people, and the embedding of its faces, on one thread.

    Args:
        pack: Loaded for one thread.
        max_side: Pixels to which the picture is shrunk first, like frames of a film; the detector
            may shrink it further.
        clock: Rising seconds; with `time.process_time`, those of the CPU, other programs on the
            machine matter less.
        repeats: The fastest of so many runs counts, after one that does not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        frame = shrink(read_picture(), max_side)
        (found,) = pack.detector.detect(frame[None])
        crops = pack.aligner.align(frame, found)
        if not len(crops):  # noise takes an encoder as long as a face
            side = pack.aligner.input_pixels
            crops = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        batch = torch.from_numpy(np.resize(crops, (SPEED_BATCH, *crops.shape[1:])))
        encoder = pack.load_encoder()
        detect = _fastest(lambda: pack.detector.detect(frame[None]), clock, repeats)
        embed = _fastest(lambda: encoder.embed(batch), clock, repeats)
        return PackSpeed(1 / detect, SPEED_BATCH / embed)
    finally:
        torch.set_num_threads(before)


def _fastest(work: Callable[[], object], clock: Clock, repeats: int) -> float:
    """Seconds of the fastest run, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        seconds.append(clock() - start)
    return max(min(seconds), 1e-9)
