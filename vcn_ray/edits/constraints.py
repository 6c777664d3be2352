"""What corrections teach: which tracks must and cannot be one person, and which show no face.

They become constraints of the next fine-tuning and clustering of the title, where each decides
about more tracks than those it names. Names teach nothing: a title that is only named gives the
same rows again. Later edits outweigh earlier ones. It knows no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np

from vcn_ray.core.linkage import must_link_groups
from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.record import Anchor, Edit, Kind, active_edits
from vcn_ray.records import I64, Constraints

TEACHING_VERSION = "2"
"""Raised whenever the same corrections give a title other rows; one without any stays as it is."""

TEACHING: frozenset[Kind] = frozenset(["merge", "move", "no_face", "apart", "lock"])
"""Kinds of edits that teach."""

MAX_LINKED = 16  # tracks of a person that a decision links: the longest, which are seen best
MAX_APART = 4  # and that it keeps apart from those of another person

Pair = tuple[int, int]


def teaching_edits(edits: Iterable[Edit]) -> list[Edit]:
    """The edits that count and teach, in order."""
    return [edit for edit in active_edits(list(edits)) if edit.kind in TEACHING]


def learn_constraints(edits: Iterable[Edit], index: TrackIndex) -> Constraints:
    """Turn edits into constraints between the tracks of a title, before these are clustered.

    Args:
        edits: Of the title, in any order.
        index: Its tracks.

    Returns:
        Pairs of rows of the index. No pair is in both lists.
    """
    learner = _Learner(index)
    for edit in teaching_edits(edits):
        learner.add(edit)
    return learner.constraints()


class _Learner:
    """Gathers pairs, edit by edit."""

    def __init__(self, index: TrackIndex) -> None:
        self._index = index
        self._must: set[Pair] = set()
        self._cannot: set[Pair] = set()
        self._no_face: set[int] = set()
        self._locked: list[tuple[str, list[int]]] = []  # name, and rows of the person

    def add(self, edit: Edit) -> None:
        """Add what an edit says."""
        subject = self._rows(edit, edit.subject)
        match edit.kind:
            case "merge":
                self._join(subject[:MAX_LINKED] + self._rows(edit, edit.into)[:MAX_LINKED])
            case "move":
                self._leave(subject)
                self._join(subject + self._rows(edit, edit.into)[:MAX_LINKED])
                self._part(subject, self._rows(edit, edit.away)[:MAX_APART])
            case "no_face":
                self._leave(subject)
                self._no_face.update(subject)
            case "apart":
                self._part(subject[:MAX_APART], self._rows(edit, edit.into)[:MAX_APART])
            case "lock":
                self._join(subject[:MAX_LINKED])
                self._locked.append((edit.name, subject))

    def constraints(self) -> Constraints:
        """All pairs; what must link cannot be kept apart."""
        for (name, rows), (other, others) in combinations(self._locked, 2):
            if name != other:
                self._part(rows[:MAX_APART], others[:MAX_APART])
        must, cannot = _pairs(self._must), _pairs(self._cannot)
        group = must_link_groups(must, len(self._index.ids))
        apart = cannot[group[cannot[:, 0]] != group[cannot[:, 1]]]
        return Constraints(must, apart, np.array(sorted(self._no_face), np.int64))

    def _rows(self, edit: Edit, anchors: Sequence[Anchor]) -> list[int]:
        """Rows of the tracks that anchors are now, those of the longest anchors first."""
        ranked = sorted(anchors, key=lambda anchor: (-anchor.seconds, anchor.track_id))
        found = (self._index.find(anchor, edit.encoder) for anchor in ranked)
        rows = [self._index.row[track] for match in found for track in match.tracks]
        return list(dict.fromkeys(rows))

    def _join(self, rows: Sequence[int]) -> None:
        self._no_face.difference_update(rows)
        self._must.update(_ordered(rows[0], row) for row in rows[1:])
        self._cannot = {pair for pair in self._cannot if not set(pair) <= set(rows)}

    def _part(self, rows: Sequence[int], others: Sequence[int]) -> None:
        self._cannot.update(_ordered(a, b) for a, b in product(rows, others) if a != b)

    def _leave(self, rows: Sequence[int]) -> None:
        """Forget what linked these tracks to others."""
        leaving = set(rows)
        left = [pair for pair in self._must if not leaving & set(pair)]
        # Others stay one person, even where a leaving track was what linked them.
        for hub in leaving:
            rest = sorted({row for pair in self._must if hub in pair for row in pair} - leaving)
            left += [_ordered(rest[0], row) for row in rest[1:]]
        self._must = set(left)


def _ordered(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


def _pairs(pairs: Iterable[Pair]) -> I64:
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
