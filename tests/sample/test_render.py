"""The frames of a film and their labels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.sample_helpers import Detector, overlap, two_shots
from vcn_ray.sample.actors import Actor, Layer, smear_motion
from vcn_ray.sample.render import Frame, film_length, paint_film, visible_box
from vcn_ray.sample.scenes import FRONTS, HEIGHT, PLACES, WIDTH, Light
from vcn_ray.sample.script import Pose, Role

NO_BLUR = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(paint_film(two_shots(), seed=0))


def test_a_film_has_its_length_and_size(frames: list[Frame]) -> None:
    assert len(frames) == film_length(two_shots()) == 19
    assert {(frame.rgb.shape, frame.rgb.dtype) for frame in frames} == {
        ((360, 640, 3), np.dtype(np.uint8))
    }


def test_labels_name_who_is_in_the_shot(frames: list[Frame]) -> None:
    names = [[label.identity for label in frame.labels] for frame in frames]
    assert names == [["person_7"]] * 10 + [["person_3", "person_6"]] * 9


def test_labels_are_where_a_detector_finds_faces(frames: list[Frame], find_faces: Detector) -> None:
    for frame in (frames[0], frames[9], frames[12]):
        boxes = find_faces(frame.rgb)
        assert len(boxes) == len(frame.labels)
        for label in frame.labels:
            assert max(overlap(np.array(label.box), box) for box in boxes) > 0.5


def test_a_seed_decides_the_film(frames: list[Frame]) -> None:
    again, other = (next(paint_film(two_shots(), seed)) for seed in (0, 1))
    np.testing.assert_array_equal(again.rgb, frames[0].rgb)
    assert again.labels == frames[0].labels
    assert (other.rgb != frames[0].rgb).mean() > 0.3
    assert other.labels != frames[0].labels


def test_a_dissolve_mixes_frames_and_labels_the_stronger(frames: list[Frame]) -> None:
    mixed = list(paint_film(two_shots(dissolve=5), seed=0))
    assert len(mixed) == film_length(two_shots(dissolve=5)) == 14
    names = [[label.identity for label in frame.labels] for frame in mixed]
    assert names == [["person_7"]] * 7 + [[]] + [["person_3", "person_6"]] * 6
    plain, half = frames[7].rgb.astype(np.int64), mixed[7].rgb.astype(np.int64)
    following = frames[12].rgb.astype(np.int64)
    assert np.abs(half - (plain + following) / 2).max() <= 1


def test_a_face_box_follows_the_pose() -> None:
    actor = Actor(Role(7, (Pose(0, 0, 120),)), Light(), 120)
    here = actor.draw(Pose(300, 150, 120), 1.0, 0.0, NO_BLUR).face
    there = actor.draw(Pose(340, 160, 60), 1.0, 0.0, NO_BLUR).face
    assert here[3] - here[1] == pytest.approx(120, abs=1)
    assert (here[:2] + here[2:]) / 2 == pytest.approx([300, 150], abs=0.5)
    assert there[2:] - there[:2] == pytest.approx((here[2:] - here[:2]) / 2, abs=0.5)
    assert (there[:2] + there[2:]) / 2 == pytest.approx([340, 160], abs=0.5)


def test_a_turned_head_moves_its_face_and_leaves_the_shoulders() -> None:
    actor = Actor(Role(7, (Pose(0, 0, 120),)), Light(), 120)
    ahead = actor.draw(Pose(320, 100, 120), 1.0, 0.0, NO_BLUR)
    turned = actor.draw(Pose(320, 100, 120, yaw=15), 1.0, 0.0, NO_BLUR)
    change = np.abs(turned.rgb - ahead.rgb).mean(axis=(1, 2))
    assert change[80:140].mean() > 0.01
    assert change[250:].max() == 0
    tilted = actor.draw(Pose(320, 100, 120, roll=8), 1.0, 0.0, NO_BLUR).face
    assert tilted[0] + tilted[2] > ahead.face[0] + ahead.face[2] + 10  # clockwise: to the right


def test_a_mirrored_role_is_the_mirror_image() -> None:
    plain, mirrored = (
        Actor(Role(5, (Pose(0, 0, 120),), flip), Light(), 120).draw(
            Pose(320, 150, 120), 1.0, 0.0, NO_BLUR
        )
        for flip in (False, True)
    )
    assert mirrored.face[0] + plain.face[2] == pytest.approx(640, abs=0.5)
    assert mirrored.corner[0] + plain.corner[0] + plain.alpha.shape[1] == pytest.approx(640, abs=3)


def _layer(x: float, alpha: float = 1.0) -> Layer:
    patch = np.full((100, 100), alpha, np.float32)
    face = np.array([x, 50, x + 100, 150], np.float32)
    return Layer((int(max(x, 0)), 50), np.zeros((100, 100, 3), np.float32), patch, face)


def test_a_face_hidden_more_than_half_has_no_label() -> None:
    assert visible_box(_layer(100), []) == (100, 50, 200, 150)
    assert visible_box(_layer(100), [_layer(160)]) == (100, 50, 200, 150)
    assert visible_box(_layer(100), [_layer(140)]) is None
    assert visible_box(_layer(100), [_layer(140, alpha=0.5)]) is not None
    assert visible_box(_layer(100), [_layer(165), _layer(35)]) is None


def test_a_box_is_cut_at_the_edge_of_the_frame() -> None:
    assert visible_box(_layer(-40), []) == (0, 50, 60, 150)
    assert visible_box(_layer(-60), []) is None
    assert visible_box(_layer(-300), []) is None


def test_motion_blurs_along_its_line() -> None:
    dot = np.zeros((21, 21), np.float32)
    dot[10, 10] = 1
    assert smear_motion(dot, 1.0, 0.0) is dot
    smeared = smear_motion(dot, 6.0, 0.0)
    assert smeared.sum() == pytest.approx(1, abs=1e-5)
    assert np.flatnonzero(smeared.sum(axis=1)).tolist() == [10]
    assert np.flatnonzero(smeared.sum(axis=0)).tolist() == list(range(7, 14))


@pytest.mark.parametrize("name", PLACES)
def test_no_place_looks_like_a_face(name: str, find_faces: Detector) -> None:
    canvas = PLACES[name].paint(np.random.default_rng(0))
    assert canvas.shape == (HEIGHT, WIDTH, 3)
    assert canvas.dtype == np.float32
    picture = (canvas.clip(0, 1) * 255).astype(np.uint8)
    assert find_faces(picture) == []


@pytest.mark.parametrize("name", FRONTS)
def test_the_foreground_stays_below_the_faces(name: str) -> None:
    front = FRONTS[name](np.random.default_rng(0))
    assert front.shape == (HEIGHT, WIDTH, 4)
    assert front[: HEIGHT // 2, ..., 3].max() == 0
    assert front[-30:, ..., 3].max() > 0.9
