"""What the page of the catalog shows, from the tables of the registry; it renders nothing.

The page fills itself from one JSON object, so that 5,000 people need no 5,000 cards until they are
scrolled to. Lists stand for records there, in the order that the functions below give.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from PIL import Image

from vcn_ray.io.storage import Storage
from vcn_ray.redact import page_text
from vcn_ray.registry.stored import find_registry

MAX_PEOPLE = 5000
"""People of the page: those with the most time on screen."""

MAX_SUGGESTIONS = 5
"""Others whom one person might be, likeliest first."""

FACE_PIXELS = 96
FACE_QUALITY = 70
FACES_IN_BLOCK = 100
"""Pictures that the page unpacks together."""

SUGGESTED = "suggested"


class CatalogTables(NamedTuple):
    """The registry of an output."""

    people: pa.Table  # CATALOG_PEOPLE
    members: pa.Table  # CATALOG_MEMBERS
    seconds: pa.Table  # CATALOG_SECONDS
    links: pa.Table  # CATALOG_LINKS


@dataclass(frozen=True, slots=True)
class CatalogView:
    """The page of the catalog.

    Attributes:
        data: What its script reads: `titles`, `people`; see build_catalog_view.
        faces: Blocks of base64 pictures, by the number of the person; empty: no picture.
        titles: Number of titles.
        people: Number of people that the page shows.
        several: Number of these that are in several titles.
        left_out: Number of people that it does not show.
    """

    data: dict[str, Any]
    faces: list[list[str]]
    titles: int
    people: int
    several: int
    left_out: int


def read_catalog(storage: Storage) -> CatalogTables | None:
    """The newest registry of an output; None where there is none.

    Raises:
        UsageError: Another version built it.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    found = find_registry(storage)
    if found is None:
        return None
    return CatalogTables(found.people, found.members, found.seconds, found.links)


def build_catalog_view(tables: CatalogTables) -> CatalogView:
    """What the page shows.

    `titles` has `[title_id, name, episodes]` for each title, by name. `people` has an object for
    each person, most time on screen first: `id`, `name`, `seconds`, and lists by title: `in`, a
    `[title, person_id, name, seconds, confidence, link]` for each member; `seen`, a
    `[title, episode, seconds]` for each video; `maybe`, a `[person, probability]` for each other
    person of the page who may be the same. Titles and people are numbers of their lists.
    """
    shown = tables.people.slice(0, MAX_PEOPLE).to_pylist()
    place = {row["catalog_id"]: number for number, row in enumerate(shown)}
    titles, number_of = _titles(tables)
    people = [
        {
            "id": row["catalog_id"],
            "name": _clean(row["name"]),
            "seconds": _short(row["screen_seconds"]),
            "in": [],
            "seen": [],
            "maybe": maybe,
        }
        for row, maybe in zip(shown, _suggestions(tables, place), strict=True)
    ]
    for row in tables.members.to_pylist():
        if row["catalog_id"] in place:
            people[place[row["catalog_id"]]]["in"].append(
                [
                    number_of[row["title_id"]],
                    row["person_id"],
                    _clean(row["name"]),
                    _short(row["screen_seconds"]),
                    round(row["confidence"], 2),
                    row["link"],
                ]
            )
    for row in tables.seconds.to_pylist():
        if row["catalog_id"] in place:
            cell = [number_of[row["title_id"]], row["episode"], _short(row["screen_seconds"])]
            people[place[row["catalog_id"]]]["seen"].append(cell)
    return CatalogView(
        data={"titles": titles, "people": people, "block": FACES_IN_BLOCK},
        faces=list(_blocks(_thumbnail(row["face"]) for row in shown)),
        titles=len(titles),
        people=len(people),
        several=sum(row["titles"] > 1 for row in shown),
        left_out=tables.people.num_rows - len(people),
    )


def _titles(tables: CatalogTables) -> tuple[list[list[Any]], dict[str, int]]:
    """`[title_id, name, episodes]` of all titles by name, and the number of each."""
    names = dict(
        zip(
            tables.members.column("title_id").to_pylist(),
            tables.members.column("title").to_pylist(),
            strict=True,
        )
    )
    episodes = dict.fromkeys(names, 1)
    for title_id, episode in zip(
        tables.seconds.column("title_id").to_pylist(),
        tables.seconds.column("episode").to_pylist(),
        strict=True,
    ):
        episodes[title_id] = max(episode, episodes.get(title_id, 1))
    order = sorted(names, key=lambda title_id: (names[title_id].casefold(), title_id))
    titles = [[title_id, _clean(names[title_id]), episodes[title_id]] for title_id in order]
    return titles, {title_id: number for number, title_id in enumerate(order)}


def _suggestions(tables: CatalogTables, place: Mapping[str, int]) -> list[list[list[Any]]]:
    """`[person, probability]` of the others whom each person of the page may be."""
    member = {
        (row["title_id"], row["person_id"]): place.get(row["catalog_id"])
        for row in tables.members.select(["title_id", "person_id", "catalog_id"]).to_pylist()
    }
    best: dict[tuple[int, int], float] = {}
    for row in tables.links.to_pylist():
        if row["answer"] != SUGGESTED:
            continue
        left = member.get((row["left_title_id"], row["left_person_id"]))
        right = member.get((row["right_title_id"], row["right_person_id"]))
        if left is None or right is None or left == right:
            continue
        for pair in ((left, right), (right, left)):
            best[pair] = max(row["probability"], best.get(pair, 0.0))
    found: list[list[list[Any]]] = [[] for _ in place]
    for (one, other), probability in sorted(best.items(), key=lambda item: (-item[1], item[0])):
        if len(found[one]) < MAX_SUGGESTIONS:
            found[one].append([other, round(probability, 2)])
    return found


def _thumbnail(face: bytes | None) -> str:
    """A small picture in base64; empty where there is none."""
    if face is None:
        return ""
    out = io.BytesIO()
    with Image.open(io.BytesIO(face)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((2 * FACE_PIXELS, FACE_PIXELS), Image.Resampling.LANCZOS)
        small.save(out, "WEBP", quality=FACE_QUALITY, method=4)
    return base64.b64encode(out.getvalue()).decode()


def _blocks(faces: Iterable[str]) -> Iterable[list[str]]:
    block: list[str] = []
    for face in faces:
        block.append(face)
        if len(block) == FACES_IN_BLOCK:
            yield block
            block = []
    if block:
        yield block


def _short(seconds: float) -> float:
    return round(seconds, 2)


def _clean(text: str | None) -> str | None:
    return None if text is None else page_text(text)
