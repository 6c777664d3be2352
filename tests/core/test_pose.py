"""Which way a face looks: made-up heads turned in space, and photographs."""

from __future__ import annotations

import dlib
import numpy as np
import pytest

from tests.helpers.dlib_nets import dlib_landmarks
from tests.helpers.photographs import group, portrait
from vcn_ray.core.pose import LandmarkOrder, frontality, roll_degrees, yaw_degrees
from vcn_ray.errors import ShapeError
from vcn_ray.models.align import (
    ARCFACE_TEMPLATE,
    CHIP_LANDMARKS,
    DLIB_MEAN_FACE,
    ArcFaceAligner,
    ChipAligner,
    DlibAligner,
)
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.embedded import CENTERFACE, CENTERFACE_PIXELS, CENTERFACE_SCORE
from vcn_ray.records import F32, F64, U8, Detections

# A head in millimetres: x to image-right, y down, z towards the camera.
HEADS: dict[LandmarkOrder, F64] = {
    "eyes_nose_mouth": np.array(
        [[-31, 0, 0], [31, 0, 0], [0, 36, 29], [-24, 72, 5], [24, 72, 5]], np.float64
    ),
    "dlib": np.array([[45, 0, -6], [17, 1, 2], [-45, 0, -6], [-17, 1, 2], [0, 47, 17]], np.float64),
}
ORDERS = tuple(HEADS)


def head(
    order: LandmarkOrder, yaw: float = 0.0, roll: float = 0.0, pixels: float = 1.0, shift: float = 0
) -> F32:
    """The landmarks (1, 5, 2) of a head turned to image-right and then clockwise, in degrees."""
    y, r = np.deg2rad([yaw, roll])
    points = HEADS[order] @ np.array([[np.cos(y), 0], [0, 1], [np.sin(y), 0]])
    turned = points @ np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]])
    return np.asarray((pixels * turned + shift)[None], np.float32)


@pytest.mark.parametrize("order", ORDERS)
def test_frontality_falls_as_a_head_turns(order: LandmarkOrder) -> None:
    turns = np.arange(0, 91, 10)
    found = np.array([frontality(head(order, float(yaw)), order)[0] for yaw in turns])
    assert found[0] == pytest.approx(1, abs=0.02)
    assert (np.diff(found) <= 1e-3).all()
    assert found[3] == pytest.approx(0.77, abs=0.05)  # 30 degrees
    assert found[6] == pytest.approx(0.17, abs=0.05)
    assert found[-1] < 0.01


@pytest.mark.parametrize("order", ORDERS)
def test_size_place_and_turn_in_the_picture_do_not_matter(order: LandmarkOrder) -> None:
    plain = frontality(head(order, 35), order)
    for roll in (-120, -20, 45, 90, 180):
        same = frontality(head(order, 35, roll, pixels=0.3, shift=400), order)
        np.testing.assert_allclose(same, plain, atol=2e-3)
    mirrored = frontality(head(order, -35), order)
    np.testing.assert_allclose(mirrored, plain, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_angles(order: LandmarkOrder) -> None:
    for yaw in (-60, -25, 0, 25, 60):
        assert yaw_degrees(head(order, yaw), order)[0] == pytest.approx(yaw, abs=4)
    for roll in (-150, -90, 0, 30, 90, 179):
        assert roll_degrees(head(order, 0, roll), order)[0] == pytest.approx(roll, abs=1)
    assert abs(roll_degrees(head(order, 0, 180), order)[0]) == pytest.approx(180, abs=1)


def test_templates_of_aligners_are_frontal() -> None:
    for aligner, template in (
        (ArcFaceAligner(), ARCFACE_TEMPLATE),
        (ChipAligner(), CHIP_LANDMARKS),
        (DlibAligner(), DLIB_MEAN_FACE),
    ):
        landmarks = template[None].astype(np.float32)
        assert frontality(landmarks, aligner.landmark_order)[0] > 0.98
        assert abs(roll_degrees(landmarks, aligner.landmark_order)[0]) < 1


def test_senseless_points() -> None:
    none = np.zeros((0, 5, 2), np.float32)
    for order in ORDERS:
        assert frontality(none, order).shape == roll_degrees(none, order).shape == (0,)
        assert frontality(np.full((1, 5, 2), 7, np.float32), order)[0] == 0  # one spot
    with pytest.raises(ShapeError, match=r"\(n, 5, 2\)"):
        frontality(np.zeros((1, 4, 2), np.float32))


def centerface(picture: U8) -> Detections:
    from vcn_ray.models.detectors import CenterFaceDetector

    path = find_shipped(CENTERFACE)
    detector = CenterFaceDetector(path, CENTERFACE_SCORE, CENTERFACE_PIXELS, 1, "cpu")
    return detector.detect(np.ascontiguousarray(picture)[None])[0]


def test_photographs_of_people_and_of_their_mirror_images() -> None:
    six = centerface(group())
    assert len(six) == 6
    ahead = frontality(six.landmarks)
    turned = int(six.boxes[:, 1].argmin())  # the man at the top looks to the left
    assert ahead[turned] < 0.4
    assert yaw_degrees(six.landmarks)[turned] < -40
    assert np.delete(ahead, turned).min() > 0.7
    assert np.abs(roll_degrees(six.landmarks)).max() < 30
    mirrored = centerface(group()[:, ::-1])
    places = 1280 - mirrored.boxes[:, [0, 2]].mean(axis=1)
    same = np.abs(places[:, None] - six.boxes[:, [0, 2]].mean(axis=1)).argmin(axis=0)
    yaw, other = yaw_degrees(six.landmarks), yaw_degrees(mirrored.landmarks[same])
    np.testing.assert_allclose(other, -yaw, atol=10)
    np.testing.assert_allclose(
        frontality(mirrored.landmarks[same]), frontality(six.landmarks), atol=0.15
    )


@pytest.mark.parametrize(("quarters", "roll"), [(1, -90), (3, 90)])
def test_a_title_on_its_side_is_seen_from_its_faces(quarters: int, roll: float) -> None:
    """A detector that finds the turned face gives landmarks that say so."""
    upright = centerface(portrait())
    assert len(upright) == 1
    turned = upright.landmarks.copy()
    for _ in range(quarters):  # the points go with the picture, as np.rot90 turns it
        turned = np.stack([turned[..., 1], 511 - turned[..., 0]], axis=-1)
    assert roll_degrees(turned)[0] == pytest.approx(
        roll + roll_degrees(upright.landmarks)[0], abs=1
    )
    assert frontality(turned)[0] == pytest.approx(frontality(upright.landmarks)[0], abs=0.01)


def test_dlib_landmarks_of_a_photograph_agree_with_the_others() -> None:
    face = centerface(portrait())
    left, top, right, bottom = (int(v) for v in face.boxes[0])
    for picture, box in (
        (portrait(), (left, top, right, bottom)),
        (portrait()[:, ::-1], (511 - right, top, 511 - left, bottom)),
    ):
        shape = dlib_landmarks()(np.ascontiguousarray(picture), dlib.rectangle(*box))
        points = np.array([[[p.x, p.y] for p in shape.parts()]], np.float32)
        assert frontality(points, "dlib")[0] == pytest.approx(
            frontality(face.landmarks)[0], abs=0.2
        )
        assert abs(roll_degrees(points, "dlib")[0]) < 15
