"""An adaptation that was killed and resumed ends in the bits of one that was not."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load

from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.core.cut import CutConfig
from vcn_ray.learn.adapt import Adapted, adapt, adapt_encoded
from vcn_ray.learn.adapt_config import AdaptConfig, Trained
from vcn_ray.learn.hooks import Hooks
from vcn_ray.learn.views import encode_views
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import TitleCrops, TrackOutputs

SHORT = replace(QUICK, epochs=2)


class KilledError(Exception):
    """What stands in for the end of a process."""


class Memory:
    """Keeps a checkpoint; ends the process as soon as so many were saved."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.data: bytes | None = None
        self.saves = 0
        self.last: int | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
        self.saves += 1
        if self.saves == self.last:
            raise KilledError


def run(
    memory: Memory | None,
    config: AdaptConfig = SHORT,
    seed: int = 0,
    title: TitleCrops | None = None,
    encoder: Backbone | None = None,
    cut: CutConfig = NEAR,
) -> Adapted:
    title, encoder = title or title_of(PEOPLE), encoder or TinyBackbone()
    return adapt(title, encoder, config, cut, seed=seed, hooks=Hooks(checkpoints=memory))


@cache
def run_whole(config: AdaptConfig = SHORT) -> Adapted:
    """The same without a checkpoint, once for all tests."""
    return run(None, config)


def check_equal(got: Adapted, want: Adapted) -> None:
    """Equal to the bit, except for the time it took."""
    for field in fields(TrackOutputs):
        left, right = getattr(got.outputs, field.name), getattr(want.outputs, field.name)
        assert np.array_equal(left, right), field.name
    assert got.tensors.keys() == want.tensors.keys()
    assert all(torch.equal(got.tensors[name], want.tensors[name]) for name in want.tensors)
    timeless = [[repr(replace(r, seconds=0.0)) for r in each.history] for each in (got, want)]
    assert timeless[0] == timeless[1]  # as text: a loss may be nan
    assert all(np.array_equal(*pair) for pair in zip(got.matches, want.matches, strict=True))
    assert got.warnings == want.warnings


CONFIGS = {
    "frozen": replace(SHORT, encoder="frozen"),
    "tail": SHORT,
    "all": replace(SHORT, encoder="all"),
    "pairs": replace(SHORT, matcher="gaussian"),
    "settled": replace(SHORT, rounds=6, encoder_epochs=3),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_killed_after_any_epoch(config: AdaptConfig) -> None:
    whole = run_whole(config)
    epochs = len(whole.history)
    assert epochs > 3
    for last in range(1, epochs + 1):
        memory = Memory()
        memory.last = last
        with pytest.raises(KilledError):
            run(memory, config)
        memory.last = None
        resumed = run(memory, config)
        check_equal(resumed, whole)
        assert (resumed.resumed_epochs, whole.resumed_epochs) == (last, 0)
        assert memory.saves == epochs  # none was trained twice


def test_rounds_that_settle_are_among_those_killed() -> None:
    settled = run_whole(CONFIGS["settled"])
    assert len(settled.matches) - 1 < CONFIGS["settled"].rounds
    assert settled.history[-1].phase == "encoder"


def test_killed_again_and_again() -> None:
    whole, memory = run_whole(), Memory()
    for number in range(1, len(whole.history) + 1):
        memory.last = number
        with pytest.raises(KilledError):
            run(memory)
    check_equal(run(memory), whole)
    assert memory.saves == len(whole.history)


@pytest.mark.parametrize("phase", ["head", "match", "encoder", "outputs"])
def test_killed_within_a_phase(phase: str) -> None:
    whole, memory = run_whole(), Memory()

    def kill(name: str, progress: float) -> None:
        if name == phase and progress > 0.4:
            raise KilledError

    with pytest.raises(KilledError):
        adapt(title_of(PEOPLE), TinyBackbone(), SHORT, NEAR, seed=0, hooks=Hooks(kill, memory))
    done = memory.saves
    check_equal(run(memory), whole)
    assert memory.saves == len(whole.history)
    assert done == {"head": 1, "match": 2, "encoder": 4}.get(phase, 6)


def test_a_collapse_after_a_kill_is_the_same_collapse() -> None:
    wild = replace(SHORT, encoder_learning_rate=1e30), replace(SHORT, learning_rate=0.5, epochs=20)
    for config in wild:
        whole, memory = run(None, config), Memory()
        assert whole.warnings
        memory.last = 1
        with pytest.raises(KilledError):
            run(memory, config)
        memory.last = None
        check_equal(run(memory, config), whole)


def test_each_phase_s_time_is_counted_once() -> None:
    title, encoder, memory = title_of(PEOPLE), TinyBackbone(), Memory()
    encoded = encode_views(title, encoder, SHORT, seed=0)
    memory.last = 5
    for _ in range(2):
        with suppress(KilledError):
            adapted = adapt_encoded(encoded, SHORT, NEAR, seed=0, hooks=Hooks(checkpoints=memory))
    assert adapted.seconds["views"] == encoded.seconds
    for phase in ("head", "encoder"):
        trained = sum(r.seconds for r in adapted.history if r.phase == phase)
        assert adapted.seconds[phase] >= trained


@cache
def _three_epochs() -> bytes:
    memory = Memory()
    memory.last = 3
    with pytest.raises(KilledError):
        run(memory)
    assert memory.data
    return memory.data


def killed_midway() -> Memory:
    memory = Memory()
    memory.data, memory.saves = _three_epochs(), 3
    return memory


@pytest.mark.parametrize(
    "other", ["config", "cut", "seed", "crops", "tracks", "links", "encoder", "kind"]
)
def test_a_checkpoint_of_something_else_is_not_used(
    other: str, caplog: pytest.LogCaptureFixture
) -> None:
    title, config, cut, seed, encoder = title_of(PEOPLE), SHORT, NEAR, 0, TinyBackbone()
    if other == "config":
        config = replace(config, matched_fraction=0.6)
    elif other == "cut":
        cut = replace(cut, view_factor=0.5)
    elif other == "seed":
        seed = 1
    elif other == "crops":
        title.crops[3, 4, 5, 1] ^= 1
    elif other == "tracks":
        title = replace(title, track=title.track[::-1].copy())
    elif other == "links":
        title = replace(title, cannot_link=np.array([[0, 1]]))
    elif other == "encoder":
        with torch.no_grad():
            encoder.last.weight[0, 0] += 1e-6
    else:
        encoder = type("OtherBackbone", (TinyBackbone,), {})()
    memory = killed_midway()
    with caplog.at_level(logging.WARNING):
        adapted = run(memory, config, seed, title, encoder, cut)
    assert "belongs to another adaptation" in caplog.text
    check_equal(adapted, run(None, config, seed, title, encoder, cut))
    assert memory.saves == 3 + len(adapted.history)


@pytest.mark.parametrize("fraction", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_not_used(
    fraction: float, caplog: pytest.LogCaptureFixture
) -> None:
    memory = killed_midway()
    saved = memory.data
    assert saved
    memory.data = saved[: int(fraction * len(saved))]
    with caplog.at_level(logging.WARNING):
        check_equal(run(memory), run_whole())
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("data", [b"\x80\x04 pickle", b"\x02" + b"\0" * 7 + b"{}"])
def test_other_bytes_are_not_used(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    memory.data = data
    with caplog.at_level(logging.WARNING):
        check_equal(run(memory), run_whole())
    assert "cannot be read" in caplog.text


def test_a_short_training_saves_nothing() -> None:
    memory = Memory(seconds=60)
    run(memory)
    assert memory.saves == 0


def test_only_what_is_trained_is_saved() -> None:
    memory = Memory()
    run(memory, replace(SHORT, encoder="tail"))
    stored = load(memory.data)
    parts = {name.split("/")[1] for name in stored if name.startswith("learner/")}
    assert parts == {"head", "encoder"}
    shapes = {tuple(t.shape) for name, t in stored.items() if "encoder/student" in name}
    encoder = TinyBackbone()
    assert {tuple(encoder.second.weight.shape), tuple(encoder.last.weight.shape)} <= shapes
    assert tuple(encoder.first.weight.shape) not in shapes


@pytest.mark.gpu
@pytest.mark.parametrize("part", ["frozen", "tail", "all"])
def test_on_a_gpu(part: Trained) -> None:
    assert torch.cuda.is_available(), "this test was asked for with -m gpu, but there is no GPU"
    config = replace(SHORT, encoder=part)
    whole = run(None, config, encoder=TinyBackbone().cuda())
    memory = Memory()
    memory.last = 3
    with pytest.raises(KilledError):
        run(memory, config, encoder=TinyBackbone().cuda())
    memory.last = None
    check_equal(run(memory, config, encoder=TinyBackbone().cuda()), whole)
