"""What is known of a title now: its newest result after all corrections that storage holds.

Exports, the registry and lakes read this and nothing else, so that all of them say the same. Tables
have the columns of the reviewed ones, whether there are corrections or not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vcn_ray.edits.store import edit_names
from vcn_ray.edits.tables import ReviewedTables
from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import Storage
from vcn_ray.run.reviewed import REVIEWED_TABLES, read_reviewed, reviewed_folder
from vcn_ray.run.stored import LatestResult, read_result, read_title
from vcn_ray.schema import CONFLICTS, REVIEWED_APPEARANCES, REVIEWED_PEOPLE, REVIEWED_TRACKS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class CurrentTitle:
    """A title as it is known now.

    Attributes:
        title_id: Its id below the output.
        latest: Its newest result.
        edits: Names of all its corrections, in order.
        tables: Who is who after these corrections.
    """

    title_id: str
    latest: LatestResult
    edits: tuple[str, ...]
    tables: ReviewedTables

    @property
    def name(self) -> str:
        """A file's name, or what the manifest calls it."""
        return str(self.summary["title"])

    @property
    def summary(self) -> dict[str, Any]:
        """The content of result.json, with the present places of the videos."""
        return self.latest.summary


def current_key(latest: LatestResult, edits: Sequence[str]) -> str:
    """What names a result with its corrections; an erasure rewrites a result in its place."""
    return digest("current", latest.folder, list(edits))


def read_current(
    title_id: str, storage: Storage, latest: LatestResult | None = None
) -> CurrentTitle:
    """Read a title as it is known now.

    Args:
        title_id: Of the title, which has a result.
        storage: The output.
        latest: Its newest result, where it was read already.

    Raises:
        UsageError: Another version made its result.
        DamagedError: It has no result, or a damaged one.
        StorageError: It cannot be read.
    """
    latest = latest or read_result(title_id, storage)
    edits = edit_names(storage, title_id)
    tables = _corrected(title_id, latest, edits, storage) if edits else _raw(latest, storage)
    return CurrentTitle(title_id, latest, tuple(edits), tables)


def _corrected(
    title_id: str, latest: LatestResult, edits: Sequence[str], storage: Storage
) -> ReviewedTables:
    """The tables after corrections, as they are stored; replayed where they are not."""
    folder = reviewed_folder(title_id, latest.folder.rpartition("/")[2], edits)
    try:
        found = CommittedFolder.find(storage, folder)
        if found is not None:
            read = {name: found.read_table(f"{name}.parquet") for name in REVIEWED_TABLES}
            return ReviewedTables(**read)
    except DamagedError as error:  # or a reviewer has gone on meanwhile
        log.debug("%s; the corrections are replayed", error)
    return read_reviewed(read_title(title_id, storage), storage).tables


def _raw(latest: LatestResult, storage: Storage) -> ReviewedTables:
    """The tables of a result without corrections, with the columns that corrections add."""
    result = CommittedFolder.open(storage, latest.folder)
    people = result.read_table("people.parquet").sort_by(
        [("screen_seconds", "descending"), ("person_id", "ascending")]
    )
    return ReviewedTables(
        people=_widened(people, REVIEWED_PEOPLE),
        tracks=_widened(result.read_table("tracks.parquet"), REVIEWED_TRACKS),
        appearances=_widened(result.read_table("appearances.parquet"), REVIEWED_APPEARANCES),
        conflicts=CONFLICTS.empty_table(),
    )


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with all columns of a schema: those that it lacks are null, or false."""
    columns = [
        table.column(field.name)
        if field.name in table.column_names
        else _nothing(field, table.num_rows)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _nothing(field: pa.Field, rows: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(rows, field.type)
    return pa.repeat(pa.scalar(False, field.type), rows)
