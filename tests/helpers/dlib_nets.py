"""The C++ networks of dlib, for comparison with those of the pack dlib."""

from __future__ import annotations

from functools import cache

import dlib

from vcn_ray.models.dlib_weights import LANDMARK_FILE, MMOD_FILE, RESNET_FILE, model_file


@cache
def dlib_detector() -> dlib.cnn_face_detection_model_v1:
    return dlib.cnn_face_detection_model_v1(str(model_file(MMOD_FILE)))


@cache
def dlib_landmarks() -> dlib.shape_predictor:
    return dlib.shape_predictor(str(model_file(LANDMARK_FILE)))


@cache
def dlib_encoder() -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(str(model_file(RESNET_FILE)))
