"""Repeated passes through the encoder's last layer with features dropped (SER-FIQ, METHOD 3.1).

It makes the passes; what their scatter says of a face is told by `core.quality`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vcn_ray.core.quality import crop_quality
from vcn_ray.learn.views import Tick, batches
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F32

CROPS_AT_ONCE = 256
"""Crops whose passes are made at a time."""


def draw_masks(passes: int, features: int, dropout: float, generator: torch.Generator) -> Tensor:
    """(passes, h) factors: 0 for a dropped feature, else what keeps the mean.

    The same masks serve every crop, so that their luck is shared and does not enter a comparison.
    """
    kept = torch.rand(passes, features, generator=generator) >= dropout
    return kept.float() / (1 - dropout)


@torch.no_grad()
def repeated_embeddings(encoder: Backbone, features: Tensor, masks: Tensor) -> F32:
    """(b, h) features and (r, h) masks to (r, b, d) embeddings, one for each pass."""
    dropped = masks.to(features.device)[:, None, :] * features
    embeddings = encoder.project(dropped.flatten(0, 1)).float()
    result: F32 = embeddings.reshape(*dropped.shape[:2], -1).cpu().numpy()
    return result


def quality_of_crops(encoder: Backbone, features: Tensor, masks: Tensor, tick: Tick) -> F32:
    """Quality (m,) of crops from their features (m, h), in [0, 1]."""
    parts = []
    for rows in batches(len(features), CROPS_AT_ONCE):
        parts.append(crop_quality(repeated_embeddings(encoder, features[rows], masks)))
        tick((int(rows[-1]) + 1) / len(features))
    return np.concatenate(parts)
