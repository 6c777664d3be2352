"""Aligners: the closed form against numpy's general solver, crops against insightface and dlib."""

from __future__ import annotations

import cv2
import dlib
import numpy as np
import pytest
from insightface.utils import face_align

from tests.helpers.dlib_nets import dlib_landmarks
from tests.helpers.photographs import group, portrait
from vcn_ray.errors import ShapeError
from vcn_ray.models.align import (
    ARCFACE_TEMPLATE,
    ArcFaceAligner,
    DlibAligner,
    FaceWarper,
    chip_to_frame,
    fit_similarities,
)
from vcn_ray.packs.check import PICTURE_FACES, read_picture
from vcn_ray.records import F32, F64, U8, Detections

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


def placed_faces(picture: U8, scale: float) -> F32:
    """(6, 5, 2) landmarks on the faces of the picture, turned and sized at random."""
    centres = np.array(PICTURE_FACES)[:, None]
    shape = (ARCFACE_TEMPLATE - 56) @ [1, 1j] * scale
    turned = shape * np.exp(1j * rng.uniform(-3, 3, (6, 1)))
    points = np.stack([turned.real, turned.imag], axis=2) + centres
    return points.astype(np.float32)


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("look", ["picture", "noise"])
def test_crops_equal_opencv_warp(scale: float, look: str) -> None:
    picture = read_picture()
    if look == "noise":
        picture = rng.integers(0, 256, picture.shape, np.uint8)
    matrices = fit_similarities(placed_faces(picture, scale), ARCFACE_TEMPLATE)
    expected = np.stack([cv2.warpAffine(picture, m, (112, 112)) for m in matrices])
    crops = FaceWarper(112).warp(picture, matrices)
    assert np.abs(crops.astype(int) - expected).max() <= 1
    assert (crops != expected).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_crops_of_tiny_frames_equal_opencv(size: tuple[int, int]) -> None:
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    landmarks = (ARCFACE_TEMPLATE[None] / 20 - 1).astype(np.float32)
    matrices = fit_similarities(landmarks, ARCFACE_TEMPLATE)
    expected = cv2.warpAffine(frame, matrices[0], (112, 112))
    crops = ArcFaceAligner().align(frame, faces(landmarks))
    assert np.abs(crops[0].astype(int) - expected).max() <= 1


def test_faces_beyond_the_frame_are_black() -> None:
    frame = np.full((50, 60, 3), 200, np.uint8)
    landmarks = np.stack([ARCFACE_TEMPLATE + 5000, ARCFACE_TEMPLATE - 5000]).astype(np.float32)
    assert not ArcFaceAligner().align(frame, faces(landmarks)).any()


def test_a_similarity_that_shrinks_all_away_is_no_error() -> None:
    frame = np.full((50, 60, 3), 200, np.uint8)
    crop = FaceWarper(112).warp(frame, np.zeros((1, 2, 3)))
    np.testing.assert_array_equal(crop[0], cv2.warpAffine(frame, np.zeros((2, 3)), (112, 112)))


ASTRONAUT = (168, 69, 263, 164)


def turned(picture: U8, degrees: float, scale: float) -> U8:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((216, 116), degrees, scale)
    return cv2.warpAffine(picture, matrix, (width, height))


def grown(picture: U8, factor: int) -> U8:
    return cv2.resize(picture[:260, 80:360], None, fx=factor, fy=factor)


def both_chips(picture: U8, rectangle: tuple[int, ...]) -> tuple[U8, U8]:
    """dlib's chip and ours, from the same landmarks."""
    shape = dlib_landmarks()(picture, dlib.rectangle(*rectangle))
    landmarks = np.array([[(p.x, p.y) for p in shape.parts()]], np.float32)
    wanted = dlib.get_face_chip(picture, shape, size=150, padding=0.25)
    return wanted, DlibAligner().align(picture, faces(landmarks))[0]


@pytest.mark.parametrize(
    ("picture", "rectangle"),
    [
        (portrait(), ASTRONAUT),
        (group(), (1112, 276, 1225, 390)),  # its chip reaches over the picture's right edge
        (turned(portrait(), 25, 1), ASTRONAUT),
        (turned(portrait(), -40, 1.5), (144, 45, 287, 188)),
        (grown(portrait(), 3), (264, 207, 551, 494)),  # halved once
        (grown(portrait(), 6), (528, 414, 1103, 989)),  # halved twice
    ],
    ids=["plain", "edge", "turned", "enlarged", "large", "very-large"],
)
def test_chips_equal_dlibs_own(picture, rectangle):
    wanted, ours = both_chips(picture, rectangle)
    difference = np.abs(wanted.astype(int) - ours.astype(int))
    # dlib cuts fractions of a grey level off, cv2 rounds: half a level for each resampling
    assert difference.mean() < 1.6
    assert np.percentile(difference, 99) <= 3


def test_faces_come_back_in_order():
    landmarks = np.array([[[30, 20], [24, 20], [10, 20], [16, 20], [20, 32]]], np.float32)
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[:, :150] = 200
    chips = DlibAligner().align(frame, faces(np.concatenate([landmarks + 60, landmarks + 220])))
    assert chips.shape == (2, 150, 150, 3)
    assert chips[0, 75, 75, 0] == 200
    assert chips[1].max() == 0  # beyond the frame
    assert DlibAligner().align(frame, faces(landmarks[:0])).shape == (0, 150, 150, 3)


def test_an_upright_face_is_scaled_and_not_turned():
    eyes = np.array([[0.86, 0.2135], [0.6460, 0.229], [0.1206, 0.2137], [0.334, 0.229]])
    landmarks = np.concatenate([eyes, [[0.49, 0.628]]]) * 60 + [100, 50]
    matrix = chip_to_frame(landmarks.astype(np.float32))
    np.testing.assert_allclose(matrix[:, :2], 60 * 1.5 / 150 * np.eye(2), atol=5e-3)
    np.testing.assert_allclose(matrix @ [74.5, 74.5, 1], [130, 80], atol=0.1)


def test_landmarks_on_one_spot_give_a_chip_of_that_spot():
    frame = np.arange(100, dtype=np.uint8)[:, None, None].repeat(100, 1).repeat(3, 2)
    chip = DlibAligner().align(frame, faces(np.full((1, 5, 2), 40, np.float32)))[0]
    assert set(np.unique(chip)) == {40}
