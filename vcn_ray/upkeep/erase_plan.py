"""Plans an erasure: which tracks, faces, folders and titles it concerns; it changes nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.errors import DamagedError, UsageError, listed
from vcn_ray.io.committed import FILES, CommittedFolder, record_of
from vcn_ray.io.identity import hash_part
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.registry.persons import PersonOfTitle
from vcn_ray.registry.stored import REGISTRY
from vcn_ray.rows.tombstones import (
    Span,
    span_as_json,
    tombstone_hash,
)
from vcn_ray.rows.without import PICTURES, base_id, faces_in
from vcn_ray.run.listed_pages import PAGES
from vcn_ray.run.rewrite import manifest_before
from vcn_ray.run.stored import StoredTitle, read_title
from vcn_ray.run.tombstones import tombstone_hashes
from vcn_ray.upkeep.files import files_below
from vcn_ray.upkeep.holdings import Holding, find_holdings
from vcn_ray.upkeep.likeness import FindEncoder
from vcn_ray.upkeep.order import Order, TitleWork, Tombstone, TrackWork
from vcn_ray.upkeep.persons import CorrectedTitles
from vcn_ray.upkeep.registry_copies import (
    built_again,
    known_records,
    registry_files,
    top_pages,
)
from vcn_ray.upkeep.search import sha256
from vcn_ray.upkeep.tracing import TracedTitle, TrackedFaces, is_detections

MAX_LISTED = 10  # people that an error names


class Asked(NamedTuple):
    """An erasure as it is asked for."""

    wanted: Sequence[PersonOfTitle]
    by: str = ""  # who asks for it
    reason: str = ""


def plan_erasure(
    storage: Storage, asked: Asked, corrected: CorrectedTitles, find_encoder: FindEncoder
) -> Order:
    """Find all that an erasure concerns.

    Args:
        storage: The output.
        asked: Whom to erase.
        corrected: The titles of that output.
        find_encoder: Gives the encoder of a title, which finds faces that belong to no track.

    Raises:
        UsageError: There is no such person.
        DamagedError: The newest result of a title is damaged.
    """
    wanted = asked.wanted
    titles = {
        title_id: corrected.read(title_id)
        for title_id in dict.fromkeys(each.title_id for each in wanted)
    }
    works: dict[str, TrackWork] = {}
    spans: dict[str, list[Span]] = {}
    remarks: list[str] = []
    for title_id, title in titles.items():
        people = [each.person_id for each in wanted if each.title_id == title_id]
        _check_people(title, people)
        traced = TracedTitle(title, people, storage, find_encoder)
        for work, seen in traced.works():
            known = works.get(work.track)
            ranges = tuple(dict.fromkeys((*(known.ranges if known else ()), *work.ranges)))
            works[work.track] = replace(work, ranges=ranges)
            spans.setdefault(work.video_id, []).extend(seen)
        remarks += traced.remarks
    _add_copies(storage, works, spans)
    stones = tuple(_tombstone(video_id, spans[video_id]) for video_id in sorted(spans))
    holdings = list(find_holdings(storage, spans))
    concerned = _Concerned(storage, works, {s.video_id: s.name for s in stones}, titles)
    results = [concerned.result(holding) for holding in holdings]
    return Order(
        persons=tuple(sorted((each.title_id, each.person_id) for each in set(wanted))),
        by=asked.by,
        reason=asked.reason,
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        tombstones=stones,
        tracks=tuple(works.values()),
        titles=tuple(result for result in results if isinstance(result, TitleWork)),
        lost=tuple(result for result in results if isinstance(result, str)),
        holders=tuple(holding.title_id for holding in holdings),
        pages=storage.exists(PAGES) or storage.exists("index.html"),
        pictures=tuple(_pictures(storage, list(works.values()), spans)),
        before=_files_before(storage, holdings, list(spans)),
        remarks=(*remarks, *concerned.remarks, *_registry_remarks(storage)),
    )


def _registry_remarks(storage: Storage) -> list[str]:
    if not any(registry_files(storage)):
        return []
    return [f"the registry of people goes too, as it shows them; {built_again(storage)}"]


def _add_copies(
    storage: Storage, works: dict[str, TrackWork], spans: dict[str, list[Span]]
) -> None:
    """Do the same with the folders of copies of the videos, which have other names."""
    originals = {hash_part(video_id): video_id for video_id in spans}
    for copy in storage.names("videos"):
        video_id = originals.get(hash_part(copy), copy)
        if video_id == copy:
            continue
        spans[copy] = spans[video_id]
        for work in [work for work in works.values() if work.video_id == video_id]:
            track, detect = (
                f"videos/{copy}/{posixpath.basename(folder)}"
                for folder in (work.track, work.detect)
            )
            if storage.is_committed(track):
                same = replace(work, video_id=copy, track=track, detect=detect)
                works.setdefault(track, same)


def _check_people(title: StoredTitle, people: Sequence[str]) -> None:
    there = title.people.column("person_id").to_pylist()
    for person in people:
        if person not in there:
            some = listed(there, MAX_LISTED) or "nobody"
            name = title.summary["title"]
            raise UsageError(f"{name} has no person {person!r}, only {some}")


def _tombstone(video_id: str, spans: list[Span]) -> Tombstone:
    listed = [span_as_json(span) for span in spans]
    return Tombstone(video_id, tombstone_hash(video_id, listed), listed)


class _Concerned:
    """Says what happens to the newest result of each title that holds a concerned video."""

    def __init__(
        self,
        storage: Storage,
        works: dict[str, TrackWork],
        stones: dict[str, str],
        read: dict[str, StoredTitle],
    ) -> None:
        self.remarks: list[str] = []
        self._storage = storage
        self._works = works
        self._stones = stones
        self._read = read

    def result(self, holding: Holding) -> TitleWork | str | None:
        """The work on it; the title's id if it has to be removed; None if it is not concerned."""
        if holding.newest not in holding.videos or not holding.holds(holding.newest, self._stones):
            return None
        try:
            title = self._read.get(holding.title_id) or read_title(holding.title_id, self._storage)
        except (DamagedError, UsageError) as error:
            return self._lose(holding, f"it cannot be read: {error}")
        work = self._title_work(title)
        if work is None:
            why = "it is made of other tracks of the same video"
            return self._lose(holding, why)
        self._warn_of_rest(title, work)
        return work

    def _lose(self, holding: Holding, why: str) -> str:
        self.remarks.append(
            f"titles/{holding.title_id}: its result is removed, because {why}; index it again"
        )
        return holding.title_id

    def _title_work(self, title: StoredTitle) -> TitleWork | None:
        keys, summary = title.summary["keys"], title.summary
        videos = [video["video_id"] for video in summary["videos"]]
        drop: list[str] = []
        for video_id, track in zip(videos, keys["track"], strict=True):
            if video_id not in self._stones:
                continue
            if track not in self._works:
                return None
            found = _whole_tracks(title, video_id, self._works[track])
            if found is None:
                return None
            drop += found
        names = title.tracks.column("track_id").to_pylist()
        chosen = set(drop)
        stones = {name for v in videos for name in tombstone_hashes(v, self._storage)}
        stones |= {self._stones[v] for v in videos if v in self._stones}
        return TitleWork(
            title_id=title.title_id,
            cluster=title.folder,
            adapt=keys["adapt"],
            videos=tuple(videos),
            tracks=len(names),
            drop=tuple(name for name in names if name in chosen),
            rows=tuple(row for row, name in enumerate(names) if name in chosen),
            erased=tuple(sorted(stones)),
        )

    def _warn_of_rest(self, title: StoredTitle, work: TitleWork) -> None:
        """Say where a person of this title keeps tracks, as in a video that was not named."""
        rows = title.tracks.select(["track_id", "person_id"]).to_pylist()
        dropped = set(work.drop)
        hurt = {row["person_id"] for row in rows if row["track_id"] in dropped} - {None}
        for person in sorted(hurt):
            left = sum(r["person_id"] == person and r["track_id"] not in dropped for r in rows)
            if left:
                self.remarks.append(
                    f"{title.title_id}:{person} loses tracks and keeps {left} others: erase it "
                    "too if it is the same person"
                )


def _whole_tracks(title: StoredTitle, video_id: str, work: TrackWork) -> list[str] | None:
    """The tracks of a title that lie in the ranges; None if one lies in them only in part."""
    mine = title.tracks.filter(pc.equal(title.tracks.column("video_id"), video_id))
    ids = mine.column("track_id").combine_chunks()
    crops = title.crops.filter(pc.is_in(title.crops.column("track_id"), ids))
    names = crops.column("track_id").to_pylist()
    splits = title.summary["splits"]
    place = crops.schema.get_field_index("track_id")
    bases = pa.array([base_id(name, splits) for name in names], pa.string())
    inside = faces_in(crops.set_column(place, crops.schema.field(place), bases), work.ranges)
    listed = np.array(names, object)
    touched = list(dict.fromkeys(listed[inside].tolist()))
    if any(not inside[listed == name].all() for name in touched):
        return None
    return touched


def _pictures(
    storage: Storage, works: Collection[TrackWork], spans: dict[str, list[Span]]
) -> Iterator[str]:
    """SHA-256 of every picture that is removed."""
    found: dict[str, None] = {}
    for work in works:
        crops = storage.read_table(f"{work.track}/crops.parquet")
        found |= dict.fromkeys(_hashes(crops.filter(pa.array(faces_in(crops, work.ranges)))))
    for detect in dict.fromkeys(work.detect for work in works):
        mine = [work for work in works if work.detect == detect]
        faces, folder = TrackedFaces.read(mine, storage), CommittedFolder.find(storage, detect)
        for name in folder.files if folder else ():
            if folder and is_detections(name):
                table = folder.read_table(name)
                gone = faces.erased(table, spans[mine[0].video_id])
                found |= dict.fromkeys(_hashes(table.filter(pa.array(gone))))
    yield from sorted(found)


def _hashes(table: pa.Table) -> Iterator[str]:
    for name in PICTURES:
        for data in table.column(name).to_pylist():
            if data is not None:
                yield sha256(data)


def _files_before(
    storage: Storage, holdings: list[Holding], videos: list[str]
) -> dict[str, dict[str, object]]:
    """Size and hash of every file of the titles and videos, and of the pages."""
    homes = [f"titles/{holding.title_id}" for holding in holdings]
    homes += [f"videos/{video_id}" for video_id in videos]
    found: dict[str, dict[str, object]] = {}
    known: dict[str, dict[str, object]] = {}
    for home in homes:
        for file in files_below(home, storage):
            folder, name = posixpath.split(file.path)
            if name == MANIFEST and (manifest := manifest_before(folder, storage)):
                known |= {f"{folder}/{n}": r for n, r in manifest[FILES].items()}
            found[file.path] = {}
    for page in (*top_pages(storage), *([PAGES] if storage.exists(PAGES) else [])):
        found[page] = {}
    found |= {file.path: {} for file in files_below(REGISTRY, storage)}
    known |= known_records(storage)
    for path in found:
        found[path] = known.get(path) or record_of(storage.read_bytes(path))
    return found
