from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.core_data import PRIOR, made_title, no_pairs, placed
from vcn_ray.core.cluster import (
    ClusterConfig,
    broken_fraction,
    cluster_tracks,
    join_weak,
    merged_warnings,
    reasons,
)
from vcn_ray.core.cut import CutConfig, cut_title
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import renumber
from vcn_ray.errors import ShapeError
from vcn_ray.records import I64, NO_CONSTRAINTS, Clustering, Mask, Tiers, TrackOutputs

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
    prior: FacePrior | None = None,
) -> Clustering:
    return cluster_tracks(
        outputs,
        tiers_of(np.ones(len(outputs), bool) if valid is None else valid),
        no_pairs() if cannot_link is None else np.array(cannot_link),
        ClusterConfig(rule=rule),
        prior,
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
    assert found.distance.tolist() == [0] * tracks
    assert (found.confidence > 0.5).all()
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


def test_one_wrong_pair_parts_no_person_and_two_people_stay_two() -> None:
    outputs = made_title([0] * 6 + [1] * 6, noise=0.1)
    people = [0] * 6 + [1] * 6
    found = cluster(outputs, [[0, 1], [6, 7]])
    assert found.label.tolist() == people
    together = cluster(outputs, [[i, i + 6] for i in range(6)])
    assert together.label.tolist() == people
    assert together.warnings == ()


def test_a_title_is_warned_of_people_that_look_like_two() -> None:
    """Pairs in one frame that are one person here count only if they are far apart."""
    people = np.repeat(np.arange(10), 9)
    outputs = made_title(people, noise=0.7)
    title = cut_title(outputs, no_pairs(), CutConfig(), "cut")
    assert title.partition.label.tolist() == people.tolist()
    alike = np.stack([np.arange(0, 90, 9), np.arange(1, 90, 9)], axis=1)
    assert merged_warnings(title._replace(cannot_link=alike)) == ()
    strangers = np.stack([np.arange(0, 81, 9), np.arange(9, 90, 9)], axis=1)
    assert merged_warnings(title._replace(cannot_link=strangers)) == ()  # they are two here
    one = title.partition._replace(label=np.zeros(90, np.int64))
    found = merged_warnings(title._replace(partition=one, cannot_link=strangers))
    assert found[0].startswith("over_merging: 9 of 9 pairs")
    both = np.concatenate([alike, strangers[:1]])
    found = merged_warnings(title._replace(partition=one, cannot_link=both))
    assert found[0].startswith("over_merging: 1 of 11 pairs")
    many = np.concatenate([np.tile(alike, (10, 1)), strangers[:2]])  # 2 of 102 are too few
    assert merged_warnings(title._replace(partition=one, cannot_link=many)) == ()


def test_the_papers_rule_joins_them_and_warns() -> None:
    found = cluster(made_title([0] * 4, noise=0.1, wobble=6), [[0, 1]], rule="paper")
    assert found.label[0] == found.label[1]
    assert found.warnings[0].startswith("over_merging: 1 of 1 pairs")


@pytest.mark.parametrize(
    ("rule", "prior"), [("adaptive", None), ("adaptive", PRIOR), ("paper", None)]
)
def test_the_order_of_tracks_does_not_matter(rule: Rule, prior: FacePrior | None) -> None:
    people = np.random.default_rng(1).integers(0, 7, 40)
    outputs, cannot = made_title(people, noise=0.7), np.array([[0, 5], [8, 30]])
    shuffled = np.random.default_rng(2).permutation(40)
    place = np.argsort(shuffled)
    core = np.random.default_rng(3).random(40) < 0.8 if prior else np.ones(40, bool)
    weight = np.random.default_rng(4).random(40, np.float32)
    outputs = replace(outputs, recognisability=weight)
    plain = cluster(outputs, cannot, core, rule, prior)
    other = cluster(outputs[shuffled], place[cannot], core[shuffled], rule, prior)
    known = plain.label >= 0
    assert np.array_equal(known, other.label[place] >= 0)
    assert np.array_equal(plain.label[known], renumber(other.label[place][known]))
    assert np.allclose(plain.confidence, other.confidence[place], atol=1e-5)
    again = cluster(outputs, cannot, core, rule, prior)
    assert np.array_equal(plain.label, again.label)
    assert list(map(astuple, plain.merges)) == list(map(astuple, again.merges))


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


def angles(*degrees: float) -> TrackOutputs:
    """Tracks in a plane; those at 0 and 90 degrees are orthogonal."""
    turned = np.deg2rad(np.array(degrees))
    return placed(np.stack([np.cos(turned), np.sin(turned)], axis=1))


def joined(outputs: TrackOutputs, cannot: Sequence[Sequence[int]] = ()) -> list[int]:
    """Who the last track joins, of two people that the four tracks before it are."""
    label = np.array([0, 0, 1, 1, -1])
    pairs = np.array(cannot, np.int64).reshape(-1, 2)
    found, sure = join_weak(outputs, label, np.array([4]), pairs, PRIOR)
    assert (sure[0] > 0) == (found[0] >= 0)
    return [int(who) for who in found]


def test_a_weak_track_joins_a_person_only_if_it_clearly_belongs() -> None:
    assert joined(angles(0, 2, 88, 90, 10)) == [0]
    assert joined(angles(0, 2, 88, 90, 80)) == [1]
    assert joined(angles(0, 2, 88, 90, 45)) == [-1]  # ambiguous
    assert joined(angles(0, 2, 88, 90, 200)) == [-1]  # near nobody


def test_a_weak_track_never_joins_somebody_in_its_own_frame() -> None:
    outputs = angles(0, 2, 88, 90, 10)
    assert joined(outputs, [[0, 4]]) == joined(outputs, [[4, 1]]) == [-1]
    assert joined(outputs, [[2, 4]]) == [0]
    near_both = angles(0, 2, 88, 90, 46)
    assert joined(near_both) == [-1]
    assert joined(near_both, [[4, 0], [4, 3]]) == [-1]  # a frame with each of the two


def test_recognisable_tracks_count_more_in_whom_a_weak_one_joins() -> None:
    outputs = angles(0, 70, 140, 150, 92)
    assert joined(outputs) == [-1]
    surely = replace(outputs, recognisability=np.array([0.01, 1, 1, 1, 0.1], np.float32))
    assert joined(surely) == [0]


def test_weak_tracks_change_no_person_and_junk_joins_nobody() -> None:
    people = np.random.default_rng(1).integers(0, 7, 60)
    outputs, core = made_title(people), np.arange(60) % 3 > 0
    junk = np.arange(60) % 6 == 0
    alone = cluster(outputs[np.flatnonzero(core)], prior=PRIOR)
    tiers = Tiers(core, junk, ~junk)
    found = cluster_tracks(outputs, tiers, no_pairs(), ClusterConfig(), PRIOR)
    assert np.array_equal(renumber(found.label[core]), alone.label)
    weak = ~core & ~junk
    assert (found.label[weak] >= 0).mean() > 0.8
    for row in np.flatnonzero(weak & (found.label >= 0)):
        mates = core & (found.label == found.label[row])
        assert (people[mates] == people[row]).all()
    assert (found.label[junk] == -1).all()
    known = found.label >= 0
    assert np.array_equal(found.label[known], renumber(found.label[known]))  # by first track
    for tracks, why in ((known, {""}), (weak & ~known, {"ambiguous"}), (junk, {"low_score"})):
        assert {found.reason[i] for i in np.flatnonzero(tracks)} <= why


def test_weak_tracks_stay_outside_without_a_prior_and_by_the_papers_rule() -> None:
    outputs, core = made_title([0, 1, 0, 1, 0, 1], noise=0.1, wobble=6), np.arange(6) < 4
    for rule, prior in (("adaptive", None), ("paper", PRIOR)):
        tiers = tiers_of(core)
        config = ClusterConfig(rule=rule)  # type: ignore[arg-type]
        found = cluster_tracks(outputs, tiers, no_pairs(), config, prior)
        assert found.label.tolist() == [0, 1, 0, 1, -1, -1]


def test_reasons_why_tracks_are_nobodys() -> None:
    label = np.array([0, 0, -1, -1, -1])
    junk = np.array([False, False, False, False, True])
    readable = np.array([True, False, True, False, False])
    found = reasons(label, Tiers(np.ones(5, bool), junk, readable))
    assert found == ("", "", "ambiguous", "unrecognisable", "low_score")


@pytest.mark.parametrize("tracks", [0, 1, 5])
def test_nobody_where_no_track_is_core(tracks: int) -> None:
    outputs, none = made_title([0] * tracks), np.zeros(tracks, bool)
    for junk, why in ((none, "ambiguous"), (~none, "low_score")):
        tiers = Tiers(none, junk, ~junk)
        found = cluster_tracks(outputs, tiers, no_pairs(), ClusterConfig(), PRIOR)
        assert found.label.tolist() == [-1] * tracks
        assert found.reason == (why,) * tracks
        assert found.confidence.tolist() == [0] * tracks
    one = cluster(made_title([0]), prior=PRIOR)
    assert (one.label.tolist(), one.distance.tolist(), one.reason) == ([0], [0], ("",))
    assert one.confidence[0] > 0


def constrained(
    outputs: TrackOutputs, prior: FacePrior | None = None, **constraints: object
) -> Clustering:
    known = NO_CONSTRAINTS._replace(**{k: np.array(v) for k, v in constraints.items()})
    tiers = tiers_of(np.ones(len(outputs), bool))
    return cluster_tracks(outputs, tiers, no_pairs(), ClusterConfig(), prior, known)


PEOPLE = [0, 1, 2, 1, 0, 2, 2, 0]


def test_tracks_that_must_link_are_one_person() -> None:
    outputs = made_title(PEOPLE, noise=0.1, wobble=6)
    found = constrained(outputs, must=[[0, 1], [0, 4], [1, 3]])
    assert found.label.tolist() == [0, 0, 1, 0, 0, 1, 1, 0]  # and so is the track like them
    assert found.merges[0].rule == "must_link"


def test_tracks_that_cannot_link_are_two_people() -> None:
    outputs = made_title([0] * 6 + [1] * 6, noise=0.1, wobble=6)
    assert constrained(outputs).label.tolist() == [0] * 6 + [1] * 6
    label = constrained(outputs, cannot=[[0, 1]]).label
    assert label[0] != label[1]
    assert set(label[6:].tolist()) == {label[6]}


def test_tracks_that_show_no_face_are_of_nobody() -> None:
    found = constrained(made_title(PEOPLE, noise=0.1, wobble=6), no_face=[0, 2])
    assert found.label.tolist() == [-1, 0, -1, 0, 1, 2, 2, 1]
    assert found.reason[0] == "low_score"


def test_a_weak_track_never_joins_whom_it_cannot_link_with() -> None:
    outputs = made_title([0] * 6 + [1] * 6, noise=0.05, wobble=6)
    core = np.arange(12) != 5
    tiers, config = tiers_of(core), ClusterConfig()
    joins = cluster_tracks(outputs, tiers, no_pairs(), config, PRIOR)
    assert joins.label[5] == joins.label[0]
    known = NO_CONSTRAINTS._replace(cannot=np.array([[5, 0]]))
    apart = cluster_tracks(outputs, tiers, no_pairs(), config, PRIOR, known)
    assert apart.label[5] == -1
