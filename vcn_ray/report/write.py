"""Writes the pages of an output, one for each title and a list of them; it draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

from vcn_ray.io.storage import Storage
from vcn_ray.report.overview import index_entry, render_index
from vcn_ray.report.page import render_page
from vcn_ray.report.view import TitleTables, build_view
from vcn_ray.run.stored import stored_titles


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the pages are, below the output."""

    titles: tuple[str, ...]
    index: str


def write_reports(storage: Storage) -> Pages:
    """Write `titles/<title_id>/report.html` for every title that has a result, and `index.html`.

    Raises:
        UsageError: There is no result.
        StorageError: A page cannot be written.
    """
    paths, entries = [], []
    for title in stored_titles(storage):
        tables = TitleTables(
            people=title.people,
            tracks=title.tracks,
            appearances=title.appearances,
            merges=title.merges,
            shots=title.shots,
            crops=title.crops,
        )
        view = build_view(title.summary, tables, title.summary["counts"]["rejected"])
        path = f"titles/{title.title_id}/report.html"
        storage.write_bytes(path, render_page(view).encode())
        paths.append(path)
        entries.append(index_entry(view))
    storage.write_bytes("index.html", render_index(entries).encode())
    return Pages(titles=tuple(paths), index="index.html")
