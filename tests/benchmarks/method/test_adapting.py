"""Cached views and models, and the lower bound of an adaptation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.method.adapting import adapt_film, crop_outputs
from benchmarks.method.floor import Passes, count_passes, floor_seconds
from tests.helpers.bench import bench_of, film_of
from tests.helpers.synth import QUICK
from vcn_ray.learn.adapt_config import Trained
from vcn_ray.learn.training import EpochRecord
from vcn_ray.records import TrackOutputs


@pytest.mark.parametrize("part", ["tail", "all"])
def test_cached_views_and_models_have_the_same_bits(part: Trained, tmp_path: Path) -> None:
    film, config = film_of(), replace(QUICK, encoder=part, epochs=1, outputs=16)
    fresh = adapt_film(film, bench_of(), config)
    bench = bench_of(tmp_path)
    adapt_film(film, bench, config)  # writes views and model
    read = adapt_film(film, bench, config)
    again = adapt_film(film, bench, config, seed=bench.seed + 1)  # trains on the views as read
    other = adapt_film(film, bench_of(), config, seed=1)
    for left, right in ((fresh, read), (other, again)):
        for field in fields(TrackOutputs):
            values = [getattr(f.adapted.outputs, field.name) for f in (left, right)]
            assert np.array_equal(*values), field.name
        assert left.adapted.tensors.keys() == right.adapted.tensors.keys()
        same = (
            torch.equal(left.adapted.tensors[name], right.adapted.tensors[name])
            for name in left.adapted.tensors
        )
        assert all(same)
    assert read.adapted.warnings == fresh.adapted.warnings
    assert list(map(len, read.adapted.matches)) == list(map(len, fresh.adapted.matches))
    crops = crop_outputs(film, bench, config, read.adapted)
    means = np.stack([crops.outputs[0][film.title.track == t].mean(axis=0) for t in range(8)])
    np.testing.assert_allclose(means, read.adapted.outputs.output, atol=1e-5)


def test_passes_are_counted_from_settings_and_epochs() -> None:
    film, bench = film_of(), bench_of()
    epoch = EpochRecord(0, 1, "encoder", *[0.0] * 4)
    config = replace(QUICK, encoder_crops=3, augmented_views=2, quality_passes=8)
    frozen = count_passes(film.title, config, (), kept=4)
    assert frozen == Passes(trunk=128, tail=128, project=256, train_tail=0, train_all=0)
    tail = count_passes(film.title, config, (epoch, epoch), kept=4)
    assert tail == Passes(trunk=128, tail=128 + 96 + 64, project=256, train_tail=96, train_all=0)
    some = count_passes(film.title, config, (epoch, epoch), kept=1)
    assert some == tail._replace(trunk=128 + 72 + 32)
    whole = count_passes(film.title, replace(config, encoder="all"), (epoch,), kept=0)
    assert whole == Passes(128 + 48 + 64, 128 + 48 + 64, 256, 0, 48)
    assert floor_seconds(tail, bench, config) > 0
