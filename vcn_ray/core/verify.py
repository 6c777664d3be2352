"""How well embeddings tell known people apart, pair by pair; it knows no pictures and no networks.

Nothing here holds all pairs: cosines come in tiles, and of those between different people only the
greatest are kept, as many as the largest rate of false acceptance asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vcn_ray.core.vectors import TINY, row_blocks, tiles, unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64


class Verification(NamedTuple):
    """How often two pictures of one person are taken for one person."""

    same_pairs: int  # unordered, of one person
    different_pairs: int  # likewise, of two people
    accepted: tuple[float | None, ...]  # share of the same pairs, at each rate; None: too few pairs


class Spread(NamedTuple):
    """Where some values lie."""

    mean: float
    variance: float


def verify_people(embeddings: F32, identity: I64, rates: Sequence[float]) -> Verification:
    """True acceptance at given rates of false acceptance (TAR at FAR), over all pairs.

    At rate r, of d pairs of different people the floor(r d) most alike are accepted wrongly: the
    threshold is the cosine of the next one, and a pair is accepted over it. So the rate is never
    exceeded, and no value is made between two cosines. Where r d < 1, there are too few pairs.

    Args:
        embeddings: (n, d), of any length: cosines count.
        identity: (n,) whose picture each is.
        rates: Of false acceptance, each in (0, 1).

    Raises:
        ShapeError: There is not one identity for each embedding.
    """
    unit, starts = _sorted_people(embeddings, identity)
    sizes = np.diff(starts)
    same = int((sizes * (sizes - 1) // 2).sum())
    different = len(unit) * (len(unit) - 1) // 2 - same
    wrong = [int(rate * different) for rate in rates]
    enough = same > 0 and any(wrong)
    greatest = _greatest_different(unit, starts, max(wrong) + 1) if enough else np.empty(0)
    known = [enough and number > 0 for number in wrong]
    limits = [greatest[number] for number, told in zip(wrong, known, strict=True) if told]
    shares = iter(_count_same(unit, starts, np.array(limits)) / max(1, same))
    return Verification(same, different, tuple(float(next(shares)) if k else None for k in known))


def separate_people(embeddings: F32, identity: I64) -> F64:
    """How far each person's cosines among their own pictures lie above those with all others.

    Means and deviations over pairs come from sums of rows and of their outer products, no pairs.

    Args:
        embeddings: (n, d), of any length.
        identity: (n,) whose picture each is.

    Returns:
        (g,) difference of both means over their common deviation, of the people with two pictures
        and more, in rising order of identity; empty where there is one person.

    Raises:
        ShapeError: There is not one identity for each embedding.
    """
    unit, starts = _sorted_people(embeddings, identity)
    total, outer = unit.sum(axis=0), unit.T @ unit
    found = []
    for start, end in pairwise(starts):
        own, others = end - start, len(unit) - (end - start)
        if own < 2 or not others:
            continue
        rows = unit[start:end]
        mine = rows.sum(axis=0)
        # Both products of rows with themselves have one sum of squares: the smaller is taken.
        product = rows @ rows.T if own < rows.shape[1] else rows.T @ rows
        squares = (product**2).sum()
        lengths = np.einsum("nd,nd->n", rows, rows)  # cosines of rows with themselves are no pairs
        same = _spread_of(
            mine @ mine - lengths.sum(), squares - (lengths**2).sum(), own * (own - 1)
        )
        different = _spread_of(
            mine @ (total - mine), ((rows @ outer) * rows).sum() - squares, own * others
        )
        spread = np.sqrt((same.variance + different.variance) / 2)
        found.append((same.mean - different.mean) / max(spread, TINY))
    return np.array(found)


def _spread_of(total: float, squares: float, count: int) -> Spread:
    """Of so many values, from their sum and the sum of their squares."""
    mean = total / count
    return Spread(mean, max(0.0, squares / count - mean**2))


def _sorted_people(embeddings: F32, identity: I64) -> tuple[F64, I64]:
    """Unit rows (n, d) with each person's together, and where each begins, n last."""
    if embeddings.ndim != 2 or identity.shape != embeddings.shape[:1]:
        raise ShapeError(
            f"embeddings (n, d) need identities (n,), got {embeddings.shape}, {identity.shape}"
        )
    order = np.argsort(identity, kind="stable")
    starts = np.unique(identity[order], return_index=True)[1]
    return unit_rows(embeddings[order]), np.append(starts, len(order))


def _greatest_different(unit: F64, starts: I64, count: int) -> F64:
    """The greatest cosines of two people's pictures, `count` of them, falling.

    No more than three times as many are held at a time.
    """
    ends = np.repeat(starts[1:], np.diff(starts))  # where the others after each row begin
    kept, pieces, held, least = np.empty(0), [], 0, -np.inf
    for rows, columns in tiles(len(unit), len(unit), above=True):
        cosines = unit[rows] @ unit[columns].T
        after = np.arange(columns.start, columns.stop) >= ends[rows, None]
        piece = cosines[after & (cosines > least)]
        pieces.append(piece)
        held += len(piece)
        if held >= count:
            kept = _largest(np.concatenate([kept, *pieces]), count)
            pieces, held, least = [], 0, kept.min()
    return np.sort(_largest(np.concatenate([kept, *pieces]), count))[::-1]


def _largest(values: F64, count: int) -> F64:
    """The `count` greatest values, or all of fewer, in any order."""
    if len(values) <= count:
        return values
    return np.partition(values, len(values) - count)[len(values) - count :]


def _count_same(unit: F64, starts: I64, limits: F64) -> I64:
    """(l,) unordered pairs of one person with a cosine over each limit (l,)."""
    over = np.zeros(len(limits), np.int64)
    for start, end in pairwise(starts):
        person = unit[start:end]
        for rows in row_blocks(len(person), len(person)):
            cosines = person[rows] @ person.T
            below = np.arange(len(person)) > np.arange(rows.start, rows.stop)[:, None]
            pairs = cosines[below]
            over += np.array([(pairs > limit).sum() for limit in limits], np.int64)
    return over
