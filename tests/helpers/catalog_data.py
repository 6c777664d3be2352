"""A made-up registry with real faces: films, and seasons of several episodes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.helpers.report_data import picture
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.report.catalog_view import CatalogTables
from vcn_ray.schema import (
    CATALOG_LINKS,
    CATALOG_MEMBERS,
    CATALOG_PEOPLE,
    CATALOG_SECONDS,
    SCHEMA_VERSION,
)

LOOKS = 64
FIRST = ("Ada", "Béla", "Chloé", "Dmitri", "Eva", "Farid", "Grace", "Hugo", "Inês", "Jonas")
LAST = ("Abel", "Brandt", "Castro", "Díaz", "Evans", "Falk", "Grün", "Hall", "Ito", "Jansen")


@cache
def looks() -> tuple[bytes, ...]:
    """Pictures of eight people."""
    rng = np.random.default_rng(5)
    return tuple(picture(number, rng, cutout=True) for number in range(LOOKS))


def made_catalog(titles: int, people: int, pictures: bool = True) -> CatalogTables:
    """The tables of a registry: every fifth title has eight episodes, few people have many titles.

    Two of three people are named; one in fifty is perhaps another.
    """
    rng = np.random.default_rng(1)
    ids = [f"title-{number:012x}" for number in range(titles)]
    names = [f"Season {n}" if n % 5 == 0 else f"Film {n}" for n in range(titles)]
    person_rows, members, seconds = [], [], []
    for number in range(people):
        catalog_id = f"c{number:07x}"
        some = 1 + int(min(rng.pareto(1.5), 30, titles - 1))
        where = sorted(rng.choice(titles, some, replace=False).tolist())
        name = f"{FIRST[number % 10]} {LAST[number // 10 % 10]} {number}" if number % 3 else None
        spent = 0.0
        for title in where:
            own = 0.0
            for episode in range(1, 9 if title % 5 == 0 else 2):
                if episode > 1 and rng.random() < 0.4:
                    continue
                shown = float(np.round(rng.gamma(1.0, 120.0) + 1, 2))
                own += shown
                seconds.append(
                    {
                        "catalog_id": catalog_id,
                        "title_id": ids[title],
                        "video_id": f"v{title}-{episode}",
                        "episode": episode,
                        "screen_seconds": shown,
                    }
                )
            members.append(
                {
                    "catalog_id": catalog_id,
                    "title_id": ids[title],
                    "title": names[title],
                    "person_id": f"p{number % 40:03d}",
                    "name": name,
                    "screen_seconds": own,
                    "tracks": 7,
                    "confidence": float(rng.uniform(0.8, 1.0)) if some > 1 else 1.0,
                    "link": "joined" if some > 1 else "alone",
                }
            )
            spent += own
        person_rows.append(
            {
                "catalog_id": catalog_id,
                "name": name,
                "titles": some,
                "episodes": sum(row["catalog_id"] == catalog_id for row in seconds[-8 * some :]),
                "screen_seconds": spent,
                "cover_title_id": ids[where[0]],
                "cover_person_id": "p001",
                "face": looks()[number % LOOKS] if pictures else None,
            }
        )
    person_rows.sort(key=lambda row: (-row["screen_seconds"], row["catalog_id"]))
    return CatalogTables(
        people=make_table(person_rows, CATALOG_PEOPLE),
        members=make_table(members, CATALOG_MEMBERS),
        seconds=make_table(seconds, CATALOG_SECONDS),
        links=make_table(_links(members), CATALOG_LINKS),
    )


def _links(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each fiftieth member is perhaps the one after the next."""
    return [
        {
            "left_title_id": left["title_id"],
            "left_person_id": left["person_id"],
            "right_title_id": right["title_id"],
            "right_person_id": right["person_id"],
            "cosine": 0.5,
            "probability": 0.71,
            "answer": "suggested",
            "why": "face",
        }
        for left, right in zip(members[::50], members[2::50], strict=False)
    ]


def write_catalog(storage: Storage, tables: CatalogTables) -> None:
    """Commit a registry as its command does."""
    writer = FolderWriter(storage, "registry/registry-000000000001")
    for name, table in tables._asdict().items():
        writer.write_table(f"catalog_{name}.parquet", table)
    writer.commit({})
    pointer = {"registry": "registry-000000000001", "schema_version": SCHEMA_VERSION}
    storage.write_json("registry/latest.json", pointer)
