"""How crops are rated on their way through an encoder (METHOD 3.1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from tests.helpers.synth import QUICK, TinyBackbone, title_of
from vcn_ray.learn import stability
from vcn_ray.learn.stability import StabilityMeter, draw_masks, repeated_embeddings
from vcn_ray.learn.views import encode_views


def drawn(seed: int = 0, passes: int = 30, dropout: float = 0.5) -> Tensor:
    return draw_masks(passes, 64, dropout, torch.Generator().manual_seed(seed))


def features(count: int = 6) -> Tensor:
    return torch.rand(count, 64, generator=torch.Generator().manual_seed(3))


def test_masks_drop_their_share_and_keep_the_mean() -> None:
    masks = drawn()
    assert abs(float(masks.mean()) - 1) < 0.1
    assert set(masks.ravel().tolist()) == {0.0, 2.0}
    assert (drawn(dropout=0.0) == 1).all()


def test_a_rating_is_that_of_the_repeated_passes_written_out() -> None:
    encoder = TinyBackbone()
    found = StabilityMeter(8, 0.5, seed=4).rate(encoder, features())
    masks = drawn(seed=4, passes=8)
    for crop, row in enumerate(features()):
        repeats = torch.stack([encoder.project((mask * row)[None])[0] for mask in masks])
        want = reference.crop_quality(repeats.detach().numpy().astype(np.float64))
        assert float(found[crop]) == pytest.approx(want, abs=1e-5)
    assert repeated_embeddings(encoder, features(), masks).shape == (8, 6, 24)


def test_all_crops_share_the_masks_of_the_seed() -> None:
    encoder, row = TinyBackbone(), features(1)
    meter = StabilityMeter(8, 0.5, seed=4)
    together = meter.rate(encoder, torch.cat([row] * 5))
    assert torch.allclose(together, together[0].expand(5), atol=1e-6)
    later = meter.rate(encoder, row)  # of another batch
    assert torch.allclose(later, together[:1], atol=1e-6)
    again, other = (StabilityMeter(8, 0.5, seed).rate(encoder, row) for seed in (4, 5))
    assert torch.allclose(again, later)
    assert not torch.allclose(other, later, atol=1e-4)


def test_what_may_be_dropped_as_a_whole_is_less_stable() -> None:
    peaked = torch.zeros(3, 64)
    peaked[:, :2] = 5
    rated = StabilityMeter(30, 0.5, seed=0).rate(
        TinyBackbone(), torch.cat([torch.ones(3, 64), peaked])
    )
    assert ((rated >= 0) & (rated <= 1)).all()
    assert float(rated[:3].min()) > float(rated[3:].max())
    still = StabilityMeter(5, 0.0, seed=0).rate(TinyBackbone(), peaked)
    np.testing.assert_allclose(still, 1, atol=1e-3)


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StabilityMeter(8, 0.5, seed=0).rate(TinyBackbone(), features(7))
    monkeypatch.setattr(stability, "REPEATED_BYTES", 1)
    parts = StabilityMeter(8, 0.5, seed=0).rate(TinyBackbone(), features(7))
    assert torch.allclose(whole, parts, atol=1e-6)


def test_encoding_rates_every_crop_once_and_measures_its_length() -> None:
    encoder, title = TinyBackbone(), title_of(np.array([0, 1, 2]), 3)
    found = encode_views(title, encoder, QUICK, seed=0).pretrained
    pictures = torch.from_numpy(title.crops).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        seen = encoder.tail(encoder.trunk(encoder.prepare(pictures)))
        lengths = encoder.project(seen).norm(dim=1)
    np.testing.assert_allclose(found.lengths, lengths, rtol=2e-3)
    assert found.stability.shape == (9,)
    assert ((found.stability > 0) & (found.stability < 1)).all()
    again, other = (encode_views(title, encoder, QUICK, seed=s).pretrained for s in (0, 1))
    assert torch.equal(again.stability, found.stability)
    assert not torch.equal(other.stability, found.stability)
