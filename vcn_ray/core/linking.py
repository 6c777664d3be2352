"""Which people of different titles are one person, by their faces, without a threshold to choose.

People of one title are different people, so their cosines show how alike strangers are. How alike
strangers are to somebody differs from person to person: a blurred face resembles everybody. So a
cosine is counted in standard deviations above what is usual with strangers for the two faces
(adaptive score normalisation, as in speaker recognition), and called a score. The scores of people
of different titles are a mixture of two normal distributions: strangers, whose width the people of
one title show, and pairs of one person. Expectation maximisation separates them, beginning with
what is known beforehand; the more titles there are, the less that counts. The mixture says how
likely two people are one. The probability falls as a catalog grows, as it must: among a million
people, somebody looks alike by chance. The likeliest are joined first, and never two of one title.
Between sets of people, the evidence of all pairs counts: their mean log likelihood ratio, times the
geometric mean of the sizes, since pairs that share a face are no independent witnesses.

Embeddings are compared as whole numbers, whose products are exact in any order. So neither the
order of titles nor blocks nor threads change a result. It knows no ids, names or storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from vcn_ray.core.vectors import Floats, renumber, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Mask

I8 = npt.NDArray[np.int8]

EXACT = 2**24
"""Whole numbers up to here are exact in float32."""

COHORT = 2048
"""People with whom everybody is compared to see how alike strangers are to him."""

COHORT_WEIGHT = 100.0
"""The levels of a single person weigh as much as the usual ones at so many strangers."""

STRANGER_WEIGHT = 100.0
SAME_WEIGHT = 20.0
"""What is known beforehand weighs as much as so many pairs of strangers, or of one person."""

SAME_SCORE, SAME_SD = 6.5, 1.5
"""Scores of one person in two titles; see benchmarks/method/registry.py."""

SAME_FRACTION = 0.01
"""Of the pairs of two titles that are one person, beforehand, at most.

In a large catalog everybody is expected in one other title, which is a smaller fraction."""

MIN_SAME_SCORE = 4.0
"""Mean score of one person, at least, in standard deviations of strangers.

Where hardly anybody returns, the tail of strangers would else be taken for one person."""

BIN = 0.05
LOWEST, HIGHEST = -20.0, 60.0
EDGES = np.arange(LOWEST, HIGHEST + BIN / 2, BIN)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
"""Scores are counted in bins, so that the sums of a catalog take no memory."""

ROUNDS = 500
"""Of expectation maximisation; it costs microseconds on bins."""

CLIP = 12.0
"""Evidence beyond this says no more: a bad picture must not outweigh ten good ones."""

JOINED, SUGGESTED = 2.2, -2.2
"""Log odds from which people are joined, 9 in 10, and from which that is suggested, 1 in 10.

A wrong join hides two people in one, so it costs more than a suggestion that somebody answers."""

MAX_COMPONENT = 2000
"""People that are compared each with each; a larger set is divided where it is weakest.

Where all links are as strong as links can be, it is divided by the order of rows. What belongs
together of it is joined again by rejoin_people."""

CERTAIN = 1e6
"""Weight of a link that is known, in log odds."""


@dataclass(frozen=True, eq=False)
class Faces:
    """The people of a catalog, as far as their faces go."""

    codes: I8  # (n, d) embeddings as whole numbers, see exact_codes
    title: I64  # (n,) number of the title of each

    @cached_property
    def length(self) -> F64:
        """Norms (n,) of the codes; 1 where there is no face."""
        squares = np.zeros(len(self.codes))
        for rows in row_blocks(*self.codes.shape):
            some = self.codes[rows].astype(np.float32)
            squares[rows] = np.einsum("nd,nd->n", some, some)
        result: F64 = np.maximum(np.sqrt(squares), 1.0)
        return result


class Levels(NamedTuple):
    """How alike strangers are to each of n people."""

    mean: F64  # (n,) cosine
    sd: F64  # (n,) its standard deviation


@dataclass(frozen=True)
class Mixture:
    """How likely two people are one, by their score."""

    stranger_mean: float
    stranger_sd: float
    same_mean: float
    same_sd: float
    same_fraction: float  # of the pairs of two titles

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


class Pairs(NamedTuple):
    """Pairs of people of different titles that are perhaps one person."""

    left: I64  # (p,) row
    right: I64  # (p,) row, larger
    cosine: F64  # (p,)
    log_odds: F64  # (p,)

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of several parts, in their order."""
        if not parts:
            return cls(*(np.zeros(0, kind) for kind in (np.int64, np.int64, float, float)))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Joined(NamedTuple):
    """Who is one person."""

    label: I64  # (n,) catalog person of each; numbered by first rows
    tree: Pairs  # the strongest pairs that hold each catalog person together
    log_odds: F64  # (n,) of each with all other members; CLIP where it is alone


def exact_codes(embedding: Floats) -> I8:
    """Round embeddings (n, d) to whole numbers whose products are exact in float32.

    The cosine of two embeddings changes by less than 0.002.

    Raises:
        ShapeError: They are too long for that.
    """
    steps = min(127, isqrt(EXACT // max(embedding.shape[1], 1)))
    if steps < 16:
        raise ShapeError(f"embeddings of {embedding.shape[1]} numbers are too long to compare")
    largest = np.abs(embedding).max(axis=1, keepdims=True, initial=0)
    scaled = embedding.astype(np.float64) / np.where(largest > 0, largest, 1) * steps
    codes: I8 = np.round(scaled).astype(np.int8)
    return codes


def cosine_block(left: Faces, right: Faces) -> F64:
    """Cosines (a, b) of people, exact but for the rounding of one product and one quotient."""
    dots = left.codes.astype(np.float32) @ right.codes.astype(np.float32).T
    lengths = left.length[:, None] * right.length[None]
    cosine: F64 = dots.astype(np.float64) / lengths
    return cosine


def take(faces: Faces, rows: I64 | slice) -> Faces:
    """Some people."""
    return Faces(faces.codes[rows], faces.title[rows])


def stranger_levels(faces: Faces, cohort: I64, known: tuple[float, float] | None = None) -> Levels:
    """See how alike strangers are to everybody.

    Nearly all people of a catalog are strangers to somebody, and those who are not are above the
    median. So the median and the lower half are looked at.

    Args:
        faces: n people.
        cohort: (c,) rows of the people to compare with; chosen without regard to titles.
        known: Mean and standard deviation of the cosine of strangers to the encoder, beforehand.
    """
    n = len(faces.codes)
    mean, sd = np.zeros(n), np.zeros(n)
    if len(cohort) > 1:
        others = take(faces, cohort)
        place = np.full(n, len(cohort) - 1)
        place[cohort] = np.arange(len(cohort))
        for rows in row_blocks(n, len(cohort)):
            cosine = cosine_block(take(faces, rows), others)
            # Nobody is a stranger to himself: the last of the cohort takes his place.
            cosine[np.arange(len(cosine)), place[rows]] = cosine[:, -1]
            mean[rows], low = np.quantile(cosine[:, :-1], (0.5, LOWER_SD), axis=1)
            sd[rows] = mean[rows] - low
    return _shrunk(Levels(mean, sd), max(len(cohort) - 1, 0), known)


LOWER_SD = float(special.ndtr(-1.0))
"""Quantile one standard deviation below the median."""

MIN_SD = 1e-3


def _shrunk(levels: Levels, cohort: int, known: tuple[float, float] | None) -> Levels:
    """Draw levels towards the usual ones, and these towards what is known beforehand."""
    own = cohort / (cohort + COHORT_WEIGHT)
    usual, spread = (
        (float(np.median(levels.mean)), float(np.mean(np.square(levels.sd))))
        if len(levels.mean)
        else (0.0, 1.0)
    )
    if known is not None:
        usual = own * usual + (1 - own) * known[0]
        spread = own * spread + (1 - own) * known[1] ** 2
    mean = own * levels.mean + (1 - own) * usual
    sd = np.sqrt(own * np.square(levels.sd) + (1 - own) * spread)
    return Levels(mean, np.maximum(sd, MIN_SD))


def scores(cosine: F64, left: Levels, right: Levels) -> F64:
    """Count cosines (a, b) in standard deviations above strangers, the mean for both faces."""
    return _score(cosine, (left.mean[:, None], left.sd[:, None]), right)


def _score(cosine: F64, left: tuple[Any, Any], right: tuple[F64, F64]) -> F64:
    """The same for means and standard deviations of any shapes that fit."""
    score: F64 = ((cosine - left[0]) / left[1] + (cosine - right[0]) / right[1]) / 2
    return score


def count_scores(faces: Faces, levels: Levels, rows: I64) -> tuple[I64, I64]:
    """Count the scores of some people with all others, in bins.

    Args:
        faces: n people.
        levels: Of strangers.
        rows: (r,) of the people to count.

    Returns:
        (bins,) of pairs of one title, and of pairs of two.
    """
    within, across = np.zeros(len(CENTRES), np.int64), np.zeros(len(CENTRES), np.int64)
    for block in row_blocks(len(rows), len(faces.codes)):
        some = rows[block]
        left, mine = take(faces, some), Levels(levels.mean[some], levels.sd[some])
        score = scores(cosine_block(left, faces), mine, levels)
        one = left.title[:, None] == faces.title[None]
        across += _counted(score[~one])
        one[np.arange(len(some)), some] = False  # nobody is compared with himself
        within += _counted(score[one])
    return within, across


def _counted(score: F64) -> I64:
    return np.histogram(np.clip(score, LOWEST, HIGHEST), EDGES)[0].astype(np.int64)


def learn_mixture(within: I64, across: I64, pairs: float, people: int) -> Mixture:
    """Separate strangers from pairs of one person, by expectation maximisation.

    Args:
        within: (bins,) counted scores of people of one title.
        across: (bins,) counted scores of a sample of the people of two titles.
        pairs: How many pairs of two titles there are in all: what is known beforehand counts less
            the more there are.
        people: How many people of titles there are.
    """
    usual = min(SAME_FRACTION, max(people, 1) / max(pairs, 1.0))
    counts: F64 = (across * (pairs / max(int(across.sum()), 1))).astype(np.float64)
    returning = 1.0
    for _ in range(MEASURINGS):
        strangers = _strangers(within, across, returning)
        same = _same_person(counts, strangers, usual)
        returning = same[2]
    return Mixture(*strangers, *same)


def _same_person(
    counts: F64, strangers: tuple[float, float], usual: float
) -> tuple[float, float, float]:
    """Mean and standard deviation of the scores of one person, and the fraction of such pairs."""
    mean, sd, fraction = SAME_SCORE, SAME_SD, usual
    stranger, pairs = _log_normal(CENTRES, *strangers), float(counts.sum())
    for _ in range(ROUNDS):
        odds = _log_normal(CENTRES, mean, sd) - stranger + special.logit(fraction)
        same = counts * np.where(strangers[0] < CENTRES, special.expit(odds), 0.0)
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


CLEAN = 20.0
"""Times as many pairs as are of one person lie above the place that is measured."""

MEASURINGS = 3
"""Of strangers, each knowing better than the one before how many pairs are of one person."""


def _quantile(counts: I64, sds: float) -> float:
    """The score so many standard deviations above the median, if the scores were normal."""
    below = np.cumsum(counts) / int(counts.sum())
    return float(np.interp(special.ndtr(sds), below, EDGES[1:]))


def _log_normal(at: F64, mean: float, sd: float) -> F64:
    density: F64 = -0.5 * np.square((at - mean) / sd) - np.log(sd)
    return density


def find_pairs(faces: Faces, levels: Levels, mixture: Mixture, rows: slice) -> Pairs:
    """Find the pairs that are perhaps one person: those at least SUGGESTED.

    Args:
        faces: n people.
        levels: Of strangers.
        mixture: What scores mean.
        rows: The left people; the right ones are all after each.
    """
    lowest = mixture.score_of(SUGGESTED)
    parts = []
    for tall in row_blocks(rows.stop - rows.start, BLOCK):
        top = slice(rows.start + tall.start, rows.start + tall.stop)
        found = _Found(top.start, top.stop - top.start)
        for start in range(top.start, len(faces.codes), BLOCK):
            wide = slice(start, min(start + BLOCK, len(faces.codes)))
            found.add(_pairs_of(faces, levels, mixture, top, wide, lowest))
        parts.append(found.pairs())
    return Pairs.join(parts)


class _Found:
    """Pairs of some left people, of whom those with too many keep the strongest and the weakest.

    Who is linked to more than MAX_COMPONENT others is in a set that is divided in any case. The
    strongest pairs hold it together, and the weakest are those that are suggested.

    Args:
        first: The first left person.
        count: How many left people there are.
    """

    def __init__(self, first: int, count: int) -> None:
        self._first = first
        self._count = np.zeros(count, np.int64)
        self._parts: list[Pairs] = []
        self._held = 0

    def add(self, pairs: Pairs) -> None:
        """Add pairs with people further to the right."""
        self._count += np.bincount(pairs.left - self._first, minlength=len(self._count))
        self._parts.append(pairs)
        self._held += len(pairs.left)
        if self._held > HELD:
            self._parts = [self._thinned(Pairs.join(self._parts))]
            self._held = len(self._parts[0].left)

    def pairs(self) -> Pairs:
        """All that are kept, in the order in which they came."""
        return self._thinned(Pairs.join(self._parts))

    def _thinned(self, pairs: Pairs) -> Pairs:
        many = self._count[pairs.left - self._first] > MAX_COMPONENT
        if not many.any():
            return pairs
        rows = np.flatnonzero(many)
        keep = ~many
        left, strength = pairs.left[rows], (pairs.log_odds[rows], pairs.cosine[rows])
        for sign in (-1.0, 1.0):
            order = np.lexsort((pairs.right[rows], sign * strength[1], sign * strength[0], left))
            place = np.arange(len(rows)) - np.searchsorted(left[order], left[order])
            keep[rows[order[place < KEPT]]] = True
        left, right, cosine, log_odds = pairs
        return Pairs(left[keep], right[keep], cosine[keep], log_odds[keep])


HELD = 1 << 20
"""Pairs of some left people that are held before the superfluous ones are dropped."""

KEPT = 100
"""Strongest and weakest pairs of somebody with more than MAX_COMPONENT."""

BLOCK = 4096
"""People on the right of a block: their codes stay in the cache of a processor."""

MARGIN = 1e-4
"""Of a rounded cosine below the lowest that is looked at."""


def _pairs_of(
    faces: Faces, levels: Levels, mixture: Mixture, top: slice, wide: slice, lowest: float
) -> Pairs:
    left, right = take(faces, top), take(faces, wide)
    mine = Levels(levels.mean[top], levels.sd[top])
    theirs = Levels(levels.mean[wide], levels.sd[wide])
    rounded = _unit(left) @ _unit(right).T
    i, j = np.nonzero(rounded >= _lowest_cosines(mine, theirs, lowest)[:, None] - MARGIN)
    kept = (j + wide.start > i + top.start) & (left.title[i] != right.title[j])
    i, j = i[kept], j[kept]
    dots = np.einsum("pd,pd->p", left.codes[i].astype(np.int32), right.codes[j].astype(np.int32))
    cosine = dots / (left.length[i] * right.length[j])
    score = _score(cosine, (mine.mean[i], mine.sd[i]), (theirs.mean[j], theirs.sd[j]))
    high = score >= lowest
    i, j = i[high], j[high]
    return Pairs(i + top.start, j + wide.start, cosine[high], mixture.at(score[high]))


def _unit(faces: Faces) -> F32:
    """Unit embeddings (n, d), rounded; zero where there is none."""
    unit: F32 = faces.codes.astype(np.float32)
    unit /= faces.length[:, None].astype(np.float32)
    return unit


def _lowest_cosines(mine: Levels, theirs: Levels, lowest: float) -> F64:
    """A cosine (a,) below which the score of each with any of the others is too low."""
    level = theirs.mean / theirs.sd
    offset = 2 * lowest + mine.mean / mine.sd + level.min(initial=np.inf)
    tightest = np.where(offset > 0, 1 / theirs.sd.min(initial=1), 1 / theirs.sd.max(initial=MIN_SD))
    bound: F64 = offset / (1 / mine.sd + tightest)
    return bound


class Nearest(NamedTuple):
    """The people who look most like a face, the likeliest first."""

    row: I64  # (k,)
    cosine: F64  # (k,)
    log_odds: F64  # (k,)


def find_nearest(face: I8, faces: Faces, levels: Levels, mixture: Mixture, limit: int) -> Nearest:
    """Find who looks most like a face; everybody is compared.

    Args:
        face: (d,) codes.
        faces: n people.
        levels: Of strangers, for these people.
        mixture: What scores mean.
        limit: How many to find.
    """
    n = len(faces.codes)
    cosine = np.zeros(n)
    own = face.astype(np.float32)
    length = max(float(np.linalg.norm(own.astype(np.float64))), 1.0)
    for rows in row_blocks(n, 4 * max(len(face), 1)):
        # Not by BLAS: its threads wait for each other at each of these small products, which takes
        # ten times as long where other programs run. Sums of codes are exact in any order.
        cosine[rows] = np.einsum("nd,d->n", faces.codes[rows].astype(np.float32), own)
    cosine /= faces.length * length
    if not n:
        return Nearest(np.zeros(0, np.int64), cosine, cosine)
    middle, low = np.quantile(cosine, (0.5, LOWER_SD))
    usual = (np.float64(middle), np.float64(max(middle - low, MIN_SD)))
    score = _score(cosine, usual, (levels.mean, levels.sd))
    few = np.argpartition(-score, min(limit, n) - 1)[:limit]
    best = few[np.lexsort((few, -score[few]))]
    return Nearest(best, cosine[best], mixture.at(score[best]))


class Known(NamedTuple):
    """What is known of n people without looking at their faces."""

    group: I64  # (n,) number of people who are one, never two of one title; negative: none
    name: I64  # (n,) number of the name; two names are two people; negative: not named
    cannot: I64  # (c, 2) further pairs of rows that are two people

    @classmethod
    def nothing(cls, n: int) -> Known:
        """Nothing is known."""
        none = np.full(n, -1, np.int64)
        return cls(none, none, np.zeros((0, 2), np.int64))


def join_people(
    faces: Faces, levels: Levels, mixture: Mixture, pairs: Pairs, known: Known
) -> Joined:
    """Join people, the likeliest first.

    Args:
        faces: n people.
        levels: Of strangers.
        mixture: What scores mean.
        pairs: All that are perhaps one.
        known: Constraints, which hold whatever faces say.
    """
    n = len(faces.codes)
    links = [np.stack([pairs.left, pairs.right], axis=1), chains(known.group)]
    weight = np.concatenate([pairs.log_odds, np.full(len(links[1]), CERTAIN)])
    label = np.arange(n, dtype=np.int64)
    mean = np.full(n, CLIP)
    trees = []
    for rows in _components(np.concatenate(links), weight, n):
        part, tree, odds = _join_some(rows, faces, levels, mixture, known)
        label[rows] = rows[part]
        mean[rows] = odds
        trees.append(tree)
    return Joined(renumber(label), Pairs.join(trees), mean)


def chains(group: I64) -> I64:
    """Pairs (m, 2) of rows that hold the members of each group together."""
    order = np.argsort(group, kind="stable")
    order = order[group[order] >= 0]
    same = group[order[1:]] == group[order[:-1]]
    pairs: I64 = np.stack([order[:-1][same], order[1:][same]], axis=1)
    return pairs


def _components(links: I64, weight: F64, n: int) -> Iterator[I64]:
    """Sets of at least two people that links hold together, none too large."""
    waiting = [(links, weight)]
    while waiting:
        links, weight = waiting.pop()
        graph = sparse.coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), (n, n))
        number = sparse.csgraph.connected_components(graph, directed=False)[1]
        size = np.bincount(number, minlength=1)
        order = np.argsort(number, kind="stable")
        ends = np.cumsum(size)
        for which in np.flatnonzero(size > 1):
            rows = order[ends[which] - size[which] : ends[which]]
            if size[which] <= MAX_COMPONENT:
                yield np.sort(rows)
                continue
            inside = number[links[:, 0]] == which
            own, held = links[inside], weight[inside]
            unsure = held[held < CERTAIN]
            if not len(unsure):
                yield np.sort(rows)
            elif unsure.min() < unsure.max():
                # The strongest links say as much as any can: they are never cut.
                kept = held >= min(float(unsure.min()) + 1.0, float(unsure.max()))
                waiting.append((own[kept], held[kept]))
            else:
                yield from _parts(rows, own[held >= CERTAIN], n)


def _parts(rows: I64, certain: I64, n: int) -> Iterator[I64]:
    """Divide a set into parts of at most MAX_COMPONENT, unless a certain link forbids it."""
    graph = sparse.coo_array(
        (np.ones(len(certain), np.int8), (certain[:, 0], certain[:, 1])), (n, n)
    )
    rows = np.sort(rows)
    unit = renumber(sparse.csgraph.connected_components(graph, directed=False)[1][rows])
    part: list[I64] = []
    length = 0
    for some in np.split(rows[np.argsort(unit, kind="stable")], np.cumsum(np.bincount(unit))[:-1]):
        if part and length + len(some) > MAX_COMPONENT:
            yield np.sort(np.concatenate(part))
            part, length = [], 0
        part.append(some)
        length += len(some)
    yield np.sort(np.concatenate(part))


def _join_some(
    rows: I64, faces: Faces, levels: Levels, mixture: Mixture, known: Known
) -> tuple[I64, Pairs, F64]:
    """Join the people of one component.

    Returns:
        (m,) place of the first member of each one's person, the pairs that hold them together, and
        (m,) log odds of each with all other members.
    """
    if len(rows) > MAX_COMPONENT:
        return _one_group(rows, faces, levels, mixture)
    some, mine = take(faces, rows), Levels(levels.mean[rows], levels.sd[rows])
    cosine = cosine_block(some, some)
    evidence = mixture.evidence(scores(cosine, mine, mine))
    evidence = (evidence + evidence.T) / 2
    unseen = ~some.codes.any(axis=1)
    evidence[unseen] = evidence[:, unseen] = 0.0  # no face is kept: it says nothing
    group = known.group[rows]
    shared = _shared_evidence(evidence, group)
    label = join_likeliest(shared, _apart(rows, some.title, known), group, mixture.prior_odds)
    first = np.unique(label, return_index=True)[1][label]
    together = label[:, None] == label[None]
    np.fill_diagonal(together, False)
    mates = together.sum(axis=1)
    total = (evidence * together).sum(axis=1) / np.sqrt(np.maximum(mates, 1))
    odds = np.where(mates > 0, mixture.prior_odds + total, CLIP)
    held = sparse.csgraph.minimum_spanning_tree(
        np.where(together, 1 + evidence.max(initial=0) - evidence, 0.0)
    )
    ends = held.tocoo()
    i, j = np.minimum(ends.row, ends.col), np.maximum(ends.row, ends.col)
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    tree = Pairs(rows[i], rows[j], cosine[i, j], mixture.prior_odds + evidence[i, j])
    return first, tree, odds


def _one_group(rows: I64, faces: Faces, levels: Levels, mixture: Mixture) -> tuple[I64, Pairs, F64]:
    """The same for a group that is known to be one, and is too large to compare each with each.

    Each member is compared with the one before it.
    """
    some = take(faces, rows)
    dots = np.einsum("nd,nd->n", some.codes[:-1].astype(np.int32), some.codes[1:].astype(np.int32))
    cosine = dots / (some.length[:-1] * some.length[1:])
    one, other = ((levels.mean[part], levels.sd[part]) for part in (rows[:-1], rows[1:]))
    seen: Mask = np.asarray(some.codes.any(axis=1))
    evidence = np.where(seen[:-1] & seen[1:], mixture.evidence(_score(cosine, one, other)), 0.0)
    tree = Pairs(rows[:-1], rows[1:], cosine, mixture.prior_odds + evidence)
    return np.zeros(len(rows), np.int64), tree, np.full(len(rows), CLIP)


def join_likeliest(evidence: F64, apart: Mask, group: I64, prior_odds: float) -> I64:
    """Merge the two likeliest clusters until none are likelier one person than two.

    Args:
        evidence: (m, m) log likelihood ratios of pairs.
        apart: (m, m) true for pairs that are two people.
        group: (m,) number of people who are one from the start; negative: none.
        prior_odds: Log odds of a pair before anything is seen.

    Returns:
        (m,) clusters, numbered by first rows.
    """
    start = np.where(group >= 0, len(group) + group, np.arange(len(group)))
    label = renumber(start.astype(np.int64))
    count = int(label.max(initial=-1)) + 1
    home = np.zeros((len(label), count))
    home[np.arange(len(label)), label] = 1.0
    total, size = home.T @ evidence @ home, home.sum(axis=0)
    forbidden = (home.T @ apart @ home) > 0
    np.fill_diagonal(forbidden, True)

    def odds_of(row: int) -> F64:
        mean = total[row] / (size[row] * size)
        odds: F64 = np.where(forbidden[row], -np.inf, prior_odds + mean * np.sqrt(size[row] * size))
        return odds

    odds = np.stack([odds_of(row) for row in range(count)]) if count else np.zeros((0, 0))
    while count:
        left, right = divmod(int(odds.argmax()), count)
        if odds[left, right] <= JOINED:
            break
        left, right = min(left, right), max(left, right)
        label[label == right] = left
        total[left] += total[right]
        total[:, left] = total[left]
        forbidden[left] |= forbidden[right]
        forbidden[:, left] = forbidden[left]
        forbidden[right] = forbidden[:, right] = forbidden[left, left] = True
        size[left] += size[right]
        odds[right] = odds[:, right] = -np.inf
        odds[left] = odds_of(left)
        odds[:, left] = odds[left]
    return renumber(label)


def _shared_evidence(evidence: F64, group: I64) -> F64:
    """Evidence (m, m) in which all looks of one group count as the one that is most alike."""
    shared = evidence.copy()
    for number in np.unique(group[group >= 0]):
        members = np.flatnonzero(group == number)
        best = shared[members].max(axis=0)
        shared[members] = best
        shared[:, members] = best[:, None]
    return shared


def _apart(rows: I64, title: I64, known: Known) -> Mask:
    """Who of m people must not be joined (m, m)."""
    name = known.name[rows]
    named = name >= 0
    apart: Mask = title[:, None] == title[None]
    apart |= (name[:, None] != name[None]) & named[:, None] & named[None]
    if len(known.cannot):
        inside = np.isin(known.cannot, rows).all(axis=1)
        left, right = (np.searchsorted(rows, known.cannot[inside, side]) for side in (0, 1))
        apart[left, right] = apart[right, left] = True
    return apart
