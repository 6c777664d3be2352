"""The list of the pages of an output, and whether they show pictures that were removed since.

It writes no pages: it is what a step that removes pictures leaves for the one that can.
"""

from __future__ import annotations

from vcn_ray.io.storage import Storage

PAGES = "pages.json"
"""Lists the pages of the last report, by path below the output."""

CATALOG_PAGE = "catalog.html"
"""The page of the people of all titles."""

STALE = "stale"


def mark_stale(storage: Storage) -> None:
    """Note, before pictures are removed, that pages may show them; nothing where there are none."""
    listed = storage.find_sound_json(PAGES)
    if listed is not None and not listed.get(STALE):
        storage.write_json(PAGES, listed | {STALE: True})


def are_stale(storage: Storage) -> bool:
    """Whether pages may show pictures that were removed; to write them again ends it."""
    listed = storage.find_sound_json(PAGES)
    return listed is not None and bool(listed.get(STALE))
