from __future__ import annotations

import cv2
import dlib
import numpy as np
import pytest

from tests.helpers.dlib_nets import dlib_landmarks
from tests.helpers.photographs import group, portrait
from vcn_ray.models.dlib_align import DlibAligner, chip_to_frame
from vcn_ray.records import U8, Detections

ASTRONAUT = (168, 69, 263, 164)


def turned(picture: U8, degrees: float, scale: float) -> U8:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((216, 116), degrees, scale)
    return cv2.warpAffine(picture, matrix, (width, height))


def grown(picture: U8, factor: int) -> U8:
    return cv2.resize(picture[:260, 80:360], None, fx=factor, fy=factor)


def detections(landmarks: np.ndarray) -> Detections:
    n = len(landmarks)
    return Detections(np.zeros((n, 4), np.float32), np.ones(n, np.float32), landmarks)


def both_chips(picture: U8, rectangle: tuple[int, ...]) -> tuple[U8, U8]:
    """dlib's chip and ours, from the same landmarks."""
    shape = dlib_landmarks()(picture, dlib.rectangle(*rectangle))
    landmarks = np.array([[(p.x, p.y) for p in shape.parts()]], np.float32)
    wanted = dlib.get_face_chip(picture, shape, size=150, padding=0.25)
    return wanted, DlibAligner().align(picture, detections(landmarks))[0]


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
    chips = DlibAligner().align(
        frame, detections(np.concatenate([landmarks + 60, landmarks + 220]))
    )
    assert chips.shape == (2, 150, 150, 3)
    assert chips[0, 75, 75, 0] == 200
    assert chips[1].max() == 0  # beyond the frame
    assert DlibAligner().align(frame, detections(landmarks[:0])).shape == (0, 150, 150, 3)


def test_an_upright_face_is_scaled_and_not_turned():
    eyes = np.array([[0.86, 0.2135], [0.6460, 0.229], [0.1206, 0.2137], [0.334, 0.229]])
    landmarks = np.concatenate([eyes, [[0.49, 0.628]]]) * 60 + [100, 50]
    matrix = chip_to_frame(landmarks.astype(np.float32))
    np.testing.assert_allclose(matrix[:, :2], 60 * 1.5 / 150 * np.eye(2), atol=5e-3)
    np.testing.assert_allclose(matrix @ [74.5, 74.5, 1], [130, 80], atol=0.1)


def test_landmarks_on_one_spot_give_a_chip_of_that_spot():
    frame = np.arange(100, dtype=np.uint8)[:, None, None].repeat(100, 1).repeat(3, 2)
    chip = DlibAligner().align(frame, detections(np.full((1, 5, 2), 40, np.float32)))[0]
    assert set(np.unique(chip)) == {40}
