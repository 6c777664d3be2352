"""The list of all titles of an output place; it knows nothing of tables or storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from vcn_ray.report import words
from vcn_ray.report.page import render
from vcn_ray.report.view import TitleView

COVERS = 6
"""Faces shown for a title: those of the people with most time on screen."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One title in the list."""

    title: str
    link: str  # address of its page, relative to the list's
    length: str
    screen: str  # time with any face on screen
    people: int
    warnings: int
    covers: tuple[str, ...]  # base64 JPEG, most time on screen first


def index_entry(view: TitleView, link: str | None = None) -> IndexEntry:
    """Make the entry of a title.

    Args:
        view: The title.
        link: Address of its page; by default `titles/<title_id>/report.html`.
    """
    covers = [person.cover for person in view.people[:COVERS]]
    return IndexEntry(
        title=view.title,
        link=link or f"titles/{quote(view.title_id, safe='')}/report.html",
        length=view.summary.length,
        screen=view.summary.screen,
        people=len(view.people),
        warnings=len(view.warnings),
        covers=tuple(view.images[number] for number in covers if number is not None),
    )


def render_index(entries: Sequence[IndexEntry]) -> str:
    """Write the list of titles, in the order given, as one HTML file that needs nothing else."""
    return render("index.html.j2", entries=entries, words=words, covers=COVERS)
