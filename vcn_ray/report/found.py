"""The page of a search: who it may be, with faces and times; it computes nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vcn_ray.errors import StorageError
from vcn_ray.io.paths import file_name
from vcn_ray.registry.search import LIKELY, FoundPerson, FoundTitle
from vcn_ray.report import words
from vcn_ray.report.pages import render
from vcn_ray.report.words import brief, clock_range, percent

MAX_SPANS = 12  # times of a title that the page shows


@dataclass(frozen=True, slots=True)
class ShownTitle:
    """A title of a found person, in words."""

    title: str
    person_id: str
    seconds: str
    when: str


@dataclass(frozen=True, slots=True)
class ShownPerson:
    """A found person, in words."""

    name: str
    probability: str
    face: str  # base64 JPEG; empty: none
    titles: tuple[ShownTitle, ...]


def write_found_page(found: Sequence[FoundPerson], wanted: str, path: Path) -> Path:
    """Write the page of a search; returns its path.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.write_text(render_found(found, wanted), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def render_found(found: Sequence[FoundPerson], wanted: str) -> str:
    """Render the page of a search as HTML.

    Args:
        found: The people, the likeliest first.
        wanted: The picture or person that was searched for.
    """
    likely = bool(found) and found[0].probability >= LIKELY
    people = [_shown(person) for person in found]
    name = file_name(wanted)
    return render("found.html.j2", people=people, wanted=name, likely=likely, words=words)


def _shown(person: FoundPerson) -> ShownPerson:
    return ShownPerson(
        name=person.name or person.catalog_id,
        probability=percent(person.probability),
        face=base64.b64encode(person.face).decode() if person.face else "",
        titles=tuple(
            ShownTitle(title.title, title.person_id, brief(title.screen_seconds), _when(title))
            for title in person.titles
        ),
    )


def _when(title: FoundTitle) -> str:
    if title.spans is None:
        return "see its page"
    several = len({video for video, _, _ in title.spans}) > 1
    shown: dict[str, list[str]] = {}
    for video, start, end in title.spans[:MAX_SPANS]:
        shown.setdefault(video, []).append(clock_range(start, end, tenths=True))
    more = len(title.spans) - MAX_SPANS
    parts = [(f"{video}: " if several else "") + ", ".join(times) for video, times in shown.items()]
    return "; ".join(parts) + (f" and {more} more" if more > 0 else "")
