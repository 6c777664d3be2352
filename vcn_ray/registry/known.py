"""What is known of the people of a catalog without their faces: names and decisions.

Equal names are one person, different names are two, and a decision about two people outweighs
both. It reads no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vcn_ray.core.linking import Known
from vcn_ray.records import I64
from vcn_ray.registry.decisions import Decision, PersonMark

Place = tuple[str, str]
"""Id of a title, and of a person of it."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What people decided about pairs of rows, the latest first."""

    one: tuple[tuple[int, int], ...] = ()  # are one person
    two: tuple[tuple[int, int], ...] = ()  # are two people


def decided_rows(
    decisions: Iterable[Decision], people: Mapping[PersonMark, str], row: Mapping[Place, int]
) -> tuple[Decided, list[str]]:
    """Turn decisions into pairs of rows; of two about one pair, the later one counts.

    Args:
        decisions: Those that count, in order of time.
        people: Who the marked people are now.
        row: Of each person in the registry.

    Returns:
        The pairs, and the ids of decisions that are about somebody who is lost.
    """
    latest: dict[tuple[int, int], str] = {}
    lost = []
    for decision in decisions:
        marks = (decision.left, decision.right)
        rows = [
            row.get((mark.title_id, people[mark])) if mark in people else None
            for mark in marks
            if mark is not None
        ]
        if len(rows) != 2 or None in rows or rows[0] == rows[1]:
            lost.append(decision.decision_id)
            continue
        left, right = sorted(each for each in rows if each is not None)
        latest.pop((left, right), None)
        latest[left, right] = decision.kind
    pairs = {
        kind: tuple(pair for pair, what in reversed(latest.items()) if what == kind)
        for kind in ("join", "apart")
    }
    return Decided(pairs["join"], pairs["apart"]), lost


def gather_known(faces: pa.Table, decided: Decided) -> Known:
    """Everything that is known of n people beforehand.

    Args:
        faces: (n rows) CATALOG_FACES.
        decided: Decisions about pairs of rows.
    """
    title = _numbers(faces.column("title_id").to_pylist())
    names = [plain_name(name) for name in faces.column("name").to_pylist()]
    name = _numbers(names)
    groups = _Groups(title, decided.two)
    for left, right in decided.one:
        groups.join(left, right)
    seconds = faces.column("screen_seconds").to_numpy()
    first: dict[int, int] = {}
    for row in np.lexsort((np.arange(len(name)), -seconds)).tolist():
        if name[row] >= 0:
            groups.join(first.setdefault(int(name[row]), row), row)
    cannot: I64 = np.array(decided.two, np.int64).reshape(-1, 2)
    # Two names that somebody has declared one person are no reason to keep people apart.
    group = groups.numbers()
    shared = np.where(group >= 0, group + len(names), name)
    name = np.where(name >= 0, shared, name)
    return Known(group, name, cannot)


def plain_name(name: str | None) -> str | None:
    """A name without what nobody means by it: case and white space."""
    return " ".join(name.casefold().split()) or None if name else None


def _numbers(values: list[str | None]) -> I64:
    """A number for each value, by first occurrence; negative for none."""
    known: dict[str, int] = {}
    return np.array(
        [-1 if value is None else known.setdefault(value, len(known)) for value in values], np.int64
    )


class _Groups:
    """People who are one; never two of one title, nor two who are decided to be two.

    Args:
        title: (n,) of each person.
        two: Pairs of people who are two.
    """

    def __init__(self, title: I64, two: Iterable[tuple[int, int]]) -> None:
        self._title = title
        self._home = np.arange(len(title))
        self._members: dict[int, list[int]] = {}
        self._foes: dict[int, set[int]] = {}
        for left, right in two:
            self._foes.setdefault(left, set()).add(right)
            self._foes.setdefault(right, set()).add(left)

    def join(self, left: int, right: int) -> None:
        """Make two people one, unless something forbids it."""
        one, other = int(self._home[left]), int(self._home[right])
        if one == other:
            return
        mine, theirs = self._members.get(one, [one]), self._members.get(other, [other])
        titles = {int(self._title[row]) for row in mine}
        if any(int(self._title[row]) in titles for row in theirs):
            return
        known = set(mine)
        if any(not known.isdisjoint(self._foes.get(row, ())) for row in theirs):
            return
        self._members[one] = mine + theirs
        self._members.pop(other, None)
        self._home[theirs] = one

    def numbers(self) -> I64:
        """Number of the group of each person (n,); negative: of none."""
        number = np.full(len(self._title), -1, np.int64)
        for place, members in enumerate(self._members.values()):
            number[members] = place
        return number
