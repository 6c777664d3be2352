"""`vcn registry` and `vcn search`; what they show and where is decided here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict

import vcn_ray.catalog_people as door
from vcn_ray.catalog_search import find_faces
from vcn_ray.cli.options import given_settings
from vcn_ray.console import complain, count, say, say_json, show_table
from vcn_ray.errors import DamagedError, UsageError, listed
from vcn_ray.io.storage import Storage
from vcn_ray.registry.build import BuiltRegistry
from vcn_ray.registry.decisions import PersonMark
from vcn_ray.registry.persons import title_labels
from vcn_ray.registry.search import LIKELY, FoundPerson, FoundTitle
from vcn_ray.registry.stored import find_registry
from vcn_ray.report.words import clock_range, missing_words
from vcn_ray.run.listed_pages import CATALOG_PAGE

MAX_SPANS = 3  # times that a line shows
MAX_TITLES = 3  # titles that a table names
REFERENCES = "ids, names that are unique, and TITLE:p003"  # of people


def registry(options: argparse.Namespace) -> int:
    """Run an action and return the exit code."""
    return ACTIONS[options.action](options)


def _build(options: argparse.Namespace) -> int:
    settings = given_settings(options)
    built = door.build_registry(options.output, local=options.local, config=settings, progress=True)
    for title_id, why in built.skipped.items():
        complain(f"{title_id} is left out: {why}")
    for line in _remarks(built):
        say(line)
    say(
        f"{count(built.people, 'person', 'people')} in {count(built.titles, 'title')}, "
        f"{built.shared} of them in several; {count(built.suggested, 'suggestion')}"
    )
    storage = Storage.open(options.output, settings.s3)
    say(storage.locate(built.folder))
    say(storage.locate(CATALOG_PAGE))
    say_json(asdict(built))
    return 1 if built.skipped else 0


def _remarks(built: BuiltRegistry) -> list[str]:
    lines = []
    if built.other_encoder:
        titles = count(built.other_encoder, "title")
        lines.append(
            f"{titles} were indexed with another encoder than most: their people are joined by "
            "names alone; index them again with one pack"
        )
    if built.without_faces:
        people = count(built.without_faces, "person", "people")
        lines.append(f"{people} without embeddings, which are not kept: joined by names alone")
    for decision in built.lost:
        lines.append(f"decision {decision} is about somebody who is not found any more")
    lines += [f"a decision does not count: {why}" for why in built.damaged.values()]
    return lines


def _list(options: argparse.Namespace) -> int:
    found = door.open_registry(options.output, s3=given_settings(options).s3)
    if options.suggested:
        links = [link for link in found.links if link.answer == "suggested"]
        links.sort(key=lambda link: -link.probability)
        _show_suggestions(found, links[: options.limit])
        more = len(links) - options.limit
        say(
            f"{count(len(links), 'suggestion')}{_not_shown(more)}; decide by vcn registry join or "
            f"apart, which take {REFERENCES}"
        )
        return 0
    titles: dict[str, list[str]] = {}
    for member in found.members:
        title = found.labels[member.title_id]
        titles.setdefault(member.catalog_id, []).append(f"{title}:{member.person_id}")
    rows = [
        [
            person.catalog_id,
            person.name or "",
            f"{person.screen_seconds:.1f}",
            str(person.titles),
            listed(titles[person.catalog_id], MAX_TITLES),
        ]
        for person in found.people[: options.limit]
    ]
    show_table("People", ["id", "name", "seconds", "titles", "seen as"], rows)
    more = _not_shown(len(found.people) - len(rows))
    say(f"{count(len(found.people), 'person', 'people')}{more}; commands take {REFERENCES}")
    return 0


def _show_suggestions(found: door.Registry, links: Sequence[door.CatalogLink]) -> None:
    if not links:
        return
    catalog_id = {(each.title_id, each.person_id): each.catalog_id for each in found.members}
    name = {person.catalog_id: person.name or "" for person in found.people}

    def cells(title_id: str, person_id: str) -> list[str]:
        who = catalog_id[title_id, person_id]
        return [who, name[who], f"{found.labels[title_id]}:{person_id}"]

    rows = [
        [
            *cells(link.left_title_id, link.left_person_id),
            *cells(link.right_title_id, link.right_person_id),
            f"{link.probability:.0%}",
        ]
        for link in links
    ]
    columns = ["id", "name", "seen as"]
    show_table("Perhaps the same person", [*columns, *columns, "probability"], rows)


def _not_shown(more: int) -> str:
    return f", {more} not shown" if more > 0 else ""


def _decide(options: argparse.Namespace) -> int:
    done = door.decide_pair(
        options.output,
        options.action,
        options.left,
        options.right,
        who=options.who,
        note=options.note,
        s3=given_settings(options).s3,
    )
    words = "one person" if options.action == "join" else "two people"
    say(f"{options.left} and {options.right} are {words}: decision {done.decision}")
    for person, text in ((done.left, options.left), (done.right, options.right)):
        if not text.endswith(f":{person.person_id}"):
            say(f"{text} is {person.title_id}:{person.person_id}")
    for line in done.remarks:
        complain(f"note: {line}")
    say(f"it counts from the next vcn registry build {options.output}")
    return 0


def _decisions(options: argparse.Namespace) -> int:
    s3 = given_settings(options).s3
    found = door.list_decisions(options.output, s3=s3)
    labels = _labels(Storage.open(options.output, s3))
    rows = [
        [
            each.decision_id,
            each.kind,
            _marked(each.left, labels),
            _marked(each.right, labels),
            each.who,
            each.at[:19].replace("T", " "),
            each.note,
        ]
        for each in found
    ]
    if rows:
        columns = ["decision", "kind", "person", "person", "who", "when", "note"]
        show_table("Decisions", columns, rows)
    say(f"{count(len(rows), 'decision')}; undo one by vcn registry undo OUT ID")
    return 0


def _labels(storage: Storage) -> dict[str, str]:
    """Names of titles as commands accept them, by id; none where no registry can be read."""
    try:
        registry = find_registry(storage)
        return title_labels(registry) if registry else {}
    except (DamagedError, UsageError):
        return {}


def _marked(mark: PersonMark | None, labels: dict[str, str]) -> str:
    if mark is None:
        return ""
    return f"{labels.get(mark.title_id, mark.title_id)}:{mark.person_id}"


def _undo(options: argparse.Namespace) -> int:
    undo = door.undo_decision(
        options.output,
        options.decision,
        who=options.who,
        note=options.note,
        s3=given_settings(options).s3,
    )
    say(f"decision {options.decision} is taken back: {undo}")
    say(f"it counts from the next vcn registry build {options.output}")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "build": _build,
    "list": _list,
    "join": _decide,
    "apart": _decide,
    "undo": _undo,
    "decisions": _decisions,
}
"""What runs each action."""


def search(options: argparse.Namespace) -> int:
    """Show who looks most like a face."""
    face, found = find_faces(
        options.output,
        options.wanted,
        limit=options.limit,
        face=options.face,
        pack=options.pack,
        config=given_settings(options),
    )
    rows = [
        row for place, person in enumerate(found, start=1) for row in _found_rows(place, person)
    ]
    if not found or found[0].probability < LIKELY:
        say("nobody in the catalog is likely this person; the nearest are shown")
    columns = ["", "id", "name", "probability", "seen as", "seconds", "when"]
    show_table("Who it may be", columns, rows)
    say(f"commands take {REFERENCES}")
    if options.page is not None:
        from vcn_ray.report.found import FoundPage, write_found_page

        page = FoundPage(found, options.wanted, face, options.output)
        say(str(write_found_page(page, options.page)))
    say_json({"found": [_as_json(person) for person in found]})
    return 0


def _found_rows(place: int, person: FoundPerson) -> list[list[str]]:
    """The lines of a table about a found person, one for each title whose times were read."""
    about = [str(place), person.catalog_id, person.name or "", f"{person.probability:.0%}"]
    rows = [
        [*about, title.reference, f"{title.screen_seconds:.1f}", _times(title)]
        for title in person.titles
        if title.missing != "unread"
    ]
    if more := len(person.titles) - len(rows):
        rows.append([*about, f"and {count(more, 'more title')}", "", ""])
    return rows


def _times(title: FoundTitle) -> str:
    if title.spans is None:
        return missing_words(title.missing)
    ranges = [clock_range(start, end, tenths=True) for _, start, end in title.spans]
    return listed((text.replace("\u2009", "") for text in ranges), MAX_SPANS)  # for pages alone


def _as_json(person: FoundPerson) -> dict[str, object]:
    content = asdict(person)
    del content["face"]  # a picture; --page shows it
    return content


RUN: dict[str, Callable[[argparse.Namespace], int]] = {"registry": registry, "search": search}
"""What runs each command."""
