"""Made-up crops and a tiny encoder, from a seed, for tests that need no real faces."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vcn_ray.core.cut import CutConfig
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import I64, U8, TitleCrops, TrackOutputs

PIXELS = 16
PEOPLE = np.array([0, 1, 2, 0, 1, 2, 0, 1])
"""Who is seen in each track of a small title."""

QUICK = AdaptConfig(outputs=64, epochs=10, quality_passes=8, min_tracks=0)
"""An adaptation within a second."""

NEAR = CutConfig(view_factor=0.4)
"""The cut for TinyBackbone: to an untrained encoder a changed view is farther than a stranger."""


class TinyBackbone(Backbone):
    """Two convolutions and a linear layer on 16-pixel crops: untrained, yet it sees colours."""

    input_pixels = PIXELS
    dim = 24

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False, device="meta")
        self.second = nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False, device="meta")
        self.last = nn.Linear(64, self.dim, bias=False, device="meta")
        self.to_empty(device="cpu")
        for layer in (self.first, self.second, self.last):
            fan = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=fan**-0.5, generator=generator)
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        return (images - 127.5) / 64

    def trunk(self, images: Tensor) -> Tensor:
        return torch.relu(self.first(images))

    def tail(self, activations: Tensor) -> Tensor:
        hidden = torch.relu(self.second(activations))
        return functional.adaptive_avg_pool2d(hidden, 2).flatten(1)

    def project(self, features: Tensor) -> Tensor:
        projected: Tensor = self.last(features)
        return projected

    def tail_parameters(self) -> list[nn.Parameter]:
        return [*self.second.parameters(), *self.last.parameters()]


def crops_of(people: I64, crops_per_track: int, seed: int = 0) -> U8:
    """(k * n, 16, 16, 3) crops of k tracks: a pattern for each person, noise for each crop."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (int(people.max(initial=-1)) + 1, 4, 4, 3))
    pattern = coarse.repeat(PIXELS // 4, axis=1).repeat(PIXELS // 4, axis=2)
    shown = pattern[people.repeat(crops_per_track)]
    light = rng.normal(1, 0.1, (len(shown), 1, 1, 1))
    noisy = shown * light + rng.normal(0, 12, shown.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def title_of(people: I64, crops_per_track: int = 4, seed: int = 0) -> TitleCrops:
    """A title whose track t shows `people[t]`; no two tracks share a frame."""
    track = np.arange(len(people)).repeat(crops_per_track)
    crops, none = crops_of(people, crops_per_track, seed), np.zeros((0, 2), np.int64)
    return TitleCrops(crops, track, none, np.full(len(track), 0.9, np.float32))


def unit(seed: int, *shape: int) -> Tensor:
    """Random unit vectors of this shape, the last dimension being theirs."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(drawn, dim=-1)


def check_outputs(outputs: TrackOutputs, tracks: int) -> None:
    """Every field is there for every track, finite, and in its range."""
    assert len(outputs) == tracks
    for field in fields(outputs):
        value = getattr(outputs, field.name)
        if isinstance(value, np.ndarray):
            assert np.isfinite(value).all(), field.name
            assert field.name == "centre" or len(value) == tracks, field.name
    np.testing.assert_allclose(np.linalg.norm(outputs.embedding, axis=1), 1, atol=1e-5)
    assert ((outputs.quality >= 0) & (outputs.quality <= 1)).all()
