"""Whom a decision about two people of a catalog marks, and what it does to their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal, NamedTuple

from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.known import plain_name
from vcn_ray.registry.persons import (
    NamedPerson,
    PersonOfTitle,
    catalog_id_of,
    members_of,
)
from vcn_ray.registry.stored import find_registry
from vcn_ray.run.current import read_current


class Pair(NamedTuple):
    """Two people of titles whom a decision is about."""

    left: PersonOfTitle
    right: PersonOfTitle


def choose_pair(kind: Literal["join", "apart"], left: NamedPerson, right: NamedPerson) -> Pair:
    """The two people of titles who stand for two people in a decision.

    They are the ones with the most screen time that are of two titles.

    Raises:
        UsageError: Both are one person of the catalog, or people of one title.
    """
    one, other = left.text, right.text
    if left.catalog_id and left.catalog_id == right.catalog_id:
        raise UsageError(
            f"{one} and {other} are one person of the catalog, {left.catalog_id}: "
            + ("nothing is to join" if kind == "join" else "name two people as TITLE:p003")
        )
    home = {member.title_id: member for member in left.members}
    shared = [(home[each.title_id], each) for each in right.members if each.title_id in home]
    pairs = [
        Pair(*pair)
        for pair in product(left.members[:MAX_TRIED], right.members[:MAX_TRIED])
        if pair[0].title_id != pair[1].title_id
    ]
    if not pairs:
        raise UsageError(
            f"{one} and {other} are people of one title: correct it by vcn edits merge or apart"
        )
    rivals = [each for each in shared if each[0] != each[1]]
    if kind == "join" and rivals:
        mine, theirs = rivals[0]
        raise UsageError(
            f"{one} and {other} are both in {mine.title_id}, as {mine.person_id} and "
            f"{theirs.person_id}: correct that title by vcn edits merge first"
        )
    return pairs[0]


MAX_TRIED = 50
"""Members of each side among whom a pair of two titles is looked for."""


def names_of_joined(pair: Pair, storage: Storage) -> tuple[str, ...]:
    """What to say of the names of two people who are to be one; nothing, unless they differ.

    Args:
        pair: The two.
        storage: The output.
    """
    sides = [_named_rows(person, storage) for person in pair]
    names = [shown_name(rows) for rows in sides]
    if not all(names) or plain_name(names[0]) == plain_name(names[1]):
        return ()
    name = shown_name([*sides[0], *sides[1]])
    return (
        f"{names[0]} and {names[1]} are two names: the person is then called {name}, as in the "
        "title with the most screen time; vcn edits name changes it in a title",
    )


def shown_name(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """The name of a person of the catalog: that of the member with the most screen time.

    Args:
        rows: Of the members, with `name`, `title_id` and `screen_seconds`.
    """
    named = sorted(
        (-row["screen_seconds"], row["title_id"], row["name"]) for row in rows if row["name"]
    )
    return named[0][2] if named else None


def _named_rows(person: PersonOfTitle, storage: Storage) -> list[dict[str, Any]]:
    """The members of the catalog person who somebody is, with the present name of this one."""
    title = read_current(person.title_id, storage)
    people = title.tables.people.select(["person_id", "name", "screen_seconds"]).to_pylist()
    mine = [row | {"title_id": person.title_id} for row in people if row["person_id"] == person[1]]
    try:
        registry = find_registry(storage)
        catalog_id = "" if registry is None else catalog_id_of(person, registry)
        rows = members_of(catalog_id, registry, storage) if registry and catalog_id else []
    except (DamagedError, UsageError):  # it is built again before the decision counts
        rows = []
    return mine + [row for row in rows if (row["title_id"], row["person_id"]) != person]
