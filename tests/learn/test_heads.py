from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tests.helpers.synth import unit
from vcn_ray.learn.heads import Head, Projection, fallback_student
from vcn_ray.learn.loss import Temperatures

TEMPERATURES = Temperatures(0.07, 0.1)


def test_head_outputs_are_cosines_on_unit_rows_whatever_their_length() -> None:
    head = Head(torch.zeros(24), 96, torch.Generator().manual_seed(0))
    embeddings = unit(0, 50, 24)
    before = head(embeddings)
    assert before.shape == (50, 96)
    assert before.abs().max() <= 1
    with torch.no_grad():
        head.last.weight.mul_(torch.linspace(0.1, 9, 96)[:, None])
    torch.testing.assert_close(head(embeddings), before)


def test_head_comes_from_its_generator_alone() -> None:
    state = torch.get_rng_state()
    heads = [Head(torch.zeros(24), 96, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    weights = [np.concatenate([p.detach().numpy().ravel() for p in h.parameters()]) for h in heads]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_projection_keeps_cosines_and_the_scale_of_a_head() -> None:
    for outputs in (64, 24):
        projection = Projection(24, outputs, torch.Generator().manual_seed(0))
        e = unit(0, 40, 24)
        z = functional.normalize(projection(e), dim=1)
        torch.testing.assert_close(z @ z.T, e @ e.T, atol=1e-5, rtol=0)
    head = Head(torch.zeros(24), 512, torch.Generator().manual_seed(0))
    projection = Projection(24, 512, torch.Generator().manual_seed(0))
    norms = head(e).detach().norm(dim=1).mean(), projection(e).norm(dim=1).mean()
    assert abs(float(norms[0] / norms[1]) - 1) < 0.1
    narrow = Projection(24, 8, torch.Generator().manual_seed(0))
    assert narrow(e).shape == (40, 8)


def test_fallback_is_centred_on_the_crops() -> None:
    e = unit(0, 40, 24)
    stand_in = fallback_student(e, 64, TEMPERATURES, torch.Generator().manual_seed(0))
    torch.testing.assert_close(stand_in.centre, stand_in.head(e).mean(0))
