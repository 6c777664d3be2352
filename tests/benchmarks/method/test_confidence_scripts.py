"""The parts of cues, reliability and copies that need no clips."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from benchmarks.method import copies, cues, reliability
from benchmarks.report import Report
from tests.helpers.core_data import PRIOR, made_title
from vcn_ray.core.confidence import Evidence, Weights
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.records import Clustering


def track(identity: str, matched: bool = True) -> MatchedTrack:
    return MatchedTrack("", identity, None, 1.0, matched)


def test_agreement_is_the_mean_cosine_of_two_crops() -> None:
    unit = np.array([[1.0, 0], [0, 1], [0.6, 0.8], [1, 0]])
    found = cues.agreement(unit, np.array([0, 0, 0, 1]), 2)
    assert found == pytest.approx([(0 + 0.6 + 0.8) / 3, 1.0])


def test_ruined_crops_keep_their_shape_and_lose_their_detail() -> None:
    crops = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    ruined = cues.ruin(crops, np.random.default_rng(0))
    assert ruined.shape == crops.shape
    assert ruined.std() < crops.std() / 2


def test_a_clip_is_rated_by_what_the_others_show() -> None:
    generator = np.random.default_rng(0)
    good = generator.random(500) < 0.5
    table = np.stack([good + generator.normal(0, 0.2, 500), generator.normal(size=500)], axis=1)
    clip = np.repeat(np.arange(5), 100)
    table[clip == 4, 0] *= -1  # contradicts the others, so their rule fails on it
    right = (cues.fitted_on_others(table, good, clip) > 0) == good
    assert right[clip == 0].mean() > 0.9
    assert right[clip == 4].mean() < 0.6


def clustering(label: list[int], distance: list[float]) -> Clustering:
    sure = np.ones(len(label), np.float32)
    own = np.array(distance, np.float32)
    return Clustering(np.array(label), sure, own, (), ("",) * len(label))


def test_what_is_right_in_a_person() -> None:
    outputs = made_title([0] * 8)
    label = [0, 0, 0, 1, 1, 2, -1, 3]
    tracks = [
        *(track(name) for name in ("A", "A", "B")),  # most are A
        *(track(name) for name in ("?", "-")),  # nobody
        track("C"),
        track("C"),
        track("?", matched=False),  # between two labelled times: says nothing
    ]
    found = reliability.rate(
        clustering(label, [0.5, 0.5, 0.7, 0.1, 0.1, 0, np.nan, 0]), outputs, PRIOR, tracks
    )
    assert found.person.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.right.tolist() == [True, True, False, False, False, True]
    assert found.person_right.tolist() == [False] * 5 + [True]
    assert found.evidence.distance == pytest.approx([0.5, 0.5, 0.7, 0.1, 0.1, 0])
    assert found.evidence.tracks.tolist() == [3, 3, 3, 2, 2, 1]


def source(weights: Weights, seed: int, tracks: int = 4000) -> reliability.Rated:
    generator = np.random.default_rng(seed)
    evidence = Evidence(
        generator.random(tracks),
        generator.uniform(0.05, 0.95, tracks),
        generator.uniform(1.0, 1.5, tracks),
        generator.integers(1, 20, tracks),
    )
    chance = special.expit(weights.intercept + evidence.table() @ np.array(weights[1:]))
    right = generator.random(tracks) < chance
    return reliability.Rated("made", evidence, right, np.arange(tracks), right)


def test_weights_are_found_again() -> None:
    weights = Weights(0.5, -2.0, 1.0, 3.0, 0.5)
    found = reliability.fit([source(weights, 0), source(weights, 1, tracks=8000)])
    assert found == pytest.approx(weights, abs=0.35)


def test_a_person_is_as_sure_as_its_least_certain_track() -> None:
    made = source(Weights(0.5, -2.0, 1.0, 3.0, 0.5), 2, tracks=6)
    one = reliability.join("made", iter([made._replace(person=np.zeros(6, np.int64))] * 2))
    assert one.person.tolist() == [0] * 6 + [1] * 6
    report = Report(reliability.COLUMNS)
    reliability.add_rows(report, one, Weights(0.5, -2.0, 1.0, 3.0, 0.5))
    total = {row["of"]: row for row in report.rows if row["confidence"] == "all"}
    assert (total["people"]["number"], total["tracks"]["number"]) == (2, 12)
    least, mean = total["people"]["mean confidence"], total["tracks"]["mean confidence"]
    assert isinstance(least, float)
    assert isinstance(mean, float)
    assert least < mean


def test_pairs_are_reported_by_whether_they_are_one_person() -> None:
    report = Report(copies.COLUMNS)
    pairs = copies.Pairs(
        np.array([True, False, False]), np.array([8.0, 1.0, 3.0]), np.array([True, False, False])
    )
    copies.add_rows(report, "made", [pairs])
    two, one = report.rows
    assert (two["pairs"], two["least"], two["most"], two["taken as copies"]) == (2, 1.0, 3.0, 0)
    assert (one["pairs"], one["median"], one["taken as copies"]) == (1, 8.0, 1)
