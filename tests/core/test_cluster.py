from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.core_data import made_title, no_pairs
from vcn_ray.core.cluster import ClusterConfig, broken_fraction, cluster_tracks, confidence
from vcn_ray.core.distance import cosine_space
from vcn_ray.core.vectors import renumber
from vcn_ray.errors import ShapeError
from vcn_ray.records import I64, Clustering, Mask, Tiers, TrackOutputs

Rule = Literal["adaptive", "paper"]
BOTH = pytest.mark.parametrize("rule", ["adaptive", "paper"])


def tiers_of(core: Mask) -> Tiers:
    """Tiers of readable tracks: those that are not core are weak."""
    return Tiers(core, np.zeros(len(core), bool), np.ones(len(core), bool))


def cluster(
    outputs: TrackOutputs,
    cannot_link: Sequence[Sequence[int]] | I64 | None = None,
    valid: Mask | None = None,
    rule: Rule = "adaptive",
) -> Clustering:
    return cluster_tracks(
        outputs,
        tiers_of(np.ones(len(outputs), bool) if valid is None else valid),
        no_pairs() if cannot_link is None else np.array(cannot_link),
        ClusterConfig(rule=rule),
    )


@BOTH
def test_clear_people_are_found_by_both_rules(rule: Rule) -> None:
    people = [0, 1, 2, 1, 0, 2, 2, 0]
    found = cluster(made_title(people, noise=0.1, wobble=6), rule=rule)
    assert found.label.tolist() == [0, 1, 2, 1, 0, 2, 2, 0]
    assert len(found.merges) == 5
    assert {merge.rule for merge in found.merges} == {
        "title_cut" if rule == "adaptive" else "closure"
    }
    assert found.confidence.min() > 0.4
    assert found.warnings == ()


@BOTH
@pytest.mark.parametrize("tracks", [0, 1])
def test_no_track_and_one_track(rule: Rule, tracks: int) -> None:
    found = cluster(made_title([0] * tracks), rule=rule)
    assert found.label.tolist() == [0] * tracks
    assert found.confidence.tolist() == [1] * tracks
    assert found.merges == ()


@BOTH
def test_tracks_of_one_crop(rule: Rule) -> None:
    found = cluster(made_title([0, 1, 0, 1], crops=1, noise=0.02), rule=rule)
    assert np.isfinite(found.confidence).all()
    assert set(found.label[[0, 2]]).isdisjoint(found.label[[1, 3]])


@BOTH
def test_tracks_that_are_not_valid_stay_outside(rule: Rule) -> None:
    people = [0, 9, 1, 0, 9, 1]
    valid = np.array([True, False, True, True, False, True])
    found = cluster(made_title(people, noise=0.1, wobble=6), [[0, 1]], valid, rule)
    assert found.label.tolist() == [0, -1, 1, 0, -1, 1]
    assert found.confidence[[1, 4]].tolist() == [0, 0]
    assert {(m.left, m.right) for m in found.merges} == {(0, 3), (2, 5)}
    nobody = cluster(made_title(people), valid=np.zeros(6, bool), rule=rule)
    assert nobody.label.tolist() == [-1] * 6


def test_tracks_in_one_frame_are_never_one_person_and_the_title_is_warned() -> None:
    outputs = made_title([0] * 6 + [1] * 6, noise=0.1)
    cannot = [[0, 1], [2, 3], [6, 7]]
    found = cluster(outputs, cannot)
    assert all(found.label[i] != found.label[k] for i, k in cannot)
    assert found.warnings[0].startswith("over_merging: 3 of 3 pairs")
    agreeing = cluster(outputs, [[0, 6], [1, 7]])
    assert agreeing.warnings == ()


def test_a_large_title_is_warned_by_the_pairs_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.core.cluster.LEARNING_TRACKS", 30)
    monkeypatch.setattr("vcn_ray.core.cut.LEARNING_TRACKS", 30)
    people = np.repeat(np.arange(10), 9)
    outputs = made_title(people, noise=0.7)
    agreeing = np.stack([np.arange(9), np.arange(9) + 9], axis=1)
    assert cluster(outputs, agreeing).warnings == ()
    broken = np.stack([np.arange(0, 90, 9), np.arange(1, 90, 9)], axis=1)
    assert cluster(outputs, broken).warnings[0].startswith("over_merging: 10 of 10 pairs")


def test_the_papers_rule_joins_them_and_warns() -> None:
    found = cluster(made_title([0] * 4, noise=0.1, wobble=6), [[0, 1]], rule="paper")
    assert found.label[0] == found.label[1]
    assert found.warnings[0].startswith("over_merging: 1 of 1 pairs")


@BOTH
def test_the_order_of_tracks_does_not_matter(rule: Rule) -> None:
    people = np.random.default_rng(1).integers(0, 7, 40)
    outputs, cannot = made_title(people, noise=0.7), np.array([[0, 5], [8, 30]])
    shuffled = np.random.default_rng(2).permutation(40)
    place = np.argsort(shuffled)
    plain = cluster(outputs, cannot, rule=rule)
    other = cluster(outputs[shuffled], place[cannot], rule=rule)
    assert np.array_equal(plain.label, renumber(other.label[place]))
    assert np.allclose(plain.confidence, other.confidence[place], atol=1e-5)
    again = cluster(outputs, cannot, rule=rule)
    assert np.array_equal(plain.label, again.label)
    assert list(map(astuple, plain.merges)) == list(map(astuple, again.merges))


def test_confidence_is_a_silhouette_written_out() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 4))
    space, label = cosine_space(rows), np.array([0, 0, 1, 1, 1, 2, 0])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = confidence(space, label, 0.7)
    for i in range(7):
        mean = {}
        for c in range(3):
            others = [k for k in range(7) if label[k] == c and k != i]
            mean[c] = np.mean([1 - unit[i] @ unit[k] for k in others]) if others else 0.7
        own = mean.pop(label[i])
        other = min(mean.values())
        assert found[i] == pytest.approx(np.clip((other - own) / max(own, other), 0, 1), abs=1e-6)


def test_confidence_in_a_title_of_one_person_is_measured_against_the_cut() -> None:
    found = confidence(cosine_space(np.array([[1.0, 0], [1, 0], [0, 1]])), np.zeros(3, int), 1.0)
    assert found == pytest.approx([0.5, 0.5, 0])


def test_equal_tracks_are_certain() -> None:
    found = confidence(cosine_space(np.ones((3, 2))), np.zeros(3, int), 1.0)
    assert found == pytest.approx([1, 1, 1])


def test_a_face_seen_twice_in_one_frame_is_one_person_and_the_title_says_so() -> None:
    outputs = made_title([0, 0, 0, 1, 1, 1, 2, 2, 2])
    pretrained = outputs.pretrained.copy()
    pretrained[1] = pretrained[0]
    found = cluster(replace(outputs, pretrained=pretrained), [[0, 1], [0, 3]])
    assert found.label.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [w.split(":")[0] for w in found.warnings] == ["seen_twice"]


def test_the_fraction_of_broken_pairs() -> None:
    assert broken_fraction(np.array([0, 0, 1]), np.array([[0, 1], [0, 2]])) == 0.5
    assert broken_fraction(np.array([0, 0, 1]), no_pairs()) == 0


def test_senseless_input_is_refused() -> None:
    outputs = made_title([0, 1])
    with pytest.raises(ShapeError, match="tiers"):
        cluster(outputs, valid=np.ones(3, bool))
    with pytest.raises(ShapeError, match="rows"):
        cluster(outputs, [[0, 2]])
    wrong: dict[str, Any] = {"rule": "best"}
    with pytest.raises(ValidationError, match="adaptive"):
        ClusterConfig(**wrong)
