from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.core_data import made_title, no_pairs
from vcn_ray.core.cooccurrence import broken_share, seen_twice, view_distance
from vcn_ray.errors import ShapeError


def test_the_view_distance_prefers_tracks_with_several_crops():
    outputs = replace(
        made_title([0, 1, 2]), crops=np.array([1, 4, 4]), pretrained_views=np.array([9.0, 0.2, 0.4])
    )
    assert view_distance(outputs) == pytest.approx(0.3)
    alone = replace(outputs, crops=np.ones(3, np.int64))
    assert view_distance(alone) == pytest.approx(3.2)


def test_a_copy_of_a_track_is_one_face_and_a_stranger_is_not():
    outputs = made_title([0, 1, 0])
    pretrained = outputs.pretrained.copy()
    pretrained[2] = pretrained[0] + np.float32(0.01)  # its mirror image, a little off
    pretrained[2] /= np.linalg.norm(pretrained[2])
    pairs = np.array([[0, 2], [0, 1], [1, 2]])
    assert seen_twice(replace(outputs, pretrained=pretrained), pairs).tolist() == [
        True,
        False,
        False,
    ]
    assert seen_twice(outputs, no_pairs()).tolist() == []


def test_two_tracks_of_one_person_are_not_one_face():
    outputs = made_title([0] * 8)
    pairs = np.array([[0, i] for i in range(1, 8)])
    assert not seen_twice(outputs, pairs).any()


def test_the_share_of_broken_pairs():
    assert broken_share(np.array([0, 0, 1]), np.array([[0, 1], [0, 2]])) == 0.5
    assert broken_share(np.array([0, 0, 1]), no_pairs()) == 0


def test_pairs_of_other_tracks_are_refused():
    with pytest.raises(ShapeError, match="rows"):
        seen_twice(made_title([0, 1]), np.array([[0, 2]]))
