"""Which people of different titles are one person, by their faces, without a threshold to choose.

The likeliest are joined first, and never two of one title. Between sets of people, the evidence of
all pairs counts: their mean log likelihood ratio, times the geometric mean of the sizes, since
pairs that share a face are no independent witnesses. It knows no ids, names or storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from vcn_ray.core.mixture import CLIP, Mixture
from vcn_ray.core.strangers import (
    I8,
    MIN_SD,
    Faces,
    Levels,
    cosine_block,
    level_of_face,
    scores,
    take,
    to_scores,
)
from vcn_ray.core.vectors import renumber, row_blocks
from vcn_ray.records import F32, F64, I64, Mask

JOINED, SUGGESTED = 2.2, -2.2
"""Log odds from which people are joined, 9 in 10, and from which that is suggested, 1 in 10.

A wrong join hides two people in one, so it costs more than a suggestion that somebody answers."""

MAX_COMPONENT = 2000
"""People that are compared each with each; a larger set is divided where it is weakest.

Where all links are as strong as links can be, it is divided by the order of rows. What belongs
together of it is joined again by rejoin_people."""

CERTAIN = 1e6
"""Weight of a link that is known, in log odds."""

HELD = 1 << 20
"""Pairs of some left people that are held before the superfluous ones are dropped."""

KEPT = 100
"""Strongest and weakest pairs of somebody with more than MAX_COMPONENT."""

BLOCK = 4096
"""People on the right of a block: their codes stay in the cache of a processor."""

MARGIN = 1e-4
"""Of a rounded cosine below the lowest that is looked at."""


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


class Nearest(NamedTuple):
    """The people who look most like a face, the likeliest first."""

    row: I64  # (k,)
    cosine: F64  # (k,)
    log_odds: F64  # (k,)


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
    cosine = np.empty(len(i))
    for some in row_blocks(len(i), left.codes.shape[1]):
        one, other = left.codes[i[some]].astype(np.int32), right.codes[j[some]].astype(np.int32)
        cosine[some] = np.einsum("pd,pd->p", one, other)
    cosine /= left.length[i] * right.length[j]
    score = to_scores(cosine, (mine.mean[i], mine.sd[i]), (theirs.mean[j], theirs.sd[j]))
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


def find_nearest(
    face: I8, faces: Faces, levels: Levels, mixture: Mixture, each_once: I64, limit: int
) -> Nearest:
    """Find who looks most like a face; everybody is compared.

    Args:
        face: (d,) codes.
        faces: n people.
        levels: Of strangers, for these people.
        mixture: What scores mean.
        each_once: Rows with one look of each person of the catalog, who are nearly all strangers.
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
    usual = Levels(levels.mean[each_once], levels.sd[each_once])
    mine = level_of_face(cosine[each_once], usual)
    score = to_scores(cosine, mine, (levels.mean, levels.sd))
    few = np.argpartition(-score, min(limit, n) - 1)[:limit]
    best = few[np.lexsort((few, -score[few]))]
    return Nearest(best, cosine[best], mixture.at(score[best]))


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
    evidence = np.where(seen[:-1] & seen[1:], mixture.evidence(to_scores(cosine, one, other)), 0.0)
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
