"""Real pictures, and dlib's own C++ networks to compare with, for the tests of the pack dlib."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np
import skimage.data

from vcn_ray.models.dlib_weights import LANDMARK_FILE, MMOD_FILE, RESNET_FILE, model_file
from vcn_ray.records import U8


@cache
def group() -> U8:
    """(886, 1280, 3) RGB: six people, insightface's `t1`."""
    spec = importlib.util.find_spec("insightface")
    path = Path(spec.submodule_search_locations[0]) / "data" / "images" / "t1.jpg"
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@cache
def portrait() -> U8:
    """(512, 512, 3) RGB: one person, scikit-image's astronaut."""
    return np.array(skimage.data.astronaut())


def two_faces() -> U8:
    """(270, 340, 3): two of the six."""
    return np.ascontiguousarray(group()[150:420, 250:590])


def face_at_edge() -> U8:
    """(220, 250, 3): a face that the left edge cuts."""
    return np.ascontiguousarray(group()[110:330, 305:555])


def large_face() -> U8:
    """(300, 300, 3): a face far up the pyramid, in the tile's second column."""
    return cv2.resize(portrait()[46:186, 146:286], (300, 300))


@cache
def dlib_detector() -> dlib.cnn_face_detection_model_v1:
    return dlib.cnn_face_detection_model_v1(str(model_file(MMOD_FILE)))


@cache
def dlib_landmarks() -> dlib.shape_predictor:
    return dlib.shape_predictor(str(model_file(LANDMARK_FILE)))


@cache
def dlib_encoder() -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(str(model_file(RESNET_FILE)))
