"""A checkpoint seen from outside."""

from __future__ import annotations

import torch

from vcn_ray.learn.checkpoint import Checkpoint, pack
from vcn_ray.learn.training import EpochRecord


def test_the_epochs_of_a_checkpoint_are_read_from_outside(tmp_path):
    from benchmarks.system.chaos import epochs_saved  # Ray takes seconds to import

    assert epochs_saved(tmp_path) is None
    epochs = [EpochRecord(number, 0, "head", *[0.0] * 4) for number in range(3)]
    kept = Checkpoint(epochs, [], {}, torch.get_rng_state(), {})
    path = tmp_path / "titles/film/adapt-1/checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(kept, "of a title"))
    assert epochs_saved(tmp_path) == 3
