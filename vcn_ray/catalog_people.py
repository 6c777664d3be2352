"""People of a whole catalog, as functions: join them across titles, decide about them, find a face.

The command line and `import vcn_ray` both come through here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps, UnidentifiedImageError

from vcn_ray.config import RunConfig, given_config
from vcn_ray.console import ProgressDisplay
from vcn_ray.core.vectors import TINY
from vcn_ray.edits.record import check_text, now, user_name
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.records import U8
from vcn_ray.registry.build import BuiltRegistry
from vcn_ray.registry.build import build_registry as build
from vcn_ray.registry.decisions import (
    Decision,
    PersonMark,
    active_decisions,
    mark_person,
    read_decisions,
    write_decision,
)
from vcn_ray.registry.link import Mapper
from vcn_ray.registry.search import (
    FaceSearch,
    FoundPerson,
    FoundTitle,
    Match,
    faces_of_photo,
    open_search_pack,
)
from vcn_ray.registry.stored import StoredRegistry, read_registry
from vcn_ray.report.pages import write_catalog_page
from vcn_ray.results import Records
from vcn_ray.run.current import read_current
from vcn_ray.run.parallel import map_shared
from vcn_ray.run.stored import find_title_id, latest_result

PathLike = str | os.PathLike[str]

MAX_TITLES = 10
"""Titles of a found person whose times are read: those with the most screen time."""

MAX_PIXELS = 80_000_000  # of a photograph

UNREADABLE = (
    *(UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError),
    *(SyntaxError, EOFError, TypeError, struct.error),  # of damaged chunks and tags
)
"""Errors of the library that reads pictures."""


class CatalogPerson(NamedTuple):
    """One person of the catalog."""

    catalog_id: str
    name: str | None  # given in any title
    titles: int
    episodes: int  # videos in which the person is seen
    screen_seconds: float
    cover_title_id: str
    cover_person_id: str
    face: bytes | None  # JPEG


class CatalogMember(NamedTuple):
    """A person of a title, as a part of a catalog person."""

    catalog_id: str
    title_id: str
    title: str
    person_id: str
    name: str | None  # given in this title
    screen_seconds: float
    tracks: int
    confidence: float  # probability that it is the catalog person
    link: str  # alone | joined | named | decided


class CatalogSeconds(NamedTuple):
    """How long a catalog person is seen in a video."""

    catalog_id: str
    title_id: str
    video_id: str
    episode: int  # place of the video in its title, from 1
    screen_seconds: float


class CatalogLink(NamedTuple):
    """Why two people of titles are one, or are not."""

    left_title_id: str
    left_person_id: str
    right_title_id: str
    right_person_id: str
    cosine: float
    probability: float
    answer: str  # joined | suggested | apart
    why: str  # face | name | names | decision | rival


class Registry:
    """The people of a catalog; each table is read when it is first asked for.

    Args:
        stored: As storage holds it.
    """

    def __init__(self, stored: StoredRegistry) -> None:
        self._stored = stored

    @cached_property
    def people(self) -> Records[CatalogPerson]:
        """All people, the one with the most screen time first."""
        return Records(self._stored.people, CatalogPerson)

    @cached_property
    def members(self) -> Records[CatalogMember]:
        """Which people of titles each of them is."""
        return Records(self._stored.members, CatalogMember)

    @cached_property
    def seconds(self) -> Records[CatalogSeconds]:
        """How long each is seen in each video."""
        return Records(self._stored.seconds, CatalogSeconds)

    @cached_property
    def links(self) -> Records[CatalogLink]:
        """Why people are joined, and who might be the same."""
        return Records(self._stored.links, CatalogLink)

    def __repr__(self) -> str:
        manifest = self._stored.manifest
        return f"Registry(people={manifest['people']}, titles={manifest['titles']})"


def open_registry(output: PathLike, *, s3: S3Config | None = None) -> Registry:
    """The people of the catalog of an output, as `build_registry` left them.

    Raises:
        UsageError: No registry was built.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    return Registry(read_registry(Storage.open(os.fspath(output), s3)))


def build_registry(
    output: PathLike,
    *,
    local: bool = False,
    config: RunConfig | PathLike | None = None,
    progress: bool = False,
) -> BuiltRegistry:
    """Join the people of all titles of an output into people of the catalog, with a page of them.

    Titles that have not changed since the last call are not read again. The result does not depend
    on the order in which titles came.

    Args:
        output: What `index` was given as output.
        local: In this process, without Ray.
        config: How storage, packs and the cluster are reached; or a TOML file.
        progress: Whether to show progress bars on standard error.

    Raises:
        UsageError: The output holds no titles.
        StorageError: It cannot be read or written.
    """
    config = given_config(config)
    storage = Storage.open(os.fspath(output), config.s3)
    with ExitStack() as ending:
        mapper = ending.enter_context(_mapper(config, local))
        if progress:
            display = ending.enter_context(ProgressDisplay())
            built = build(storage, config, mapper, display.advance)
        else:
            built = build(storage, config, mapper)
        write_catalog_page(storage)
    return built


@contextmanager
def _mapper(config: RunConfig, local: bool) -> Iterator[Mapper]:
    if local:
        yield map_shared
        return
    from vcn_ray.distributed.mapping import ray_mapper  # Ray takes seconds to import

    with ray_mapper(config) as mapper:
        yield mapper


def decide(  # noqa: PLR0913 - a decision in words
    output: PathLike,
    kind: Literal["join", "apart"],
    left: str,
    right: str,
    *,
    who: str | None = None,
    note: str = "",
    s3: S3Config | None = None,
) -> str:
    """Decide that two people of different titles are one, or are not; the titles stay as they are.

    The next `build_registry` follows it.

    Args:
        output: What `index` was given as output.
        kind: `join` or `apart`.
        left: `TITLE:p003`, the title by its name or id.
        right: The other one.
        who: Who decides; None: the user of this process.
        note: For people.
        s3: How S3 is reached.

    Returns:
        The id of the decision, to undo it.

    Raises:
        UsageError: There is no such person, or both are of one title.
    """
    if kind not in ("join", "apart"):
        raise UsageError(f"a decision is join or apart, not {kind}; undo_decision takes one back")
    storage = Storage.open(os.fspath(output), s3)
    one, other = _mark(left, storage), _mark(right, storage)
    if one.title_id == other.title_id:
        raise UsageError(
            f"{left} and {right} are people of one title: correct it by vcn edits merge or apart"
        )
    return write_decision(storage, Decision(kind, _who(who), now(), one, other, note=_note(note)))


def undo_decision(
    output: PathLike,
    decision: str,
    *,
    who: str | None = None,
    note: str = "",
    s3: S3Config | None = None,
) -> str:
    """Take a decision back; returns the id of the undo, which can be undone too.

    Raises:
        UsageError: There is no such decision.
    """
    storage = Storage.open(os.fspath(output), s3)
    known, _ = read_decisions(storage)
    names = [each.decision_id for each in known]
    fits = [name for name in names if decision and name.startswith(decision)]
    if len(fits) != 1:
        some = ", ".join(names[-5:]) or "none"
        raise UsageError(f"no single decision is called {decision!r}; the last are: {some}")
    (name,) = fits
    about = next(each for each in known if each.decision_id == name)
    if about.kind != "undo" and about not in active_decisions(known):
        raise UsageError(f"decision {name} is taken back already")
    undo = Decision("undo", _who(who), now(), undoes=name, note=_note(note))
    return write_decision(storage, undo)


def list_decisions(output: PathLike, *, s3: S3Config | None = None) -> list[Decision]:
    """The decisions that count, in order of time."""
    known, _ = read_decisions(Storage.open(os.fspath(output), s3))
    return active_decisions(known)


def _mark(person: str, storage: Storage) -> PersonMark:
    title_id, person_id = split_person(person, storage)
    return mark_person(read_current(title_id, storage), person_id, storage)


def split_person(person: str, storage: Storage) -> tuple[str, str]:
    """Title id and person id of `TITLE:p003`.

    Raises:
        UsageError: It is written otherwise, or there is no such title.
    """
    title, colon, person_id = person.rpartition(":")
    if not (title and colon and person_id):
        raise UsageError(f"write a person as TITLE:p003, not {person!r}")
    return find_title_id(storage, title), person_id


def _who(who: str | None) -> str:
    return check_text(who if who is not None else user_name(), "the name of who decides")


def _note(note: str) -> str:
    return check_text(note, "the note")


def search(
    output: PathLike,
    wanted: PathLike,
    *,
    limit: int = 5,
    face: int | None = None,
    pack: str | None = None,
    config: RunConfig | PathLike | None = None,
) -> list[FoundPerson]:
    """Find the people of a catalog who look most like a photograph, or like a person of a title.

    A person of a title is found, too, with all titles of the catalog person.

    Args:
        output: What `index` was given as output; its registry was built.
        wanted: A picture file, or `TITLE:p003`.
        limit: How many people to find, at most.
        face: Which face of the picture, from 1, the largest first; None: the only one.
        pack: Face models that the titles were indexed with; None: what `config` says.
        config: How storage and packs are reached; or a TOML file.

    Raises:
        UsageError: No registry was built, or the picture shows no face, or several.
        StorageError: The output cannot be read.
    """
    if limit < 1:
        raise UsageError(f"limit must be 1 or more, got {limit}")
    config = given_config(config)
    storage = Storage.open(os.fspath(output), config.s3)
    registry = read_registry(storage)
    index = FaceSearch(registry)
    path = Path(os.fspath(wanted))
    if os.path.isfile(path):  # a title's name may be too long for a file
        loaded = open_search_pack(pack or config.pack, index.encoder, config)
        faces = faces_of_photo(read_photo(path), loaded)
        codes = faces[_chosen(path, len(faces), face)].codes
    elif ":" in os.fspath(wanted):
        codes = index.codes_of(*split_person(os.fspath(wanted), storage))
    else:
        raise UsageError(f"{path} is no file: give a picture, or a person as TITLE:p003")
    return [_found(match, registry, storage) for match in index.like(codes, limit)]


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


def read_photo(path: Path) -> U8:
    """Read a photograph (h, w, 3) uint8 RGB, turned upright as its camera says.

    Raises:
        UsageError: It is no picture that can be read.
    """
    try:
        with Image.open(path) as stored:
            small = stored.width * stored.height <= MAX_PIXELS
            if small:
                upright = _eight_bits(ImageOps.exif_transpose(stored))
                return np.asarray(upright.convert("RGB"), np.uint8).copy()
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read as a picture: {error}") from error
    raise UsageError(f"{path} has more than {MAX_PIXELS:,} pixels: make it smaller")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of one channel of more bits, its largest value as white; others as they are."""
    if picture.mode.partition(";")[0] not in ("I", "F"):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float64)).clip(0)
    return Image.fromarray((values * (255 / max(values.max(), TINY))).astype(np.uint8))


def _where(table: pa.Table, column: str, value: str) -> pa.Table:
    return table.filter(pc.equal(table.column(column), value))


def _found(match: Match, registry: StoredRegistry, storage: Storage) -> FoundPerson:
    members = _where(registry.members, "catalog_id", match.catalog_id).to_pylist()
    members.sort(key=lambda row: (-row["screen_seconds"], row["title_id"]))
    face = _where(registry.people, "catalog_id", match.catalog_id)["face"][0].as_py()
    return FoundPerson(
        match.catalog_id,
        match.name,
        match.probability,
        match.cosine,
        face,
        tuple(
            FoundTitle(
                row["title_id"],
                row["title"],
                row["person_id"],
                row["screen_seconds"],
                _spans(row, storage) if place < MAX_TITLES else None,
            )
            for place, row in enumerate(members)
        ),
    )


def _spans(member: dict[str, Any], storage: Storage) -> tuple[tuple[str, float, float], ...] | None:
    """When a person of a title is seen; None where the title has changed since."""
    try:
        latest = latest_result(member["title_id"], storage)
        if latest is None:
            return None
        title = read_current(member["title_id"], storage, latest)
    except (DamagedError, UsageError):
        return None
    columns = ("video_id", "start_seconds", "end_seconds")
    order = [video["video_id"] for video in latest.summary["videos"]]
    spans = [
        tuple(row[name] for name in columns)
        for row in title.tables.appearances.to_pylist()
        if row["person_id"] == member["person_id"]
    ]
    return tuple(sorted(spans, key=lambda span: (order.index(span[0]), span[1])))
