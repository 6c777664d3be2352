"""Pictures of faces for people: no black, about one a second, one to three a track."""

from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.core.pictures import (
    MAX_HEIGHT,
    MAX_PICTURES,
    PictureChooser,
    best_pictures,
    cut_face,
    picture_value,
)
from vcn_ray.records import F32, I64, U8, Mask

GREY = np.full((8, 8, 3), 90, np.uint8)
FRAME = np.full((90, 160, 3), 200, np.uint8)


def box(*corners: float) -> F32:
    return np.array(corners, np.float32)


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 20, 30),  # a corner
        (-15, 40, 15, 80),  # partly outside
        (140, 60, 175, 99),
        (-50, -50, 400, 400),  # larger than the frame
        (200, 200, 230, 230),  # outside
        (50, 50, 50, 50),  # nothing
    ],
)
def test_a_face_at_the_edge_has_no_black_corner(corners: tuple[float, ...]) -> None:
    picture = cut_face(FRAME, box(*corners))
    assert picture.size > 0
    assert picture.min() == 200


def test_a_picture_is_the_upright_face_with_a_margin() -> None:
    frame = np.arange(90 * 160 * 3).reshape(90, 160, 3).astype(np.uint8)
    picture = cut_face(frame, box(60, 30, 80, 50))
    np.testing.assert_array_equal(picture, frame[23:57, 53:87])
    at_edge = cut_face(frame, box(0, 30, 20, 50))
    assert at_edge.shape == picture.shape  # it moves inwards
    np.testing.assert_array_equal(at_edge, frame[23:57, 0:34])


def test_large_faces_are_shrunk() -> None:
    picture = cut_face(np.zeros((720, 1280, 3), np.uint8), box(500, 200, 700, 500))
    assert picture.shape == (MAX_HEIGHT, round(340 * MAX_HEIGHT / 510), 3)


def test_frontal_sharp_sure_and_large_faces_are_worth_more() -> None:
    boxes = np.array([[0, 0, 60, 80]] * 5, np.float32)
    boxes[4] /= 3
    scores = np.array([0.9, 0.9, 0.9, 0.4, 0.9], np.float32)
    sharpness = np.array([90, 90, 9, 90, 90], np.float32)
    frontality = np.array([1, 0.2, 1, 1, 1], np.float32)
    value = picture_value(boxes, scores, sharpness, frontality)
    assert value.argmax() == 0
    assert (value > 0).all()
    assert picture_value(boxes[:0], scores[:0], sharpness[:0], frontality[:0]).shape == (0,)


def choose(
    boxes: list[list[F32]],
    values: list[list[float]],
    layouts: list[U8] | None = None,
    step: float = 0.125,
) -> Mask:
    """Which faces have a picture in the end; faces are numbered frame by frame."""
    chooser = PictureChooser()
    has: list[bool] = []
    for n, (row, value) in enumerate(zip(boxes, values, strict=True)):
        taken, replaced = chooser.choose(
            n * step,
            layouts[n] if layouts else GREY,
            np.array(row, np.float32).reshape(-1, 4),
            np.array(value, np.float32),
            np.ones(len(row), np.bool_),
        )
        for number in replaced:
            has[number] = False
        has += taken.tolist()
    return np.array(has)


HERE, THERE = box(10, 10, 30, 30), box(100, 10, 120, 30)


def test_a_face_gets_one_picture_a_second() -> None:
    assert np.flatnonzero(choose([[HERE]] * 40, [[1.0]] * 40)).tolist() == [0, 8, 16, 24, 32]


def test_a_clearly_better_face_takes_the_place() -> None:
    values = [[1.0], [1.1], [2.0], [2.1], [1.0], [1.0]]
    assert np.flatnonzero(choose([[HERE]] * 6, values)).tolist() == [2]


def test_every_face_of_a_frame_has_its_own_pictures() -> None:
    rows = [[HERE, THERE]] * 5 + [[THERE, HERE]] * 5
    has = choose(rows, [[1.0, 1.0]] * 10).reshape(-1, 2)
    assert has.sum(axis=1).tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 2, 0]


def test_after_a_cut_or_a_gap_faces_are_new_ones() -> None:
    cut = [GREY] * 3 + [np.full_like(GREY, 160)] * 3
    assert np.flatnonzero(choose([[HERE]] * 6, [[1.0]] * 6, cut)).tolist() == [0, 3]
    missed = [[HERE], [HERE], [THERE], [HERE]]
    assert np.flatnonzero(choose(missed, [[1.0]] * 4)).tolist() == [0, 2, 3]
    assert choose([[HERE]] * 3, [[1.0]] * 3, step=2.0).all()


def test_only_kept_faces_get_pictures() -> None:
    boxes = np.stack([HERE, THERE])
    kept = np.array([False, True])
    chosen = PictureChooser().choose(0.0, GREY, boxes, np.ones(2, np.float32), kept)
    assert chosen.taken.tolist() == [False, True]
    assert PictureChooser().choose(0.0, GREY, boxes, np.ones(2, np.float32), ~kept).taken[0]


def kept_of(seconds: list[float], value: list[float], track: list[int] | None = None) -> I64:
    numbers = np.zeros(len(value), np.int64) if track is None else np.array(track)
    every = np.ones(len(value), np.bool_)
    chosen = best_pictures(np.array(seconds), numbers, np.array(value, np.float32), every)
    return np.flatnonzero(chosen)


def test_a_track_keeps_at_most_three_pictures_of_different_moments() -> None:
    found = kept_of(list(range(20)), [1.0] * 20)
    assert len(found) == MAX_PICTURES == 3
    assert np.diff(found).min() >= 5
    assert kept_of([0.0, 0.1, 0.2, 0.3], [1, 2, 3, 1]).tolist() == [2]  # one moment


def test_a_profile_does_not_fill_up_a_track() -> None:
    assert kept_of([0, 5, 10, 15], [0.1, 2.0, 0.2, 1.9]).tolist() == [1, 3]
    assert kept_of([0.0], [0.01]).tolist() == [0]  # but stands for it where there is no other


def test_tracks_choose_each_by_itself() -> None:
    track = [0, 1, -1, 0, 1, -1]
    assert kept_of([0, 0, 0, 9, 9, 9], [1, 1, 9, 1, 0.1, 9], track).tolist() == [0, 1, 3]
    none = np.zeros(0)
    assert not best_pictures(none, none.astype(np.int64), none.astype(np.float32), none > 0).size
