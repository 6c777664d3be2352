from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests import reference
from vcn_ray.core import vectors
from vcn_ray.core.quality import QualityConfig, crop_quality, low_outliers, track_quality
from vcn_ray.errors import ShapeError


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_crop_quality_equals_its_literal_twin(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    repeats = np.random.default_rng(0).normal(size=(5, 4, 7))
    found = crop_quality(repeats)
    literal = [reference.crop_quality(repeats[:, crop]) for crop in range(4)]
    assert np.allclose(found, literal, atol=1e-6)


def test_a_crop_that_never_moves_has_quality_one_and_opposite_ones_the_least() -> None:
    still = np.ones((3, 1, 4), np.float32)
    assert crop_quality(still)[0] == pytest.approx(1, abs=1e-3)
    turned = np.array([[[1.0, 0.0]], [[-5.0, 0.0]]])
    assert crop_quality(turned)[0] == pytest.approx(2 / (1 + np.exp(2)))


def test_one_pass_says_nothing_and_no_crops_give_none() -> None:
    with pytest.raises(ShapeError, match="r >= 2"):
        crop_quality(np.ones((1, 3, 4)))
    assert crop_quality(np.ones((2, 0, 4))).shape == (0,)


def test_track_quality_is_the_mean_over_crops() -> None:
    found = track_quality(np.array([0.2, 0.9, 0.4]), np.array([0, 1, 0]), 2)
    assert found == pytest.approx([0.3, 0.9])
    with pytest.raises(ShapeError, match="needs a crop"):
        track_quality(np.array([0.2]), np.array([0]), 2)


def test_only_the_low_side_is_dropped() -> None:
    quality = np.r_[np.linspace(0.5, 0.6, 30), 0.1, 0.99]
    outlier = low_outliers(quality, QualityConfig())
    assert np.flatnonzero(outlier).tolist() == [30]


def test_the_cut_is_the_modified_z_score() -> None:
    quality = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])  # median 5, MAD 3, sd 4.45
    lenient, strict = (
        QualityConfig(min_score=score, max_unknown_fraction=0.1) for score in (-1.13, -1.11)
    )
    assert low_outliers(quality, lenient).sum() == 0
    assert np.flatnonzero(low_outliers(quality, strict)).tolist() == [0]


def test_never_more_than_the_largest_fraction_and_the_lowest_first() -> None:
    quality = np.r_[np.full(60, 0.6) + np.linspace(0, 1e-3, 60), np.linspace(0.1, 0.2, 40)]
    outlier = low_outliers(quality, QualityConfig(max_unknown_fraction=0.1))
    assert np.flatnonzero(outlier).tolist() == list(range(60, 70))


def test_equal_qualities_with_one_low_use_the_mean_deviation() -> None:
    assert np.flatnonzero(low_outliers(np.r_[np.full(40, 0.5), 0.1], QualityConfig())).tolist() == [
        40
    ]
    assert not low_outliers(np.full(40, 0.5), QualityConfig()).any()


@pytest.mark.parametrize("tracks", range(6))
def test_few_tracks_are_all_kept(tracks: int) -> None:
    quality = np.r_[np.full(6, 0.5), 0.0][7 - tracks :]
    assert not low_outliers(quality, QualityConfig()).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_score": 1.0},
        {"min_score": 0.0},
        {"max_unknown_fraction": 1.5},
        {"min_recognisability": -0.1},
        {"rule": "best"},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityConfig(**wrong)
