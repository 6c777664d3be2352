"""The views of a title's crops through an encoder; activations of its trunk are kept as they fit.

A view is a crop as it is, mirrored, or changed at random (METHOD 2.2). The changes are drawn once,
so a view is the same picture each time it is asked for, and its activations are rounded as kept
ones are where they have to be computed again: memory changes the time, never the result.
It knows nothing of tracks, heads or losses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vcn_ray.learn.augment import Augmentation, AugmentConfig, augment, draw, plain
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import U8

PLAIN = 0
MIRRORED = 1
FIRST_AUGMENTED = 2
"""Numbers of the views; the augmented ones follow."""

CACHE_TYPE = torch.float16
"""Type of kept activations, half the size of what the trunk gives."""

CPU_BATCH = 8
GPU_BATCH = 256
"""Crops that go through an encoder at once. On one core 8 take half the time a crop that 64 take:
their activations stay in its cache."""

Tick = Callable[[float], None]
"""Takes the share of a stage that is done."""


class Encoded(NamedTuple):
    """What an encoder says of crops."""

    features: Tensor  # (b, h) input of its last layer
    embeddings: Tensor  # (b, d) unit e


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Row numbers 0..count-1, `size` at a time."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def mixed_precision(device: torch.device, trained: bool = False) -> torch.autocast:
    """Half precision on a GPU, nothing elsewhere; bfloat16 where gradients must not vanish."""
    kind = torch.bfloat16 if trained else torch.float16
    return torch.autocast(device.type, dtype=kind, enabled=device.type == "cuda")


def encode_tail(encoder: Backbone, activations: Tensor) -> Encoded:
    """The encoder from the trunk's activations on, to float32."""
    features = encoder.tail(activations)
    embeddings = encoder.project(features).float()
    return Encoded(features.float(), functional.normalize(embeddings, dim=1))


class CropViews:
    """All views of a title's crops; the encoder's trunk is taken as frozen.

    Args:
        crops: (m, p, p, 3) uint8 RGB.
        encoder: Its device is where everything is computed.
        config: How crops are changed.
        augmented: Number of augmented views.
        generator: On the CPU.
        ranks: Who encodes them together.
    """

    def __init__(
        self,
        crops: U8,
        encoder: Backbone,
        config: AugmentConfig,
        augmented: int,
        generator: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> None:
        self._crops = torch.from_numpy(crops)
        self._prepare = encoder.prepare
        self._trunk = encoder.frozen_trunk()
        self.device = next(encoder.parameters()).device
        self._batch = CPU_BATCH if self.device.type == "cpu" else GPU_BATCH
        self.crops = len(crops)
        self.count = FIRST_AUGMENTED + augmented
        drawn = [plain(self.crops), plain(self.crops, mirrored=True)]
        drawn += [draw(self.crops, config, generator) for _ in range(augmented)]
        self._changes = Augmentation(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))
        self._ranks = ranks
        self._kept: Tensor | None = None  # (v, m, ...) activations of the first v views
        self._filled = 0  # views whose activations are there
        self._rounded = False  # whether activations are as a cache gives them

    @property
    def kept(self) -> int:
        """Views whose activations are kept, or will be by `encode`."""
        return 0 if self._kept is None else len(self._kept)

    def images(self, rows: Tensor, views: Tensor) -> Tensor:
        """(b, 3, p, p) float32 in 0..255: of each row (b,) of the crops its view (b,)."""
        crops = self._crops[rows].to(self.device)
        changes = Augmentation(*(part[views, rows] for part in self._changes))
        untouched = (views == PLAIN).nonzero().flatten()
        images = augment(crops, changes)
        images[untouched] = crops[untouched].permute(0, 3, 1, 2).float()  # free of rounding
        return images

    @torch.no_grad()
    def activations(self, rows: Tensor, views: Tensor) -> Tensor:
        """What the trunk says of views (b,) of rows (b,), float32, from the cache or computed."""
        known = views < self._filled
        if self._kept is not None and bool(known.all()):
            return self._kept[views, rows].float()
        missing = (~known).nonzero().flatten()
        computed = self._computed(rows[missing], views[missing])
        if self._kept is None or len(missing) == len(rows):
            return computed
        result = computed.new_empty((len(rows), *computed.shape[1:]))
        result[missing] = computed
        there = known.nonzero().flatten()
        result[there] = self._kept[views[there], rows[there]].float()
        return result

    def _computed(self, rows: Tensor, views: Tensor) -> Tensor:
        with mixed_precision(self.device):
            activations = self._trunk(self._prepare(self.images(rows, views))).float()
        return activations.to(CACHE_TYPE).float() if self._rounded else activations

    def reserve(self, views: int, room: int) -> int:
        """Have `encode` keep the activations of the first views, as many as there is room for.

        Args:
            views: Most that will be asked for again.
            room: Bytes.

        Returns:
            How many are kept.
        """
        first = torch.zeros(1, dtype=torch.int64)
        shape = (self.crops, *self.activations(first, first).shape[1:])
        kept = min(views, room // (torch.Size(shape).numel() * CACHE_TYPE.itemsize))
        self._kept = torch.empty((kept, *shape), dtype=CACHE_TYPE, device=self.device)
        return kept

    @torch.no_grad()
    def encode(self, encoder: Backbone, views: Sequence[int], tick: Tick) -> Encoded:
        """Some views of every crop through an encoder.

        Args:
            encoder: The one given at the start, or one that differs only in its tail.
            views: Their numbers, rising from the plain one.
            tick: Called after each batch with the share that is done.

        Returns:
            Features (m, h) of the plain view, and embeddings (v, m, d) of all asked for.
        """
        features: list[Tensor] = []
        embeddings: list[Tensor] = []
        own = range(self.crops)[self._ranks.part(self.crops)]
        for done, view in enumerate(views):
            parts: list[Encoded] = []
            for rows in batches(len(own), self._batch):
                rows += own.start
                activations = self.activations(rows, torch.full_like(rows, view))
                if self._kept is not None and self._filled <= view < len(self._kept):
                    self._kept[view, rows] = activations.to(CACHE_TYPE)
                with mixed_precision(self.device):
                    parts.append(encode_tail(encoder, activations))
                tick((done + (int(rows[-1]) + 1 - own.start) / len(own)) / len(views))
            joined = [torch.cat(part) for part in zip(*parts, strict=True)]
            if view == PLAIN:
                features.append(self._ranks.join(joined[0], self.crops))
            embeddings.append(self._ranks.join(joined[1], self.crops))
            self._keep(view, own)
        self._rounded = self._kept is not None
        return Encoded(torch.cat(features), torch.stack(embeddings))

    def _keep(self, view: int, own: range) -> None:
        """Count a view's activations as kept, once those of all ranks are there."""
        if self._kept is None or not self._filled <= view < len(self._kept):
            return
        if self._ranks.count > 1:
            mine = self._kept[view, own.start : own.stop]
            self._kept[view] = self._ranks.join(mine, self.crops)
        self._filled = view + 1

    def with_encoder(self, encoder: Backbone) -> CropViews:
        """The same views for an encoder whose trunk differs; none of their activations are kept."""
        views = copy.copy(self)
        views._prepare, views._trunk = encoder.prepare, encoder.frozen_trunk()
        views._kept, views._filled, views._rounded = None, 0, False
        return views
