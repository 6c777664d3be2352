"""The boxes written for the eight people are where detectors find faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.sample_helpers import Detector, overlap
from vcn_ray.sample.cutouts import picture_pixels
from vcn_ray.sample.portraits import PORTRAITS

PICTURES = sorted({portrait.picture for portrait in PORTRAITS})


def test_there_are_eight_people() -> None:
    assert [portrait.identity for portrait in PORTRAITS] == [f"person_{n}" for n in range(1, 9)]


@pytest.mark.parametrize("name", PICTURES)
def test_a_detector_finds_each_face_where_it_is_written(name: str, find_faces: Detector) -> None:
    found = find_faces(picture_pixels(name), 1)
    for portrait in PORTRAITS:
        if portrait.picture == name:
            best = max(overlap(np.array(portrait.face), box) for box in found)
            assert best > 0.5, portrait.identity


@pytest.mark.parametrize("name", PICTURES)
def test_another_detector_agrees_and_finds_nobody_else(name: str, shared: Path) -> None:
    picture = np.ascontiguousarray(picture_pixels(name)[..., ::-1])
    size = picture.shape[1::-1]
    model = str(shared / "models/yunet/yunet_n_dynamic.onnx")
    rows = cv2.FaceDetectorYN.create(model, "", size, 0.6).detect(picture)[1]
    portraits = [portrait for portrait in PORTRAITS if portrait.picture == name]
    assert len(rows) == len(portraits)
    for portrait in portraits:
        best = max(overlap(np.array(portrait.face), np.r_[r[:2], r[:2] + r[2:4]]) for r in rows)
        assert best > 0.6, portrait.identity
