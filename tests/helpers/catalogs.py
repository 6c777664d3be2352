"""Small catalogs of made-up titles that share a cast, for tests of the registry."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tests.helpers.corrections import VIDEO, Seen, write_title
from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.registry.build import BuiltRegistry, build_registry
from vcn_ray.registry.stored import TABLES, read_registry
from vcn_ray.run.parallel import map_shared

CASTS = {"a": (0, 1, 2), "b": (1, 2, 3), "c": (2, 3, 4), "d": (0, 4, 5)}
"""Faces of the people p001, p002, ... of each title."""

FIRST, SECOND = "cluster-000000000001", "cluster-000000000002"


def seen_by(title: str, cast: Sequence[int], prefix: str = "") -> list[Seen]:
    """A title in which everybody of a cast has two tracks, p001 the longest ones."""
    return [
        Seen(
            f"{prefix}{title}{face}{part}",
            f"p{place:03d}",
            start,
            start + 9.0 - place,
            face=face,
            video=f"{title}-{VIDEO}",
        )
        for place, face in enumerate(cast, start=1)
        for part, start in enumerate((20.0 * place, 200.0 + 20.0 * place))
    ]


def write_catalog_title(storage: Storage, title: str, result: str = FIRST) -> None:
    """Commit one of CASTS as a run does."""
    seen = seen_by(title, CASTS[title])
    video = seen[0].video
    facts = {"detect": f"videos/{video}/detect-gone", "width": 640, "height": 360}
    write_title(storage, seen, result, f"Film {title}", f"{title}-0", facts={video: facts})


def write_catalog(storage: Storage) -> None:
    """Commit all of them."""
    for title in CASTS:
        write_catalog_title(storage, title)


def build_local(storage: Storage) -> BuiltRegistry:
    """Build the registry in this process."""
    return build_registry(storage, RunConfig(), map_shared)


def registry_tables(storage: Storage) -> dict[str, pa.Table]:
    """All tables of the registry."""
    registry = read_registry(storage)
    return {name: getattr(registry, name.removeprefix("catalog_")) for name in TABLES}


def catalog_groups(storage: Storage) -> list[list[str]]:
    """Members of each catalog person who has several, as `a:p002`."""
    found: dict[str, list[str]] = {}
    for row in read_registry(storage).members.to_pylist():
        place = f"{row['title_id'][0]}:{row['person_id']}"
        found.setdefault(row["catalog_id"], []).append(place)
    return sorted(sorted(members) for members in found.values() if len(members) > 1)
