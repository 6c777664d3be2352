"""Whom a text names: `c-...`, `TITLE:p003`, `TITLE:Ann`, or the name of a person of the catalog."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.errors import UsageError, listed
from vcn_ray.io.storage import Storage
from vcn_ray.registry.known import plain_name
from vcn_ray.registry.stored import StoredRegistry, find_registry, read_registry
from vcn_ray.run.current import CurrentTitle, read_current
from vcn_ray.run.stored import find_title_id

MAX_CANDIDATES = 5
"""People of one name whom an error lists."""

MAX_LISTED = 10
"""People of a title whom an error lists."""

_CATALOG_ID = re.compile(r"c-[0-9a-f]{12}")


class PersonOfTitle(NamedTuple):
    """A person of a title."""

    title_id: str
    person_id: str


class NamedPerson(NamedTuple):
    """Whom a text names.

    Attributes:
        text: What was written.
        members: People of titles, most screen time first; one, where the text names a title.
        catalog_id: Of the person of the catalog; empty where the text names a title.
    """

    text: str
    members: tuple[PersonOfTitle, ...]
    catalog_id: str = ""


def is_catalog_id(text: str) -> bool:
    """True for the id of a person of the registry; a person of a title has a colon."""
    return _CATALOG_ID.fullmatch(text) is not None


def find_person(text: str, storage: Storage, registry: StoredRegistry | None = None) -> NamedPerson:
    """The person that a text names.

    Args:
        text: `c-...`; `TITLE:p003` or `TITLE:Ann`, the title by its name or id; or the name that
            a person has in any title. Of names, case and spaces do not count.
        storage: The output; its registry was built, unless the text names a title.
        registry: The same, if it was read; None: it is read where it is needed.

    Raises:
        UsageError: It names nobody, or several people.
        DamagedError: The title or the registry is damaged.
    """
    if is_catalog_id(text):
        rows = members_of(text, registry or read_registry(storage), storage)
        return NamedPerson(text, _places(rows), text)
    if ":" in text:
        try:
            return NamedPerson(text, (find_person_of_title(text, storage),))
        except UsageError:
            registry = registry or find_registry(storage)
            if registry is None or not _called(text, registry):  # a name may have a colon, too
                raise
    registry = registry or find_registry(storage)
    if registry is None:
        raise UsageError(
            f"{text!r} names no person: write TITLE:p003; an id or a name needs vcn registry build "
            f"{storage.uri} first"
        )
    return _find_called(text, registry, storage)


def split_person(text: str, storage: Storage) -> tuple[str, str]:
    """The id of the title of `TITLE:p003`, and what stands behind the colon.

    Raises:
        UsageError: It is written otherwise, or there is no such title.
    """
    title, _, person = text.rpartition(":")
    if not title or not person:
        raise UsageError(f"{text!r} names no person: write TITLE:p003, with a title's name or id")
    return find_title_id(storage, title), person


def find_person_of_title(text: str, storage: Storage) -> PersonOfTitle:
    """The person that `TITLE:p003` or `TITLE:Ann` names, as the title is known now.

    Raises:
        UsageError: There is no such title or person, or several people have the name.
    """
    title_id, person = split_person(text, storage)
    title = read_current(title_id, storage)
    people = title.tables.people
    names = dict(zip(people["person_id"].to_pylist(), people["name"].to_pylist(), strict=True))
    person_id = pick_person(names, person, title.name)
    if person_id not in names:
        raise UsageError(f"{title.name} has no person {person!r}, only {some_people(names)}")
    return PersonOfTitle(title_id, person_id)


def pick_person(names: Mapping[str, str | None], wanted: str, title: str) -> str:
    """The id of the person of a title who has a name; else the text itself, which may be an id.

    Args:
        names: By id.
        wanted: A name or an id.
        title: For the error.

    Raises:
        UsageError: Several people have the name.
    """
    called = [who for who, name in names.items() if name and _same(name, wanted)]
    if len(called) > 1:
        raise UsageError(
            f"{len(called)} people of {title} are called {wanted!r}: name one by its id, "
            f"{listed(called, MAX_LISTED)}"
        )
    return called[0] if called else wanted


def some_people(ids: Collection[str]) -> str:
    """The first ids of a title's people, and how many more there are."""
    return listed(ids, MAX_LISTED) or "nobody"


def members_of(catalog_id: str, registry: StoredRegistry, storage: Storage) -> list[dict[str, Any]]:
    """The rows of CATALOG_MEMBERS of a person of the catalog, most screen time first.

    Raises:
        UsageError: There is no such person.
    """
    rows = _with(registry.members, "catalog_id", [catalog_id])
    if not rows:
        raise UsageError(
            f"the registry of {storage.uri} has no person {catalog_id!r}: vcn registry list shows "
            "them"
        )
    return rows


def catalog_id_of(person: PersonOfTitle, registry: StoredRegistry) -> str:
    """The person of the catalog who a person of a title is; empty: the registry lacks him."""
    rows = _with(registry.members, "title_id", [person.title_id])
    return next((row["catalog_id"] for row in rows if row["person_id"] == person.person_id), "")


def title_labels(registry: StoredRegistry) -> dict[str, str]:
    """What commands accept for each title: its name, or its id where others have the name."""
    members = registry.members
    names = dict(zip(members["title_id"].to_pylist(), members["title"].to_pylist(), strict=True))
    count: dict[str, int] = {}
    for name in names.values():
        count[name] = count.get(name, 0) + 1
    return {title: name if count[name] == 1 else title for title, name in names.items()}


def cover_of(person: PersonOfTitle, registry: StoredRegistry) -> tuple[str, int] | None:
    """Track and frame of the best face of somebody; None: the registry lacks the person."""
    faces = registry.faces.select(["title_id", "person_id", "cover_track_id", "cover_crop"])
    mine = faces.filter(pc.equal(faces["title_id"], person.title_id)).to_pylist()
    return next(
        (
            (row["cover_track_id"], row["cover_crop"])
            for row in mine
            if row["person_id"] == person.person_id
        ),
        None,
    )


def is_still(person: PersonOfTitle, title: CurrentTitle, registry: StoredRegistry) -> bool:
    """True where an id means the same person in a title now as when the registry was built."""
    cover = cover_of(person, registry)
    return cover is not None and person_of_track(title, cover[0]) == person.person_id


def person_of_track(title: CurrentTitle, track_id: str) -> str | None:
    """Id of the person to whom a track of a title belongs now; None: to nobody."""
    tracks = title.tables.tracks
    row = pc.index(tracks["track_id"], track_id).as_py()
    who: str | None = tracks["person_id"][row].as_py() if row >= 0 else None
    return who


def _called(text: str, registry: StoredRegistry) -> list[str]:
    """Ids of the catalog people who have a name, most screen time first."""
    members = registry.members.filter(pc.is_valid(registry.members["name"]))
    columns = (members[name].to_pylist() for name in ("catalog_id", "name"))
    found = {who for who, name in zip(*columns, strict=True) if _same(name, text)}
    people = registry.people["catalog_id"].to_pylist()
    return [who for who in people if who in found]


def _find_called(text: str, registry: StoredRegistry, storage: Storage) -> NamedPerson:
    found = _called(text, registry)
    if not found:
        raise UsageError(
            f"nobody in the registry of {storage.uri} is called {text!r}: write TITLE:p003, or an "
            "id or a name that vcn registry list shows"
        )
    if len(found) > 1:
        label = title_labels(registry)
        some = {who: members_of(who, registry, storage)[0] for who in found[:MAX_CANDIDATES]}
        shown = [
            f"{who} ({label[row['title_id']]}:{row['person_id']})" for who, row in some.items()
        ]
        candidates = listed([*shown, *found[MAX_CANDIDATES:]], MAX_CANDIDATES)
        raise UsageError(
            f"{len(found)} people are called {text!r}: name one by its id, {candidates}"
        )
    return NamedPerson(text, _places(members_of(found[0], registry, storage)), found[0])


def _same(name: str, wanted: str) -> bool:
    return plain_name(name) == plain_name(wanted)


def _with(members: pa.Table, column: str, values: list[str]) -> list[dict[str, Any]]:
    """Rows of CATALOG_MEMBERS, most screen time first."""
    mine = members.filter(pc.is_in(members[column], pa.array(values, pa.string())))
    rows: list[dict[str, Any]] = mine.to_pylist()
    return sorted(rows, key=lambda row: (-row["screen_seconds"], row["title_id"], row["person_id"]))


def _places(rows: Iterable[Mapping[str, Any]]) -> tuple[PersonOfTitle, ...]:
    return tuple(PersonOfTitle(row["title_id"], row["person_id"]) for row in rows)
