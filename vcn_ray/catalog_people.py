"""People of a whole catalog, as functions: join them across titles, and decide about them.

The command line and `import vcn_ray` both come through here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Literal, NamedTuple

from vcn_ray.config import RunConfig, given_config
from vcn_ray.console import ProgressDisplay
from vcn_ray.edits.record import check_text, now, user_name
from vcn_ray.errors import UsageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
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
from vcn_ray.registry.pairs import choose_pair, names_of_joined
from vcn_ray.registry.persons import NamedPerson, PersonOfTitle, find_person, is_still, title_labels
from vcn_ray.registry.stored import StoredRegistry, read_registry
from vcn_ray.report.pages import write_catalog_page
from vcn_ray.results import Records
from vcn_ray.run.current import read_current
from vcn_ray.run.parallel import map_shared

PathLike = str | os.PathLike[str]


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
    cosine: float | None  # None: they were not compared
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

    @cached_property
    def labels(self) -> dict[str, str]:
        """What commands accept for each title, by its id: the name, unless another has it too."""
        return title_labels(self._stored)

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


class DecidedPair(NamedTuple):
    """A decision about two people, as it was stored.

    Attributes:
        decision: Its id.
        left: Whom it is about, and
        right: whom else.
        remarks: Lines for people.
    """

    decision: str
    left: PersonOfTitle
    right: PersonOfTitle
    remarks: tuple[str, ...]


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
        left: `TITLE:p003`, the title by its name or id; `c-...`, a person of the catalog; or the
            name of one.
        right: The other one.
        who: Who decides; None: the user of this process.
        note: For people.
        s3: How S3 is reached.

    Returns:
        The id of the decision, to undo it.

    Raises:
        UsageError: There is no such person, or several are called so, or both are of one title.
    """
    return decide_pair(output, kind, left, right, who=who, note=note, s3=s3).decision


def decide_pair(  # noqa: PLR0913 - as decide
    output: PathLike,
    kind: Literal["join", "apart"],
    left: str,
    right: str,
    *,
    who: str | None = None,
    note: str = "",
    s3: S3Config | None = None,
) -> DecidedPair:
    """Decide as `decide` does, and say what follows from it."""
    if kind not in ("join", "apart"):
        raise UsageError(f"a decision is join or apart, not {kind}; undo_decision takes one back")
    storage = Storage.open(os.fspath(output), s3)
    sides = find_person(left, storage), find_person(right, storage)
    pair = choose_pair(kind, *sides)
    one, other = (_mark(*each, storage) for each in zip(pair, sides, strict=True))
    remarks = names_of_joined(pair, storage) if kind == "join" else ()
    decision = Decision(kind, _who(who), now(), one, other, note=_note(note))
    return DecidedPair(write_decision(storage, decision), *pair, remarks)


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


def _mark(person: PersonOfTitle, named: NamedPerson, storage: Storage) -> PersonMark:
    title = read_current(person.title_id, storage)
    if named.catalog_id and not is_still(person, title, read_registry(storage)):
        raise UsageError(
            f"{title.name} has changed since the registry was built: run vcn registry build "
            f"{storage.uri} first"
        )
    return mark_person(title, person.person_id, storage)


def _who(who: str | None) -> str:
    return check_text(who if who is not None else user_name(), "the name of who decides")


def _note(note: str) -> str:
    return check_text(note, "the note")
