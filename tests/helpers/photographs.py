"""Photographs of people that ship inside insightface and scikit-image."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from vcn_ray.records import U8


@cache
def group() -> U8:
    """(886, 1280, 3) RGB: six people, insightface's `t1`."""
    return _insightface_picture("t1.jpg")


@cache
def portrait() -> U8:
    """(512, 512, 3) RGB: one person, scikit-image's astronaut."""
    return np.array(skimage.data.astronaut(), np.uint8)


@cache
def actor() -> U8:
    """(112, 112, 3) RGB: the face of one person, insightface's `Tom_Hanks_54745`."""
    return _insightface_picture("Tom_Hanks_54745.png")


def two_faces() -> U8:
    """(270, 340, 3): two of the six."""
    return np.ascontiguousarray(group()[150:420, 250:590])


def face_at_edge() -> U8:
    """(220, 250, 3): a face that the left edge cuts."""
    return np.ascontiguousarray(group()[110:330, 305:555])


def large_face() -> U8:
    """(300, 300, 3): a face far up the pyramid, in the tile's second column."""
    return np.asarray(cv2.resize(portrait()[46:186, 146:286], (300, 300)), np.uint8)


def _insightface_picture(name: str) -> U8:
    spec = importlib.util.find_spec("insightface")
    assert spec
    assert spec.origin
    stored = cv2.imread(str(Path(spec.origin).parent / "data" / "images" / name))
    assert stored is not None
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)
