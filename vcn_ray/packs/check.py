"""Tries a pack on a picture of six people; it knows packs only by their three parts.

Three faults of a description give crops and embeddings that look right to a program. Landmarks in
another order show where they come to lie in a crop; pixels scaled in another way where another
scale tells the six people apart clearly better. Colours in another order are not found here: they
change cosines by too little (MobileFaceNet tells people apart 0.8 % worse), so labelled faces have
to tell.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from vcn_ray.errors import PackError
from vcn_ray.models.align import ARCFACE_TEMPLATE, ArcFaceAligner, fit_similarities
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.packs.face_pack import Aligner, FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, U8, Mask

MIN_MARGIN = 0.05  # of cosine, that a mirror image is above another person, or rounding decides
MOST_OFFSET = 10.0
"""Pixels; right landmarks lie 1 to 7 from where they belong, those in a wrong order 14 to 21."""
CLEARLY = 1.05  # times as well, from which on another scale is told of

SCALES = (
    InputScale(),
    InputScale((0.0,) * 3, (255.0,) * 3),
    InputScale((0.0,) * 3, (1.0,) * 3),
    InputScale((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
)
"""Ways in which face-ID nets are usually fed: about the middle grey, 0 to 1, as grey levels are,
and by the statistics of ImageNet; each in the order of colours that the pack says."""

PICTURE_FACES = ((518, 341), (953, 129), (107, 330), (1179, 336), (797, 410), (319, 209))
"""Pixel x y within each of the six faces of insightface's picture `t1`, all different people."""


@dataclass(frozen=True)
class PackCheck:
    """How a pack did on insightface's picture of six people."""

    name: str
    faces: int  # in the picture
    found: int  # of these
    extra: int  # boxes on none of them
    detect_seconds: float  # for the picture
    embed_seconds: float  # a face
    same_cosine: float | None  # least of a face and its mirror image; None: no face found
    different_cosine: float | None  # greatest of two people; None: under two faces found
    landmark_pixels: float | None  # from where they belong in a crop of 112, the median face's mean
    separation: float | None  # of views of one person from those of others, in deviations
    better_scale: InputScale | None  # with which the encoder tells people apart clearly better
    problems: list[str]  # empty where all is well


def check_pack(name_or_folder: str) -> PackCheck:
    """Try a pack by its name or folder.

    Raises:
        PackError: As `load_pack`.
    """
    return check_loaded(load_pack(name_or_folder))


def check_loaded(pack: FacePack) -> PackCheck:
    """Try a pack on a picture of six people: does it find them, and tell them apart?

    Raises:
        PackError: Its encoder cannot be read.
    """
    picture = read_picture()
    pack.detector.detect(picture[None])  # the first call also sets the network up
    start = time.perf_counter()
    detections = pack.detector.detect(picture[None])[0]
    detect_seconds = time.perf_counter() - start

    hits = faces_in_boxes(detections.boxes)
    rows = [int(np.flatnonzero(boxes)[0]) for boxes in hits if boxes.any()]  # the surest box
    crops = pack.aligner.align(picture, detections)[rows]
    encoder = pack.load_encoder()
    start = time.perf_counter()
    embeddings = encoder.embed(torch.from_numpy(crops))
    embed_seconds = (time.perf_counter() - start) / max(1, len(rows))
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    same, different = spread_of_cosines(embeddings, encoder.embed(torch.from_numpy(mirrored)))
    off = landmark_offset(pack.aligner, detections.landmarks[rows])

    extra = int((~hits.any(axis=0)).sum())
    problems = problems_of(len(rows), extra, same, different) + order_problems(off)
    separation = scale = None
    if len(rows) > 1:
        separation = separate(encoder, crops)
        scale, problem = better_scale(encoder, crops, separation)
        problems += problem
    return PackCheck(
        name=pack.name,
        faces=len(PICTURE_FACES),
        found=len(rows),
        extra=extra,
        detect_seconds=detect_seconds,
        embed_seconds=embed_seconds,
        same_cosine=same,
        different_cosine=different,
        landmark_pixels=off,
        separation=separation,
        better_scale=scale,
        problems=problems,
    )


def order_problems(off: float | None) -> list[str]:
    """A sentence where landmarks lie so far from where they belong that their order is wrong."""
    if off is None or off <= MOST_OFFSET:
        return []
    return [
        f"landmarks lie {off:.0f} pixels from where they belong in a crop: they are in another "
        "order than left eye, right eye, nose, left and right corner of the mouth"
    ]


def landmark_offset(aligner: Aligner, landmarks: F32) -> float | None:
    """How far landmarks lie from the template once they are aligned, in pixels of a crop of 112.

    Args:
        aligner: Of the pack; one that is not ArcFace's has a template of its own.
        landmarks: (n, 5, 2) of n faces.

    Returns:
        The median over faces of the mean over landmarks; None where it cannot be told.
    """
    if not isinstance(aligner, ArcFaceAligner) or not len(landmarks):
        return None
    matrices = fit_similarities(landmarks, ARCFACE_TEMPLATE)
    there = np.einsum("nij,nkj->nki", matrices[:, :, :2], landmarks) + matrices[:, None, :, 2]
    return float(np.median(np.linalg.norm(there - ARCFACE_TEMPLATE, axis=2).mean(axis=1)))


def views_of(crops: U8) -> list[U8]:
    """Crops (n, p, p, 3) as they are and as another moment might show them."""
    side = crops.shape[1]
    shift = np.array([[1.0, 0.0, side / 28], [0.0, 1.0, -side / 37]])
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 10, 1)
    small = (side * 2 // 7, side * 2 // 7)
    each: list[Callable[[U8], U8]] = [
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
    return [crops, *(np.stack([change(crop) for crop in crops]) for change in each)]


def separate(encoder: Backbone, crops: U8) -> float:
    """How far cosines of views of one person lie above those of others.

    Returns:
        The difference of both means over their common deviation.
    """
    views = [encoder.embed(torch.from_numpy(view)).numpy() for view in views_of(crops)]
    cosines = np.einsum("vnd,wmd->vwnm", views, views)
    first, second = np.triu_indices(len(views), 1)
    pairs = cosines[first, second]
    one = np.eye(len(crops), dtype=bool)
    same, others = pairs[:, one], pairs[:, ~one]
    return float((same.mean() - others.mean()) / np.sqrt((same.var() + others.var()) / 2))


def better_scale(
    encoder: Backbone, crops: U8, separation: float
) -> tuple[InputScale | None, list[str]]:
    """A way of scaling pixels that tells people apart clearly better, and a sentence about it."""
    if not isinstance(encoder, OnnxEncoder):
        return None, []
    scale, best = best_scale(encoder, crops)
    if best <= CLEARLY * separation:
        return None, []
    return scale, [
        f"people are told apart better ({best:.1f} deviations for {separation:.1f}) with "
        f"mean = {list(scale.mean)} and std = {list(scale.std)}: was the encoder trained like that?"
    ]


def best_scale(encoder: OnnxEncoder, crops: U8) -> tuple[InputScale, float]:
    """The usual way of scaling pixels that tells people apart best; its own is one of them."""
    given = encoder.scale
    tried: dict[InputScale, float] = {}
    for scale in (given, *(replace(scale, bgr=given.bgr) for scale in SCALES)):
        if scale not in tried:
            encoder.set_scale(scale)
            tried[scale] = separate(encoder, crops)
    encoder.set_scale(given)
    found = max(tried, key=lambda scale: tried[scale])
    return found, tried[found]


def read_picture() -> U8:
    """(h, w, 3) uint8 RGB: the picture of six people that ships inside insightface."""
    places = getattr(importlib.util.find_spec("insightface"), "submodule_search_locations", None)
    path = Path((places or ["insightface"])[0]) / "data" / "images" / "t1.jpg"
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


def spread_of_cosines(
    embeddings: torch.Tensor, mirrored: torch.Tensor
) -> tuple[float | None, float | None]:
    """Least cosine of a face and its mirror image, greatest of two different faces."""
    count = len(embeddings)
    if count == 0:
        return None, None
    same = float((embeddings * mirrored).sum(dim=1).min())
    others = (embeddings @ embeddings.T)[~torch.eye(count, dtype=torch.bool)]
    return same, float(others.max()) if count > 1 else None


def problems_of(found: int, extra: int, same: float | None, different: float | None) -> list[str]:
    """What is wrong with a pack, a sentence each."""
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
