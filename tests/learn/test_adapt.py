from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from tests.helpers.synth import (
    NEAR,
    PEOPLE,
    QUICK,
    TinyBackbone,
    check_outputs,
    crops_of,
    title_of,
)
from vcn_ray.core.cut import CutConfig
from vcn_ray.core.track import thin_crops
from vcn_ray.errors import ShapeError
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.adapt_config import AdaptConfig, Trained
from vcn_ray.learn.hooks import Hooks
from vcn_ray.records import F32, TitleCrops, TrackOutputs

ACTIVATION_BYTES = 2 * 12 * 6 * 6
"""Of one view of a crop, as the cache holds them for TinyBackbone."""


def run(
    title: TitleCrops, config: AdaptConfig = QUICK, seed: int = 0, cut: CutConfig = NEAR
) -> Adapted:
    return adapt(title, TinyBackbone(), config, cut, seed=seed)


@cache
def ran(config: AdaptConfig = QUICK) -> Adapted:
    """The title of PEOPLE, adapted to once for all tests."""
    return run(title_of(PEOPLE), config)


TAIL, FROZEN, ALL = (replace(QUICK, encoder=part) for part in ("tail", "frozen", "all"))


def means_of(encoder: TinyBackbone, title: TitleCrops) -> F32:
    """(k, d) unit means of each track's crops and of their mirror images."""
    mirrored = torch.from_numpy(title.crops[:, :, ::-1].copy())
    total = (encoder.embed(torch.from_numpy(title.crops)) + encoder.embed(mirrored)).numpy()
    mean = np.stack([total[title.track == t].mean(axis=0) for t in range(title.tracks)])
    unit: F32 = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return unit


def cosines(rows: F32) -> F32:
    unit: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine: F32 = unit @ unit.T
    return cosine


def margin(rows: F32) -> float:
    """Least cosine between tracks of one person, less the largest between two people."""
    same = PEOPLE[:, None] == PEOPLE
    return float(cosines(rows)[same].min() - cosines(rows)[~same].max())


def test_training_sets_people_apart() -> None:
    title = title_of(PEOPLE, 6)
    adapted = run(title, replace(QUICK, epochs=40, encoder="frozen"))
    check_outputs(adapted.outputs, 8)
    assert adapted.warnings == ()
    centred = adapted.outputs.output - adapted.outputs.centre
    assert margin(centred) > max(margin(adapted.outputs.pretrained) + 0.2, 0)


@pytest.mark.parametrize("part", ["frozen", "tail", "all"])
def test_two_runs_give_the_same_bits(part: Trained) -> None:
    config = replace(QUICK, encoder=part)
    first, second = ran(config), run(title_of(PEOPLE), config)
    other = run(title_of(PEOPLE), config, seed=1)
    for field in fields(TrackOutputs):
        left, right = getattr(first.outputs, field.name), getattr(second.outputs, field.name)
        assert np.array_equal(left, right), field.name
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert not np.array_equal(first.outputs.output, other.outputs.output)


def numpy_state() -> npt.NDArray[np.uint32]:
    """A copy of the numbers behind numpy's functions of one global state."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the legacy state is what is guarded
    return np.array(state["state"]["key"], np.uint32)


def test_the_encoder_and_the_global_state_are_left_alone() -> None:
    encoder = TinyBackbone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    flags = [parameter.requires_grad for parameter in encoder.parameters()]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    numbers = numpy_state()
    adapt(title_of(PEOPLE), encoder, QUICK, NEAR, seed=0)
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in before.items())
    assert [parameter.requires_grad for parameter in encoder.parameters()] == flags
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert np.array_equal(numpy_state(), numbers)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("frozen", set()),
        ("tail", {"second.weight", "last.weight"}),
        ("all", {"first.weight", "second.weight", "last.weight"}),
    ],
)
def test_what_is_trained_changes_and_only_that_is_saved(part: Trained, changed: set[str]) -> None:
    adapted = ran(replace(QUICK, encoder=part))
    saved = {name for name in adapted.tensors if name.startswith("encoder.")}
    assert saved == {f"encoder.{name}" for name in changed}
    assert {"head.first.weight", "head.last.weight", "centre"} <= adapted.tensors.keys()
    moved = np.abs(adapted.outputs.embedding - adapted.outputs.pretrained).max()
    assert moved < 1e-6 if part == "frozen" else moved > 1e-4
    untrained = ran(FROZEN).outputs
    np.testing.assert_array_equal(adapted.outputs.pretrained, untrained.pretrained)


@pytest.mark.parametrize("part", ["tail", "all"])
def test_saved_tensors_give_the_outputs_back(part: Trained) -> None:
    title, adapted = title_of(PEOPLE), ran(replace(QUICK, encoder=part))
    encoder = TinyBackbone()
    names = {n.removeprefix("encoder."): t for n, t in adapted.tensors.items() if "encoder." in n}
    encoder.load_state_dict(names, strict=False)
    mean = means_of(encoder, title)
    # The activations of a frozen trunk are cached in half precision.
    near = 2e-3 if part == "tail" else 1e-5
    np.testing.assert_allclose(adapted.outputs.embedding, mean, atol=near)


def test_training_the_encoder_continues_from_the_head() -> None:
    head, tail, whole = ran(FROZEN), ran(TAIL), ran(ALL)
    epochs = len(head.history)
    for tuned in (tail, whole):
        assert [r.loss for r in tuned.history[:epochs]] == [r.loss for r in head.history]
        assert [r.phase for r in tuned.history[epochs:]] == ["encoder"] * 2
    assert not np.array_equal(tail.outputs.output, whole.outputs.output)


def test_gradients_of_parts_add_up_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUICK, encoder="all", encoder_batch_pairs=24)
    parts = run(title_of(PEOPLE), config)
    monkeypatch.setattr("vcn_ray.learn.training.CPU_PAIRS", 24)
    whole = run(title_of(PEOPLE), config)
    moved = np.abs(whole.outputs.embedding - whole.outputs.pretrained).max()
    differ = np.abs(parts.outputs.embedding - whole.outputs.embedding).max()
    assert 0 < differ < 1e-3 * moved  # sums in another order round differently
    for left, right in zip(parts.history, whole.history, strict=True):
        assert [left.loss, left.entropy, left.relative_variance] == pytest.approx(
            [right.loss, right.entropy, right.relative_variance], abs=1e-5
        )


class NormedBackbone(TinyBackbone):
    """The same with a batch norm, whose statistics must stay as they are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(12)
        self.norm.running_mean = torch.full((12,), 0.1)
        self.eval()

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.first(images)))


def test_batch_norm_is_trained_with_its_stored_statistics() -> None:
    title, encoder = title_of(PEOPLE), NormedBackbone()
    adapted = adapt(title, encoder, ALL, NEAR, seed=0)
    assert "encoder.norm.weight" in adapted.tensors
    assert not any("running" in name for name in adapted.tensors)
    names = {n.removeprefix("encoder."): t for n, t in adapted.tensors.items() if "encoder." in n}
    encoder.load_state_dict(names, strict=False)
    assert encoder.norm.state_dict()["running_mean"].tolist() == pytest.approx([0.1] * 12)
    np.testing.assert_allclose(adapted.outputs.embedding, means_of(encoder, title), atol=1e-5)


def test_seconds_and_memory_are_measured() -> None:
    adapted = ran()
    assert list(adapted.seconds) == ["views", "head", "match", "encoder", "outputs"]
    trained = {
        phase: sum(r.seconds for r in adapted.history if r.phase == phase)
        for phase in ("head", "encoder")
    }
    for phase, seconds in trained.items():
        assert seconds <= adapted.seconds[phase] < seconds + 0.5
    assert all(seconds > 0 for seconds in adapted.seconds.values())
    assert adapted.peak_bytes > 100e6  # torch alone takes more
    assert list(ran(FROZEN).seconds) == ["views", "head", "match", "outputs"]


def test_the_scale_of_an_encoders_weights_does_not_matter() -> None:
    title, small = title_of(PEOPLE), TinyBackbone()
    with torch.no_grad():
        small.last.weight /= 64  # of no effect on unit embeddings
    scaled, plain = adapt(title, small, QUICK, NEAR, seed=0), ran()
    np.testing.assert_allclose(scaled.outputs.pretrained, plain.outputs.pretrained, atol=1e-6)
    moved = np.abs(plain.outputs.embedding - plain.outputs.pretrained).max()
    differ = np.abs(scaled.outputs.embedding - plain.outputs.embedding).max()
    assert differ < 0.05 * moved


@pytest.mark.parametrize("views", [0, 1, 3])
def test_room_to_keep_some_activations_gives_the_same_result(views: int) -> None:
    title = title_of(PEOPLE)
    room = views * len(title.crops) * ACTIVATION_BYTES
    kept, computed = ran(), run(title, replace(QUICK, cache_bytes=room))
    np.testing.assert_allclose(kept.outputs.embedding, computed.outputs.embedding, atol=1e-5)
    np.testing.assert_allclose(kept.outputs.output, computed.outputs.output, atol=1e-4)


@pytest.mark.parametrize("part", ["frozen", "tail", "all"])
def test_a_large_title_is_trained_on_some_crops_of_each_track(part: Trained) -> None:
    title = title_of(PEOPLE, 8)
    config = replace(QUICK, encoder=part, trained_crops=24)
    some = run(title, config)
    trained = thin_crops(title.track, 24)
    changed = title.crops.copy()  # what training does not see changes nothing of it
    changed[np.setdiff1d(np.arange(64), trained)] = 128
    other = run(replace(title, crops=changed), replace(config, matcher="none"))
    alone = run(title, replace(config, matcher="none"))
    assert [epoch.loss for epoch in other.history] == [epoch.loss for epoch in alone.history]
    whole = run(title, replace(config, trained_crops=64, matcher="none"))
    assert alone.history[0].loss != whole.history[0].loss
    check_outputs(some.outputs, 8)
    assert some.outputs.crops.tolist() == [8] * 8  # all crops say who is seen


@pytest.mark.parametrize("views", [0, 1, 3, 4])
def test_what_is_kept_of_a_large_title_does_not_matter(views: int) -> None:
    title, config = title_of(PEOPLE, 8), replace(TAIL, trained_crops=24)
    kept = run(title, config)
    computed = run(title, replace(config, cache_bytes=views * 24 * ACTIVATION_BYTES))
    np.testing.assert_allclose(kept.outputs.embedding, computed.outputs.embedding, atol=1e-5)
    np.testing.assert_allclose(kept.outputs.output, computed.outputs.output, atol=1e-4)


def test_history_has_one_record_for_each_epoch() -> None:
    history = ran(replace(QUICK, epochs=2)).history
    assert [(r.epoch, r.round, r.phase) for r in history] == [
        (0, 0, "head"),
        (1, 0, "head"),
        (2, 1, "head"),
        (3, 1, "head"),
        (4, 2, "encoder"),
        (5, 2, "encoder"),
    ]
    assert all(np.isfinite([r.loss, r.entropy, r.relative_variance]).all() for r in history)
    assert all(
        0 <= r.entropy <= np.log(64) + 1e-4 and 0 < r.relative_variance <= 1 for r in history
    )
    assert all(r.seconds > 0 for r in history)


def test_progress_names_each_phase_and_ends_at_one() -> None:
    reported: dict[str, list[float]] = {}
    hooks = Hooks(lambda phase, progress: reported.setdefault(phase, []).append(progress))
    adapt(title_of(PEOPLE), TinyBackbone(), QUICK, NEAR, seed=0, hooks=hooks)
    assert list(reported) == ["views", "augmented", "head", "match", "encoder", "outputs"]
    for phase, values in reported.items():
        assert values[-1] == pytest.approx(1), phase
        assert phase == "match" or values == sorted(values), phase
        assert all(0 <= value <= 1 + 1e-9 for value in values), phase


def test_no_tracks() -> None:
    title = TitleCrops(
        np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    )
    adapted = run(title)
    assert adapted.warnings == ("empty",)
    assert adapted.tensors == {}
    assert adapted.outputs.teacher.shape == (0, 64)
    assert adapted.outputs.embedding.shape == (0, TinyBackbone.dim)


@pytest.mark.parametrize(("people", "crops"), [([0], 1), ([0], 5), ([0, 1, 0, 2], 1)])
def test_few_tracks_and_tracks_of_one_crop(people: list[int], crops: int) -> None:
    check_outputs(run(title_of(np.array(people), crops)).outputs, len(people))


def test_crops_all_alike() -> None:
    track = np.array([0, 0, 1, 1, 2])
    crops = np.full((5, 16, 16, 3), 90, np.uint8)
    score = np.full(5, 0.9, np.float32)
    adapted = run(TitleCrops(crops, track, np.array([[0, 1]]), score))
    check_outputs(adapted.outputs, 3)


def test_sharing_a_frame_is_evidence_against_being_trained_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vcn_ray.core.cut.COPY_FACTOR", 0.0)  # nobody passes for a mirror image
    title = title_of(np.arange(10))
    links = np.array([pair for pair in combinations(range(10), 2) if pair != (0, 1)])

    def matched(title: TitleCrops) -> set[tuple[int, ...]]:
        far = CutConfig(view_factor=0.8)  # an untrained encoder then mixes some people up
        pairs = run(title, FROZEN, cut=far).matches[1]
        return {tuple(sorted(pair)) for pair in pairs.tolist()}

    forbidden = set(map(tuple, links.tolist()))
    assert matched(title) & forbidden
    assert not matched(replace(title, cannot_link=links)) & forbidden


def test_wrong_input_is_named() -> None:
    crops, none = crops_of(np.arange(3), 1), np.zeros((0, 2), np.int64)
    with pytest.raises(ShapeError, match=r"each with a crop; without: \[1\]"):
        TitleCrops(crops, np.array([0, 2, 2]), none)
    with pytest.raises(ShapeError, match="3 crops need as many tracks"):
        TitleCrops(crops, np.array([0, 1]), none)
    with pytest.raises(ShapeError, match="cannot_link"):
        TitleCrops(crops, np.arange(3), np.array([[0, 3]]))
    with pytest.raises(ShapeError, match="uint8"):
        TitleCrops(crops.astype(np.float32), np.arange(3), none)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"augmented_views": 1}, "augmented_views"),
        ({"teacher_temperature": 0.2}, "teacher_temperature <= student_temperature"),
        ({"teacher_temperature": 0.0}, "teacher_temperature"),
        ({"quality_dropout": 1.0}, "quality_dropout"),
        ({"matcher": "nearest"}, "matcher\n.*'partition', 'gaussian' or 'none'"),
        ({"encoder": "head"}, "encoder\n.*'frozen', 'tail' or 'all'"),
        ({"rounds": 0}, "rounds"),
        ({"epochs": 0}, "epochs"),
        ({"encoder_epochs": 0}, "encoder_epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"teacher_momentum": 1.1}, "teacher_momentum"),
        ({"matched_fraction": -0.1}, "matched_fraction"),
        ({"cache_bytes": -1}, "cache_bytes"),
        ({"encoder_learning_rate": float("inf")}, "encoder_learning_rate"),
        ({"augment": {"mirror_chance": 1.5}}, "mirror_chance"),
        ({"cut": CutConfig()}, "cut"),
    ],
)
def test_settings_out_of_bounds_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdaptConfig(**setting)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    assert torch.cuda.is_available(), "this test was asked for with -m gpu, but there is no GPU"
    title = title_of(PEOPLE, 6)
    first, second = (adapt(title, TinyBackbone().cuda(), QUICK, NEAR, seed=0) for _ in range(2))
    check_outputs(first.outputs, 8)
    np.testing.assert_array_equal(first.outputs.output, second.outputs.output)
    np.testing.assert_allclose(first.outputs.pretrained, run(title).outputs.pretrained, atol=5e-3)
