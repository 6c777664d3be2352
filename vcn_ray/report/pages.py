"""The pages of an output, each one HTML file that needs nothing else; it computes nothing.

One page shows a title; the index lists all titles, and a third page the people of the catalog.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from vcn_ray.edits.store import edited_titles
from vcn_ray.io.committed import FILES, record_of
from vcn_ray.io.storage import Storage
from vcn_ray.redact import page_text
from vcn_ray.report import words
from vcn_ray.report.catalog_view import (
    CatalogView,
    build_catalog_view,
    read_catalog,
)
from vcn_ray.report.view import TitleView, build_view
from vcn_ray.run.listed_pages import CATALOG_PAGE, PAGES, are_stale
from vcn_ray.run.reviewed import read_reviewed
from vcn_ray.run.stored import TitleReader

if TYPE_CHECKING:
    import jinja2

MIN_CUT_OPACITY = 0.15
"""Opacity of the lines of cuts in the longest films."""

MAX_CARDS = 40
"""People whose cards are open; the cards of those with less time on screen are folded."""

INDEX_COVERS = 6
"""Faces of a title in the index: those of the people with most time on screen."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class PagePaths:
    """Paths of the pages, relative to the output."""

    titles: tuple[str, ...]
    index: str
    skipped: tuple[str, ...] = ()  # titles without a new page, because a file of theirs is damaged


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One title in the index."""

    title: str
    link: str  # address of its page, relative to the index
    length: str
    screen: str  # time with any face on screen
    people: int
    warnings: int
    place: str  # what tells it apart from others of its name; empty where none has its name
    covers: tuple[str, ...]  # base64 JPEG, most time on screen first


def write_reports(storage: Storage) -> PagePaths:
    """Write `titles/<title_id>/report.html` for every title that has a result, and `index.html`.

    Where there is a registry, `catalog.html` is written, too. A damaged title is skipped with a
    warning. `pages.json` lists what was written.

    Raises:
        UsageError: There is no result.
        StorageError: A page cannot be written.
    """
    entries, files, uris = [], {}, []
    titles = TitleReader(storage)
    edited = edited_titles(storage)
    for title in titles:
        reviewed = read_reviewed(title, storage) if title.title_id in edited else None
        view = build_view(title, reviewed)
        path = f"titles/{title.title_id}/report.html"
        files[path] = _write_page(path, render_title(view), storage)
        entries.append(index_entry(view))
        uris.append([str(video["uri"]) for video in title.summary["videos"]])
    catalog = read_catalog(storage)
    if catalog is not None:
        page = render_catalog(build_catalog_view(catalog))
        files[CATALOG_PAGE] = _write_page(CATALOG_PAGE, page, storage)
    shown = render_index(tell_apart(entries, uris), catalog is not None)
    index = _write_page("index.html", shown, storage)
    storage.write_json(PAGES, {FILES: files | {"index.html": index}})
    titles_pages = tuple(path for path in files if path != CATALOG_PAGE)
    return PagePaths(titles_pages, "index.html", tuple(titles.damaged))


def write_catalog_page(storage: Storage) -> bool:
    """Write `catalog.html` from the newest registry; False where there is no registry.

    Raises:
        DamagedError: The registry is damaged.
        StorageError: The page cannot be written.
    """
    tables = read_catalog(storage)
    if tables is None:
        return False
    record = _write_page(CATALOG_PAGE, render_catalog(build_catalog_view(tables)), storage)
    listed = storage.find_sound_json(PAGES)
    if listed is not None:
        storage.write_json(PAGES, listed | {FILES: listed[FILES] | {CATALOG_PAGE: record}})
    return True


def renew_pages(storage: Storage) -> None:
    """Write the pages again where they may show pictures that were removed since.

    Raises:
        StorageError: A page cannot be written; the next call tries again.
    """
    if are_stale(storage):
        write_reports(storage)


def _write_page(path: str, page: str, storage: Storage) -> dict[str, Any]:
    """Write a page; returns its size and hash."""
    data = page.encode()
    storage.write_bytes(path, data)
    return record_of(data)


def render_title(view: TitleView) -> str:
    """Render the page of a title as HTML.

    Every text of the view is escaped. Styles, script and pictures are inside the page, and its
    content policy forbids the browser to load anything else.
    """
    timeline = view.timeline
    data = {
        "key": view.names_key,
        "id": view.title_id,
        "result": view.result,
        "seconds": timeline.seconds,
        "cuts": timeline.cut_count,
        # Where cuts are denser than pixels, opaque lines would turn the rows grey.
        "cutOpacity": round(min(1.0, max(MIN_CUT_OPACITY, 150 / (timeline.cut_count + 1))), 3),
        "minCutOpacity": MIN_CUT_OPACITY,
        "videos": [
            {"offset": video.offset_seconds, "seconds": video.seconds} for video in view.videos
        ],
    }
    return render(
        "page.html.j2",
        view=view,
        data=data,
        words=words,
        max_cards=MAX_CARDS,
        js=_package_text("page.js"),
    )


def index_entry(view: TitleView) -> IndexEntry:
    """Make the index entry of a title."""
    covers = [person.cover for person in view.people[:INDEX_COVERS]]
    return IndexEntry(
        title=view.title,
        link=f"titles/{quote(view.title_id, safe='')}/report.html",
        length=view.summary.length,
        screen=view.summary.screen,
        people=len(view.people),
        warnings=len(view.notes.warnings),
        place="",
        covers=tuple(view.images[number] for number in covers if number is not None),
    )


def tell_apart(entries: Sequence[IndexEntry], uris: Sequence[list[str]]) -> list[IndexEntry]:
    """Give the place of its first video to each title that shares its name with others.

    Args:
        entries: Of the index.
        uris: Of the videos of each title.
    """
    names = Counter(entry.title for entry in entries)
    return [
        replace(entry, place=", ".join(videos[:1])) if names[entry.title] > 1 else entry
        for entry, videos in zip(entries, uris, strict=True)
    ]


def render_index(entries: Sequence[IndexEntry], catalog: bool = False) -> str:
    """Render the index as HTML, with the titles in the order given.

    Args:
        entries: Of the titles.
        catalog: True where there is a page of the catalog to link to.
    """
    link = CATALOG_PAGE if catalog else None
    return render("index.html.j2", entries=entries, words=words, covers=INDEX_COVERS, catalog=link)


def render_catalog(view: CatalogView) -> str:
    """Render the page of the people of the catalog as HTML; as render_title."""
    return render(
        "catalog.html.j2",
        view=view,
        words=words,
        catalog_css=_package_text("catalog.css"),
        js=_package_text("catalog.js"),
    )


def render(template: str, **values: object) -> str:
    """Fill a template of this package, with the common style sheet as `css`."""
    return _environment().get_template(template).render(css=_package_text("page.css"), **values)


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # not for the commands that write no page

    # Escaping must be on for all: Jinja does not escape templates with these suffixes by itself.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: object) -> object:
    """What a template inserts, without codes of terminals and marks that turn the writing."""
    return page_text(value) if type(value) is str else value  # Markup is our own


@cache
def _package_text(name: str) -> Markup:
    # Markup, because the text comes from this package and holds quotes and angle brackets.
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
