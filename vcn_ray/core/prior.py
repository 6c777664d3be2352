"""What is known of faces before a title is seen: measured once for a pack, from any faces.

A title of five tracks shows neither how alike strangers are to an encoder, nor which of its faces
can be recognised at all. Both are facts about the pack. It knows no networks; `packs.calibrate`
measures a prior.
"""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass
from scipy import special

from vcn_ray.bounds import STRICT, Positive
from vcn_ray.core.vectors import Floats
from vcn_ray.records import F64

STRANGER_SDS = 4.0
"""The cut lies so many standard deviations above the mean cosine of strangers.

Of pairs of strangers on good portraits, about 1 in 10,000 is above it. Films are harder, and there
it is about 1 in 500."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FacePrior:
    """What a detector and an encoder make of good faces, of ruined ones and of strangers."""

    stranger_cosine: float  # mean cosine of good faces of two people, pretrained encoder
    stranger_sd: Positive  # standard deviation of the same
    min_score: float  # of the detector; nearly every face that can be recognised scores more
    intercept: float  # of the recognisability, see `recognisability`
    per_score: float
    per_length: float
    per_stability: float

    @property
    def cut(self) -> float:
        """Cosine distance, pretrained encoder, up to which two tracks are taken as one person."""
        return self.distance_at(STRANGER_SDS)

    def distance_at(self, sds: float) -> float:
        """Cosine distance of a pair so many deviations above the mean cosine of strangers."""
        return 1 - min(self.stranger_cosine + sds * self.stranger_sd, 0.99)


def recognisability(prior: FacePrior, score: Floats, length: Floats, stability: Floats) -> F64:
    """Estimate how much of a face's identity its embedding holds, from what is seen of it.

    It is fitted on ruined copies of faces, as the fraction of the way from a stranger (0) to the
    intact face (1) that the cosine of the two embeddings goes.

    Args:
        prior: Of the pack.
        score: (n,) of the detector; NaN: unknown, which counts as `prior.min_score`.
        length: (n,) of the embedding before it is made a unit vector, pretrained encoder.
        stability: (n,) under dropout (SER-FIQ, METHOD 3.1), pretrained encoder.

    Returns:
        (n,) in (0, 1).
    """
    score = np.where(np.isnan(score), prior.min_score, score)
    logit = (
        prior.intercept
        + prior.per_score * score.astype(np.float64)
        + prior.per_length * length
        + prior.per_stability * stability
    )
    result: F64 = special.expit(logit)
    return result
