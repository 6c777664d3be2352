"""What to ask a reviewer next: the decision that settles the most time on screen comes first.

Each suggestion has a probability that acting on it is right, from the distance of embeddings where
they are kept. Its value is the screen time that an answer settles, times that probability, over
what the answer costs the reviewer. An answer makes the suggestion disappear, whatever it is. It
knows no storage, no page and no edits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import special

from vcn_ray.records import F32, F64, I64, Mask

Ask = Literal["known", "merge", "split", "name", "assign"]

NEAREST = 3  # people with whom a person is compared
MAX_PEOPLE = 1500  # with the most screen time; a square of distances has to fit
MIXED = 0.2  # of the people with a track that looks wrong, those that hold another person
A_FACE = 0.4  # of the tracks of nobody, those that show somebody who can be told
SAME_NAME = 0.95  # probability that two people of one name are one
OTHER_NAME = 0.9  # probability that tracks which a reviewer named otherwise are another's
TOGETHER = 0.1  # factor of the probability that two people in one frame are one
KNOWN = 0.5  # probability that the reviewer knows a person
MAX_OUTLIERS = 20  # of a person, in one question
UNSURE = 0.5  # confidence below which tracks are asked about together; else the worst one alone
STEEPNESS = 4.0  # log odds between the cut and the middle of the way to strangers
MIN_PROBABILITY = 1e-4  # of a question; less is not worth one, whatever it would settle
COST = {"known": 1.0, "merge": 1.0, "split": 1.5, "name": 2.0, "assign": 1.0}
"""Of an answer, in those of one that is yes or no; a name has to be typed."""


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """The p people and k tracks of a title as they are now.

    Attributes:
        person: (k,) row of the person of each track; -1: nobody's.
        span: (k, 2) start and end of each track, seconds.
        video: (k,) number of its video.
        confidence: (k,) that it is of its person; 1 where a reviewer decided.
        open: (k,) true for tracks of nobody that nobody has decided about.
        screen: (p,) seconds on screen of each person.
        name: Of each person; empty: unnamed.
        locked: (p,) no machine may merge them.
        nobody: (p,) nobody whom the reviewer knows.
        known: Rows of people whom the catalog knows by a name of another title, and how likely
            they are that person.
        apart: Pairs of rows of people who are not one, the smaller first.
        renamed: Rows of tracks, one group for each edit that names them other than their person.
        embedding: (k, d) unit vectors; None: not kept.
        cut: Cosine distance up to which two tracks are taken as one person, and
        strangers: that of two people; None: unknown.
    """

    person: I64
    span: F64
    video: I64
    confidence: F32
    open: Mask
    screen: F64
    name: tuple[str, ...]
    locked: Mask
    nobody: Mask
    known: tuple[tuple[int, float], ...] = ()
    apart: frozenset[tuple[int, int]] = frozenset()
    renamed: tuple[tuple[int, ...], ...] = ()
    embedding: F32 | None = None
    cut: float | None = None
    strangers: float | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One question to a reviewer.

    Attributes:
        ask: What to do if the answer is yes.
        person: Row of the person whom it is about; -1: the tracks are nobody's.
        other: Row of the other person; -1: none.
        tracks: Rows of the tracks that it is about; empty: the whole person.
        probability: That yes is right.
        seconds: On screen that an answer settles.
    """

    ask: Ask
    person: int
    other: int
    tracks: tuple[int, ...]
    probability: float
    seconds: float

    @property
    def value(self) -> float:
        """By which suggestions are ranked."""
        return self.probability * self.seconds / COST[self.ask]


def rank_suggestions(cast: Cast, limit: int = 20) -> list[Suggestion]:
    """The most valuable suggestions, best first; those with a name of another title before all.

    Args:
        cast: Of the title.
        limit: At most so many.
    """
    means, sizes = _means(cast)
    likely = _Likelihood.of(cast, means, sizes)
    found = [*_known(cast), *_merges(cast, means, likely)]
    found += [*_splits(cast, likely), *_names(cast)]
    found += _strays(cast, means, likely)
    found = [each for each in found if each.probability >= MIN_PROBABILITY]
    # A name that is there already is one key away, whatever else would settle more.
    found.sort(key=lambda s: (s.ask != "known", -s.value, s.ask, s.person, s.other, s.tracks))
    return found[:limit]


def nearest_people(cast: Cast, tracks: list[int], limit: int = 12) -> list[int]:
    """Rows of the people who look most like some tracks, their own left out, nearest first.

    Without embeddings, those with the most screen time.
    """
    own = set(cast.person[tracks].tolist())
    order: list[int] = np.argsort(-cast.screen, kind="stable").tolist()
    if cast.embedding is not None and len(cast.screen):
        means, _ = _means(cast)
        mean = cast.embedding[tracks].mean(axis=0)
        order = np.argsort(-(means @ mean), kind="stable").tolist()
    return [row for row in order if row not in own][:limit]


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """How likely two groups of tracks are one person, by their mean distance."""

    cut: float
    scale: float

    @classmethod
    def of(cls, cast: Cast, means: F32, sizes: I64) -> _Likelihood:
        """By the prior of the pack; or else by what the people of this title show."""
        if cast.cut is not None and cast.strangers is not None:
            return cls(cast.cut, max(cast.strangers - cast.cut, 0.02) / 2 / STEEPNESS)
        inside = 1 - np.einsum("pd,pd->p", means, means)[sizes > 1]
        across = 1 - (means @ means.T)[np.triu_indices(len(means), 1)]
        near = float(np.median(inside)) if len(inside) else 0.0
        far = float(np.median(across)) if len(across) else 1.0
        return cls((near + far) / 2, max(far - near, 0.02) / 2 / STEEPNESS)

    def __call__(self, distance: F64 | float) -> F64:
        result: F64 = special.expit((self.cut - np.asarray(distance, np.float64)) / self.scale)
        return result


def _means(cast: Cast) -> tuple[F32, I64]:
    """Mean embedding of each person (p, d), not of unit length, and its number of tracks (p,)."""
    people = len(cast.screen)
    mine = cast.person >= 0
    sizes: I64 = np.bincount(cast.person[mine], minlength=people).astype(np.int64)
    if cast.embedding is None:
        return np.zeros((people, 0), np.float32), sizes
    sums = np.zeros((people, cast.embedding.shape[1]), np.float32)
    np.add.at(sums, cast.person[mine], cast.embedding[mine])
    means: F32 = sums / np.maximum(sizes, 1).astype(np.float32)[:, None]
    return means, sizes


def _merges(cast: Cast, means: F32, likely: _Likelihood) -> Iterator[Suggestion]:
    """Two people who may be one: those of one name, and the nearest."""
    seen: dict[tuple[int, int], float] = {}
    by_name: dict[str, int] = {}
    for row in np.argsort(-cast.screen, kind="stable").tolist():
        name = cast.name[row].casefold()
        if name and by_name.setdefault(name, row) != row:
            seen[_pair(row, by_name[name])] = SAME_NAME
    for pair, probability in _nearest_pairs(cast, means, likely):
        seen.setdefault(pair, probability)
    for (one, other), probability in seen.items():
        if not _may_merge(cast, one, other):
            continue
        # The longer one stays, or the one with a name.
        if (bool(cast.name[one]), cast.screen[one]) > (bool(cast.name[other]), cast.screen[other]):
            one, other = other, one
        seconds = float(min(cast.screen[one], cast.screen[other]))
        yield Suggestion("merge", one, other, (), probability, seconds)


def _may_merge(cast: Cast, one: int, other: int) -> bool:
    two_names = (
        cast.name[one]
        and cast.name[other]
        and (cast.name[one].casefold() != cast.name[other].casefold())
    )
    settled = bool(cast.nobody[one] or cast.nobody[other])
    locked = bool(cast.locked[one] and cast.locked[other])
    return not (two_names or settled or locked or _pair(one, other) in cast.apart)


def _nearest_pairs(
    cast: Cast, means: F32, likely: _Likelihood
) -> Iterator[tuple[tuple[int, int], float]]:
    """The nearest others of each person, and how likely they are one."""
    if not means.shape[1] or len(means) < 2:
        return
    rows = np.argsort(-cast.screen, kind="stable")[:MAX_PEOPLE]
    cosine = means[rows] @ means[rows].T
    np.fill_diagonal(cosine, -2)
    # The next nearest come up once a reviewer has said that these are not one.
    place = {int(row): at for at, row in enumerate(rows)}
    for one, other in cast.apart:
        if one in place and other in place:
            cosine[place[one], place[other]] = cosine[place[other], place[one]] = -2
    count = min(NEAREST, len(rows) - 1)
    near = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
    pairs = {
        _pair(int(rows[i]), int(rows[j])): 1 - float(cosine[i, j])
        for i in range(len(rows))
        for j in near[i]
    }
    tracks = _tracks_of(cast)
    for pair, distance in pairs.items():
        probability = float(likely(distance))
        if probability >= MIN_PROBABILITY and _seen_together(cast, *(tracks[p] for p in pair)):
            probability *= TOGETHER
        yield pair, probability


def _tracks_of(cast: Cast) -> list[I64]:
    """Rows of the tracks of each person."""
    order = np.argsort(cast.person, kind="stable")
    edges = np.searchsorted(cast.person[order], np.arange(len(cast.screen) + 1))
    return [order[low:high] for low, high in pairwise(edges)]


def _seen_together(cast: Cast, one: I64, other: I64) -> bool:
    """True if a track of each is seen at the same time."""
    for video in np.intersect1d(cast.video[one], cast.video[other]):
        mine = cast.span[one[cast.video[one] == video]]
        for start, end in cast.span[other[cast.video[other] == video]]:
            if bool(np.any((mine[:, 0] < end) & (mine[:, 1] > start))):
                return True
    return False


def _splits(cast: Cast, likely: _Likelihood) -> Iterator[Suggestion]:
    """Tracks that may belong to somebody else than the person they are in."""
    length = cast.span[:, 1] - cast.span[:, 0]
    people = _tracks_of(cast)
    for group in cast.renamed:
        rows = tuple(row for row in group if cast.person[row] >= 0 and cast.confidence[row] < 1)
        owners = {int(cast.person[row]) for row in rows}
        if len(owners) == 1 and len(rows) < len(people[min(owners)]):
            seconds = float(length[list(rows)].sum())
            yield Suggestion("split", min(owners), -1, rows, OTHER_NAME, seconds)
    for person, tracks in enumerate(people):
        if cast.nobody[person] or len(tracks) < 2:
            continue
        doubtful = _outliers(cast, tracks, likely)
        if doubtful:
            rows, wrong = tuple(sorted(doubtful)), max(doubtful.values())
            yield Suggestion(
                "split", person, -1, rows, MIXED * wrong, float(length[list(rows)].sum())
            )


def _outliers(cast: Cast, tracks: I64, likely: _Likelihood) -> dict[int, float]:
    """Tracks of a person that are probably not of it, and how probably; at most half of them.

    The worst is set aside before the others are compared, as it makes them look worse than they
    are. A track is compared with the others alone: it says nothing about itself. What a reviewer
    has put here stays, and the others are compared with it, too.
    """
    found: dict[int, float] = {}
    kept, open_ = tracks, cast.confidence[tracks] < 1
    for _ in range(min(len(tracks) // 2, int(open_.sum()), MAX_OUTLIERS)):
        wrong = 1 - cast.confidence[kept].astype(np.float64)
        if cast.embedding is not None and len(kept) > 1:
            rows = cast.embedding[kept]
            others = (rows @ rows.sum(axis=0) - 1) / (len(kept) - 1)
            wrong = np.maximum(wrong, 1 - likely(1 - others))
        worst = int(np.argmax(np.where(open_, wrong, -1.0)))
        if found and wrong[worst] <= 1 - UNSURE:
            break
        found[int(kept[worst])] = float(wrong[worst])
        kept, open_ = np.delete(kept, worst), np.delete(open_, worst)
    return found


def _known(cast: Cast) -> Iterator[Suggestion]:
    for row, probability in cast.known:
        if not cast.name[row] and not cast.nobody[row]:
            yield Suggestion("known", row, -1, (), probability, float(cast.screen[row]))


def _names(cast: Cast) -> Iterator[Suggestion]:
    for row, name in enumerate(cast.name):
        if not name and not cast.nobody[row]:
            yield Suggestion("name", row, -1, (), KNOWN, float(cast.screen[row]))


def _strays(cast: Cast, means: F32, likely: _Likelihood) -> Iterator[Suggestion]:
    """Tracks of nobody, with the person who looks most like them."""
    if not len(cast.screen):
        return
    for row in np.flatnonzero(cast.open).tolist():
        seconds = float(cast.span[row, 1] - cast.span[row, 0])
        other, probability = -1, A_FACE
        if cast.embedding is not None:
            cosine = means @ cast.embedding[row]
            other = int(np.argmax(cosine))
            probability = max(float(likely(1 - cosine[other])), A_FACE)
        yield Suggestion("assign", -1, other, (row,), probability, seconds)


def _pair(one: int, other: int) -> tuple[int, int]:
    return (min(one, other), max(one, other))
