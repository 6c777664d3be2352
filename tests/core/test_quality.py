from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests import reference
from tests.helpers.core_data import PRIOR, made_title
from vcn_ray.core import vectors
from vcn_ray.core.quality import (
    QualityConfig,
    crop_quality,
    low_outliers,
    rate_tracks,
    track_quality,
)
from vcn_ray.errors import ShapeError
from vcn_ray.records import TrackOutputs


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


def rated(quality: float = 0.5) -> TrackOutputs:
    """Tracks that are a face or not, by rows, and recognisable or not; the last has no score."""
    return replace(
        made_title([0] * 21),
        score=np.array([0.9, 0.9, 0.3, 0.3, np.nan, np.nan] + [0.9] * 15, np.float32),
        recognisability=np.array([0.8, 0.01, 0.8, 0.01, 0.8, 0.01] + [0.8] * 15, np.float32),
        quality=np.array([quality] + [0.5 + n / 1000 for n in range(20)], np.float32),
    )


def test_tiers_by_score_and_recognisability() -> None:
    tiers = rate_tracks(rated(), QualityConfig(), PRIOR)
    assert tiers.core[:6].tolist() == [True, False, False, False, True, False]
    assert tiers.junk[:6].tolist() == [False, False, False, True, False, False]
    assert tiers.readable[:6].tolist() == [True, False, True, False, True, False]
    assert tiers.core[6:].all()
    assert not (tiers.core & tiers.junk).any()


def test_the_limits_themselves_pass() -> None:
    outputs = replace(
        made_title([0] * 3),
        score=np.array([PRIOR.min_score, 0.5999, PRIOR.min_score], np.float32),
        recognisability=np.array([0.25, 0.25, 0.2499], np.float32),
    )
    prior = replace(PRIOR, min_score=float(outputs.score[0]))
    config = QualityConfig(min_recognisability=0.25)
    assert rate_tracks(outputs, config, prior).core.tolist() == [True, False, False]


def test_a_track_far_below_its_title_founds_nobody_but_is_no_junk() -> None:
    tiers = rate_tracks(rated(quality=0.1), QualityConfig(), PRIOR)
    assert not tiers.core[0]
    assert not tiers.junk[0]
    assert not tiers.readable[0]


@pytest.mark.parametrize("with_prior", [True, False])
def test_outliers_alone_decide_by_that_rule_or_without_a_prior(with_prior: bool) -> None:
    config = QualityConfig(rule="outliers" if with_prior else "recognisable")
    tiers = rate_tracks(rated(quality=0.1), config, PRIOR if with_prior else None)
    assert np.flatnonzero(~tiers.core).tolist() == [0]
    assert not tiers.junk.any()
    assert np.array_equal(tiers.readable, tiers.core)


def test_no_more_of_a_ruined_title_is_core_than_can_be_read() -> None:
    """METHOD 3.2 drops at most a twentieth; the limits of the prior drop all that is no face."""
    outputs = replace(rated(), score=np.full(21, 0.2, np.float32))
    assert not rate_tracks(outputs, QualityConfig(), PRIOR).core.any()
    assert rate_tracks(outputs, QualityConfig(), None).core.all()
    none = outputs[np.zeros(0, np.int64)]
    assert rate_tracks(none, QualityConfig(), PRIOR).core.shape == (0,)
