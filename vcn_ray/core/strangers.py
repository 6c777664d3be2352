"""How alike two faces are, counted against how alike strangers are to each of the two.

How alike strangers are to somebody differs from person to person: a blurred face resembles
everybody. So a cosine is counted in standard deviations above what is usual with strangers for the
two faces (adaptive score normalisation, as in speaker recognition), and called a score.

Embeddings are compared as whole numbers, whose products are exact in any order. So neither the
order of titles nor blocks nor threads change a result. It knows no ids, names or storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from vcn_ray.core.vectors import Floats, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64

I8 = npt.NDArray[np.int8]

EXACT = 2**24
"""Whole numbers up to here are exact in float32."""

COHORT = 2048
"""People with whom everybody is compared to see how alike strangers are to him."""

COHORT_LOOKS, COHORT_SHARE = 10, 0.02
"""So many looks of one person in the cohort, or such a part of it, at most."""

HIGHEST_STRANGER = 4.0
"""Strangers are hardly more alike than so many standard deviations above their mean."""

COHORT_WEIGHT = 100.0
"""The levels of a single person weigh as much as the usual ones at so many strangers."""

COSINES = 2000
"""Bins in which cosines are counted."""

FEW_STRANGERS = 10
"""From fewer pairs of strangers, how far their cosines spread is not known."""

LOWER_SD = float(special.ndtr(-1.0))
"""Quantile one standard deviation below the median."""

MIN_SD = 1e-3


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


def rows_by_title(faces: Faces) -> list[I64]:
    """Rows of the people of each title."""
    order = np.argsort(faces.title, kind="stable")
    starts = np.flatnonzero(np.diff(faces.title[order], prepend=-1))
    return np.split(order, starts[1:])


def thin_cohort(faces: Faces, cohort: I64, known: tuple[float, float] | None = None) -> I64:
    """Leave out further looks of people of whom a cohort has many.

    A cohort shows how alike strangers are. One person in a large part of the titles, such as a
    presenter, would else be a large part of it. People of one title show which cosines strangers
    do not have, so the first of the cohort and all that are more alike to him than that are taken
    for one person, and so on.

    Args:
        faces: n people.
        cohort: (c,) rows.
        known: Mean and standard deviation of the cosine of strangers to the encoder, beforehand.

    Returns:
        (k,) rows of the cohort, in its order, with at most COHORT_LOOKS or COHORT_SHARE of each.
    """
    if len(cohort) <= COHORT_LOOKS:
        return cohort
    cosine = cosine_block(take(faces, cohort), take(faces, cohort))
    highest = _highest_cosine(faces, cosine, known)
    most = max(COHORT_LOOKS, int(COHORT_SHARE * len(cohort)))
    left, kept = np.ones(len(cohort), bool), np.ones(len(cohort), bool)
    for first in range(len(cohort)):
        if left[first]:
            alike = np.flatnonzero(left & (cosine[first] > highest))
            kept[alike[most:]] = left[alike] = False
    rows: I64 = cohort[kept]
    return rows


def _highest_cosine(faces: Faces, own: F64, known: tuple[float, float] | None) -> float:
    """A cosine that strangers hardly have; infinite where nothing is known of them.

    Args:
        faces: n people.
        own: (c, c) cosines of the cohort.
        known: Mean and standard deviation of the cosine of strangers, beforehand.
    """
    counts = np.zeros(COSINES, np.int64)
    for rows in rows_by_title(faces):
        some = take(faces, rows[:COHORT])  # memory grows with the square
        counts += _counted(cosine_block(some, some)[np.triu_indices(len(some.title), 1)])
    if counts.sum() >= FEW_STRANGERS:
        return _above(counts)
    if known is None:
        return np.inf
    # The encoder may know this catalog less well than those that it was calibrated on.
    return max(known[0] + HIGHEST_STRANGER * known[1], _above(_counted(own)))


def _counted(cosine: F64) -> I64:
    """Count cosines in COSINES bins from -1 to 1."""
    bins = ((np.ravel(cosine) + 1) * (COSINES / 2)).astype(np.int64)
    return np.bincount(np.clip(bins, 0, COSINES - 1), minlength=COSINES)


def _above(counts: I64) -> float:
    """The cosine HIGHEST_STRANGER standard deviations above the median, seen from below it."""
    below = np.cumsum(counts) / int(counts.sum())
    edges = np.linspace(-1, 1, COSINES + 1)[1:]
    middle, low = np.interp((0.5, LOWER_SD), below, edges)
    return float(middle + HIGHEST_STRANGER * max(middle - low, MIN_SD))


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


def level_of_face(cosine: F64, usual: Levels) -> tuple[np.float64, np.float64]:
    """See how alike strangers are to one face: mean and standard deviation of the cosine.

    Args:
        cosine: (k,) of the face with strangers, nearly all.
        usual: Of these strangers; few show little, so levels are drawn towards theirs.
    """
    own = len(cosine) / (len(cosine) + COHORT_WEIGHT)
    middle, low = np.quantile(cosine, (0.5, LOWER_SD))
    mean = own * middle + (1 - own) * np.median(usual.mean)
    variance = own * np.square(middle - low) + (1 - own) * np.mean(np.square(usual.sd))
    return np.float64(mean), np.maximum(np.sqrt(variance), MIN_SD)


def scores(cosine: F64, left: Levels, right: Levels) -> F64:
    """Count cosines (a, b) in standard deviations above strangers, the mean for both faces."""
    return to_scores(cosine, (left.mean[:, None], left.sd[:, None]), right)


def to_scores(cosine: F64, left: tuple[Any, Any], right: tuple[F64, F64]) -> F64:
    """The same for means and standard deviations of any shapes that fit."""
    score: F64 = ((cosine - left[0]) / left[1] + (cosine - right[0]) / right[1]) / 2
    return score
