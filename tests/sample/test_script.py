"""The script has the shots, people and length that the sample film needs."""

from __future__ import annotations

from collections import Counter

import pytest

from vcn_ray.sample.render import film_length
from vcn_ray.sample.scenes import FRONTS, PLACES
from vcn_ray.sample.script import FRAME_RATE, SHOTS, Shot


def test_the_film_is_a_minute_or_less() -> None:
    assert 45 <= film_length(SHOTS) / FRAME_RATE <= 55


def test_everybody_comes_back() -> None:
    people = Counter(role.person for shot in SHOTS for role in shot.roles)
    assert sorted(people) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert min(people.values()) >= 4
    assert people.total() >= 34


def test_shots_differ() -> None:
    assert len(SHOTS) >= 14
    assert len({shot.place for shot in SHOTS}) == len(PLACES)
    assert Counter(len(shot.roles) for shot in SHOTS).keys() == {0, 1, 2, 3}
    assert sum(shot.dissolve > 0 for shot in SHOTS) == 1
    assert sum(role.mirrored for shot in SHOTS for role in shot.roles) >= 5


@pytest.mark.parametrize("shot", SHOTS)
def test_a_shot_can_be_played(shot: Shot) -> None:
    assert shot.front is None or shot.front in FRONTS
    people = [role.person for role in shot.roles]
    assert len(set(people)) == len(people)
    for role in shot.roles:
        assert len(role.poses) >= 2
        for pose in role.poses:
            assert 100 <= pose.size <= 200  # some detectors miss smaller faces
            assert 60 <= pose.x <= 580
