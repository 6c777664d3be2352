"""Finished titles read back from storage, for pages and for scores; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.schema import CROPS, SHOTS


@dataclass(frozen=True, slots=True, eq=False)
class StoredTitle:
    """The newest result of a title and what it was made of."""

    title_id: str
    folder: str  # of the result, below the output
    summary: dict[str, Any]  # result.json
    people: pa.Table
    tracks: pa.Table
    appearances: pa.Table
    merges: pa.Table
    shots: pa.Table  # of all its videos
    crops: pa.Table  # every face of every track, of all its videos


def stored_titles(storage: Storage) -> Iterator[StoredTitle]:
    """All titles that have a result, by name.

    Raises:
        UsageError: There is none.
    """
    found = False
    for title_id in find_titles(storage):
        found = True
        yield read_title(title_id, storage)
    if not found:
        raise UsageError(
            f"{storage.uri} holds no results: run vcn index with --output {storage.uri}"
        )


def find_titles(storage: Storage) -> Iterator[str]:
    """Ids of all titles that have a result, in order."""
    for title_id in storage.names("titles"):
        if storage.exists(f"titles/{title_id}/latest.json"):
            yield title_id


def read_title(title_id: str, storage: Storage) -> StoredTitle:
    """The newest result of a title."""
    latest = storage.read_json(f"titles/{title_id}/latest.json")
    folder = f"titles/{title_id}/{latest['result']}"
    summary = storage.read_json(f"{folder}/result.json")
    for video in summary["videos"]:  # files move; a result is not made anew for that
        video["uri"] = latest["uris"].get(video["video_id"], video["uri"])
    tables = {
        name: storage.read_table(f"{folder}/{name}.parquet")
        for name in ("people", "tracks", "appearances", "merges")
    }
    sources = summary["keys"]["track"]
    shots = [storage.read_table(f"{source}/shots.parquet") for source in sources]
    crops = [storage.read_table(f"{source}/crops.parquet") for source in sources]
    return StoredTitle(
        title_id=title_id,
        folder=folder,
        summary=summary,
        shots=pa.concat_tables([SHOTS.empty_table(), *shots]),
        crops=pa.concat_tables([CROPS.empty_table(), *crops]),
        **tables,
    )
