import numpy as np
import pytest
from pydantic import ValidationError

from tests import reference
from vcn_ray.core.match import MatchConfig, match_tracks
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import ShapeError


def made_crops(people, crops=8, dim=6, seed=0, noise=0.3, between=1.0):
    rng = np.random.default_rng(seed)
    track = np.repeat(np.arange(len(people)), crops)
    centres = rng.normal(size=(max(people) + 1, dim))[people] + rng.normal(
        0, between * noise, (len(people), dim)
    )
    return unit_rows(centres[track] + rng.normal(0, noise, (len(track), dim))), track


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tail", [0.125, 0.25])
def test_matches_equal_the_densities_written_out(seed, tail, monkeypatch):
    monkeypatch.setattr("vcn_ray.core.match.RIDGE", 0.0)
    embeddings, track = made_crops([0, 1, 0, 2, 1, 0], seed=seed)
    config = MatchConfig(tail_fraction=tail, dimensions=6)
    found = match_tracks(embeddings, track, config)
    want = reference.match_tracks(embeddings, track, tail)
    assert set(map(tuple, found.tolist())) == want
    assert want


def test_people_far_apart_match_among_themselves_only():
    people = [0, 1, 2, 0, 1, 2, 0]
    embeddings, track = made_crops(people, dim=64, noise=0.2, between=0.1)
    found = match_tracks(embeddings, track, MatchConfig())
    assert len(found) >= 2
    assert all(people[i] == people[j] and i < j for i, j in found)
    assert found.tolist() == sorted(found.tolist())


@pytest.mark.parametrize("tracks", [0, 1, 3])
def test_tracks_of_one_crop_each_match_nothing(tracks):
    found = match_tracks(np.ones((tracks, 4)), np.arange(tracks), MatchConfig())
    assert found.shape == (0, 2)


def test_identical_crops_and_few_crops_are_no_trouble():
    same = np.ones((6, 4)) / 2
    found = match_tracks(same, np.repeat([0, 1], 3), MatchConfig())
    assert found.tolist() == [[0, 1]]
    two = np.eye(4)[[0, 0, 1]]
    assert match_tracks(two, np.array([0, 0, 1]), MatchConfig()).shape == (0, 2)


def test_rows_may_come_in_any_order():
    embeddings, track = made_crops([0, 1, 0, 1])
    mixed = np.random.default_rng(0).permutation(len(track))
    plain = match_tracks(embeddings, track, MatchConfig())
    other = match_tracks(embeddings[mixed], track[mixed], MatchConfig())
    assert np.array_equal(plain, other)


def test_senseless_input_is_refused():
    with pytest.raises(ShapeError, match="need m tracks"):
        match_tracks(np.ones((3, 4)), np.zeros(2, np.int64), MatchConfig())
    with pytest.raises(ShapeError, match="track 0 has no row"):
        match_tracks(np.ones((3, 4)), np.array([1, 1, 2]), MatchConfig())
    with pytest.raises(ValidationError):
        MatchConfig(tail_fraction=0)
    with pytest.raises(ValidationError):
        MatchConfig(dimensions=0)
