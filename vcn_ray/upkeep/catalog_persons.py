"""People of a whole catalog whom an erasure is about: all members in all titles."""

from __future__ import annotations

from collections.abc import Iterable

from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.cards import read_state
from vcn_ray.registry.persons import PersonOfTitle, is_catalog_id, members_of
from vcn_ray.registry.stored import StoredRegistry, read_registry
from vcn_ray.run.tombstones import check_no_open_erasure
from vcn_ray.upkeep.persons import CorrectedTitles


def find_wanted(
    persons: Iterable[str], titles: CorrectedTitles
) -> tuple[list[PersonOfTitle], list[str]]:
    """Whom texts name, and lines for people that say who a person of the catalog is.

    Args:
        persons: `TITLE:p003`, `TITLE:Ann`, or the id of a person of the registry.
        titles: Of the output.

    Raises:
        UsageError: One names nobody, or several.
    """
    wanted: list[PersonOfTitle] = []
    lines = []
    for text in persons:
        if not is_catalog_id(text):
            wanted.append(titles.find(text))
            continue
        members = find_members(text, titles.storage)
        shown = ", ".join(f"{each.title_id}:{each.person_id}" for each in members)
        lines.append(f"{text} is {shown}")
        wanted += members
    return wanted, lines


def find_members(catalog_id: str, storage: Storage) -> list[PersonOfTitle]:
    """The people of titles who are a person of the catalog.

    Raises:
        UsageError: There is no registry or no such person, or a title has changed since it was
            built, so that its ids may mean somebody else.
    """
    check_no_open_erasure(storage)  # which has removed the registry
    registry = read_registry(storage)
    mine = members_of(catalog_id, registry, storage)
    _check_unchanged({row["title_id"] for row in mine}, registry, storage)
    return sorted(PersonOfTitle(row["title_id"], row["person_id"]) for row in mine)


def _check_unchanged(titles: set[str], registry: StoredRegistry, storage: Storage) -> None:
    """Make sure that titles are as the registry saw them."""
    faces = registry.faces.select(["title_id", "key"])
    key = dict(zip(*(column.to_pylist() for column in faces.columns), strict=True))
    for title_id in sorted(titles):
        try:
            same = read_state(title_id, storage).key == key[title_id]
        except DamagedError:
            same = False
        if not same:
            raise UsageError(
                f"{title_id} has changed since the registry was built: run vcn registry build "
                f"{storage.uri} first"
            )
