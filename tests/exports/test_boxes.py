"""Boxes in every picture, between faces that were measured."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.helpers.corrections import Seen, tables
from tests.helpers.exports import even_times, person
from vcn_ray.exports.boxes import boxes_of_tracks, interpolate
from vcn_ray.exports.frame_clock import FrameClock
from vcn_ray.io.tables import make_table
from vcn_ray.schema import CROPS


def clock_of(frames: int) -> FrameClock:
    return FrameClock(None, False, even_times(frames, Fraction(25)), np.arange(frames))


def test_boxes_move_evenly_between_faces() -> None:
    seen = [Seen("t1", "p001", 0.0, 2.0, move=(50.0, 0.0)), Seen("t2", None, 1.0, 2.0, face=1)]
    rows, faces = tables(seen)
    ann, nobody = boxes_of_tracks(rows.to_pylist(), faces, clock_of(50), {"p001": person()})
    assert ann.person == person()
    assert nobody.person is None
    assert ann.picture.tolist() == list(range(46))  # from the first face to the last
    assert nobody.picture.tolist() == list(range(25, 46))
    assert ann.boxes[:, 0] == pytest.approx([100 + 2 * frame for frame in range(46)], abs=1e-3)
    assert ann.measured.tolist() == [frame % 5 == 0 for frame in range(46)]


def test_faces_that_were_interpolated_in_the_run_are_not_measured() -> None:
    rows, faces = tables([Seen("t1", "p001", 0.0, 1.0)])
    changed = [row | {"detected": row["frame"] != 5} for row in faces.to_pylist()]
    made = boxes_of_tracks(rows.to_pylist(), make_table(changed, CROPS), clock_of(25), {})
    assert np.flatnonzero(made[0].measured).tolist() == [0, 10, 15, 20]


def test_boxes_end_at_the_edge_of_the_picture() -> None:
    rows, faces = tables([Seen("t1", "p001", 0.0, 1.0, box=(-20.0, -5.0, 700.0, 400.0))])
    (made,) = boxes_of_tracks(rows.to_pylist(), faces, clock_of(25), {})
    assert made.boxes[3].tolist() == [0, 0, 640, 360]


def test_pictures_behind_a_lost_part_keep_the_number_of_their_frame() -> None:
    rows, faces = tables([Seen("t1", "p001", 0.0, 1.0)])
    clock = replace(clock_of(25), own=True, frame=np.arange(25) + 100)
    (made,) = boxes_of_tracks(rows.to_pylist(), faces, clock, {})
    assert made.picture[:2].tolist() == [100, 101]


def test_a_track_whose_faces_are_gone_has_no_boxes() -> None:
    rows, faces = tables([Seen("t1", "p001", 0.0, 1.0)])
    assert boxes_of_tracks(rows.to_pylist(), faces.slice(0, 0), clock_of(25), {}) == ()


def test_interpolation_equals_a_literal_one() -> None:
    frames, values = np.array([0, 4, 5]), np.array([[0.0], [8.0], [1.0]], np.float32)
    every = np.arange(6)
    assert interpolate(frames, values, every)[:, 0].tolist() == [0, 2, 4, 6, 8, 1]
