"""How likely two people of different titles are one person, by the score of their faces.

The scores of people of different titles are a mixture of two normal distributions: strangers, whose
width the people of one title show, since these are different people; and pairs of one person.
Expectation maximisation separates them, beginning with what is known beforehand; the more titles
there are, the less that counts. The probability falls as a catalog grows, as it must: among a
million people, somebody looks alike by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from vcn_ray.core.strangers import Faces, Levels, cosine_block, rows_by_title, scores, take
from vcn_ray.core.vectors import Floats, row_blocks
from vcn_ray.records import F64, I64

STRANGER_WEIGHT = 100.0
"""What is known of strangers beforehand weighs as much as so many pairs of them."""

SAME_WEIGHT = 20.0
"""What is known of one person beforehand weighs as much as so many pairs."""

SAME_SCORE, SAME_SD = 6.5, 1.5
"""Scores of one person in two titles; see benchmarks/method/registry.py."""

SAME_FRACTION = 0.01
"""Of the pairs of two titles that are one person, beforehand, at most.

In a large catalog everybody is expected in one other title, which is a smaller fraction."""

MIN_SAME_SCORE = 4.0
"""Mean score of one person, at least, in standard deviations of strangers.

Where hardly anybody returns, the tail of strangers would else be taken for one person."""

MOST_RETURNS = 8.0
"""Pairs with other titles that count of one person of the sample.

A presenter, a series and people who are seen once may be in one catalog. For the last, many returns
of others would be bad evidence; for the others, their many pairs are evidence enough."""

BIN = 0.05
LOWEST, HIGHEST = -20.0, 60.0
EDGES = np.arange(LOWEST, HIGHEST + BIN / 2, BIN)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
"""Scores are counted in bins, so that those of a catalog take little memory."""

ROUNDS = 500
"""Of expectation maximisation; it costs microseconds on bins."""

MEASURINGS = 3
"""Each knows better than the one before how many pairs are of one person."""

CLEAN = 20.0
"""Times as many pairs as are of one person lie above the place that is measured."""

CLIP = 12.0
"""Evidence beyond this says no more: a bad picture must not outweigh ten good ones."""


@dataclass(frozen=True)
class Mixture:
    """How likely two people are one, by their score."""

    stranger_mean: float
    stranger_sd: float
    same_mean: float
    same_sd: float
    same_fraction: float  # of the pairs of two titles, where few of one person count

    @cached_property
    def log_odds(self) -> F64:
        """Log odds at CENTRES; they never fall, as those of the wider distribution would."""
        odds = (
            _log_normal(CENTRES, self.same_mean, self.same_sd)
            - _log_normal(CENTRES, self.stranger_mean, self.stranger_sd)
            + special.logit(self.same_fraction)
        )
        lowest = int(np.argmin(np.where(self.same_mean > CENTRES, odds, np.inf)))
        odds[:lowest] = odds[lowest]
        rising: F64 = np.maximum.accumulate(odds)
        return rising

    @property
    def prior_odds(self) -> float:
        """Log odds before anything is seen."""
        return float(special.logit(self.same_fraction))

    def evidence(self, score: Floats) -> F64:
        """Log likelihood ratios of scores of any shape; log odds that they give are within CLIP."""
        odds: F64 = np.interp(score, CENTRES, self.log_odds)
        return np.clip(odds - self.prior_odds, -CLIP, CLIP - self.prior_odds)

    def at(self, score: Floats) -> F64:
        """Log odds of scores of any shape."""
        return self.prior_odds + self.evidence(score)

    def score_of(self, log_odds: float) -> float:
        """The lowest score of at least these log odds; infinite where none has them."""
        place = int(np.searchsorted(self.log_odds, log_odds))
        return float(EDGES[place]) if place < len(CENTRES) else np.inf


def count_scores(faces: Faces, levels: Levels, rows: I64) -> tuple[I64, I64]:
    """Count scores in bins.

    Args:
        faces: n people.
        levels: Of strangers.
        rows: (r,) of the people whose pairs with people of other titles are counted.

    Returns:
        (bins,) of all pairs of one title, from both sides, and (r, bins) of those pairs of two.
    """
    within = np.zeros(len(CENTRES), np.int64)
    for some in rows_by_title(faces):
        for block in row_blocks(len(some), len(some)):
            bins = _bins(faces, levels, some[block], some)
            within += _counted(bins[some[block][:, None] != some])  # nobody with himself
    across = np.zeros((len(rows), len(CENTRES)), np.int64)
    every = np.arange(len(faces.title))
    for block in row_blocks(len(rows), len(every)):
        bins = _bins(faces, levels, rows[block], every)
        for row, of_one in zip(range(block.start, block.stop), bins, strict=True):
            across[row] = _counted(of_one[faces.title != faces.title[rows[row]]])
    return within, across


def _bins(faces: Faces, levels: Levels, left: I64, right: I64) -> I64:
    """Bins (a, b) of the scores of people."""
    mine, theirs = (Levels(levels.mean[some], levels.sd[some]) for some in (left, right))
    score = scores(cosine_block(take(faces, left), take(faces, right)), mine, theirs)
    return np.clip((score - LOWEST) / BIN, 0, len(CENTRES) - 1).astype(np.int64)


def _counted(bins: I64) -> I64:
    return np.bincount(bins, minlength=len(CENTRES))


def learn_mixture(within: I64, across: I64, pairs: float, people: int) -> Mixture:
    """Separate strangers from pairs of one person, by expectation maximisation.

    Somebody in most titles of a catalog shows how alike the pictures of one person are, but says
    nothing of how often others return. So at most MOST_RETURNS pairs of each person of the sample
    count for the fraction.

    Args:
        within: (bins,) counted scores of people of one title.
        across: (r, bins) counted scores of r people with those of other titles.
        pairs: How many pairs of two titles there are in all: what is known beforehand counts less
            the more there are.
        people: How many people of titles there are.
    """
    usual = min(SAME_FRACTION, max(people, 1) / max(pairs, 1.0))
    total = across.sum(axis=0)
    scale = pairs / max(int(total.sum()), 1)
    returning = 1.0
    for _ in range(MEASURINGS):
        strangers = _strangers(within, total, returning)
        mean, sd, returning = _same_person(total * scale, strangers, usual)
    fraction = returning
    for _ in range(MEASURINGS):
        # Neither by BLAS nor in the order of people: a sum depends on both in its last digit.
        returns = np.einsum("rb,b->r", across, _likely(strangers, mean, sd, fraction))
        few = float(np.sort(np.minimum(returns, MOST_RETURNS)).sum()) * scale
        fraction = (few + 1) / (pairs + 1 / usual)
    return Mixture(*strangers, mean, sd, fraction)


def _likely(strangers: tuple[float, float], mean: float, sd: float, fraction: float) -> F64:
    """Probabilities (bins,) of one person."""
    stranger = _log_normal(CENTRES, *strangers)
    odds = _log_normal(CENTRES, mean, sd) - stranger + special.logit(fraction)
    return np.where(strangers[0] < CENTRES, special.expit(odds), 0.0)


def _same_person(
    counts: F64, strangers: tuple[float, float], usual: float
) -> tuple[float, float, float]:
    """Mean and standard deviation of the scores of one person, and the fraction of such pairs.

    Args:
        counts: (bins,) counted scores.
        strangers: Mean and standard deviation of their scores.
        usual: The fraction beforehand.
    """
    pairs = float(counts.sum())
    mean, sd, fraction = SAME_SCORE, SAME_SD, usual
    for _ in range(ROUNDS):
        same = counts * _likely(strangers, mean, sd, fraction)
        total = float(same.sum())
        mean = (float(same @ CENTRES) + SAME_WEIGHT * SAME_SCORE) / (total + SAME_WEIGHT)
        mean = max(mean, strangers[0] + MIN_SAME_SCORE * strangers[1])
        spread = float(same @ np.square(CENTRES - mean)) + SAME_WEIGHT * SAME_SD**2
        sd = float(np.sqrt(spread / (total + SAME_WEIGHT)))
        fraction = (total + 1) / (pairs + 1 / usual)
    return mean, sd, fraction


def _strangers(within: I64, across: I64, returning: float) -> tuple[float, float]:
    """Mean and standard deviation of the scores of strangers.

    In a large catalog nearly all pairs of two titles are strangers. Their scores are measured as
    far up as those of one person can hardly reach, since that is where the two are told apart. In a
    small one, the people of one title show the width. If titles hold somebody twice, it is too
    wide; then the narrower of the two counts, one standard deviation above the median.

    Args:
        within: (bins,) counted scores of people of one title.
        across: (bins,) counted scores of people of two titles.
        returning: Fraction of the latter that is one person, about.
    """
    total = int(within.sum())
    if not total or not across.sum():
        return 0.0, 1.0
    sds = -float(special.ndtri(min(CLEAN * returning, special.ndtr(-1.0))))
    middle, width = _quantile(across, 0.0), (_quantile(across, sds) - _quantile(across, 0.0)) / sds
    if sds <= 1.0:
        middle = _quantile(within, 0.0)
        width = min(width, (_quantile(within, 2.0) - middle) / 2)
    own = total / (total + 2 * STRANGER_WEIGHT)  # every pair was counted from both sides
    return own * middle, float(np.sqrt(own * width**2 + 1 - own))


def _quantile(counts: I64, sds: float) -> float:
    """The score so many standard deviations above the median, if the scores were normal."""
    below = np.cumsum(counts) / int(counts.sum())
    return float(np.interp(special.ndtr(sds), below, EDGES[1:]))


def _log_normal(at: F64, mean: float, sd: float) -> F64:
    density: F64 = -0.5 * np.square((at - mean) / sd) - np.log(sd)
    return density
