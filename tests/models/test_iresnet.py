"""IResNet against its formula by the published names, and its graphs at full width in ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tests.helpers.encoders import drawn, export
from vcn_ray.models.iresnet import R50_BLOCKS, IResNet, count_blocks
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.onnx_export import write_encoder
from vcn_ray.records import F32

CLOSE = 1e-4
Blocks = tuple[int, int, int, int]
DEPTHS = [
    pytest.param((2, 2, 2, 2), 24.0, id="r18"),
    pytest.param((3, 4, 6, 3), 34.1, id="r34", marks=pytest.mark.slow),
    pytest.param(R50_BLOCKS, 43.6, id="r50", marks=pytest.mark.slow),
    pytest.param((3, 13, 30, 3), 65.2, id="r100", marks=pytest.mark.slow),
]
"""Blocks of InsightFace's nets, and millions of parameters as InsightFace gives them."""


def net_of(blocks: Blocks = (2, 1, 1, 1), width: int = 8) -> IResNet:
    torch.manual_seed(0)
    net = drawn(IResNet(blocks, dim=512 if width == 64 else 32, width=width))
    assert isinstance(net, IResNet)
    return net


def pictures(count: int) -> Tensor:
    """Crops (count, 112, 112, 3) uint8."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, 112, 112, 3), dtype=np.uint8))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Greatest difference over the greatest value."""
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def by_names(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The net written out: (b, 3, 112, 112) to (b, d), by nothing but its published names."""

    def norm(x: Tensor, name: str) -> Tensor:
        shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
        mean, var, scale, shift = (
            weights[f"{name}.{part}"].reshape(shape)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    def prelu(x: Tensor, name: str) -> Tensor:
        return x.clamp(min=0) + weights[f"{name}.weight"].reshape(1, -1, 1, 1) * x.clamp(max=0)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        filters = weights[f"{name}.weight"]
        return functional.conv2d(x, filters, stride=stride, padding=filters.shape[-1] // 2)

    x = prelu(norm(conv(images, "conv1"), "bn1"), "prelu")
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        numbers = sorted({int(n.split(".")[1]) for n in weights if n.startswith(layer)})
        for number in numbers:
            at, stride = f"{layer}.{number}", 2 if number == 0 else 1
            way = x
            if f"{at}.downsample.0.weight" in weights:
                way = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = conv(norm(x, f"{at}.bn1"), f"{at}.conv1")
            x = conv(prelu(norm(x, f"{at}.bn2"), f"{at}.prelu"), f"{at}.conv2", stride)
            x = norm(x, f"{at}.bn3") + way
    x = norm(x, "bn2").flatten(1)
    return norm(x @ weights["fc.weight"].T + weights["fc.bias"], "features")


def test_equal_to_the_formula() -> None:
    net = net_of()
    images = net.prepare(pictures(2))
    with torch.no_grad():
        assert relative(net(images), by_names(net.state_dict(), images)) < 1e-5


def test_pixels_are_scaled_about_the_middle_grey() -> None:
    net, crops = net_of(), pictures(1)
    floats = crops.permute(0, 3, 1, 2).float()
    assert torch.equal(net.prepare(crops), (floats - 127.5) / 127.5)
    assert torch.equal(net.prepare(floats), net.prepare(crops))


def test_the_parts_make_the_whole() -> None:
    net = net_of()
    images = net.prepare(pictures(2))
    with torch.no_grad():
        activations = net.trunk(images)
        assert activations.shape == (2, 32, 14, 14)
        features = net.tail(activations)
        assert features.shape == (2, 64 * 49)
        assert torch.equal(net.project(features), net(images))
        assert torch.allclose(net.frozen_trunk()(images), activations, atol=1e-5)
    tail = {id(parameter) for parameter in net.tail_parameters()}
    named = {name for name, parameter in net.named_parameters() if id(parameter) in tail}
    assert {name.split(".")[0] for name in named} == {"layer4", "bn2", "fc", "features"}


def test_batch_norms_keep_their_statistics_while_training() -> None:
    net = net_of()
    images = net.prepare(pictures(2))
    before, statistics = net(images), {n: v.clone() for n, v in net.named_buffers()}
    net.train()
    assert torch.equal(net(images), before)
    assert all(torch.equal(v, statistics[n]) for n, v in net.named_buffers())
    before.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_depth_and_length_are_read_off_the_weights(tmp_path: Path) -> None:
    net = drawn(IResNet((1, 2, 3, 1), dim=128))
    state = {n: v for n, v in net.state_dict().items() if "num_batches_tracked" not in n}
    save_file(state, tmp_path / "net.safetensors")  # as some scripts write it
    again = IResNet.from_file(tmp_path / "net.safetensors")
    assert (count_blocks(state), again.dim) == ((1, 2, 3, 1), 128)
    images = again.prepare(pictures(1))
    assert torch.equal(again(images), net(images))


def by_onnxruntime(path: Path, images: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    found: F32 = session.run(None, {"data": images.numpy()})[0]
    return torch.from_numpy(found)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for graphs of up to 260 MB, which are not kept."""
    yield tmp_path
    for path in tmp_path.glob("*.onnx"):
        path.unlink()


@pytest.mark.parametrize(("blocks", "millions"), DEPTHS)
def test_a_folded_graph_at_full_width_is_equal(
    place: Path, blocks: Blocks, millions: float
) -> None:
    net = net_of(blocks, width=64)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    export(net, place / "net.onnx")
    encoder = OnnxEncoder.from_file(place / "net.onnx", InputScale())
    images = net.prepare(pictures(2))
    assert torch.equal(encoder.prepare(pictures(2)), images)
    assert encoder.trunk(images[:1]).shape == net.trunk(images[:1]).shape == (1, 256, 14, 14)
    with torch.no_grad():
        found = encoder(images)
        assert relative(found, by_onnxruntime(place / "net.onnx", images)) < CLOSE
        assert relative(found, net(images)) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "millions"), DEPTHS)
def test_a_graph_at_full_width_learns_as_the_module(
    place: Path, blocks: Blocks, millions: float
) -> None:
    net = net_of(blocks, width=64)
    export(net, place / "net.onnx", folded=False)
    encoder = OnnxEncoder.from_file(place / "net.onnx", InputScale())
    images = net.prepare(pictures(2))
    towards = torch.randn(2, net.dim, generator=torch.Generator().manual_seed(1))
    (encoder(images) * towards).sum().backward()
    (net(images) * towards).sum().backward()
    theirs = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    ours = {n: encoder.graph.weights[w].grad for n, w in encoder.graph.weight_names.items()}
    assert theirs.keys() == ours.keys()
    assert sum(grad.numel() for grad in theirs.values()) / 1e6 == pytest.approx(millions, abs=0.05)
    for name, grad in theirs.items():
        given = ours[name]
        assert given is not None
        assert relative(given.reshape(grad.shape), grad) < CLOSE, name

    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.01).add_(0.001)
        write_encoder(encoder, place / "net.onnx", place / "learned.onnx")
        learned = by_onnxruntime(place / "learned.onnx", images)
        assert relative(encoder(images), learned) < CLOSE
        assert relative(net(images), learned) > 10 * CLOSE
