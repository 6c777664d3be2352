"""Tracks whose face changes to another person's."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import PRIOR, no_pairs, scatter
from vcn_ray.core.split import MIN_RUN, change_points, find_parts, oddest_run, split_title
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, I64, TitleCrops

LIMIT = 0.27  # of PRIOR: three deviations above the mean of strangers


def crops_of(people: list[int], noise: float = 0.7, seed: int = 0) -> F32:
    """Embeddings of crops of these people, in 128 dimensions."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.normal(size=(9, 128)))
    rows = centres[people]
    return unit_rows(rows + scatter(rng, rows, noise)).astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("people", "changes"),
    [
        ([0] * 8 + [1] * 8, [8]),
        ([0] * 3 + [1] * 3, [3]),
        ([0] * 20 + [1] * 3, [20]),
        ([0] * 4 + [1] * 4 + [2] * 4, [4, 8]),
        ([0] * 5 + [1] * 4 + [0] * 5, [5, 9]),  # somebody passes in front
        ([0] * 24, []),
        ([0] + [1] * 12, []),  # one crop is no person
        ([0, 1] * 8, []),  # nobody stays
        ([0] * 5, []),
        ([0], []),
    ],
)
def test_changes_are_found_where_another_person_stays(
    people: list[int], changes: list[int], seed: int
) -> None:
    rows = crops_of(people, seed=seed)
    assert change_points(rows, np.ones(len(rows)), LIMIT).tolist() == changes


def test_a_head_that_turns_is_one_person() -> None:
    """From one direction to another at 70 degrees, by steps as small as crops are apart."""
    angle = np.deg2rad(np.linspace(0, 70, 12))[:, None]
    ends = unit_rows(np.random.default_rng(0).normal(size=(2, 128)))
    ends[1] = unit_rows((ends[1] - ends[1] @ ends[0] * ends[0])[None])[0]
    rows = np.cos(angle) * ends[0] + np.sin(angle) * ends[1]
    assert not len(change_points(rows, np.ones(12), LIMIT))
    at_once = rows[np.repeat([0, -1], 6)]  # the same two faces, and nothing between them
    assert not len(change_points(at_once, np.ones(12), LIMIT))


def test_an_encoder_to_which_all_are_alike_splits_nothing() -> None:
    useless = replace(PRIOR, stranger_cosine=0.9, stranger_sd=0.1)
    rows = crops_of([0] * 8 + [1] * 8)
    ones, track = np.ones(16, np.float32), np.zeros(16, np.int64)
    assert find_parts(rows, track, ones, PRIOR).tolist() == [0] * 8 + [1] * 8
    assert not find_parts(rows, track, ones, useless).any()


def test_the_oddest_run_equals_its_literal_twin() -> None:
    rng = np.random.default_rng(0)
    for count in (6, 7, 9, 14):
        rows, weight = unit_rows(rng.normal(size=(count, 5))), rng.uniform(0.1, 1, count)
        found = oddest_run(rows, weight)
        cosines = reference.run_cosines(rows, weight, MIN_RUN)
        assert found.cosine == pytest.approx(min(cosines.values()), abs=1e-12)
        assert cosines[found.start, found.end] == pytest.approx(found.cosine, abs=1e-12)


def test_ruined_crops_decide_nothing() -> None:
    """They look like anybody, and stay with the crops before them."""
    people = [0] * 4 + [5, 6, 7, 8] + [0] * 4 + [1] * 5
    readable = np.where(np.array(people) > 4, 0.01, 0.8).astype(np.float32)
    readable[12] = 0.01  # the first crop of the second person
    part = find_parts(crops_of(people), np.zeros(17, np.int64), readable, PRIOR)
    assert part.tolist() == [0] * 13 + [1] * 4


def test_tracks_in_any_order_have_parts_of_their_own() -> None:
    rows = crops_of([0] * 6 + [1] * 6 + [2] * 4 + [3] * 4)
    track: I64 = np.array([4] * 6 + [1] * 6 + [4] * 4 + [0] * 4)
    part = find_parts(rows, track, np.ones(20, np.float32), PRIOR)
    assert part.tolist() == [0] * 12 + [1] * 4 + [0] * 4
    nothing = find_parts(rows[:0], track[:0], np.ones(0, np.float32), PRIOR)
    assert nothing.shape == (0,)


def title(track: list[int], pairs: I64, frame: list[int] | None) -> TitleCrops:
    crops = np.zeros((len(track), 2, 2, 3), np.uint8)
    frames = None if frame is None else np.array(frame, np.int64)
    return TitleCrops(crops, np.array(track), pairs, None, frames)


def test_two_tracks_that_swap_their_people_keep_the_right_pairs() -> None:
    """Two people cross, and both tracks go over to the other one in frame 3."""
    both = title([0] * 6 + [1] * 6, np.array([[0, 1]]), [*range(6), *range(6)])
    split = split_title(both, np.array([0, 0, 0, 1, 1, 1] * 2))
    assert split.track.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert split.cannot_link.tolist() == [[0, 2], [1, 3]]
    assert split.crops is both.crops


def test_pairs_of_whole_tracks_stay_and_unknown_ones_go() -> None:
    part = np.array([0, 0, 1, 1, 0, 0])
    pairs: I64 = np.array([[0, 1], [1, 2]])
    timed = title([0, 0, 0, 0, 1, 2], pairs, [0, 1, 2, 3, 2, 2])
    assert split_title(timed, part).cannot_link.tolist() == [[1, 2], [2, 3]]
    untimed = title([0, 0, 0, 0, 1, 2], pairs, None)
    assert split_title(untimed, part).cannot_link.tolist() == [[2, 3]]
    assert split_title(untimed, np.zeros(6, np.int64)) is untimed
    assert not len(split_title(title([0, 0], no_pairs(), [0, 1]), np.array([0, 1])).cannot_link)


def test_frames_need_a_row_for_each_crop() -> None:
    with pytest.raises(ShapeError, match="2 crops need as many frames"):
        title([0, 0], no_pairs(), [1])


def test_few_sound_tracks_of_noisy_crops_are_split() -> None:
    """Crops that are barely one person's: a mean cosine of 0.3, as in the dark."""
    split = sum(
        len(change_points(crops_of([0] * 24, 1.5, seed), np.ones(24), LIMIT)) > 0
        for seed in range(200)
    )
    assert split == 0
    rows = crops_of([0] * 24, 1.5)
    cosines = [float(rows[i] @ rows[j]) for i, j in combinations(range(24), 2)]
    assert 0.2 < np.mean(cosines) < 0.4
