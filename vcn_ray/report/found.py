"""The page of a search: who it may be, with faces and times; it computes nothing."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vcn_ray.errors import StorageError
from vcn_ray.io.paths import file_name, local_path
from vcn_ray.io.storage import is_remote
from vcn_ray.registry.search import LIKELY, FoundPerson, FoundTitle
from vcn_ray.report import words
from vcn_ray.report.pages import render
from vcn_ray.report.words import brief, clock_range, missing_words, percent

MAX_SPANS = 12  # times of a title that the page shows


@dataclass(frozen=True, slots=True)
class FoundPage:
    """What a page of a search is made of.

    Attributes:
        found: The people, the likeliest first.
        wanted: The picture or person that was searched for.
        face: The face that was searched for, JPEG; None: no picture of it is kept.
        output: Where the titles are, for links to their reports.
    """

    found: Sequence[FoundPerson]
    wanted: str
    face: bytes | None
    output: str


@dataclass(frozen=True, slots=True)
class ShownTitle:
    """A title of a found person, in words."""

    title: str
    person_id: str
    seconds: str
    when: str
    link: str  # address of its report, relative to the page; empty: there is none


@dataclass(frozen=True, slots=True)
class ShownPerson:
    """A found person, in words."""

    name: str
    catalog_id: str
    probability: str
    face: str  # base64 JPEG; empty: none
    titles: tuple[ShownTitle, ...]


def write_found_page(page: FoundPage, path: Path) -> Path:
    """Write the page of a search; returns its path.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.write_text(render_found(page, path.parent), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def render_found(page: FoundPage, folder: Path) -> str:
    """Render the page of a search as HTML.

    Args:
        page: What it shows.
        folder: In which it will lie: links are relative to it.
    """
    likely = bool(page.found) and page.found[0].probability >= LIKELY
    return render(
        "found.html.j2",
        people=[_shown(person, page.output, folder) for person in page.found],
        wanted=file_name(page.wanted),
        face=_base64(page.face),
        likely=likely,
        words=words,
    )


def _base64(face: bytes | None) -> str:
    return base64.b64encode(face).decode() if face else ""


def _shown(person: FoundPerson, output: str, folder: Path) -> ShownPerson:
    return ShownPerson(
        name=person.name or person.catalog_id,
        catalog_id=person.catalog_id,
        probability=percent(person.probability),
        face=_base64(person.face),
        titles=tuple(_shown_title(title, output, folder) for title in person.titles),
    )


def _shown_title(title: FoundTitle, output: str, folder: Path) -> ShownTitle:
    link = _report_link(title, output, folder)
    return ShownTitle(
        title=title.title,
        person_id=title.person_id,
        seconds=brief(title.screen_seconds),
        when="see its report" if link and title.missing == "unread" else _when(title),
        link=link,
    )


def _report_link(title: FoundTitle, output: str, folder: Path) -> str:
    """The address of a title's report at the person; empty: there is none, or not as a file."""
    if is_remote(output) or title.missing == "deleted":
        return ""
    root = Path(local_path(output)).expanduser().absolute()
    report = root / "titles" / title.title_id / "report.html"
    if not report.is_file():
        return ""
    try:
        address = quote(os.path.relpath(report, folder.absolute()).replace(os.sep, "/"))
    except ValueError:  # on another drive
        address = report.as_uri()
    at = "" if title.missing == "changed" else f"#{quote(title.person_id)}"
    return address + at


def _when(title: FoundTitle) -> str:
    if title.spans is None:
        return missing_words(title.missing)
    several = len({video for video, _, _ in title.spans}) > 1
    shown: dict[str, list[str]] = {}
    for video, start, end in title.spans[:MAX_SPANS]:
        shown.setdefault(video, []).append(clock_range(start, end, tenths=True))
    more = len(title.spans) - MAX_SPANS
    parts = [(f"{video}: " if several else "") + ", ".join(times) for video, times in shown.items()]
    return "; ".join(parts) + (f" and {more:,} more" if more > 0 else "")
