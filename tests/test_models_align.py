"""Alignment: the closed form against numpy's general solver, and crops against insightface's."""

from __future__ import annotations

import numpy as np
import pytest
from insightface.utils import face_align

from vcn_ray.errors import ShapeError
from vcn_ray.models.align import ARCFACE_TEMPLATE, ArcFaceAligner, fit_similarities
from vcn_ray.models.pack_check import PICTURE_FACES, read_picture
from vcn_ray.records import F32, F64, Detections

rng = np.random.default_rng(5)


def solved_similarity(points: F32, template: F64) -> F64:
    """The same least-squares problem as linear equations in (a, b, x, y)."""
    rows, right = [], []
    for (x, y), (u, v) in zip(points.astype(np.float64), template, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, dx, dy = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return np.array([[a, -b, dx], [b, a, dy]])


def faces(landmarks: F32) -> Detections:
    count = len(landmarks)
    return Detections(
        boxes=np.zeros((count, 4), np.float32),
        scores=np.ones(count, np.float32),
        landmarks=landmarks,
    )


def test_fit_equals_the_general_solver() -> None:
    landmarks = (rng.normal(size=(20, 5, 2)) * 40 + 300).astype(np.float32)
    fitted = fit_similarities(landmarks, ARCFACE_TEMPLATE)
    for one, matrix in zip(landmarks, fitted, strict=True):
        np.testing.assert_allclose(matrix, solved_similarity(one, ARCFACE_TEMPLATE), atol=1e-9)


def test_fit_undoes_a_known_turn() -> None:
    turn = np.deg2rad(33) * 1j
    template = ARCFACE_TEMPLATE @ [1, 1j]
    moved = 2.5 * np.exp(turn) * template + (400 - 120j)
    landmarks = np.stack([moved.real, moved.imag], axis=1)[None].astype(np.float32)
    matrix = fit_similarities(landmarks, ARCFACE_TEMPLATE)[0]
    assert np.hypot(*matrix[:, 0]) == pytest.approx(1 / 2.5, abs=1e-5)
    np.testing.assert_allclose(
        landmarks[0] @ matrix[:, :2].T + matrix[:, 2], ARCFACE_TEMPLATE, atol=1e-4
    )


def test_fit_never_mirrors() -> None:
    mirrored = (ARCFACE_TEMPLATE * [-1, 1])[None].astype(np.float32)
    assert np.linalg.det(fit_similarities(mirrored, ARCFACE_TEMPLATE)[0, :, :2]) > 0


def test_fit_of_coinciding_points_is_a_shift() -> None:
    matrix = fit_similarities(np.full((1, 5, 2), 7, np.float32), ARCFACE_TEMPLATE)[0]
    np.testing.assert_allclose(matrix[:, :2], np.eye(2))
    np.testing.assert_allclose(matrix[:, 2], ARCFACE_TEMPLATE.mean(axis=0) - 7)


def test_fit_refuses_another_count_of_points() -> None:
    with pytest.raises(ShapeError, match=r"got \(2, 4, 2\)"):
        fit_similarities(np.zeros((2, 4, 2), np.float32), ARCFACE_TEMPLATE)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # insightface calls scikit-image's old name
@pytest.mark.parametrize("pixels", [112, 224])
def test_crops_equal_insightface(pixels: int) -> None:
    picture = read_picture()
    centres = np.array(PICTURE_FACES, np.float32)[:, None]
    shape = (ARCFACE_TEMPLATE - 56).astype(np.float32)
    landmarks = centres + shape + rng.normal(size=(6, 5, 2)).astype(np.float32) * 4
    crops = ArcFaceAligner(pixels).align(picture, faces(landmarks))
    assert crops.shape == (6, pixels, pixels, 3)
    assert crops.dtype == np.uint8
    for crop, five in zip(crops, landmarks, strict=True):
        expected = face_align.norm_crop(picture, five, pixels)
        assert np.abs(crop.astype(int) - expected).max() <= 1


def test_no_faces_give_no_crops() -> None:
    crops = ArcFaceAligner().align(read_picture(), faces(np.zeros((0, 5, 2), np.float32)))
    assert crops.shape == (0, 112, 112, 3)


def test_beyond_the_edge_is_black() -> None:
    frame = np.full((50, 50, 3), 200, np.uint8)
    landmarks = (ARCFACE_TEMPLATE - 56)[None].astype(np.float32)  # the face's middle at the corner
    crop = ArcFaceAligner().align(frame, faces(landmarks))[0]
    assert (crop[:50, :50] == 0).all()
    assert (crop[60:100, 60:100] == 200).all()
