from __future__ import annotations

import dlib
import numpy as np
import pytest
import torch

from tests.helpers.dlib_nets import dlib_landmarks
from tests.helpers.photographs import portrait, two_faces
from vcn_ray.errors import PackError
from vcn_ray.models.dlib_detector import DlibDetector
from vcn_ray.packs.embedded import load_built_in
from vcn_ray.packs.face_pack import FacePack


@pytest.fixture(scope="module")
def pack() -> FacePack:
    return load_built_in("dlib")


def test_a_face_gets_dlibs_landmarks(pack: FacePack) -> None:
    picture = portrait()[:280, 80:360]
    (faces,) = pack.detector.detect(picture[None])
    assert len(faces) == 1
    left, top, right, bottom = (int(v) for v in faces.boxes[0])
    rectangle = dlib.rectangle(left, top, right - 1, bottom - 1)
    shape = dlib_landmarks()(np.ascontiguousarray(picture), rectangle)
    assert faces.landmarks[0].tolist() == [[p.x, p.y] for p in shape.parts()]
    assert all(a.dtype == np.float32 for a in (faces.boxes, faces.scores, faces.landmarks))


def test_boxes_and_landmarks_are_rows_of_one_face(pack: FacePack) -> None:
    (faces,) = pack.detector.detect(two_faces()[None])
    assert len(faces) == 2
    middles = faces.landmarks.mean(axis=1)
    assert ((faces.boxes[:, :2] < middles) & (middles < faces.boxes[:, 2:])).all()
    (none,) = pack.detector.detect(np.zeros((1, 200, 200, 3), np.uint8))
    assert none.landmarks.shape == (0, 5, 2)


def test_a_person_is_closer_to_a_darkened_picture_than_to_another_person(pack: FacePack) -> None:
    pictures = [portrait()[:280, 80:360], (portrait()[:280, 80:360] * 0.6).astype(np.uint8)]
    crops = [pack.aligner.align(p, pack.detector.detect(p[None])[0]) for p in pictures]
    others = two_faces()
    crops.append(pack.aligner.align(others, pack.detector.detect(others[None])[0]))
    joined = np.concatenate(crops)
    assert joined.shape == (4, 150, 150, 3)
    cosines = (e := pack.load_encoder().embed(torch.from_numpy(joined))) @ e.T
    assert cosines[0, 1] > 0.95
    assert cosines[:2, 2:].max() < 0.9


def test_the_pack_says_what_results_depend_on(pack: FacePack) -> None:
    again = load_built_in("dlib")
    assert (pack.detector_hash, pack.encoder_hash) == (again.detector_hash, again.encoder_hash)
    assert pack.detector_hash != pack.encoder_hash
    assert all(int(h, 16) for h in (pack.detector_hash, pack.encoder_hash))
    assert pack.licence == "CC0-1.0"
    assert pack.commercial_use
    assert pack.load_encoder() is not pack.load_encoder()
    assert pack.aligner.input_pixels == pack.load_encoder().input_pixels == 150


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        load_built_in("dlib", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(PackError, match="cannot be used"):
        DlibDetector(device="nonsense")
