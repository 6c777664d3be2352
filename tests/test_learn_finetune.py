from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from tests.synth import TinyBackbone, crops_of, title_of
from vcn_ray.errors import ConfigError, ShapeError
from vcn_ray.learn.finetune import Adapted, adapt
from vcn_ray.learn.settings import FinetuneConfig, TitleCrops
from vcn_ray.records import TrackOutputs

PEOPLE = np.array([0, 1, 2, 0, 1, 2, 0, 1])
QUICK = FinetuneConfig(outputs=64, epochs=2, least_steps=10, quality_passes=8)


def run(title: TitleCrops, config: FinetuneConfig = QUICK, seed: int = 0) -> Adapted:
    return adapt(title, TinyBackbone(), config, seed)


def check(outputs: TrackOutputs, tracks: int) -> None:
    """Every field is there for every track, finite, and in its range."""
    assert len(outputs) == tracks
    for field in fields(outputs):
        value = getattr(outputs, field.name)
        if isinstance(value, np.ndarray):
            assert np.isfinite(value).all(), field.name
            assert field.name == "centre" or len(value) == tracks, field.name
    np.testing.assert_allclose(np.linalg.norm(outputs.embedding, axis=1), 1, atol=1e-5)
    assert ((outputs.quality >= 0) & (outputs.quality <= 1)).all()


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def margin(rows: np.ndarray) -> float:
    """Least cosine between tracks of one person, less the largest between two people."""
    same = PEOPLE[:, None] == PEOPLE
    return float(cosines(rows)[same].min() - cosines(rows)[~same].max())


def test_training_sets_people_apart():
    title = title_of(PEOPLE, 6)
    adapted = run(title, replace(QUICK, least_steps=40, tail_epochs=0))
    check(adapted.outputs, 8)
    assert adapted.warnings == ()
    centred = adapted.outputs.output - adapted.outputs.centre
    assert margin(centred) > max(margin(adapted.outputs.untuned) + 0.2, 0)


@pytest.mark.parametrize("tail_epochs", [0, 2])
def test_two_runs_give_the_same_bits(tail_epochs: int):
    config = replace(QUICK, tail_epochs=tail_epochs)
    first, second = (run(title_of(PEOPLE), config) for _ in range(2))
    other = run(title_of(PEOPLE), config, seed=1)
    for field in fields(TrackOutputs):
        left, right = getattr(first.outputs, field.name), getattr(second.outputs, field.name)
        assert np.array_equal(left, right), field.name
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert not np.array_equal(first.outputs.output, other.outputs.output)


def test_the_encoder_and_the_global_state_are_left_alone():
    encoder = TinyBackbone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    flags = [parameter.requires_grad for parameter in encoder.parameters()]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what is guarded
    adapt(title_of(PEOPLE), encoder, QUICK, 0)
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in before.items())
    assert [parameter.requires_grad for parameter in encoder.parameters()] == flags
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002 - as above


def test_tail_changes_the_encoder_and_only_its_tail_is_saved():
    head_only, tuned = run(title_of(PEOPLE), replace(QUICK, tail_epochs=0)), run(title_of(PEOPLE))
    assert not any(name.startswith("encoder.") for name in head_only.tensors)
    assert {name for name in tuned.tensors if name.startswith("encoder.")} == {
        "encoder.second.weight",
        "encoder.last.weight",
    }
    assert {"head.first.weight", "head.last.weight", "centre"} <= tuned.tensors.keys()
    np.testing.assert_array_equal(head_only.outputs.untuned, tuned.outputs.untuned)
    assert not np.allclose(tuned.outputs.embedding, tuned.outputs.untuned, atol=1e-4)
    np.testing.assert_allclose(head_only.outputs.embedding, head_only.outputs.untuned, atol=1e-6)


def test_saved_tensors_give_the_outputs_back():
    title = title_of(PEOPLE)
    adapted = run(title)
    encoder = TinyBackbone()
    names = {n.removeprefix("encoder."): t for n, t in adapted.tensors.items() if "encoder." in n}
    encoder.load_state_dict(names, strict=False)
    embeddings = encoder.embed(torch.from_numpy(title.crops)).numpy()
    mean = np.stack([embeddings[title.track == t].mean(axis=0) for t in range(8)])
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    # Activations are kept in half precision.
    np.testing.assert_allclose(adapted.outputs.embedding, mean, atol=2e-3)


def test_the_scale_of_an_encoders_weights_does_not_matter():
    title, small = title_of(PEOPLE), TinyBackbone()
    with torch.no_grad():
        small.last.weight /= 64  # of no effect on unit embeddings
    scaled, plain = adapt(title, small, QUICK, 0), run(title)
    np.testing.assert_allclose(scaled.outputs.untuned, plain.outputs.untuned, atol=1e-6)
    moved = np.abs(plain.outputs.embedding - plain.outputs.untuned).max()
    differ = np.abs(scaled.outputs.embedding - plain.outputs.embedding).max()
    assert differ < 0.05 * moved


def test_no_room_to_keep_activations_gives_the_same_result():
    kept, computed = run(title_of(PEOPLE)), run(title_of(PEOPLE), replace(QUICK, cache_bytes=0))
    np.testing.assert_allclose(kept.outputs.embedding, computed.outputs.embedding, atol=5e-3)
    np.testing.assert_allclose(kept.outputs.output, computed.outputs.output, atol=2e-2)


def test_history_has_one_record_for_each_epoch():
    history = run(title_of(PEOPLE), replace(QUICK, least_steps=1)).history
    assert [(r.epoch, r.round, r.stage) for r in history] == [
        (0, 0, "head"),
        (1, 0, "head"),
        (2, 1, "head"),
        (3, 1, "head"),
        (4, 2, "tail"),
        (5, 2, "tail"),
    ]
    assert all(np.isfinite([r.loss, r.entropy, r.spread]).all() for r in history)
    assert all(0 <= r.entropy <= np.log(64) + 1e-4 and 0 < r.spread <= 1 for r in history)
    assert all(r.seconds > 0 for r in history)


def test_progress_names_each_step_and_ends_at_the_whole():
    heard: dict[str, list[float]] = {}
    title = title_of(PEOPLE)
    adapt(
        title,
        TinyBackbone(),
        QUICK,
        0,
        lambda step, share: heard.setdefault(step, []).append(share),
    )
    assert list(heard) == ["views", "head", "match", "tail", "outputs", "quality"]
    for step, shares in heard.items():
        assert shares[-1] == pytest.approx(1), step
        assert step == "match" or shares == sorted(shares), step
        assert all(0 <= share <= 1 + 1e-9 for share in shares), step


@pytest.mark.parametrize("matcher", ["partition", "gaussian", "none"])
def test_every_matcher_runs(matcher):
    check(run(title_of(PEOPLE), replace(QUICK, matcher=matcher)).outputs, 8)


def test_collapse_falls_back_to_the_untuned_encoder():
    wild = replace(QUICK, centre_momentum=1.0, learning_rate=0.5, least_steps=60)
    adapted = run(title_of(PEOPLE), wild)
    assert adapted.warnings == ("collapsed",)
    check(adapted.outputs, 8)
    np.testing.assert_allclose(adapted.outputs.embedding, adapted.outputs.untuned, atol=1e-6)
    # Clustering sees the untuned geometry: cosines of outputs are those of untuned embeddings.
    np.testing.assert_allclose(
        cosines(adapted.outputs.output), cosines(adapted.outputs.untuned), atol=0.02
    )
    assert adapted.history[-1].spread < wild.least_spread


def test_loss_that_is_not_finite_is_a_collapse():
    adapted = run(title_of(PEOPLE), replace(QUICK, learning_rate=1e30))
    assert adapted.warnings == ("collapsed",)
    check(adapted.outputs, 8)


def test_collapse_of_the_tail_keeps_the_head():
    wild = replace(QUICK, tail_learning_rate=1e30)
    adapted = run(title_of(PEOPLE), wild)
    assert adapted.warnings == ("tail_collapsed",)
    head_only = run(title_of(PEOPLE), replace(QUICK, tail_epochs=0))
    np.testing.assert_array_equal(adapted.outputs.output, head_only.outputs.output)


def test_no_tracks():
    title = TitleCrops(
        np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    )
    adapted = run(title)
    assert adapted.warnings == ("empty",)
    assert adapted.tensors == {}
    assert adapted.outputs.teacher.shape == (0, 64)
    assert adapted.outputs.embedding.shape == (0, TinyBackbone.dim)


@pytest.mark.parametrize(("people", "crops"), [([0], 1), ([0], 5), ([0, 1, 0, 2], 1)])
def test_few_tracks_and_tracks_of_one_crop(people, crops):
    check(run(title_of(np.array(people), crops)).outputs, len(people))


def test_crops_all_alike():
    track = np.array([0, 0, 1, 1, 2])
    crops = np.full((5, 16, 16, 3), 90, np.uint8)
    adapted = run(TitleCrops(crops, track, np.array([[0, 1]])))
    check(adapted.outputs, 3)


def test_tracks_that_share_a_frame_are_never_trained_as_one():
    title = title_of(np.zeros(4, np.int64), 4)
    apart = replace(title, cannot_link=np.array([[i, j] for i in range(4) for j in range(i)]))
    alone = run(apart, replace(QUICK, tail_epochs=0))
    unmatched = run(title, replace(QUICK, tail_epochs=0, matcher="none"))
    np.testing.assert_array_equal(alone.outputs.output, unmatched.outputs.output)


def test_wrong_input_is_named():
    crops, none = crops_of(np.arange(3), 1), np.zeros((0, 2), np.int64)
    with pytest.raises(ShapeError, match=r"each with a crop; without: \[1\]"):
        TitleCrops(crops, np.array([0, 2, 2]), none)
    with pytest.raises(ShapeError, match="3 crops need as many tracks"):
        TitleCrops(crops, np.array([0, 1]), none)
    with pytest.raises(ShapeError, match="cannot_link"):
        TitleCrops(crops, np.arange(3), np.array([[0, 3]]))
    with pytest.raises(ShapeError, match="uint8"):
        TitleCrops(crops.astype(np.float32), np.arange(3), none)
    with pytest.raises(ConfigError, match="augmented_views"):
        FinetuneConfig(augmented_views=1)
    with pytest.raises(ConfigError, match="teacher_temperature"):
        FinetuneConfig(teacher_temperature=0.2)
    with pytest.raises(ConfigError, match="matcher"):
        FinetuneConfig(matcher="nearest")


@pytest.mark.gpu
def test_on_a_gpu():
    assert torch.cuda.is_available(), "this test was asked for with -m gpu, but there is no GPU"
    title = title_of(PEOPLE, 6)
    first, second = (adapt(title, TinyBackbone().cuda(), QUICK, 0) for _ in range(2))
    check(first.outputs, 8)
    np.testing.assert_array_equal(first.outputs.output, second.outputs.output)
    np.testing.assert_allclose(first.outputs.untuned, run(title).outputs.untuned, atol=5e-3)
