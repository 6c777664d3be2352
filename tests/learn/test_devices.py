"""Adapting on a GPU, as far as a CPU can tell: no operand on the wrong device, half precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.pretend_gpu import pretended_gpu
from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.learn import encoder as learn_encoder
from vcn_ray.learn import views
from vcn_ray.learn.adapt import adapt
from vcn_ray.learn.adapt_config import Trained
from vcn_ray.learn.encoder import EncoderWithHead, Unfrozen
from vcn_ray.models.dlib_detector import DlibDetector
from vcn_ray.packs.check import read_picture
from vcn_ray.packs.load import load_pack

PARTS: tuple[Trained, ...] = ("frozen", "tail", "all")


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretended_gpu() as gpu:
        there, here = torch.ones(4, 3).to(gpu), torch.ones(4, 3)
        assert there.device.type == gpu
        assert there[torch.tensor([0, 2])].device.type == gpu
        assert float((there * 2 + torch.tensor(1.0)).sum()) == 36
        assert there.cpu().equal(here)
        with pytest.raises(RuntimeError, match="on the CPU and on the GPU"):
            there + here
        with pytest.raises(RuntimeError, match="on the CPU and on the GPU"):
            here[torch.tensor([0])] = there[:1]
        with pytest.raises(RuntimeError, match="on the CPU and on the GPU"):
            torch.randn(2, device=gpu, generator=torch.Generator()) + there[0, :2]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_left_on_the_cpu(part: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "GPU_BATCH", views.CPU_BATCH)  # sums in the same order
    title, config = title_of(PEOPLE, 6), replace(QUICK, encoder=part)
    expected = adapt(title, TinyBackbone(), config, NEAR, seed=0)
    encoder = TinyBackbone()
    with pretended_gpu() as gpu:
        found = adapt(title, encoder.to(gpu), config, NEAR, seed=0)
    assert len(found.history) == len(expected.history)
    np.testing.assert_allclose(found.outputs.output, expected.outputs.output, atol=1e-4)
    np.testing.assert_allclose(found.outputs.pretrained, expected.outputs.pretrained, atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_half_precision_changes_little(part: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU networks run in half precision; the pictures that they see are made in full."""
    title, config = title_of(PEOPLE, 6), replace(QUICK, encoder=part)
    expected = adapt(title, TinyBackbone(), config, NEAR, seed=0)

    def half(_: torch.device, trained: bool = False) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16)

    for module in (learn_encoder, views):
        monkeypatch.setattr(module, "mixed_precision", half)
    found = adapt(title, TinyBackbone(), config, NEAR, seed=0)
    assert found.warnings == expected.warnings
    np.testing.assert_allclose(found.outputs.pretrained, expected.outputs.pretrained, atol=0.05)
    assert not np.array_equal(found.outputs.pretrained, expected.outputs.pretrained)


@pytest.mark.parametrize("name", ["centerface-sface", "dlib"])
@pytest.mark.parametrize("part", ["tail", "all"])
def test_built_in_encoders_train_elsewhere(name: str, part: Unfrozen) -> None:
    encoder, head = load_pack(name).load_encoder(), torch.nn.Linear(128, 4)
    pictures = torch.rand(2, 3, encoder.input_pixels, encoder.input_pixels) * 255
    with pretended_gpu() as gpu:
        net = EncoderWithHead(encoder.to(gpu), head.to(gpu), part)
        images = pictures.to(gpu)
        with torch.no_grad():
            activations = net.encoder.frozen_trunk()(net.encoder.prepare(images))
        net(images if part == "all" else activations).sum().backward()
        assert all(parameter.grad is not None for parameter in net.trained())
        assert {parameter.device.type for parameter in net.parameters()} == {gpu}


def test_the_detector_of_dlib_runs_elsewhere() -> None:
    frames = read_picture()[None, ::4, ::4]
    (expected,) = DlibDetector().detect(frames)
    with pretended_gpu() as gpu:
        (found,) = DlibDetector(gpu).detect(frames)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
