from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tests import reference
from tests.helpers.core_data import PRIOR, made_title, no_pairs, placed
from vcn_ray.core import cut, vectors
from vcn_ray.core.cut import (
    CENTROID_SDS,
    CUT,
    MIN_CLUSTERS,
    CutConfig,
    Fusion,
    FusionConfig,
    TitleCut,
    chance_limit,
    crossing,
    cut_title,
    fuse,
    fused_space,
    join_centroids,
    learn_fusion,
    pair_distances,
    pairs_among,
    same_pairs,
    sample_rows,
    seen_twice,
    stranger_limit,
    view_distance,
)
from vcn_ray.core.distance import Space, cosine_space
from vcn_ray.core.linkage import CannotLink, Partition, agglomerate
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64

DEFAULT = CutConfig()

EXTREMES = {
    "one track": [0],
    "one person twice": [0, 0],
    "two people once": [0, 1],
    "one person in 3": [0] * 3,
    "one person in 20": [0] * 20,
    "two people": [0, 1] * 4,
    "one and a visitor": [0] * 9 + [1],
    "three people once": [0, 1, 2],
    "5 people in 5": list(range(5)) * 5,
    "8 people in 5": list(range(8)) * 5,
    "100 people once": list(range(100)),
    "30 people, few leads": [int(n) for n in np.sqrt(np.arange(900))][::7],
}


def found(
    people: list[int] | I64,
    config: CutConfig = DEFAULT,
    cannot_link: I64 | None = None,
    offset: float = 0.0,
) -> TitleCut:
    outputs = made_title(people, noise=0.7 - 0.1 * offset, offset=offset)
    return cut_title(outputs, no_pairs() if cannot_link is None else cannot_link, config, "cut")


@pytest.mark.parametrize("offset", [0.0, 2.0], ids=["centred encoder", "offset encoder"])
@pytest.mark.parametrize("people", EXTREMES.values(), ids=EXTREMES.keys())
def test_few_and_many_people_are_counted_right(people: list[int], offset: float) -> None:
    label = found(people, offset=offset).partition.label
    assert np.array_equal(label, vectors.renumber(np.array(people)))


@pytest.mark.parametrize("factor", [0.8, 2.3])
def test_where_the_learning_begins_does_not_matter_with_many_people(factor: float) -> None:
    people = np.random.default_rng(3).integers(0, 30, 200)
    label = found(people, CutConfig(view_factor=factor)).partition.label
    assert np.array_equal(label, vectors.renumber(people))


def test_learning_ends_before_it_splits_people_who_overlap() -> None:
    people = np.random.default_rng(0).integers(0, 30, 240)
    outputs = made_title(people, noise=1.4, wobble=1.5)
    known = (outputs.pretrained, outputs.embedding, outputs.output)
    spaces = [cosine_space(rows) for rows in known]
    same = same_pairs(people)
    view = pair_distances(spaces)[same, 0].mean() / 1.3  # as on films

    def people_found(min_reach: float) -> int:
        config = CutConfig(view_factor=1.7, min_reach=min_reach)
        fusion = learn_fusion(
            spaces, view, config.view_factor * view, CannotLink.none(), no_pairs(), config
        )
        label = agglomerate(fused_space(spaces, fusion), CUT, CannotLink.none(), "").label
        return int(label.max()) + 1

    assert people_found(0.0) > 4 * 30
    assert people_found(CutConfig().min_reach) < 2.5 * 30


def test_what_all_outputs_have_in_common_does_not_matter() -> None:
    people = np.random.default_rng(6).integers(0, 12, 90)
    outputs = made_title(people)
    moved = replace(outputs, output=outputs.output + np.float32(3))
    label = cut_title(moved, no_pairs(), CutConfig(), "cut").partition.label
    assert np.array_equal(label, vectors.renumber(people))


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", ["ridge", "odds", "max_false_fraction"])
def test_halving_and_doubling_a_constant_changes_nothing(name: str, factor: float) -> None:
    people = np.random.default_rng(4).integers(0, 12, 90)
    fusion = FusionConfig(**{name: factor * getattr(FusionConfig(), name)})
    label = found(people, CutConfig(fusion=fusion)).partition.label
    assert np.array_equal(label, vectors.renumber(people))


def test_the_merges_are_those_of_the_partition() -> None:
    partition = found(list(range(5)) * 4).partition
    assert len(partition.merges) == 20 - 5
    assert all(merge.distance < 1 == merge.left_threshold for merge in partition.merges)


def test_tracks_that_share_a_frame_are_evidence_against_one_person() -> None:
    """Two tracks alone are told apart by it; against many tracks that agree it is one voice."""
    pair = np.array([[0, 1]])
    assert found([0, 0, 1]).partition.label.tolist() == [0, 0, 1]
    assert found([0, 0, 1], cannot_link=pair).partition.label.tolist() == [0, 1, 2]
    people = [0] * 6 + [1] * 6
    assert found(people, cannot_link=pair).partition.label.tolist() == people
    veto = found(people, CutConfig(cannot_link_penalty=1e9), pair).partition.label
    assert veto[0] != veto[1]


def test_a_large_title_is_learned_from_some_of_its_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "LEARNING_TRACKS", 60)
    people = np.random.default_rng(5).integers(0, 12, 240)
    rows = sample_rows(240, 60)
    assert len(rows) == 60
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(found(people).partition.label, vectors.renumber(people))


def test_few_tracks_are_all_sampled() -> None:
    assert sample_rows(7, 60).tolist() == list(range(7))


def test_pairs_among_sample_rows_keep_their_places() -> None:
    pairs = np.array([[0, 3], [2, 3], [1, 2]])
    assert pairs_among(pairs, np.array([0, 2, 3]), 4).tolist() == [[0, 2], [1, 2]]
    assert pairs_among(no_pairs(), np.array([0, 2]), 4).shape == (0, 2)


def test_a_fused_distance_is_the_weighted_sum_in_units_of_its_cut() -> None:
    rng = np.random.default_rng(0)
    spaces = [cosine_space(rng.normal(size=(6, width))) for width in (3, 4, 5)]
    tables = [space.offset - space.rows @ space.rows.T for space in spaces]
    fused = fused_space(spaces, Fusion(np.array([0.5, 0.0, 2.0]), 4.0))
    want = (0.5 * tables[0] + 2 * tables[2]) / 4
    assert np.allclose(fused.offset - fused.rows @ fused.rows.T, want)


def test_the_view_distance_prefers_tracks_with_several_crops() -> None:
    outputs = replace(
        made_title([0, 1, 2]), crops=np.array([1, 4, 4]), pretrained_views=np.array([9.0, 0.2, 0.4])
    )
    assert view_distance(outputs) == pytest.approx(0.3)
    alone = replace(outputs, crops=np.ones(3, np.int64))
    assert view_distance(alone) == pytest.approx(3.2)


def test_a_copy_of_a_track_is_one_face_and_a_stranger_is_not() -> None:
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


@pytest.mark.parametrize(("deviations", "copy"), [(6.5, False), (7.5, True)])
def test_a_prior_says_how_close_strangers_come(deviations: float, copy: bool) -> None:
    cosine = PRIOR.stranger_cosine + deviations * PRIOR.stranger_sd
    outputs = made_title([0, 1])
    pretrained = np.zeros_like(outputs.pretrained)
    pretrained[:, 0] = [1, cosine]
    pretrained[1, 1] = np.sqrt(1 - cosine**2)
    two = replace(outputs, pretrained=pretrained)
    assert seen_twice(two, np.array([[0, 1]]), PRIOR).tolist() == [copy]


def test_two_tracks_of_one_person_are_not_one_face() -> None:
    outputs = made_title([0] * 8)
    pairs = np.array([[0, i] for i in range(1, 8)])
    assert not seen_twice(outputs, pairs).any()


def test_pairs_of_other_tracks_are_refused() -> None:
    with pytest.raises(ShapeError, match="rows"):
        seen_twice(made_title([0, 1]), np.array([[0, 2]]))


EVEN = FusionConfig(ridge=1e-9, odds=1.0, max_false_fraction=1.0)


def random_spaces(tracks: int, seed: int = 0) -> list[Space]:
    rng = np.random.default_rng(seed)
    return [cosine_space(rng.normal(size=(tracks, width))) for width in (4, 7)]


def fused(near: F64, far: F64, config: FusionConfig) -> Fusion | None:
    rows = np.concatenate([near, far])
    return fuse(rows, np.arange(len(rows)) < len(near), config)


def learned(near: F64, far: F64, config: FusionConfig) -> Fusion:
    fusion = fused(near, far, config)
    assert fusion is not None
    return fusion


def kinds(seed: int = 0, same: int = 400, different: int = 4000) -> tuple[F64, F64]:
    """Distances of two kinds of pairs in two spaces, the second of which says more."""
    rng = np.random.default_rng(seed)
    near = rng.multivariate_normal([0.5, 0.3], [[0.02, 0.005], [0.005, 0.01]], same)
    far = rng.multivariate_normal([0.9, 1.0], [[0.02, 0.005], [0.005, 0.02]], different)
    return near, far


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_distances_are_those_of_every_pair_written_out(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    spaces, label = random_spaces(14), np.arange(14) % 4
    tables = [space.offset - space.rows @ space.rows.T for space in spaces]
    pairs = list(itertools.combinations(range(14), 2))
    want = [[table[i, k] for table in tables] for i, k in pairs]
    assert np.allclose(pair_distances(spaces), want)
    assert same_pairs(label).tolist() == [label[i] == label[k] for i, k in pairs]


def test_the_direction_is_fishers() -> None:
    near, far = kinds(same=3000, different=3000)
    fusion = learned(near, far, EVEN)
    rows = np.concatenate([near, far])
    lda = LinearDiscriminantAnalysis().fit(rows, np.repeat([0, 1], 3000))
    assert fusion.weights / fusion.weights.sum() == pytest.approx(
        lda.coef_[0] / lda.coef_[0].sum(), abs=1e-6
    )
    assert (far.mean(axis=0) - near.mean(axis=0)) @ fusion.weights == pytest.approx(1)


def test_the_cut_is_where_both_densities_are_as_high() -> None:
    near, far = kinds()
    fusion = learned(near, far, FusionConfig(odds=2.0, max_false_fraction=1.0))

    def density(rows: F64, weight: float) -> float:
        x = rows @ fusion.weights
        z = (fusion.cut - x.mean()) / x.std()
        return float(weight * len(x) / x.std() * np.exp(-(z**2) / 2))

    assert density(near, 2.0) == pytest.approx(density(far, 1.0), rel=0.02)
    assert (near @ fusion.weights).mean() < fusion.cut < (far @ fusion.weights).mean()


def test_two_distances_separate_better_than_one() -> None:
    near, far = kinds()
    both = learned(near, far, EVEN)

    def wrong(weights: F64, limit: float) -> float:
        return float((near @ weights >= limit).mean() + (far @ weights < limit).mean())

    for alone in np.eye(2):
        limit = crossing(near @ alone, far @ alone, 1.0)
        assert wrong(both.weights, both.cut) < wrong(alone, limit)


def test_a_distance_that_separates_nothing_gets_no_weight() -> None:
    near, far = kinds()
    backwards = np.random.default_rng(1).normal(0, 0.1, len(near) + len(far))
    near = np.column_stack([near, backwards[: len(near)] + 0.1])
    far = np.column_stack([far, backwards[len(near) :]])
    fusion = learned(near, far, FusionConfig())
    assert fusion.weights[2] == 0
    assert (fusion.weights[:2] > 0).all()


def test_equal_distances_share_the_weight() -> None:
    near, far = (np.column_stack([rows, rows[:, 1]]) for rows in kinds())
    weights = learned(near, far, FusionConfig()).weights
    assert weights[1] == pytest.approx(weights[2])


def test_nothing_to_learn_from() -> None:
    near, far = kinds()
    assert fused(near[:0], far, FusionConfig()) is None
    assert fused(near, far[:0], FusionConfig()) is None
    assert fused(far, near, FusionConfig()) is None  # strangers nearer than a person to itself


def test_one_pair_of_a_kind_is_enough() -> None:
    near, far = kinds()
    fusion = learned(near[:1], far, EVEN)
    assert near[0] @ fusion.weights <= fusion.cut < (far @ fusion.weights).mean()


def test_one_pair_has_no_covariance() -> None:
    distances = np.array([[0.3, 0.3, 0.2], [0.7, 0.6, 1.1], [0.8, 0.75, 0.9]])
    found = fuse(distances, np.array([True, False, False]), FusionConfig())
    assert found is not None
    scatter = np.cov(distances[1:].T, ddof=0) / 2
    scatter += 0.1 * np.diag(np.diag(scatter))
    want = np.maximum(np.linalg.solve(scatter, distances[1:].mean(axis=0) - distances[0]), 0)
    assert np.allclose(found.weights / found.weights.sum(), want / want.sum())


def test_the_crossing_stays_between_the_means() -> None:
    wide, narrow = np.linspace(-3, 5, 10_000), np.full(10, 0.9)
    assert crossing(narrow, wide, 1.0) == pytest.approx(0.9, abs=0.01)
    assert crossing(wide, np.full(1, 2.0), 1.0) <= 2


def test_where_nobody_is_seen_twice_the_nearest_strangers_stay_apart() -> None:
    distances = np.sort(np.random.default_rng(0).normal(1, 0.1, (4950, 1)), axis=0)
    nearest, rest = distances[:9], distances[9:]
    fusion = learned(nearest, rest, FusionConfig())
    near, far = nearest @ fusion.weights, rest @ fusion.weights
    assert crossing(near, far, 2.0) > fusion.cut
    assert (near < fusion.cut).sum() <= 1


def test_the_chance_limit_is_a_fraction_of_a_normal_tail() -> None:
    rng = np.random.default_rng(0)
    far = rng.normal(2, 0.5, 200_000)
    limit = chance_limit(np.ones(20_000), far, 0.1)
    assert (far < limit).sum() == pytest.approx(0.1 * 20_000, rel=0.05)
    assert chance_limit(far, np.ones(10), 0.5) == np.inf


def test_one_person_in_two_clusters_does_not_move_the_chance_limit() -> None:
    rng = np.random.default_rng(0)
    far, missed = rng.normal(2, 0.1, 1000), rng.normal(0.2, 0.1, 150)
    alone = chance_limit(np.ones(100), far, 0.05)
    assert chance_limit(np.ones(100), np.concatenate([far, missed]), 0.05) > alone - 0.1


@pytest.mark.parametrize(
    "wrong", [{"view_factor": 0}, {"min_reach": -1}, {"view_factor": np.inf}, {"unknown": 1}]
)
def test_senseless_settings_of_the_cut_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CutConfig(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"odds": 0}, {"ridge": 0}, {"max_false_fraction": 0}, {"max_false_fraction": 1.1}]
)
def test_senseless_settings_of_the_fusion_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        FusionConfig(**wrong)


def near_people(seed: int, tracks: int = 40, people: int = 6) -> tuple[Space, CannotLink, F32]:
    """Tracks of people who are close, in an order of no meaning, with a few pairs in one frame."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, people, tracks)
    space = cosine_space(rng.normal(size=(people, 100))[who] + rng.normal(0, 0.9, (tracks, 100)))
    pairs = rng.integers(0, tracks, (8, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    unit = Space(space.rows * np.sqrt(1.6), 1.6)  # in units of a cut
    return unit, CannotLink(pairs, rng.uniform(0.5, 2, len(pairs))), rng.random(tracks, np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_joined_centroids_equal_their_literal_twin(seed: int) -> None:
    space, cannot_link, weight = near_people(seed, tracks=10 + 3 * seed, people=3 + seed)
    start = agglomerate(space, 0.7, cannot_link, "cut")
    found = join_centroids(start, space, weight, cannot_link, "cut")
    limits = (CUT, MIN_CLUSTERS, CENTROID_SDS)
    want = reference.join_centroids(
        start.label, space.rows, space.offset, weight, cannot_link, limits
    )
    assert found.label.tolist() == want.tolist()
    sizes = dict.fromkeys(range(len(weight)), 1)
    for merge in found.merges:  # the record replays to the partition
        assert (merge.left_tracks, merge.right_tracks) == (sizes[merge.left], sizes[merge.right])
        sizes[merge.left] += sizes.pop(merge.right)
    assert sorted(sizes) == sorted(np.unique(found.label, return_index=True)[1].tolist())
    assert [merge.round for merge in found.merges] == sorted(m.round for m in found.merges)


def test_centroids_join_what_single_tracks_keep_apart() -> None:
    joined = 0
    for seed in range(12):
        space, cannot_link, weight = near_people(seed)
        start = agglomerate(space, 0.7, cannot_link, "cut")
        found = join_centroids(start, space, weight, CannotLink.none(), "cut")
        joined += len(found.merges) - len(start.merges)
    assert joined > 12


@pytest.mark.parametrize("tracks", [0, 1, 2])
def test_centroids_of_few_tracks(tracks: int) -> None:
    space = Space(np.eye(3)[:tracks], 1.0)
    start = Partition(np.arange(tracks), ())
    found = join_centroids(start, space, np.zeros(tracks, np.float32), CannotLink.none(), "cut")
    assert found.label.tolist() == list(range(tracks))
    assert found.merges == ()


@pytest.mark.parametrize("clusters", [MIN_CLUSTERS - 1, MIN_CLUSTERS, 31])
def test_the_limit_of_strangers_equals_its_literal_twin(clusters: int) -> None:
    space = cosine_space(np.random.default_rng(clusters).normal(size=(clusters, 9)))
    table = space.offset - space.rows @ space.rows.T
    want = reference.stranger_limit(table, MIN_CLUSTERS, CENTROID_SDS)
    assert stranger_limit(space) == pytest.approx(want)
    assert np.isfinite(want) == (clusters >= MIN_CLUSTERS)


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["title alone", "prior"])
@pytest.mark.parametrize("tracks", [5, 40, 500])
def test_titles_of_any_size_go_through_the_same_rule(tracks: int, prior: FacePrior | None) -> None:
    people = np.random.default_rng(tracks).integers(0, max(2, tracks // 8), tracks)
    title = cut_title(made_title(people), no_pairs(), CutConfig(), "cut", prior)
    assert np.array_equal(title.partition.label, vectors.renumber(people))


def test_the_share_of_the_prior_falls_with_the_number_of_tracks() -> None:
    """The known distance is that of both encoders, in units of the cut of the prior."""
    for tracks in (4, 40, 400):
        people = np.random.default_rng(0).integers(0, max(2, tracks // 8), tracks)
        outputs = made_title(people)
        learned, mixed, known = (
            cut_title(outputs, no_pairs(), CutConfig(prior_tracks=prior_tracks), "", PRIOR).space
            for prior_tracks in (1e-9, CutConfig().prior_tracks, 1e12)
        )
        table, first, last = (s.offset - s.rows @ s.rows.T for s in (mixed, learned, known))
        share = CutConfig().prior_tracks / (tracks + CutConfig().prior_tracks)
        assert np.allclose(table, (1 - share) * first + share * last, atol=1e-6)
        unit = outputs.pretrained.astype(np.float64)
        assert np.allclose(last, (1 - unit @ unit.T) / PRIOR.cut, atol=1e-6)


def test_the_prior_tells_apart_who_five_tracks_show() -> None:
    """The spread of views misleads in a title of still faces; what the pack knows does not."""
    outputs = made_title([0, 0, 1, 2, 2])
    still = replace(outputs, pretrained_views=np.full(5, 0.02))
    alone = cut_title(still, no_pairs(), CutConfig(), "cut").partition.label
    assert alone.tolist() == [0, 1, 2, 3, 4]
    known = cut_title(still, no_pairs(), CutConfig(), "cut", PRIOR).partition.label
    assert known.tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["title alone", "prior"])
def test_a_few_wrong_pairs_leave_people_intact_where_a_veto_splits_them(
    prior: FacePrior | None,
) -> None:
    people = np.repeat(np.arange(10), 12)
    rng = np.random.default_rng(2)
    left, right = np.triu_indices(120, 1)
    same = people[left] == people[right]
    right_ones = rng.choice(np.flatnonzero(~same), 190, replace=False)
    wrong_ones = rng.choice(np.flatnonzero(same), 10, replace=False)
    pairs = np.stack([left, right], axis=1)[np.concatenate([right_ones, wrong_ones])]
    outputs = made_title(people)
    found = cut_title(outputs, pairs, CutConfig(), "cut", prior).partition.label
    assert found.tolist() == people.tolist()
    veto = CutConfig(cannot_link_penalty=1e12)
    split = cut_title(outputs, pairs, veto, "cut", prior).partition.label
    assert split.max() > 9


@pytest.mark.parametrize(
    ("prior", "difference"), [(None, 0.75), (PRIOR, 0.95)], ids=["title alone", "prior"]
)
def test_two_who_are_always_together_stay_two(prior: FacePrior | None, difference: float) -> None:
    """Twins: closer than the cut, but every track of one shares a frame with one of the other.

    With a prior, twins who are more alike would pass for one face and its mirror image.
    """
    rng = np.random.default_rng(0)
    directions = unit_rows(rng.normal(size=(8, 128)))
    directions[1] = directions[0] + difference * directions[1]
    people = np.repeat(np.arange(8), 10)
    outputs = placed(directions[people] + rng.normal(0, 0.45 / np.sqrt(128), (80, 128)))
    outputs = replace(outputs, pretrained_views=np.full(80, 0.25))
    together = np.stack(np.meshgrid(np.arange(10), np.arange(10, 20)), axis=-1).reshape(-1, 2)
    apart = cut_title(outputs, together, CutConfig(), "cut", prior).partition.label
    assert apart.tolist() == people.tolist()
