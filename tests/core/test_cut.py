from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.core_data import made_title, no_pairs
from vcn_ray.core import cut, vectors
from vcn_ray.core.cut import (
    CutConfig,
    cut_title,
    drawn_rows,
    fused_space,
    learn_fusion,
    link_to_cut,
    pairs_among,
)
from vcn_ray.core.evidence import Fusion, FusionConfig, pair_distances, same_pairs
from vcn_ray.core.spaces import cosine_space
from vcn_ray.errors import ConfigError

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


def found(people, cannot_link=None, **settings):
    noise, offset = settings.pop("noise", 0.7), settings.pop("offset", 0.0)
    outputs = made_title(people, noise=noise - 0.1 * offset, offset=offset)
    pairs = no_pairs() if cannot_link is None else np.array(cannot_link)
    return cut_title(outputs, pairs, CutConfig(**settings), "cut")


@pytest.mark.parametrize("offset", [0.0, 2.0], ids=["centred encoder", "offset encoder"])
@pytest.mark.parametrize("people", EXTREMES.values(), ids=EXTREMES.keys())
def test_few_and_many_people_are_counted_right(people, offset):
    label = found(people, offset=offset).linked.label
    assert np.array_equal(label, vectors.renumber(np.array(people)))


@pytest.mark.parametrize("factor", [0.8, 2.3])
def test_where_the_learning_begins_does_not_matter_with_many_people(factor):
    people = np.random.default_rng(3).integers(0, 30, 200)
    label = found(people, view_factor=factor).linked.label
    assert np.array_equal(label, vectors.renumber(people))


def test_learning_ends_before_it_splits_people_who_overlap():
    people = np.random.default_rng(0).integers(0, 30, 240)
    outputs = made_title(people, noise=1.4)
    known = (outputs.pretrained, outputs.embedding, outputs.output)
    spaces = [cosine_space(rows) for rows in known]
    same = same_pairs(people)
    view = pair_distances(spaces)[same, 0].mean()  # as on films: a person's tracks are as near

    def people_found(least_reach):
        config = CutConfig(view_factor=1.3, least_reach=least_reach)
        fusion = learn_fusion(spaces, view, no_pairs(), config)
        return link_to_cut(fused_space(spaces, fusion), no_pairs(), "").label.max() + 1

    assert people_found(0.0) > 4 * 30
    assert people_found(CutConfig().least_reach) < 2.5 * 30


def test_what_all_outputs_have_in_common_does_not_matter():
    people = np.random.default_rng(6).integers(0, 12, 90)
    outputs = made_title(people)
    moved = replace(outputs, output=outputs.output + np.float32(3))
    label = cut_title(moved, no_pairs(), CutConfig(), "cut").linked.label
    assert np.array_equal(label, vectors.renumber(people))


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", ["ridge", "odds", "false_share"])
def test_halving_and_doubling_a_constant_changes_nothing(name, factor):
    people = np.random.default_rng(4).integers(0, 12, 90)
    fusion = FusionConfig(**{name: factor * getattr(FusionConfig(), name)})
    label = found(people, fusion=fusion).linked.label
    assert np.array_equal(label, vectors.renumber(people))


def test_the_merges_are_those_of_the_partition():
    linked = found(list(range(5)) * 4).linked
    assert len(linked.merges) == 20 - 5
    assert all(merge.distance < 1 == merge.left_threshold for merge in linked.merges)


def test_tracks_that_cannot_link_stay_apart():
    label = found([0] * 6 + [1] * 6, cannot_link=[[0, 1]]).linked.label
    assert label[0] != label[1]


def test_a_large_title_is_learned_from_some_of_its_tracks(monkeypatch):
    monkeypatch.setattr(cut, "LEARNING_TRACKS", 60)
    people = np.random.default_rng(5).integers(0, 12, 240)
    rows = drawn_rows(240, 60)
    assert len(rows) == 60
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(found(people).linked.label, vectors.renumber(people))


def test_all_tracks_are_drawn_where_they_are_few():
    assert drawn_rows(7, 60).tolist() == list(range(7))


def test_pairs_among_drawn_rows_keep_their_places():
    pairs = np.array([[0, 3], [2, 3], [1, 2]])
    assert pairs_among(pairs, np.array([0, 2, 3]), 4).tolist() == [[0, 2], [1, 2]]
    assert pairs_among(no_pairs(), np.array([0, 2]), 4).shape == (0, 2)


def test_a_fused_distance_is_the_weighted_sum_in_units_of_its_cut():
    rng = np.random.default_rng(0)
    spaces = [cosine_space(rng.normal(size=(6, width))) for width in (3, 4, 5)]
    tables = [space.offset - space.left @ space.right.T for space in spaces]
    fused = fused_space(spaces, Fusion(np.array([0.5, 0.0, 2.0]), 4.0))
    want = (0.5 * tables[0] + 2 * tables[2]) / 4
    assert np.allclose(fused.offset - fused.left @ fused.right.T, want)


def test_senseless_settings_are_refused():
    with pytest.raises(ConfigError, match="view_factor"):
        CutConfig(view_factor=0)
    with pytest.raises(ConfigError, match="least_reach"):
        CutConfig(least_reach=-1)
