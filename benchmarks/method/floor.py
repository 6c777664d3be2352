"""A lower bound of an adaptation's seconds: the passes through its encoder alone.

Passes are counted from the settings and the epochs; the seconds of each kind of pass are measured
on random pictures, in the batches and the precision that the method uses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.method.running import Bench
from vcn_ray.core.track import thin_crops
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.encoder import encode_tail, mixed_precision
from vcn_ray.learn.stability import REPEATED_BYTES
from vcn_ray.learn.training import EpochRecord
from vcn_ray.learn.views import CPU_BATCH, FIRST_AUGMENTED, GPU_BATCH, OUTPUT_VIEWS, TAIL_VIEWS
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import TitleCrops

WARM_UP, REPEATS = 3, 20


class Passes(NamedTuple):
    """Number of crops that pass through each part of the encoder."""

    trunk: int  # forwards
    tail: int  # forwards, from the trunk's activations to embeddings
    project: int  # forwards through the last layer alone
    train_tail: int  # forwards and backwards
    train_all: int


def count_passes(
    title: TitleCrops, config: AdaptConfig, history: tuple[EpochRecord, ...], kept: int
) -> Passes:
    """Count the passes of an adaptation.

    Args:
        title: The title's tracks.
        config: Settings of the adaptation.
        history: Its epochs.
        kept: Views with cached activations, on which only the tail runs again.
    """
    crops, trained = len(title.track), thin_crops(title.track, config.trained_crops)
    views = crops * FIRST_AUGMENTED + len(trained) * config.augmented_views
    epochs = sum(record.phase == "encoder" for record in history)
    first = np.minimum(np.bincount(title.track[trained]), config.encoder_crops).sum()
    pictures = 2 * int(first) * epochs  # both sides of each pair, once by student and by teacher
    outputs = OUTPUT_VIEWS if epochs else ()
    again = crops * len(outputs)
    train_all = pictures if config.encoder == "all" else 0
    # Student and teacher share one pass through the trunk where no activations are cached; a
    # picture is any of TAIL_VIEWS.
    drawn = pictures * (TAIL_VIEWS - kept) // TAIL_VIEWS
    known = sum(view < kept for view in outputs) * len(trained)
    trunk = drawn + again - known
    return Passes(
        trunk=views + trunk,
        tail=views + pictures + again,
        project=crops * config.quality_passes,
        train_tail=pictures - train_all,
        train_all=train_all,
    )


def floor_seconds(passes: Passes, bench: Bench, config: AdaptConfig) -> float:
    """Seconds that the encoder alone needs for these passes."""
    ways = _ways(bench.encoder, config)
    counted = {name: count for name, count in passes._asdict().items() if count}
    return float(sum(count * _time(bench, ways[name]) for name, count in counted.items()))


class _Way(NamedTuple):
    run: Callable[[], object]
    crops: int  # a run


def _ways(original: Backbone, config: AdaptConfig) -> dict[str, _Way]:
    """One batch through each part of a copy of the encoder."""
    encoder = copy.deepcopy(original).eval().requires_grad_(False)
    device = next(encoder.parameters()).device
    size = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    side = encoder.input_pixels
    trunk = encoder.frozen_trunk()

    def images(count: int) -> Tensor:
        return torch.rand(count, 3, side, side, device=device) * 255

    def forward(pictures: Tensor) -> Tensor:
        with torch.no_grad(), mixed_precision(device):
            return trunk(encoder.prepare(pictures)).float()

    def tail(activations: Tensor) -> object:
        with torch.no_grad(), mixed_precision(device):
            return encode_tail(encoder, activations)

    def project(features: Tensor) -> object:
        with torch.no_grad():
            return encoder.project(features)

    both = 2 * config.encoder_batch_pairs
    plain, pairs = images(size), images(both)
    activations, paired = forward(plain), forward(pairs)
    some = encode_tail(encoder, activations).features[:1]
    row_bytes = 4 * config.quality_passes * some.shape[1]
    at_once = min(
        size, max(1, REPEATED_BYTES // row_bytes)
    )  # crops rated together, as by the meter
    features = some.repeat(config.quality_passes * at_once, 1)
    learner = copy.deepcopy(encoder)
    return {
        "trunk": _Way(lambda: forward(plain), size),
        "tail": _Way(lambda: tail(activations), size),
        "project": _Way(lambda: project(features), len(features)),
        "train_tail": _Way(lambda: _train(learner, paired, whole=False), both),
        "train_all": _Way(lambda: _train(learner, pairs, whole=True), both),
    }


def _train(encoder: Backbone, inputs: Tensor, whole: bool) -> None:
    """Forward and backward pass of one batch, with a sum as the loss and no optimizer step."""
    parameters = list(encoder.parameters()) if whole else encoder.tail_parameters()
    for parameter in parameters:
        parameter.requires_grad_(True)
    with mixed_precision(inputs.device, trained=True):
        if whole:
            inputs = encoder.trunk(encoder.prepare(inputs))
        embeddings = encode_tail(encoder, inputs).embeddings
    torch.autograd.grad(embeddings.square().sum(), parameters)
    encoder.requires_grad_(False)


def _time(bench: Bench, way: _Way) -> float:
    """Seconds a crop."""
    slow = bench.device.type == "cpu"
    for _ in range(1 if slow else WARM_UP):
        way.run()
    repeats = 2 if slow else REPEATS
    start = bench.clock()
    for _ in range(repeats):
        way.run()
    return (bench.clock() - start) / (repeats * way.crops)
