"""Tries a pack on a picture of six people; it knows packs only by their three parts."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from vcn_ray.errors import PackError
from vcn_ray.models.packs import load_pack
from vcn_ray.records import F32, U8, Mask

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
    problems: list[str]  # empty where all is well


def check_pack(name_or_folder: str) -> PackCheck:
    """Try a pack on a picture of six people: does it find them, and tell them apart?

    Raises:
        PackError: As `load_pack`.
    """
    pack = load_pack(name_or_folder)
    picture = read_picture()
    pack.detector.detect(picture[None])  # the first call also sets the network up
    start = time.perf_counter()
    detections = pack.detector.detect(picture[None])[0]
    detect_seconds = time.perf_counter() - start

    hits = faces_in_boxes(detections.boxes)
    rows = [int(np.flatnonzero(boxes)[0]) for boxes in hits if boxes.any()]  # the surest box
    crops = torch.from_numpy(pack.aligner.align(picture, detections)[rows])
    encoder = pack.load_encoder()
    start = time.perf_counter()
    embeddings = encoder.embed(crops)
    embed_seconds = (time.perf_counter() - start) / max(1, len(rows))
    same, different = spread_of_cosines(embeddings, encoder.embed(crops.flip(2)))

    extra = int((~hits.any(axis=0)).sum())
    return PackCheck(
        name=pack.name,
        faces=len(PICTURE_FACES),
        found=len(rows),
        extra=extra,
        detect_seconds=detect_seconds,
        embed_seconds=embed_seconds,
        same_cosine=same,
        different_cosine=different,
        problems=problems_of(len(rows), extra, same, different),
    )


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
    if same is not None and different is not None and same <= different:
        problems.append(
            f"two people look more alike (cosine {different:.2f}) than one person and the mirror "
            f"image ({same:.2f}): the encoder or its alignment is wrong"
        )
    return problems
