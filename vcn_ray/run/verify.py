"""Compares every file of an output with what was written, and makes what is damaged undone.

It reads all bytes. What it uncommits, a run over the same titles does again; it runs nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from vcn_ray.edits.store import (
    EDITED,
    EditLog,
    edit_names,
    edits_folder,
    marker_path,
    write_marker,
)
from vcn_ray.errors import DamagedError
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.committed import FILES, record_of
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.damage import Inspector, uncommit
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.record import RECORD
from vcn_ray.run.reviewed import REVIEWED, remove_reviewed
from vcn_ray.run.summary import ORIGIN
from vcn_ray.run.tombstones import (
    ERASURES,
    HONOURED,
    MARKERS,
    open_erasures,
    tombstone_folder,
    tombstone_hashes,
)

LATEST = "latest.json"
EDITS = "edits"
PAGES = "pages.json"
"""Lists the pages of the last report, by path below the output."""

CATALOG_PAGE = "catalog.html"
"""The page of the people of all titles."""

FOLDERS = ("titles", "videos", "runs", EDITED, MARKERS)
_ID = re.compile(r"-(?:[0-9a-f]{12}|[0-9a-f]{6})$")  # at the end of the id of a title, video or run


@dataclass(frozen=True, slots=True)
class Origin:
    """A result, what it was made of and how."""

    title_id: str
    folder: str  # of the result, below the output
    changed: float  # time stamp of its last file
    latest: bool  # whether the title's pointer names it
    title: str
    named: bool  # by a manifest of the catalog
    uris: tuple[str, ...]  # of its videos, in order
    detect: tuple[str, ...]  # folders, by video
    track: tuple[str, ...]
    adapt: str
    settings: str  # TOML

    @property
    def folders(self) -> set[str]:
        """All folders that it is made of, and its own."""
        return {self.folder, self.adapt, *self.detect, *self.track}

    def catalog(self) -> list[CatalogVideo]:
        """Its videos as a catalog lists them."""
        return [CatalogVideo(uri, self.title if self.named else None) for uri in self.uris]


class Checked(NamedTuple):
    """A part of an output that was compared."""

    files: int
    damage: tuple[DamagedError, ...]
    origins: tuple[Origin, ...] = ()


@dataclass(slots=True)
class Verified:
    """What is known of an output.

    Attributes:
        files: Number of files that were compared.
        damage: What is wrong, by path below the output.
        origins: The results of all titles.
    """

    files: int = 0
    damage: dict[str, DamagedError] = field(default_factory=dict)
    origins: list[Origin] = field(default_factory=list)

    def add(self, part: Checked) -> None:
        """Count a part."""
        self.files += part.files
        self.damage |= {error.path: error for error in part.damage}
        self.origins += part.origins


def verify_output(storage: Storage) -> Iterator[Verified]:
    """Compare every file of an output: results, their inputs, plans, records of runs, and pages.

    Yields:
        All that was found so far, after each title, video and run.

    Raises:
        StorageError: Something cannot be read at the moment.
    """
    found = Verified()
    found.add(_check_tops(storage))
    for part in map_in_order(partial(_check_title, storage), storage.names("titles"), THREADS):
        found.add(part)
        yield found
    wanted: dict[str, set[str]] = {}
    for origin in found.origins:
        for folder in (*origin.detect, *origin.track):
            wanted.setdefault(folder.split("/")[1], set()).add(folder)
    videos = sorted({*storage.names("videos"), *wanted})
    for part in map_in_order(partial(_check_video, storage, wanted), videos, THREADS):
        found.add(part)
        yield found
    for part in map_in_order(partial(_check_run, storage), storage.names("runs"), THREADS):
        found.add(part)
        yield found
    found.add(_check_pages(storage))
    yield found


def _check_tops(storage: Storage) -> Checked:
    inspector = Inspector(storage, mend=False)
    for top in FOLDERS:
        _note_file(top, inspector, storage)
    for folder in (MARKERS, ERASURES):
        _check_json(folder, inspector, storage)
    for path in open_erasures(storage):
        why = f"an erasure is not finished: run vcn erase {storage.uri} --resume"
        inspector.note(storage.damaged(path, why))
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_json(folder: str, inspector: Inspector, storage: Storage) -> None:
    """Read every JSON file of a folder without a manifest."""
    for name in storage.names(folder):
        if name.endswith(".json"):
            inspector.files += 1
            try:
                storage.find_json(f"{folder}/{name}")
            except DamagedError as error:
                inspector.note(error)


def _note_file(folder: str, inspector: Inspector, storage: Storage) -> None:
    """Enter a plain file that stands in the place of a folder; the next run renames it."""
    if storage.exists(folder):
        inspector.note(storage.damaged(folder, "it is a file where a folder belongs"))


def _names(home: str, inspector: Inspector, storage: Storage) -> list[str]:
    """What is directly below a title or video; nothing where a file stands in its place."""
    names = storage.names(home)
    if not names and _ID.search(home):
        _note_file(home, inspector, storage)
    return names


def _manifest(folder: str, inspector: Inspector, storage: Storage) -> dict[str, Any] | None:
    """The manifest of a step; None where it is not committed, damaged, or a file in its place."""
    manifest = inspector.manifest(folder)
    if manifest is None:
        _note_file(folder, inspector, storage)
    return manifest


def _check_title(storage: Storage, title_id: str) -> Checked:
    inspector, folder = Inspector(storage, mend=False, deep=True), f"titles/{title_id}"
    names = _names(folder, inspector, storage)
    pointer = _read_pointer(folder, inspector, storage) if LATEST in names else None
    origins: list[Origin] = []
    committed = False
    _check_edits(title_id, names, inspector, storage)
    for name in names:
        if not name.startswith(("adapt-", "cluster-")):
            continue
        manifest = _manifest(f"{folder}/{name}", inspector, storage)
        committed |= name.startswith("cluster-") and manifest is not None
        if manifest is None and name == pointer and storage.names(f"{folder}/{name}"):
            _note_missing(f"{folder}/{name}", inspector, storage)
        if name.startswith("cluster-"):
            origins += read_origins(title_id, name, name == pointer, manifest, storage)
    if pointer and pointer not in names:
        _note_missing(f"{folder}/{pointer}", inspector, storage)
    if committed and LATEST not in names:
        inspector.note(storage.damaged(f"{folder}/{LATEST}", "it is missing"))
    for origin in origins:  # a user may delete a whole folder, but not its manifest alone
        if storage.names(origin.adapt):
            _note_missing(origin.adapt, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()), tuple(origins))


def _check_edits(title_id: str, folders: list[str], inspector: Inspector, storage: Storage) -> None:
    """Compare the corrections of a title, the file that says that there are any, and its tables."""
    for folder in folders:
        if folder.startswith(REVIEWED):
            _manifest(f"titles/{title_id}/{folder}", inspector, storage)
    names = edit_names(storage, title_id) if EDITS in folders else []
    if not names:
        return
    log = EditLog(storage, title_id)
    log.read(tuple(names))
    for name, why in log.damaged.items():
        advice = "it cannot be made again: restore it from a backup, or remove it"
        inspector.note(DamagedError(f"{edits_folder(title_id)}/{name}", f"{why}; {advice}"))
    inspector.files += len(names) + 1
    marker = marker_path(title_id)
    try:
        if storage.find_json(marker) is None:
            inspector.note(storage.damaged(marker, "it is missing"))
    except DamagedError as error:
        inspector.note(error)


def _read_pointer(folder: str, inspector: Inspector, storage: Storage) -> str | None:
    """The name of a title's newest result; None where the pointer is damaged."""
    inspector.files += 1
    try:
        return str(storage.read_json(f"{folder}/{LATEST}")["result"])
    except DamagedError as error:
        inspector.note(error)
        return None


def _note_missing(folder: str, inspector: Inspector, storage: Storage) -> None:
    path = f"{folder}/{MANIFEST}"
    if not storage.exists(path):
        inspector.note(storage.damaged(path, "it is missing"))


def read_origins(
    title_id: str, name: str, latest: bool, manifest: dict[str, Any] | None, storage: Storage
) -> Iterator[Origin]:
    """What a result was made of, by its manifest or else its summary; nothing if both are lost."""
    folder = f"titles/{title_id}/{name}"
    if manifest is None and not latest and not storage.exists(f"{folder}/{MANIFEST}"):
        return  # a run was killed before it finished
    content = manifest
    for file in (MANIFEST, "result.json"):
        if content is None:
            content = storage.find_sound_json(f"{folder}/{file}")
    if content is None:
        return
    origin = content[ORIGIN]
    yield Origin(
        title_id=title_id,
        folder=folder,
        changed=max((e.changed for e in storage.entries(folder).values()), default=0.0),
        latest=latest,
        title=origin["title"],
        named=origin["named"],
        uris=tuple(origin["uris"]),
        detect=tuple(origin["detect"]),
        track=tuple(origin["track"]),
        adapt=origin["adapt"],
        settings=origin["settings"],
    )


def _check_video(storage: Storage, wanted: dict[str, set[str]], video_id: str) -> Checked:
    inspector, home = Inspector(storage, mend=False, deep=True), f"videos/{video_id}"
    names = _names(home, inspector, storage)
    erased = tombstone_hashes(video_id, storage) if HONOURED in names else ()
    if erased:
        _check_json(tombstone_folder(video_id), inspector, storage)
    for name in names:
        if name.startswith("plan-"):
            inspector.files += 1
            try:
                storage.find_json(f"{home}/{name}")
            except DamagedError as error:
                inspector.note(error)
        elif name.startswith(("detect-", "track-")):
            _check_folder(f"{home}/{name}", inspector, storage, erased)
    for folder in sorted(wanted.get(video_id, ())):
        # Detections may be deleted once they are tracked, but then all of a folder.
        if "/track-" in folder or posixpath.basename(folder) in names:
            _note_missing(folder, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_folder(
    folder: str, inspector: Inspector, storage: Storage, erased: tuple[str, ...]
) -> None:
    """Compare a folder of a video; of one that is not finished, or damaged, the segments too."""
    entries = storage.entries(folder)
    manifest = inspector.manifest(folder) if MANIFEST in entries else None
    if manifest is not None:
        inspector.is_honoured(folder, manifest, erased)
        return
    if not entries:
        _note_file(folder, inspector, storage)
    for name in sorted(entries):
        if name.startswith("seg-") and name.endswith(".json"):
            inspector.marks(folder, name, entries, erased)


def _check_run(storage: Storage, run_id: str) -> Checked:
    inspector, folder = Inspector(storage, mend=False, deep=True), f"runs/{run_id}"
    entries = storage.entries(folder)
    if RECORD in entries:
        inspector.marks(folder, RECORD, entries)
    elif entries:
        inspector.note(storage.damaged(f"{folder}/{RECORD}", "it is missing"))
    elif _ID.search(run_id):
        _note_file(folder, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_pages(storage: Storage) -> Checked:
    try:
        listed = storage.find_json(PAGES)
    except DamagedError as error:
        return Checked(1, (error,))
    if listed is None:
        lost = storage.damaged(PAGES, "it is missing")
        return Checked(0, (lost,) if storage.exists("index.html") else ())
    damage = []
    for path, record in listed[FILES].items():
        data = storage.find_bytes(path)
        if data is None or record_of(data) != record:
            damage.append(storage.damaged(path, "its bytes are not those that were written"))
    return Checked(len(listed[FILES]) + 1, tuple(damage))


@dataclass(slots=True)
class Repair:
    """What has to be made again after damage was uncommitted.

    Attributes:
        rounds: Results to make again, those that become the newest of their titles last.
        pages: Whether the pages have to be written again.
        corrected: Ids of titles whose tables after all corrections have to be.
    """

    rounds: list[list[Origin]] = field(default_factory=list)
    pages: bool = False
    corrected: set[str] = field(default_factory=set)


def uncommit_damage(found: Verified, storage: Storage) -> Repair:
    """Uncommit all that is damaged, and say what to make again.

    Whatever is made of a damaged folder directly is uncommitted too, so that a run comes to it; it
    gives the same rows. The record of a run cannot be made again: what is damaged of it is removed.
    """
    repair, folders, pointers = Repair(), set(), set()
    for path in found.damage:
        top, _, rest = path.partition("/")
        folder, name = posixpath.split(path)
        if _is_of_edits(path):
            _mend_edits(path, repair, storage)
        elif top == MARKERS:  # its name says it all
            storage.write_json(path, {"video_id": posixpath.splitext(name)[0]})
        elif not posixpath.splitext(name)[1]:  # a file where a folder belongs: a run renames it
            folders.add(path)
        elif top == "runs":
            _remove_record(folder, name, storage)
        elif top not in ("videos", "titles") or name == "report.html":
            repair.pages = True
        elif name == LATEST:
            storage.delete(path)
            pointers.add(rest.partition("/")[0])
        elif name.startswith("plan-"):
            storage.delete(path)
        else:
            uncommit(path, storage)
            folders.add(folder)
    hurt = [o for o in found.origins if o.folders & folders or o.title_id in pointers]
    for origin in hurt:
        _uncommit_above(origin, folders, storage)
    titles = {origin.title_id for origin in hurt}
    last = {origin.folder for origin in _newest(found.origins, titles)}
    repair.rounds = [
        sorted(part, key=lambda origin: origin.changed)
        for part in (
            [origin for origin in hurt if origin.folder not in last],
            # Also those that are sound: they become the newest of their titles again.
            [origin for origin in found.origins if origin.folder in last],
        )
        if part
    ]
    return repair


def _is_of_edits(path: str) -> bool:
    parts = path.split("/")
    below = parts[2] if len(parts) > 2 and parts[0] == "titles" else ""
    marker = parts[0] == EDITED and len(parts) > 1
    return marker or below == EDITS or below.startswith(REVIEWED)


def _mend_edits(path: str, repair: Repair, storage: Storage) -> None:
    """Make again what is known; a correction is a decision of a person, and nothing else has it."""
    folder, name = posixpath.split(path)
    if folder == EDITED:
        write_marker(storage, posixpath.splitext(name)[0])
    elif f"/{REVIEWED}" in path:
        remove_reviewed(path if name.startswith(REVIEWED) else folder, storage)
        repair.corrected.add(path.split("/")[1])


def _remove_record(folder: str, name: str, storage: Storage) -> None:
    """Remove a table of a run's record; without `run.json`, nothing of it can be trusted."""
    storage.delete(f"{folder}/{name}")
    record = storage.find_json(f"{folder}/{RECORD}") if name != RECORD else None
    if record is None:
        for file in storage.names(folder):
            storage.delete(f"{folder}/{file}")
        return
    record[FILES].pop(name, None)
    storage.write_json(f"{folder}/{RECORD}", record)


def _uncommit_above(origin: Origin, damaged: set[str], storage: Storage) -> None:
    """Uncommit what is made directly of damaged folders."""
    for detect, track in zip(origin.detect, origin.track, strict=True):
        if detect in damaged:
            storage.delete(f"{track}/{MANIFEST}")
    if origin.adapt in damaged:
        storage.delete(f"{origin.folder}/{MANIFEST}")


def _newest(origins: Iterable[Origin], titles: set[str]) -> Iterator[Origin]:
    """The result of each title that its pointer names, or else the last one."""
    best: dict[str, Origin] = {}
    for origin in origins:
        if origin.title_id in titles:
            known = best.setdefault(origin.title_id, origin)
            if (origin.latest, origin.changed) > (known.latest, known.changed):
                best[origin.title_id] = origin
    yield from best.values()
