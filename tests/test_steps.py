"""The four steps and their table; what they compute is tested beside each part."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.helpers.core_data import PRIOR, made_title, no_pairs
from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.config import (
    ClusterSettings,
    ResourceConfig,
    RunConfig,
    get_setting,
    load_config,
    profile_config,
)
from vcn_ray.records import TitleCrops
from vcn_ray.schema import FAILURES
from vcn_ray.steps import (
    ADAPT,
    CLUSTER,
    DETECT,
    RESULT_SETTINGS,
    STEPS,
    TRACK,
    People,
    Step,
    cluster_title,
    run_title,
)

CONFIG = replace(RunConfig(), adapt=QUICK, cluster=ClusterSettings(cut=NEAR))


def test_names_are_the_same_everywhere() -> None:
    names = [step.name for step in STEPS]
    assert names == ["detect", "track", "adapt", "cluster"]
    note = FAILURES.field("step").metadata[b"note"].decode()
    assert note.split(" | ") == ["plan", *names]
    sections = {field.name for field in dataclasses.fields(RunConfig)}
    assert sections >= set(names)
    resources = {field.name for field in dataclasses.fields(ResourceConfig)}
    assert resources >= {
        f"{name}_{unit}" for name in ("detect", "adapt") for unit in ("cpus", "gpus")
    }


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_a_key_depends_on_settings_that_exist(step: Step) -> None:
    assert step in STEPS
    for name in step.settings:
        get_setting(RunConfig(), name)


def leaves(values: dict[str, object], inside: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{inside}{name}.")
        else:
            yield f"{inside}{name}"


def test_every_setting_of_the_method_is_in_a_key() -> None:
    """A setting that changes rows and is in no key would let old rows pass for new ones."""
    keyed = [name for step in STEPS for name in step.settings]
    no_rows = {"profile", "pack", "resources", "prices", "retention", "isolation", "s3"}
    no_rows |= {"download", "review"}  # corrections that teach are in the key by their names
    settings = [n for n in leaves(asdict(RunConfig())) if n.partition(".")[0] not in no_rows]
    assert len(settings) > 50
    missing = [n for n in settings if not any(f"{n}.".startswith(f"{key}.") for key in keyed)]
    assert missing == []
    assert set(RESULT_SETTINGS) >= {name.partition(".")[0] for name in settings}


@pytest.mark.parametrize(
    ("setting", "value", "changed"),
    [
        ("detect.max_faces", "7", {DETECT}),
        ("track.max_crops", "7", {TRACK}),
        ("adapt.epochs", "7", {ADAPT}),
        ("cluster.cut.fusion.ridge", "0.2", {ADAPT, CLUSTER}),
        ("cluster.quality.min_score", "-3", {CLUSTER}),
        ("resources.detect_gpus", "0.5", {DETECT}),
        ("resources.detect_cpus", "2", set()),
        ("resources.decode_device", "cpu", set()),  # a GPU gives the same pictures
        ("s3.region", "eu-north-1", set()),
    ],
)
def test_folders_change_with_the_settings_of_their_step(
    setting: str, value: str, changed: set[object]
) -> None:
    other = load_config(None, {setting: value})
    for step in STEPS:
        same = step.folder("film-1", RunConfig(), "input") == step.folder("film-1", other, "input")
        assert same == (step not in changed), step.name
        assert step.folder("film-1", other, "input") != step.folder("film-1", other, "another")


def test_folders_say_what_is_in_them() -> None:
    assert DETECT.folder("film-1", RunConfig()).startswith("videos/film-1/detect-")
    assert CLUSTER.folder("film-1", RunConfig()).startswith("titles/film-1/cluster-")


@pytest.fixture(scope="module")
def people() -> People:
    return run_title(title_of(PEOPLE, crops_per_track=6), TinyBackbone(), None, CONFIG)


def test_a_title_in_memory(people: People) -> None:
    found = {tuple(tracks) for tracks in people}
    assert found == {tuple(np.flatnonzero(who == PEOPLE)) for who in np.unique(PEOPLE)}
    assert [len(tracks) for tracks in people] == [3, 3, 2]  # most crops first
    assert repr(people) == "People(people=3, tracks=8, unknown=0)"
    assert people.confidence.shape == people.quality.shape == (8,)


def test_the_papers_profile_drops_outliers_alone_and_lets_no_weak_track_join() -> None:
    outputs = replace(
        made_title([0, 1] * 4, noise=0.1, wobble=6), score=np.full(8, 0.1, np.float32)
    )
    kept = cluster_title(outputs, no_pairs(), PRIOR, profile_config("paper"))
    assert set(kept.reason) == {""}
    assert kept.label.tolist() == [0, 1] * 4
    usual = cluster_title(outputs, no_pairs(), PRIOR, RunConfig())
    assert set(usual.reason) == {"ambiguous"}  # no track is surely a face, so nobody is there


def test_nobody_is_told_apart_upside_down() -> None:
    outputs = made_title([0, 1] * 4, noise=0.1, wobble=6)
    upright = cluster_title(outputs, no_pairs(), PRIOR, RunConfig(), np.zeros(8, np.bool_))
    assert upright.label.tolist() == [0, 1] * 4
    turned = cluster_title(outputs, no_pairs(), PRIOR, RunConfig(), np.ones(8, np.bool_))
    assert turned.label.tolist() == [-1] * 8
    assert set(turned.reason) == {"unrecognisable"}


def test_a_title_without_tracks() -> None:
    title = title_of(PEOPLE)
    nothing = TitleCrops(title.crops[:0], title.track[:0], title.cannot_link)
    people = run_title(nothing, TinyBackbone(), None, CONFIG)
    assert (len(people), list(people), people.person.shape) == (0, [], (0,))
