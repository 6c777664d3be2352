"""Nothing channels-last or permuted reaches a convolution that is differentiated.

On CPUs with AVX-512 the backward pass of oneDNN's strided 1x1 convolutions writes outside its
buffers for such tensors. Strides show the fault on any machine, a crash only on some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.encoders import drawn, export
from tests.helpers.synth import TinyBackbone
from vcn_ray.learn.augment import AugmentConfig
from vcn_ray.learn.encoder import EncoderWithHead
from vcn_ray.learn.views import CropViews
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import RESNET_FILE, model_file
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.records import U8

CROPS = 3
OUTPUTS = 8


def _iresnet(_: Path) -> Backbone:
    return drawn(IResNet((2, 1, 1, 1), dim=32, width=8))


def _graph(folder: Path) -> Backbone:
    path = folder / "net.onnx"
    export(_iresnet(folder), path)
    return OnnxEncoder.from_file(path, InputScale())


MAKERS: dict[str, Callable[[Path], Backbone]] = {
    "dlib": lambda _: DlibResNet(model_file(RESNET_FILE).read_bytes()),
    "mobilefacenet": lambda _: drawn(MobileFaceNet()),
    "iresnet": _iresnet,
    "onnx": _graph,
    "tiny": lambda _: TinyBackbone(),
}


@pytest.fixture(params=list(MAKERS))
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def differentiated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what entered convolutions under gradients, each checked as it enters."""
    seen: list[tuple[int, ...]] = []
    convolve = functional.conv2d

    def checked(inputs: Tensor, weight: Tensor, *rest: object, **named: object) -> Tensor:
        if torch.is_grad_enabled():
            assert inputs.is_contiguous(), f"inputs {tuple(inputs.shape)} {inputs.stride()}"
            assert weight.is_contiguous(), f"weight {tuple(weight.shape)} {weight.stride()}"
            seen.append(tuple(inputs.shape))
        result: Tensor = convolve(inputs, weight, *rest, **named)
        return result

    monkeypatch.setattr(functional, "conv2d", checked)
    yield seen
    assert seen, "no convolution was differentiated: the test saw nothing"


def crops_for(encoder: Backbone) -> U8:
    side = encoder.input_pixels
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (CROPS, side, side, 3), dtype=np.uint8)


def layouts(crops: U8) -> list[Tensor]:
    """The same crops as every caller may give them."""
    pixels = torch.from_numpy(crops)
    planes = pixels.permute(0, 3, 1, 2).float()
    return [pixels, planes, planes.contiguous(), planes.flip(3).flip(3)]


def test_prepared_images_are_contiguous_and_equal(encoder: Backbone) -> None:
    prepared = [encoder.prepare(layout) for layout in layouts(crops_for(encoder))]
    for images in prepared:
        assert images.is_contiguous()
        assert torch.equal(images, prepared[0])


def test_frozen_trunk_gives_contiguous_activations(encoder: Backbone) -> None:
    images = encoder.prepare(torch.from_numpy(crops_for(encoder)))
    with torch.no_grad():
        assert encoder.frozen_trunk()(images).is_contiguous()


def test_whole_encoder(encoder: Backbone, differentiated: list[tuple[int, ...]]) -> None:
    for layout in layouts(crops_for(encoder)):
        encoder(encoder.prepare(layout)).square().sum().backward()


@pytest.mark.parametrize("part", ["tail", "all"])
@pytest.mark.parametrize("kept", [False, True], ids=["computed", "cached"])
def test_training_on_views(
    encoder: Backbone, part: str, kept: bool, differentiated: list[tuple[int, ...]]
) -> None:
    generator = torch.Generator().manual_seed(0)
    views = CropViews(crops_for(encoder), encoder, AugmentConfig(), 2, generator)
    if kept:
        assert views.reserve(views.count, 1 << 30) == views.count
        views.encode(encoder, range(views.count), lambda _: None)
    rows = torch.arange(CROPS).repeat(views.count)
    numbers = torch.arange(views.count).repeat_interleave(CROPS)
    head = nn.Linear(encoder.dim, OUTPUTS)
    net = EncoderWithHead(encoder, head, "tail" if part == "tail" else "all")
    take = views.activations if part == "tail" else views.images
    net(take(rows, numbers)).square().sum().backward()
    for parameter in net.trained():
        assert parameter.grad is not None
        assert parameter.is_contiguous()
