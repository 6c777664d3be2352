"""The views of a title's crops, and their activations in an encoder's frozen trunk.

A view is a crop as it is, mirrored, or changed at random (METHOD 2.2). The changes are drawn once,
so a view is the same picture whenever it is used. Activations are cached in half precision while
they fit, and computed again otherwise, rounded in the same way: memory changes the time, never the
result. It knows nothing of tracks, heads or losses.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from vcn_ray.core.track import thin_crops
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.augment import Augmentation, AugmentConfig, augment, draw, plain
from vcn_ray.learn.encoder import encode_tail, mixed_precision, repeatable
from vcn_ray.learn.hooks import ALONE, NO_HOOKS, Hooks, Ranks, Tick, Timer
from vcn_ray.learn.stability import StabilityMeter
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import I64, U8, TitleCrops

PLAIN = 0
FIRST_AUGMENTED = 2
"""Number of the first augmented view. View 0 is the plain crop, view 1 its mirror image."""

MIRRORED = 1
OUTPUT_VIEWS = (PLAIN, MIRRORED)
"""The views that track outputs are computed from."""

TAIL_VIEWS = FIRST_AUGMENTED + 2
"""The tail trains on this many views, the first ones: they need two thirds of the activations of
all, and include OUTPUT_VIEWS."""

CACHE_TYPE = torch.float16
"""Type of cached activations, half the size of the trunk's own."""

CPU_BATCH = 16
GPU_BATCH = 256
"""Crops in one batch through an encoder. On one core, a small batch takes half the time per crop of
a batch of 64, because its activations fit the core's cache; under 16, torch computes convolutions
of one pixel in a slower way."""


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Yield the row numbers 0..count-1 in batches of `size`."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


STABILITY_STREAM = 1 << 33
"""Added to the seed for the masks of dropout, so that they are independent of the views."""


class EncodedCrops(NamedTuple):
    """What an encoder makes of all crops of a title."""

    embeddings: Tensor  # (v, m, d) unit, of v views
    lengths: Tensor  # (m,) of the plain view's embeddings before they were made unit vectors
    stability: Tensor  # (m,) of the plain view under dropout, in [0, 1]


class CropViews:
    """All views of a title's crops, through an encoder whose trunk is frozen.

    Args:
        crops: (m, p, p, 3) uint8 RGB.
        encoder: Everything is computed on its device.
        config: How crops are changed.
        augmented: Number of augmented views.
        generator: On the CPU.
        ranks: The processes that encode together.
        trained: (r,) rows of the crops that are trained on, rising; None: all. Of the others there
            are no augmented views, and no activations are kept.

    Attributes:
        crops: m.
        count: Number of views.
        trained: (r,) int64, on the CPU.
    """

    def __init__(  # noqa: PLR0913 - what is drawn, by what, and for whom
        self,
        crops: U8,
        encoder: Backbone,
        config: AugmentConfig,
        augmented: int,
        generator: torch.Generator,
        ranks: Ranks = ALONE,
        trained: I64 | None = None,
    ) -> None:
        self._crops = torch.from_numpy(crops)
        self._prepare = encoder.prepare
        self._trunk = encoder.frozen_trunk()
        self.device = next(encoder.parameters()).device
        self._batch = CPU_BATCH if self.device.type == "cpu" else GPU_BATCH
        self.crops = len(crops)
        self.count = FIRST_AUGMENTED + augmented
        self.trained = torch.arange(len(crops)) if trained is None else torch.from_numpy(trained)
        self._others = _rows_without(self.trained, len(crops))
        self._place = torch.full((len(crops),), -1)  # of each crop among the trained ones
        self._place[self.trained] = torch.arange(len(self.trained))
        drawn = [plain(self.crops), plain(self.crops, mirrored=True)]
        drawn += [draw(self.crops, config, generator) for _ in range(augmented)]
        self._changes = Augmentation(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))
        self._ranks = ranks
        self._kept: Tensor | None = None  # (v, r, ...) activations of the first v views
        self._filled = 0  # number of views whose activations are in the cache
        self._seen = 0  # number of views that were encoded: again, they are rounded as if cached

    @property
    def kept(self) -> int:
        """Number of views whose activations `encode` caches."""
        return 0 if self._kept is None else len(self._kept)

    def images(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return the pictures of views (b,) of crops (b,), (b, 3, p, p) float32 RGB in 0..255."""
        crops = self._crops[rows].to(self.device)
        changes = Augmentation(*(part[views, rows] for part in self._changes))
        untouched = (views == PLAIN).nonzero().flatten()
        images = augment(crops, changes)
        images[untouched] = crops[untouched].permute(0, 3, 1, 2).float()  # free of rounding
        return images

    @torch.no_grad()
    def activations(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return the trunk's activations of views (b,) of crops (b,), (b, ...) float32.

        They come from the cache where they are there, and are computed otherwise.
        """
        place = self._place[rows]
        known = (views < self._filled) & (place >= 0)
        if self._kept is not None and bool(known.all()):
            return self._kept[views, place].float()
        missing = (~known).nonzero().flatten()
        computed = self._computed(rows[missing], views[missing])
        if self._kept is None or len(missing) == len(rows):
            return computed
        result = computed.new_empty((len(rows), *computed.shape[1:]))
        result[missing] = computed
        there = known.nonzero().flatten()
        result[there] = self._kept[views[there], place[there]].float()
        return result

    def _computed(self, rows: Tensor, views: Tensor) -> Tensor:
        images = self._prepare(self.images(rows, views))  # in full precision: they are blurred here
        with mixed_precision(self.device):
            activations = self._trunk(images).float()
        if self._kept is not None:
            again = views < self._seen
            activations[again] = activations[again].to(CACHE_TYPE).float()
        return activations

    def reserve(self, views: int, room: int) -> int:
        """Make `encode` cache the activations of the first views, as many as there is room for.

        Args:
            views: Maximum number of views.
            room: Bytes.

        Returns:
            The number of views that fit.
        """
        first = torch.zeros(1, dtype=torch.int64)
        shape = (len(self.trained), *self.activations(first, first).shape[1:])
        kept = min(views, room // (torch.Size(shape).numel() * CACHE_TYPE.itemsize))
        self._kept = torch.empty((kept, *shape), dtype=CACHE_TYPE, device=self.device)
        return kept

    @torch.no_grad()
    def encode(
        self,
        encoder: Backbone,
        views: Sequence[int],
        tick: Tick,
        meter: StabilityMeter | None = None,
    ) -> EncodedCrops:
        """Run some views of every crop through an encoder, augmented ones of the trained crops.

        Args:
            encoder: The one given at the start, or one that differs in its tail only.
            views: Their numbers, rising.
            tick: Called after each batch with the progress.
            meter: Rates the plain view; None: it is not rated.

        Returns:
            Lengths and stability are 0 where they are not known: without the plain view or a meter.
            So are embeddings of views that a crop does not have.
        """
        embeddings = torch.zeros(len(views), self.crops, encoder.dim, device=self.device)
        lengths, stability = torch.zeros(2, self.crops, device=self.device)
        parts = [(n, view, rows) for n, view in enumerate(views) for rows in self._rows_of(view)]
        total, done = sum(len(rows) for *_, rows in parts), 0
        for number, view, rows in parts:

            def report(progress: float, before: int = done, count: int = len(rows)) -> None:
                tick((before + progress * count) / total)

            found = self._encode_rows(encoder, view, rows, report, meter)
            embeddings[number, rows] = found.embeddings[0]
            if view == PLAIN:
                lengths[rows], stability[rows] = found.lengths, found.stability
            done += len(rows)
        self._seen = max(self._seen, *(view + 1 for view in views))
        return EncodedCrops(embeddings, lengths, stability)

    def _rows_of(self, view: int) -> Iterator[Tensor]:
        """The crops that have a view: first those that are trained on, whose activations stay."""
        yield self.trained
        if view < FIRST_AUGMENTED and len(self._others):
            yield self._others

    def _encode_rows(
        self, encoder: Backbone, view: int, rows: Tensor, tick: Tick, meter: StabilityMeter | None
    ) -> EncodedCrops:
        """Encode one view of some crops, shared among the ranks."""
        own = rows[self._ranks.part(len(rows))]
        none = torch.zeros(0, device=self.device)
        parts: list[tuple[Tensor, ...]] = [(none.new_zeros(0, encoder.dim), none, none)]
        keeps = self._kept is not None and self._filled <= view < len(self._kept)
        keeps &= rows is self.trained
        for places in batches(len(own), self._batch):
            chosen = own[places]
            activations = self.activations(chosen, torch.full_like(chosen, view))
            if self._kept is not None and keeps:
                self._kept[view, self._place[chosen]] = activations.to(CACHE_TYPE)
            with mixed_precision(self.device):
                features, embedded, lengths = encode_tail(encoder, activations)
            rated = torch.zeros_like(lengths)
            if view == PLAIN and meter is not None:
                rated = meter.rate(encoder, features)
            parts.append((embedded, lengths, rated))
            tick((int(places[-1]) + 1) / len(own))
        joined = [torch.cat(part) for part in zip(*parts, strict=True)]
        embedded, lengths, rated = (self._ranks.all_gather(part, len(rows)) for part in joined)
        if keeps:
            self._keep(view)
        return EncodedCrops(embedded[None], lengths, rated)

    def _keep(self, view: int) -> None:
        """Count a view as cached, once it has the activations of all ranks."""
        if self._kept is not None and self._ranks.count > 1:
            mine = self._kept[view, self._ranks.part(len(self.trained))]
            self._kept[view] = self._ranks.all_gather(mine, len(self.trained))
        self._filled = view + 1

    def with_encoder(self, encoder: Backbone) -> CropViews:
        """Return the same views for an encoder with another trunk, and with an empty cache."""
        views = copy.copy(self)
        views._prepare, views._trunk = encoder.prepare, encoder.frozen_trunk()
        views._kept, views._filled, views._seen = None, 0, 0
        return views


def _rows_without(rows: Tensor, count: int) -> Tensor:
    """The rows of 0..count-1 that are not among `rows`."""
    left = torch.ones(count, dtype=torch.bool)
    left[rows] = False
    return left.nonzero().flatten()


@dataclass(frozen=True, slots=True, eq=False)
class EncodedViews:
    """All views of a title's crops through the pretrained encoder: most of a short title's work."""

    title: TitleCrops
    encoder: Backbone  # as the pack ships it
    views: CropViews
    pretrained: EncodedCrops  # of all views, or of OUTPUT_VIEWS alone
    seconds: float
    peak_bytes: int = 0  # of memory, while encoding


def encode_views(
    title: TitleCrops,
    encoder: Backbone,
    config: AdaptConfig,
    *,
    seed: int,
    augmented: bool = True,
    hooks: Hooks = NO_HOOKS,
) -> EncodedViews:
    """Draw the views of METHOD 2.2 and encode them; they depend on no training setting.

    Args:
        title: Crops and their tracks; at least one track.
        encoder: In eval mode; everything is computed on its device.
        config: How crops are changed, how many views, and which part of the encoder is trained.
        seed: Of the changes.
        augmented: Whether to encode the augmented views too, which only training needs.
        hooks: Progress, and the processes that encode together.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(encoder.parameters()).device
    timer = Timer(hooks.progress, device)
    ranks = hooks.ranks_for(len(title.crops))
    with repeatable(device), timer.phase("views"):
        views = CropViews(
            title.crops,
            encoder,
            config.augment,
            config.augmented_views,
            generator,
            ranks,
            thin_crops(title.track, config.trained_crops),
        )
        if config.encoder == "tail":
            views.reserve(TAIL_VIEWS, config.cache_bytes)
        meter = StabilityMeter(
            config.quality_passes, config.quality_dropout, seed + STABILITY_STREAM
        )
        chosen = range(views.count) if augmented else OUTPUT_VIEWS
        encoded = views.encode(encoder, chosen, partial(timer.report, "views"), meter)
    seconds, peak = timer.seconds["views"], timer.peak_bytes()
    return EncodedViews(title, encoder, views, encoded, seconds, peak)


def add_augmented(encoded: EncodedViews, timer: Timer) -> EncodedViews:
    """Encode the augmented views where they are missing.

    Args:
        encoded: As it is from `encode_views`.
        timer: Takes the time and the progress.
    """
    views, known = encoded.views, encoded.pretrained.embeddings
    if len(known) == views.count:
        return encoded
    with timer.phase("views"):
        missing, tick = range(len(known), views.count), partial(timer.report, "augmented")
        added = views.encode(encoded.encoder, missing, tick).embeddings
    joined = encoded.pretrained._replace(embeddings=torch.cat([known, added]))
    return replace(encoded, pretrained=joined)
