"""How little embeddings move under dropout (METHOD 3.1), for crops on their way through an encoder.

This is SER-FIQ (P. Terhoerst et al., CVPR 2020): only the last layer runs repeatedly. It knows the
encoder as a function, and no tracks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vcn_ray.core.quality import crop_quality
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F32

REPEATED_BYTES = 64 << 20
"""About how much memory the repeated features of one part of a batch take."""


def draw_masks(passes: int, features: int, dropout: float, generator: torch.Generator) -> Tensor:
    """Draw (passes, h) float32 factors: 0 for a dropped feature, else what keeps the mean.

    All crops share the same masks, so that chance does not enter a comparison between them.
    """
    kept = torch.rand(passes, features, generator=generator) >= dropout
    return kept.float() / (1 - dropout)


@torch.no_grad()
def repeated_embeddings(encoder: Backbone, features: Tensor, masks: Tensor) -> F32:
    """Map (b, h) features and (r, h) masks to (r, b, d) embeddings, one for each pass."""
    dropped = masks.to(features.device)[:, None, :] * features
    embeddings = encoder.project(dropped.flatten(0, 1)).float()
    result: F32 = embeddings.reshape(*dropped.shape[:2], -1).cpu().numpy()
    return result


class StabilityMeter:
    """Rates crops by how little their embeddings move under dropout.

    Args:
        passes: At least two.
        dropout: Fraction of the features that each pass drops.
        seed: Of the masks.
    """

    def __init__(self, passes: int, dropout: float, seed: int) -> None:
        self._passes, self._dropout, self._seed = passes, dropout, seed
        self._masks: Tensor | None = None

    def rate(self, encoder: Backbone, features: Tensor) -> Tensor:
        """Rate crops by their features (b, h): (b,) float32 in [0, 1], on the features' device."""
        if self._masks is None:
            generator = torch.Generator().manual_seed(self._seed)
            self._masks = draw_masks(self._passes, features.shape[1], self._dropout, generator)
        size = max(1, REPEATED_BYTES // (4 * self._masks.numel()))
        parts = [
            crop_quality(repeated_embeddings(encoder, part, self._masks))
            for part in torch.split(features, size)
        ]
        return torch.cat([torch.from_numpy(part) for part in parts]).to(features.device)
