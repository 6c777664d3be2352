"""Builds the registry of an output: reads titles that have changed, links people, and commits.

The result depends on the titles, their corrections and the decisions alone, and not on the order in
which they came: an earlier registry only saves reading. A folder is written whole, then the pointer
names it, then older ones are removed; a kill in between costs the work of this call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.config import RunConfig, with_pack
from vcn_ray.errors import DamagedError, PackError, StorageError, UsageError
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.packs.find import find_pack, resolve_pack
from vcn_ray.registry.cards import TitleState, read_card, read_covers, read_state
from vcn_ray.registry.decisions import active_decisions, find_people, read_decisions
from vcn_ray.registry.known import decided_rows, gather_known
from vcn_ray.registry.link import Linked, Mapper, link_people, most_used_encoder, with_levels
from vcn_ray.registry.stored import FOLDER, POINTER, REGISTRY, TABLES, StoredRegistry, find_registry
from vcn_ray.registry.tables import RegistryTables, registry_tables
from vcn_ray.run.damage import Inspector
from vcn_ray.run.stored import find_titles, read_result
from vcn_ray.run.summary import used_pack
from vcn_ray.run.tombstones import ERASURES, check_no_open_erasure
from vcn_ray.schema import CATALOG_FACES, SCHEMA_VERSION

log = logging.getLogger(__name__)

REGISTRY_VERSION = "4"  # of what is computed: another one builds another registry

MAX_FACES = 20_000
"""Catalog people whose best face is kept in the table: about 60 MB."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BuiltRegistry:
    """What building a registry gave.

    Attributes:
        folder: Of its tables, below the output.
        titles: Number of titles in it.
        read: Titles that had to be read: the others have not changed.
        people: Number of catalog people.
        shared: Those that are in several titles.
        suggested: Pairs that are perhaps one person.
        skipped: Titles that could not be read, and why, by id.
        other_encoder: Titles of another encoder than the most used one, linked by names alone.
        without_faces: People whose embeddings are not kept, linked by names alone.
        lost: Ids of decisions about people who are not found any more.
        damaged: What is wrong with decisions that cannot be read, by id.
    """

    folder: str
    titles: int
    read: int
    people: int
    shared: int
    suggested: int
    skipped: Mapping[str, str]
    other_encoder: int
    without_faces: int
    lost: tuple[str, ...]
    damaged: Mapping[str, str]


def build_registry(
    storage: Storage,
    config: RunConfig,
    mapper: Mapper,
    progress: Progress = lambda step, done: None,
) -> BuiltRegistry:
    """Join the people of all titles of an output into people of the catalog.

    Args:
        storage: The output.
        config: How packs are found: what is known of the encoder beforehand comes from the pack.
        mapper: Runs many calls at once.
        progress: Called with a step's name and the finished fraction.

    Raises:
        UsageError: There are no titles, or an erasure is not finished, or took place meanwhile.
        StorageError: The output cannot be read or written.
    """
    erasures = _erasures(storage)
    before = _earlier(storage)
    faces, reading = _gather(storage, before, mapper, progress)
    decisions, damaged = read_decisions(storage)
    active = active_decisions(decisions)
    marks = [mark for each in active for mark in (each.left, each.right) if mark is not None]
    row = {place: number for number, place in enumerate(_places(faces))}
    decided, lost = decided_rows(active, find_people(marks, storage), row)
    encoder = most_used_encoder(faces)
    prior = _known_strangers(encoder, reading.packs, config)
    key = digest(
        "registry",
        REGISTRY_VERSION,
        SCHEMA_VERSION,
        sorted(set(zip(*(faces[name].to_pylist() for name in ("title_id", "key")), strict=True))),
        [list(decided.one), list(decided.two)],
        prior,
    )
    folder = f"{REGISTRY}/{FOLDER}{key}"
    progress("link", 0.0)
    linked = link_people(faces, gather_known(faces, decided), prior, mapper)
    tables = registry_tables(faces, linked, decided)
    progress("link", 1.0)
    people = _with_covers(tables.people, faces, before, storage, mapper, progress)
    tables = RegistryTables(people, tables.members, tables.seconds, tables.links)
    built = _summary(folder, faces, tables, reading, encoder, lost, damaged)
    faces = with_levels(faces, linked)
    if _erasures(storage) != erasures:  # the person may be in what was read before
        raise UsageError("a person was erased meanwhile: run vcn registry build again")
    _commit(built, faces, tables, _manifest(built, linked, encoder, reading), storage)
    return built


def _erasures(storage: Storage) -> list[str]:
    """The finished erasures of an output; one that is not finished is an error."""
    check_no_open_erasure(storage)
    return storage.names(ERASURES)


def _places(faces: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(faces["title_id"].to_pylist(), faces["person_id"].to_pylist(), strict=True)


def _earlier(storage: Storage) -> StoredRegistry | None:
    """The newest registry, if it can be read: it is only a shortcut."""
    try:
        found = find_registry(storage)
        if found is not None:
            _ = found.faces, found.people
        return found
    except (DamagedError, UsageError, KeyError) as error:
        log.warning("the earlier registry is not used: %s", error)
        return None


class _Reading(NamedTuple):
    """How reading the titles went."""

    titles: int
    read: int
    skipped: dict[str, str]
    packs: dict[str, str]  # the pack, by encoder
    empty: dict[str, str]  # keys of titles without people, by id


class _Seen(NamedTuple):
    """A title as it is now."""

    title_id: str
    key: str
    card: pa.Table | None  # None: the earlier registry has it
    encoder: str
    pack: str
    problem: str = ""


class _Reader(NamedTuple):
    storage: Storage
    known: frozenset[tuple[str, str]]  # titles and keys of the earlier registry


def _read(reader: _Reader, title_id: str) -> _Seen:
    try:
        state: TitleState = read_state(title_id, reader.storage)
        summary = state.latest.summary
        known = (title_id, state.key) in reader.known
        card = None if known else read_card(state, reader.storage)
        encoder = str(summary["pack"]["encoder_hash"])
        return _Seen(title_id, state.key, card, encoder, used_pack(summary))
    except (DamagedError, UsageError) as error:
        return _Seen(title_id, "", None, "", "", str(error))


def _gather(
    storage: Storage, before: StoredRegistry | None, mapper: Mapper, progress: Progress
) -> tuple[pa.Table, _Reading]:
    """The people of all titles, from the earlier registry where nothing has changed."""
    ids = list(find_titles(storage))
    if not ids:
        raise UsageError(f"{storage.uri} holds no results: run vcn index --output {storage.uri}")
    old = before.faces if before is not None else CATALOG_FACES.empty_table()
    empty: dict[str, str] = {} if before is None else before.manifest["empty_titles"]
    known = frozenset(zip(old["title_id"].to_pylist(), old["key"].to_pylist(), strict=True))
    reader = _Reader(storage, known | frozenset(empty.items()))
    parts, kept, reading = [], [], _Reading(len(ids), 0, {}, {}, {})
    read = 0
    for done, seen in enumerate(mapper(_read, reader, ids), start=1):
        progress("read titles", done / len(ids))
        if seen.problem:
            reading.skipped[seen.title_id] = seen.problem
            continue
        reading.packs.setdefault(seen.encoder, seen.pack)
        if seen.card is None and empty.get(seen.title_id) != seen.key:
            kept.append(seen.title_id)
        elif seen.card is None or not seen.card.num_rows:
            reading.empty[seen.title_id] = seen.key
        else:
            parts.append(seen.card)
        read += seen.card is not None
    parts.append(old.filter(pc.is_in(old["title_id"], pa.array(kept, pa.string()))))
    faces = pa.concat_tables(parts).sort_by([("title_id", "ascending"), ("person_id", "ascending")])
    return faces.combine_chunks(), reading._replace(read=read)


def _known_strangers(
    encoder: str, packs: Mapping[str, str], config: RunConfig
) -> tuple[float, float] | None:
    """What the pack says of the cosine of strangers; None where this machine lacks the pack."""
    if not encoder:
        return None
    try:
        info = find_pack(with_pack(config, resolve_pack(packs[encoder], config.s3)))
    except (PackError, StorageError, UsageError) as error:
        log.warning("what is known of pack %s is left out: %s", packs[encoder], error)
        return None
    if info.prior is None or info.encoder_hash != encoder:
        return None
    return info.prior.stranger_cosine, info.prior.stranger_sd


class _Cover(NamedTuple):
    title_id: str
    wanted: list[tuple[str, int]]
    rows: list[int]


def _with_covers(
    people: pa.Table,
    faces: pa.Table,
    before: StoredRegistry | None,
    storage: Storage,
    mapper: Mapper,
    progress: Progress,
) -> pa.Table:
    """The people with the best face of each, from the earlier registry where it has it."""
    first = people.slice(0, MAX_FACES)
    places = list(
        zip(first["cover_title_id"].to_pylist(), first["cover_person_id"].to_pylist(), strict=True)
    )
    row = {place: number for number, place in enumerate(_places(faces))}
    keys, tracks, frames = (
        faces[name].to_pylist() for name in ("key", "cover_track_id", "cover_crop")
    )
    pictures: list[bytes | None] = [None] * people.num_rows
    old = _old_faces(before)
    covers: dict[str, _Cover] = {}
    for number, place in enumerate(places):
        at = row[place]
        if (known := old.get((*place, keys[at]))) is not None:
            pictures[number] = known
            continue
        cover = covers.setdefault(place[0], _Cover(place[0], [], []))
        cover.wanted.append((tracks[at], frames[at]))
        cover.rows.append(number)
    todo = list(covers.values())
    for done, (cover, found) in enumerate(
        zip(todo, mapper(_read_cover, storage, todo), strict=True), start=1
    ):
        progress("read faces", done / len(todo))
        for number, picture in zip(cover.rows, found, strict=True):
            pictures[number] = picture
    place_of = people.schema.get_field_index("face")
    field = people.schema.field("face")
    return people.set_column(place_of, field, pa.array(pictures, pa.binary()))


def _read_cover(storage: Storage, cover: _Cover) -> list[bytes | None]:
    try:
        return read_covers(read_result(cover.title_id, storage), cover.wanted, storage)
    except DamagedError as error:
        log.warning("%s; its faces are left out", error)
        return [None] * len(cover.wanted)


def _old_faces(before: StoredRegistry | None) -> dict[tuple[str, str, str], bytes]:
    """Pictures that an earlier registry holds, by title, person and key."""
    if before is None:
        return {}
    key = {
        place: key
        for place, key in zip(_places(before.faces), before.faces["key"].to_pylist(), strict=True)
    }
    people = before.people
    columns = (people[name].to_pylist() for name in ("cover_title_id", "cover_person_id", "face"))
    return {
        (title, person, key[title, person]): face
        for title, person, face in zip(*columns, strict=True)
        if face is not None
    }


def _summary(  # noqa: PLR0913 - counts of seven things
    folder: str,
    faces: pa.Table,
    tables: RegistryTables,
    reading: _Reading,
    encoder: str,
    lost: list[str],
    damaged: dict[str, str],
) -> BuiltRegistry:
    other = faces.filter(pc.not_equal(faces["encoder"], encoder)) if encoder else faces.slice(0, 0)
    return BuiltRegistry(
        folder=folder,
        titles=reading.titles - len(reading.skipped),
        read=reading.read,
        people=tables.people.num_rows,
        shared=int(pc.sum(pc.greater(tables.people["titles"], 1)).as_py() or 0),
        suggested=int(pc.sum(pc.equal(tables.links["answer"], "suggested")).as_py() or 0),
        skipped=reading.skipped,
        other_encoder=len(set(other["title_id"].to_pylist())),
        without_faces=faces["codes"].null_count,
        lost=tuple(lost),
        damaged=damaged,
    )


def _manifest(
    built: BuiltRegistry, linked: Linked, encoder: str, reading: _Reading
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "encoder": encoder,
        "titles": built.titles,
        "people": built.people,
        "empty_titles": reading.empty,
        "mixture": asdict(linked.mixture),
        "lost_decisions": list(built.lost),
    }


def _commit(
    built: BuiltRegistry,
    faces: pa.Table,
    tables: RegistryTables,
    manifest: dict[str, Any],
    storage: Storage,
) -> None:
    # A registry of the same content may be there, and damaged: every file of it is compared.
    if Inspector(storage, mend=True, deep=True).manifest(built.folder) is None:
        writer = FolderWriter(storage, built.folder)
        content = (faces, tables.people, tables.members, tables.seconds, tables.links)
        for name, table in zip(TABLES, content, strict=True):
            writer.write_table(f"{name}.parquet", table)
        writer.commit(manifest)
    name = built.folder.rpartition("/")[2]
    storage.write_json(POINTER, {"registry": name, "schema_version": SCHEMA_VERSION})
    _remove_older(built.folder, storage)


def _remove_older(folder: str, storage: Storage) -> None:
    for name in storage.names(REGISTRY):
        if name.startswith(FOLDER) and name != folder.rpartition("/")[2]:
            remove_registry(f"{REGISTRY}/{name}", storage)


def remove_registry(folder: str, storage: Storage) -> None:
    """Remove a registry's folder; it is built again when it is asked for."""
    for file in (MANIFEST, *(f"{name}.parquet" for name in TABLES)):
        storage.delete(f"{folder}/{file}")
    storage.tidy(folder)
