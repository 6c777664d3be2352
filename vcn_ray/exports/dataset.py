"""Writes the tables of all titles as one Parquet dataset that DuckDB, Spark and Athena read.

    TARGET/latest.json                                            {"dataset": "dataset-<key>"}
    TARGET/dataset-<key>/<table>/bucket=<number>/part-<number>.parquet
    TARGET/dataset-<key>/catalog_people/part-<number>.parquet     where there is a registry
    TARGET/dataset-<key>/manifest.json

Titles are spread over buckets by a hash of their id: neither a file for each of 100,000 titles, nor
one for all of them. A dataset is written beside the one before it; the pointer changes once it is
complete, and only then the one before is removed. So a reader that follows the pointer never sees a
part. A bucket whose titles are unchanged is copied, and its titles are not read.

It knows nothing of columns; `exports.dataset_rows` makes the rows.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from vcn_ray.edits.store import edit_names, edited_titles
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.exports.dataset_rows import TABLES, Rows, dataset_rows
from vcn_ray.exports.parts import DatasetFolder, Parts
from vcn_ray.io.committed import FILES, CommittedFolder
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.registry.stored import StoredRegistry, find_registry
from vcn_ray.run.current import read_current
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.stored import TitleReader
from vcn_ray.run.tombstones import check_no_open_erasure
from vcn_ray.schema import CATALOG_MEMBERS, CATALOG_PEOPLE, CATALOG_SECONDS, SCHEMA_VERSION

log = logging.getLogger(__name__)

LAYOUT = 1  # raised where equal titles give other rows or files
BUCKETS = 64
COPIES = 4  # files that are copied at once; each is in memory as a whole
LATEST = "latest.json"
NAME = re.compile(r"dataset-[0-9a-f]{12}")
OURS = re.compile(rf"{MANIFEST}|[a-z_]+/(bucket=\d+/)?part-\d+\.parquet")
"""Files of a dataset, by their path in its folder: nothing else is ever removed."""

CATALOG_TABLES = {
    "catalog_people": CATALOG_PEOPLE.remove(CATALOG_PEOPLE.get_field_index("face")),
    "catalog_members": CATALOG_MEMBERS,
    "catalog_seconds": CATALOG_SECONDS,
}
"""Tables of the registry -> columns; pictures stay in the output."""


class Dataset(NamedTuple):
    """What a target holds now."""

    place: str  # full address of the dataset, which the pointer names
    rows: dict[str, int]  # number of rows of each table
    files: int
    bytes: int
    copied: int  # buckets of the dataset before that are a part of this one
    buckets: int
    damaged: tuple[str, ...]  # titles that are missing, because a file of theirs is damaged


class _Plan(NamedTuple):
    """What a dataset shall hold."""

    buckets: dict[int, list[str]]  # ids of the titles of each
    keys: dict[int, str]  # of each bucket: changes whenever one of its titles does
    registry: StoredRegistry | None

    @property
    def key(self) -> str:
        return digest(
            sorted(self.keys.items()), None if self.registry is None else self.registry.manifest
        )


class _Before(NamedTuple):
    """The dataset that the pointer names."""

    folder: str  # empty: there is none
    content: CommittedFolder | None  # None: it is damaged

    @property
    def keys(self) -> dict[int, str]:
        """Of the buckets in which no title is missing."""
        kept = {} if self.content is None else self.content.manifest["buckets"]
        return {int(bucket): key for bucket, key in kept.items()}

    def holds(self, plan: _Plan) -> bool:
        """True where nothing changed since, and no title was missing."""
        same = self.content is not None and self.content.manifest["key"] == plan.key
        return same and self.keys == plan.keys


def write_dataset(storage: Storage, target: Storage) -> Dataset:
    """Write the tables of all titles that have a result as one dataset, or update it.

    A damaged title is left out with a warning, and tried again by the next call.

    Args:
        storage: The output.
        target: Where the dataset is written; outside the output.

    Raises:
        UsageError: The output has no result, or holds the target, an erasure is not finished,
            another version built the registry, or something else than a dataset is in the target.
        DamagedError: The registry is damaged.
        StorageError: Something cannot be read or written.
    """
    if storage.holds(target):
        raise UsageError(f"{target.uri} is inside {storage.uri}: write the dataset outside it")
    check_no_open_erasure(storage)
    titles = TitleReader(storage)
    plan = _make_plan(titles)
    before = _find_before(target)
    folder = f"dataset-{plan.key}"
    _remove_others(target, before.folder)  # what an interrupted call left
    if before.content is not None and before.holds(plan):
        return _describe(target, before.folder, before.content, len(plan.keys), titles)
    if folder == before.folder:  # a title is missing there, or a file: the name is taken
        folder = f"dataset-{digest(plan.key, folder)}"
    dataset = DatasetFolder(target, folder)
    kept = _copy_buckets(dataset, plan, before)
    _write_buckets(dataset, [each for each in plan.buckets.items() if each[0] not in kept], titles)
    _write_registry(dataset, plan.registry)
    content = _commit(dataset, plan, titles)
    _remove_others(target, folder)
    return _describe(target, folder, content, len(kept), titles)


def _make_plan(titles: TitleReader) -> _Plan:
    """Which titles there are, and what their rows depend on; no table is read."""
    storage, edited = titles.storage, edited_titles(titles.storage)

    def read_key(found: tuple[str, dict[str, Any]]) -> tuple[str, str | None]:
        title_id, pointer = found
        read = partial(_title_key, title_id, pointer, title_id in edited, storage)
        return title_id, titles.attempt(title_id, read)

    keys: dict[int, dict[str, str]] = {}
    for title_id, key in map_in_order(read_key, titles.pointers(), THREADS):
        if key is not None:
            keys.setdefault(int(digest(title_id), 16) % BUCKETS, {})[title_id] = key
    return _Plan(
        buckets={bucket: list(keys[bucket]) for bucket in sorted(keys)},
        keys={bucket: digest(LAYOUT, SCHEMA_VERSION, keys[bucket]) for bucket in sorted(keys)},
        registry=find_registry(storage),
    )


def _title_key(title_id: str, pointer: dict[str, Any], edited: bool, storage: Storage) -> str:
    """Changes with the result, with its files, as by an erasure, with places and corrections."""
    manifest = storage.read_manifest(f"titles/{title_id}/{pointer['result']}")
    return digest(pointer, manifest, edit_names(storage, title_id) if edited else [])


def _find_before(target: Storage) -> _Before:
    try:
        pointer = target.find_json(LATEST)
    except DamagedError:  # as every JSON file looks that others wrote
        pointer = {}
    if pointer is None:
        return _Before("", None)
    folder = str(pointer.get("dataset"))
    if not NAME.fullmatch(folder):
        raise UsageError(
            f"{target.locate(LATEST)} is damaged, or belongs to something else than a dataset: "
            "remove it, or name another place by --to"
        )
    try:
        return _Before(folder, CommittedFolder.open(target, folder))
    except DamagedError as error:
        log.warning("%s; the dataset is written from scratch", error)
        return _Before(folder, None)


def _copy_buckets(dataset: DatasetFolder, plan: _Plan, before: _Before) -> frozenset[int]:
    """Copy the buckets that are as they were; returns their numbers."""
    content, target = before.content, dataset.target
    if content is None:
        return frozenset()
    files: dict[int, list[str]] = {}
    for name in content.files:
        if found := re.search(r"/bucket=(\d+)/", name):
            files.setdefault(int(found[1]), []).append(name)
    same = [bucket for bucket, key in before.keys.items() if plan.keys.get(bucket) == key]

    def copy(bucket: int) -> bool:
        done = []
        try:
            for name in files.get(bucket, []):
                dataset.write(name, content.read_bytes(name), content.manifest["rows"][name])
                done.append(name)
        except DamagedError as error:
            log.warning("%s; its bucket is written from scratch", error)
            for name in done:
                target.delete(f"{dataset.path}/{name}")
                del dataset.files[name], dataset.rows[name]
            return False
        return True

    copied = map_in_order(copy, same, COPIES)
    return frozenset(bucket for bucket, done in zip(same, copied, strict=True) if done)


def _write_buckets(
    dataset: DatasetFolder, buckets: list[tuple[int, list[str]]], titles: TitleReader
) -> None:
    """Read the titles of some buckets, and write their rows."""
    order = [(bucket, title_id) for bucket, inside in buckets for title_id in inside]

    def read(place: tuple[int, str]) -> Rows | None:
        return titles.attempt(place[1], partial(_read_rows, place[1], titles.storage))

    rows = zip(order, map_in_order(read, order, THREADS), strict=True)
    for bucket, inside in groupby(rows, key=lambda each: each[0][0]):
        parts = {
            table: Parts(dataset, f"{table}/bucket={bucket}", schema)
            for table, schema in TABLES.items()
        }
        for _, found in inside:
            for table, added in (found or {}).items():
                parts[table].add(added)
        for part in parts.values():
            part.close()


def _read_rows(title_id: str, storage: Storage) -> Rows:
    title = read_current(title_id, storage)
    sources = [CommittedFolder.open(storage, path) for path in title.summary["keys"]["track"]]
    return dataset_rows(title, [source.read_table("shots.parquet") for source in sources])


def _write_registry(dataset: DatasetFolder, registry: StoredRegistry | None) -> None:
    """Write the people of the catalog, where there is a registry."""
    if registry is None:
        return
    tables = {
        "catalog_people": registry.people,
        "catalog_members": registry.members,
        "catalog_seconds": registry.seconds,
    }
    for table, schema in CATALOG_TABLES.items():
        parts = Parts(dataset, table, schema)
        for batch in tables[table].select(schema.names).to_batches():
            parts.add(pa.Table.from_batches([batch]).cast(schema))
        parts.close()


def _commit(dataset: DatasetFolder, plan: _Plan, titles: TitleReader) -> CommittedFolder:
    """Write the manifest, then the pointer."""
    missing = set(titles.damaged)
    complete = {
        str(bucket): plan.keys[bucket]
        for bucket, inside in plan.buckets.items()
        if missing.isdisjoint(inside)
    }
    manifest = {
        "key": plan.key,
        "buckets": complete,
        "rows": dataset.rows,
        "damaged": sorted(missing),
        FILES: dataset.files,
    }
    dataset.target.write_json(f"{dataset.path}/{MANIFEST}", manifest)
    dataset.target.write_json(LATEST, {"dataset": dataset.path})
    return CommittedFolder(dataset.target, dataset.path, manifest)


def _describe(
    target: Storage, folder: str, content: CommittedFolder, copied: int, titles: TitleReader
) -> Dataset:
    rows = dict.fromkeys(TABLES, 0)
    for name, count in content.manifest["rows"].items():
        table = name.partition("/")[0]
        rows[table] = rows.get(table, 0) + count
    return Dataset(
        place=target.locate(folder),
        rows=rows,
        files=len(content.files),
        bytes=sum(record["size"] for record in content.files.values()),
        copied=copied,
        buckets=len({posixpath.dirname(name).partition("/")[2] for name in content.files} - {""}),
        damaged=tuple(sorted(titles.damaged)),
    )


def _remove_others(target: Storage, folder: str) -> None:
    """Remove the files of all datasets but one; what others put there stays."""
    for name in target.names(""):
        if NAME.fullmatch(name) and name != folder:
            for inner, files in _walk(name, target):
                for file in files:
                    path = f"{inner}/{file}"
                    if OURS.fullmatch(path.removeprefix(f"{name}/")):
                        target.delete(path)
                target.tidy(inner)


def _walk(folder: str, target: Storage) -> Iterator[tuple[str, list[str]]]:
    """A folder and all in it, the innermost first, each with the names of its files."""
    files = list(target.entries(folder))
    for name in target.names(folder):
        if name not in files:
            yield from _walk(f"{folder}/{name}", target)
    yield folder, sorted(files, key=lambda name: name != MANIFEST)
