"""Parts of a film."""

from __future__ import annotations

import numpy as np

from benchmarks.method.films import keep_tracks, shrink, thin_crops
from benchmarks.method.growth import parts
from benchmarks.method.robustness import with_people
from benchmarks.method.season import split
from tests.helpers.bench import film_of


def test_parts_of_a_film():
    film = film_of()
    some = keep_tracks(film, np.array([1, 2, 5]), "some")
    assert some.truth.tolist() == [1, 2, 2]
    assert some.title.cannot_link.tolist() == [[0, 1]]
    assert np.bincount(some.title.track).tolist() == [4, 4, 4]
    assert np.bincount(thin_crops(film, 3).title.track).tolist() == [3] * 8
    small = shrink(film, 4).title.crops
    assert small.shape == film.title.crops.shape
    assert small.std() < film.title.crops.std()
    assert [part for part, _ in parts(film, [3, 6, 8], [2, 4], 0)] == [
        "3 tracks",
        "6 tracks",
        "2 crops a track",
        "whole",
    ]
    assert [tracks.tolist() for tracks in split(film, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert with_people(film, "2", 0).truth.tolist() == [0, 1, 0, 1, 0, 1]
    assert sorted(with_people(film, "9-once", 0).truth) == [0, 1, 2]
