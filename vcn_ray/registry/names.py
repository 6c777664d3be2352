"""Names that flow from one title to all: who has none in a title, and has one in the catalog.

Only what a registry was built with counts, so a name that is given now is known to other titles
after the next build. Decisions that two people are two count at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.decisions import Decision, PersonMark, active_decisions, read_decisions
from vcn_ray.registry.persons import person_of_track
from vcn_ray.registry.stored import StoredRegistry, find_registry
from vcn_ray.run.current import CurrentTitle

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""Id of a title, and of a person of it."""


@dataclass(frozen=True, slots=True)
class CatalogName:
    """The name that somebody has in another title.

    Attributes:
        name: The name.
        probability: That the person is the one of the catalog.
        cover_track_id: A track of the person, who may have another id after corrections.
        title_id: Where the name was given; of several, where that person is seen most.
        title: Name of that title.
        person_id: The person there.
        source_track_id: A track of the person there, and
        source_frame: a frame of it: their best face.
    """

    name: str
    probability: float
    cover_track_id: str
    title_id: str
    title: str
    person_id: str
    source_track_id: str
    source_frame: int


def catalog_names(storage: Storage) -> dict[Place, CatalogName]:
    """The names of people who have none in their own title, but in another one.

    Returns:
        By title and person, as they were when the registry was built; nothing where there is no
        registry, or one that cannot be read.

    Raises:
        StorageError: It cannot be read at the moment.
    """
    try:
        registry = find_registry(storage)
        if registry is None:
            return {}
        found, mates = _names_in(registry)
    except (DamagedError, UsageError, KeyError) as error:
        log.warning("names of other titles are not shown: %s", error)
        return {}
    apart = [each for each in active_decisions(read_decisions(storage)[0]) if each.kind == "apart"]
    denied = {place for decision in apart for place in _denied(decision, found, mates)}
    return {place: name for place, name in found.items() if place not in denied}


def named_from_catalog(title: CurrentTitle, names: Mapping[Place, CatalogName]) -> CurrentTitle:
    """A title in which the people whom it does not name have the names of the catalog.

    Somebody who has become another one since the registry was built stays unnamed.

    Args:
        title: As it is known now.
        names: From catalog_names.
    """
    people = title.tables.people
    known = {
        row["person_id"]: found.name
        for row in people.select(["person_id", "name"]).to_pylist()
        if row["name"] is None
        and (found := names.get((title.title_id, row["person_id"]))) is not None
        and person_of_track(title, found.cover_track_id) == row["person_id"]
    }
    if not known:
        return title
    tables = replace(
        title.tables,
        people=_with_names(people, known),
        appearances=_with_names(title.tables.appearances, known),
    )
    return replace(title, tables=tables)


def _with_names(table: pa.Table, known: Mapping[str, str]) -> pa.Table:
    """A table of people or appearances with the names of some."""
    columns = (table.column(name).to_pylist() for name in ("person_id", "name"))
    filled = [known.get(who, name) for who, name in zip(*columns, strict=True)]
    place = table.schema.get_field_index("name")
    return table.set_column(place, table.schema.field("name"), pa.array(filled, pa.string()))


def _names_in(registry: StoredRegistry) -> tuple[dict[Place, CatalogName], dict[Place, set[Place]]]:
    """The names, and the other members of the catalog person of each."""
    members = registry.members
    named = members.filter(pc.is_valid(members.column("name"))).column("catalog_id")
    some = members.filter(pc.is_in(members.column("catalog_id"), named.combine_chunks()))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in some.to_pylist():
        groups.setdefault(row["catalog_id"], []).append(row)
    groups = {who: rows for who, rows in groups.items() if not all(row["name"] for row in rows)}
    covers = _covers(registry, {row["title_id"] for rows in groups.values() for row in rows})
    found: dict[Place, CatalogName] = {}
    mates: dict[Place, set[Place]] = {}
    for rows in groups.values():
        source = min(
            (row for row in rows if row["name"]),
            key=lambda row: (-row["screen_seconds"], row["title_id"], row["name"]),
        )
        for row in rows:
            if not row["name"]:
                found[_place(row)] = _name(row, source, covers)
                mates[_place(row)] = {_place(each) for each in rows if each["name"]}
    return found, mates


def _place(row: Mapping[str, Any]) -> Place:
    return row["title_id"], row["person_id"]


def _covers(registry: StoredRegistry, titles: set[str]) -> dict[Place, tuple[str, int]]:
    """Track and frame of the best face of all people of some titles."""
    if not titles:
        return {}
    faces = registry.faces.select(["title_id", "person_id", "cover_track_id", "cover_crop"])
    ids = pa.array(sorted(titles), pa.string())
    rows = faces.filter(pc.is_in(faces.column("title_id"), ids)).to_pylist()
    return {_place(row): (row["cover_track_id"], row["cover_crop"]) for row in rows}


def _name(
    row: dict[str, Any], source: dict[str, Any], covers: dict[Place, tuple[str, int]]
) -> CatalogName:
    track, frame = covers[_place(source)]
    return CatalogName(
        name=source["name"],
        probability=float(row["confidence"]),
        cover_track_id=covers[_place(row)][0],
        title_id=source["title_id"],
        title=source["title"],
        person_id=source["person_id"],
        source_track_id=track,
        source_frame=frame,
    )


def _denied(
    decision: Decision, found: dict[Place, CatalogName], mates: dict[Place, set[Place]]
) -> Iterator[Place]:
    """The people of whom a decision says that they are not the named one."""
    for mine, other in ((decision.left, decision.right), (decision.right, decision.left)):
        if mine is None or other is None:
            continue
        for place, known in found.items():
            if _is_marked(place, known.cover_track_id, mine) and _in(other, mates[place]):
                yield place


def _is_marked(place: Place, track_id: str, mark: PersonMark) -> bool:
    anchored = track_id in {anchor.track_id for anchor in mark.anchors}
    return place[0] == mark.title_id and (anchored or place[1] == mark.person_id)


def _in(mark: PersonMark, places: set[Place]) -> bool:
    return (mark.title_id, mark.person_id) in places
