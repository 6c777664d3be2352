"""Who of a catalog looks like a photograph, or like a person of it, as functions.

The command line and `import vcn_ray` both come through here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from vcn_ray.config import RunConfig, given_config
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.photos import read_photo
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import encode_jpeg
from vcn_ray.registry.cards import read_covers
from vcn_ray.registry.persons import (
    NamedPerson,
    PersonOfTitle,
    cover_of,
    find_person,
    is_still,
    members_of,
    title_labels,
)
from vcn_ray.registry.search import (
    FaceSearch,
    FoundPerson,
    FoundTitle,
    Match,
    Missing,
    Spans,
    faces_of_photo,
    open_search_pack,
)
from vcn_ray.registry.stored import StoredRegistry, read_registry
from vcn_ray.rows.spans import join_spans
from vcn_ray.run.current import read_current
from vcn_ray.run.stored import latest_result

PathLike = str | os.PathLike[str]

MAX_TITLES = 10
"""Titles of a found person whose times are read: those with the most screen time."""

JOIN_SECONDS = 1.0
"""Times with at most so much between them are one, as `vcn export --join 1` has it."""


class FoundPeople(NamedTuple):
    """The answer to a search.

    Attributes:
        face: That was searched for, JPEG; None: no picture of it is kept.
        people: Who it may be, the likeliest first.
    """

    face: bytes | None
    people: list[FoundPerson]


def search(
    output: PathLike,
    wanted: PathLike,
    *,
    limit: int = 5,
    face: int | None = None,
    pack: str | None = None,
    config: RunConfig | PathLike | None = None,
) -> list[FoundPerson]:
    """Find the people of a catalog who look most like a photograph, or like one of them.

    A person of the catalog is found, too, with all titles.

    Args:
        output: What `index` was given as output; its registry was built.
        wanted: A picture file; `TITLE:p003`; `c-...`, a person of the catalog; or a name.
        limit: How many people to find, at most.
        face: Which face of the picture, from 1, the largest first; None: the only one.
        pack: Face models that the titles were indexed with; None: what `config` says.
        config: How storage and packs are reached; or a TOML file.

    Raises:
        UsageError: No registry was built, or the picture shows no face, or several; or nobody, or
            several people, are called so.
        StorageError: The output cannot be read.
    """
    return find_faces(output, wanted, limit=limit, face=face, pack=pack, config=config).people


def find_faces(
    output: PathLike,
    wanted: PathLike,
    *,
    limit: int = 5,
    face: int | None = None,
    pack: str | None = None,
    config: RunConfig | PathLike | None = None,
) -> FoundPeople:
    """Find people as `search` does, and return the face that was searched for, too."""
    if limit < 1:
        raise UsageError(f"limit must be 1 or more, got {limit}")
    config = given_config(config)
    storage = Storage.open(os.fspath(output), config.s3)
    registry = read_registry(storage)
    index = FaceSearch(registry)
    path = Path(os.fspath(wanted))
    picture: bytes | None
    if os.path.isfile(path):  # a title's name may be too long for a file
        loaded = open_search_pack(pack or config.pack, index.encoder, config)
        faces = faces_of_photo(read_photo(path), loaded)
        chosen = faces[_chosen(path, len(faces), face)]
        codes, picture = chosen.codes, encode_jpeg(chosen.crop)
    else:
        person = _find_person(os.fspath(wanted), registry, storage)
        codes, member = index.codes_of(person.members)
        picture = _picture_of(member, registry, storage)
    here = _Here(storage, registry, set(storage.names("titles")), title_labels(registry))
    return FoundPeople(picture, [_found(match, here) for match in index.like(codes, limit)])


def _find_person(text: str, registry: StoredRegistry, storage: Storage) -> NamedPerson:
    try:
        return find_person(text, storage, registry)
    except UsageError as error:
        if os.sep not in text and not Path(text).suffix:
            raise
        raise UsageError(f"{text} is no file: give a picture; or, as a person: {error}") from error


def _picture_of(member: PersonOfTitle, registry: StoredRegistry, storage: Storage) -> bytes | None:
    """The best face of a person of a title, JPEG; None where it is not kept, or has changed."""
    cover = cover_of(member, registry)
    try:
        latest = latest_result(member.title_id, storage)
        if cover is None or latest is None:
            return None
        return read_covers(latest, [cover], storage)[0]
    except (DamagedError, UsageError):
        return None


def _chosen(path: Path, faces: int, face: int | None) -> int:
    if not faces:
        raise UsageError(f"no face is found in {path}: use a sharper or larger picture")
    if face is None and faces > 1:
        raise UsageError(
            f"{path} shows {faces} faces: say which one by --face 1 to {faces}, the largest first"
        )
    if face is not None and not 1 <= face <= faces:
        raise UsageError(f"{path} shows {faces} faces: --face must be 1 to {faces}, got {face}")
    return (face or 1) - 1


class _Here(NamedTuple):
    """Where people were found."""

    storage: Storage  # the output
    registry: StoredRegistry
    titles: set[str]  # ids of those that the output still holds
    label: dict[str, str]  # of all titles, by id


def _found(match: Match, here: _Here) -> FoundPerson:
    """A found person with titles and times."""
    people = here.registry.people
    face = people["face"][pc.index(people["catalog_id"], match.catalog_id).as_py()].as_py()
    titles = []
    for place, row in enumerate(members_of(match.catalog_id, here.registry, here.storage)):
        member = PersonOfTitle(row["title_id"], row["person_id"])
        if member.title_id not in here.titles:
            times: Spans | Missing = "deleted"
        elif place < MAX_TITLES:
            times = _times(member, here.registry, here.storage)
        else:
            times = "unread"
        titles.append(_found_title(row, times, here.label[member.title_id]))
    return FoundPerson(
        match.catalog_id, match.name, match.probability, match.cosine, face, tuple(titles)
    )


def _found_title(row: dict[str, Any], times: Spans | Missing, label: str) -> FoundTitle:
    return FoundTitle(
        title_id=row["title_id"],
        title=row["title"],
        person_id=row["person_id"],
        screen_seconds=row["screen_seconds"],
        spans=times if isinstance(times, tuple) else None,
        missing=None if isinstance(times, tuple) else times,
        reference=f"{label}:{row['person_id']}",
    )


def _times(member: PersonOfTitle, registry: StoredRegistry, storage: Storage) -> Spans | Missing:
    """When a person of a title is seen, or why that is not known."""
    try:
        latest = latest_result(member.title_id, storage)
        if latest is None:
            return "deleted"
        title = read_current(member.title_id, storage, latest)
    except (DamagedError, UsageError):
        return "changed"
    if not is_still(member, title, registry):
        return "changed"
    order = [video["video_id"] for video in latest.summary["videos"]]
    spans = [
        (row["video_id"], row["start_seconds"], row["end_seconds"])
        for row in title.tables.appearances.to_pylist()
        if row["person_id"] == member.person_id
    ]
    spans.sort(key=lambda span: (order.index(span[0]), span[1]))
    return tuple(join_spans(spans, JOIN_SECONDS))
