"""The titles of an output that a page has open, each with its desk and faces; one call at a time.

Titles are opened when they are first asked for, and those that were not used for the longest time
are closed when all of them take too much memory. It knows no HTTP.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vcn_ray.config import RunConfig, with_pack
from vcn_ray.edits.record import active_edits
from vcn_ray.edits.store import EditLog, edit_names, edited_titles
from vcn_ray.errors import PackError, StorageError, UsageError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.packs.find import find_pack, resolve_pack
from vcn_ray.registry.names import CatalogName
from vcn_ray.review.clip import Appearance
from vcn_ray.review.decisions import Decision
from vcn_ray.review.desk import Desk
from vcn_ray.review.known import Denial, KnownNames
from vcn_ray.review.present import (
    Json,
    TrackFacts,
    cast_of,
    gather_people,
    history_json,
    known_people,
    state_json,
    suggestion_json,
    summary_json,
    tracks_json,
)
from vcn_ray.review.queue import Cast, nearest_people, rank_suggestions
from vcn_ray.review.shown_faces import ShownFaces
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.reviewed import REVIEWED
from vcn_ray.run.stored import read_result

MAX_BYTES = 2 << 30  # of faces, embeddings and boxes of all open titles


class OpenTitle:
    """A title under review; `use` it by one thread at a time.

    Args:
        storage: The output.
        title_id: Of the title.
        who: Of whom the edits are; None: the user of this process.
        config: How S3 and packs are reached.
        names: That other titles give people.
    """

    def __init__(
        self,
        storage: Storage,
        title_id: str,
        who: str | None,
        config: RunConfig,
        names: KnownNames,
    ) -> None:
        self.desk = Desk(storage, title_id, who)
        self._names = names
        title = self.desk.reviewed.title
        best, index = self.desk.best, self.desk.reviewed.index
        self._facts = TrackFacts.of(title, best, index.embedding)
        self.faces = ShownFaces(self._facts.ids, title.crops)
        self.desk.drop_pictures()
        self._cut = _known_cut(title.summary["pack"], config)
        self._tracks = tracks_json(title, self._facts, self.faces)
        self._run = uuid.uuid4().hex[:8]
        self._changes = 0
        self._denials: list[Denial] = []  # that count, of this reviewer
        self._unsettled_since: float | None = None  # the last edit whose tables are not written
        self._see()

    @property
    def version(self) -> str:
        """Changes whenever anybody's edit changes who is who."""
        return f"{self._run}-{self._changes}"

    @property
    def stale(self) -> bool:
        """True once a run has made another result of the title, which has other tracks."""
        return bool(self.desk.reviewed.result != self._tracks["result"])

    @property
    def nbytes(self) -> int:
        """Memory that the title takes, about."""
        embedding = self._facts.embedding
        crops = self.desk.reviewed.title.crops
        own = 0 if embedding is None else embedding.nbytes
        return int(self.faces.nbytes + own + 2 * crops.nbytes)

    def tracks(self) -> Json:
        """What never changes, and who is who."""
        return self._tracks | {"state": self.state()}

    def state(self) -> Json:
        """Who is who."""
        return self._state | {"version": self.version, "result": self._tracks["result"]}

    def refresh(self, seen: str) -> Json:
        """Read what others did; who is who, if that is not what the page has seen."""
        news = self.desk.refresh()
        news |= self._names.of(self.desk.title_id) is not self._known
        if news and not self.stale:
            self._see()
        return {"version": self.version} if seen == self.version else self.state()

    def decide(self, decision: Decision) -> Json:
        """Make an edit; returns it and who is who then."""
        if decision.do == "unknown":
            return self._deny(decision.who)
        if decision.do == "undo" and not decision.edit and self._denied_last():
            return self._allow()
        edit = decision.make(self.desk)
        self._unsettled_since = time.monotonic()
        if not self.stale:
            self._see()
        return {"edit": edit.edit_id, "state": self.state()}

    def _deny(self, person: str) -> Json:
        """Decide that a person is not whom the catalog knows."""
        known = self.known(person)
        made = self._names.deny(self.desk.title_id, person, known, self.desk.who)
        self._denials.append(made)
        self._see()
        return {"decision": made.decision_id, "state": self.state()}

    def _allow(self) -> Json:
        """Take the last denial back."""
        made = self._names.allow(self._denials.pop(), self.desk.who)
        self._see()
        return {"decision": made, "state": self.state()}

    def _denied_last(self) -> bool:
        """Whether the last that this reviewer did, and that counts, is a denial."""
        active = active_edits(self.desk.reviewed.edits)
        edits = [edit.at for edit in active if edit.who == self.desk.who]
        return bool(self._denials) and self._denials[-1].at >= max(edits, default="")

    def known(self, person: str) -> CatalogName:
        """The name that another title gives a person.

        Raises:
            UsageError: There is none.
        """
        for place, known in self._named.items():
            if self._people.ids[place] == person:
                return known
        raise UsageError(f"no other title has a name for {person}")

    def history(self) -> list[Json]:
        """All edits, newest first."""
        return history_json(self.desk.reviewed.edits)

    def suggestions(self, limit: int) -> list[Json]:
        """What to ask next."""
        cast = self._cast()
        return [suggestion_json(each, self._people) for each in rank_suggestions(cast, limit)]

    def nearest(self, rows: list[int]) -> list[str]:
        """Ids of the people who look most like some tracks, nearest first.

        Raises:
            UsageError: There is no such track.
        """
        if not rows or min(rows) < 0 or max(rows) >= len(self._facts.ids):
            raise UsageError("name tracks of this title")
        return [self._people.ids[row] for row in nearest_people(self._cast(), rows)]

    def _cast(self) -> Cast:
        reviewed = self.desk.reviewed
        return cast_of(self._people, self._facts, reviewed, self._cut, self._named)

    def summary(self) -> Json:
        """What the list of titles says."""
        people = [
            {"name": about.name, "nobody": about.nobody, "screen_seconds": float(seconds)}
            for about, seconds in zip(self._people.about, self._people.screen, strict=True)
        ]
        return summary_json(people, len(self._state["conflicts"]), self._state["edits"])

    def appearance(self, row: int) -> Appearance:
        """Where a track is seen in its video.

        Raises:
            UsageError: There is no such track.
        """
        if not 0 <= row < len(self._facts.ids):
            raise UsageError("this title has no such track")
        video = self.desk.reviewed.title.summary["videos"][int(self._facts.video[row])]
        start, end = self._facts.span[row].tolist()
        seconds, boxes = self.desk.reviewed.index.seen(self._facts.ids[row])
        return Appearance(video["uri"], start, end, seconds, boxes)

    def settle(self, quiet_seconds: float = 0.0) -> None:
        """Write the tables after all edits, if this page made any.

        Args:
            quiet_seconds: Since the last edit; before that, a reviewer would have to wait for it.

        Raises:
            StorageError: They cannot be written.
        """
        since = self._unsettled_since
        if since is not None and time.monotonic() - since >= quiet_seconds:
            self.desk.commit()
            self._unsettled_since = None

    def _see(self) -> None:
        """Take over what the desk knows now."""
        reviewed = self.desk.reviewed
        self._people = gather_people(reviewed.state, self._facts)
        self._known = self._names.of(self.desk.title_id)
        self._named = known_people(self._people, self._facts, self._known)
        who = self.desk.who
        self._state = state_json(reviewed, self._people, self._facts, who, self._named)
        if self._denied_last():
            self._state["undo"] = self._denials[-1].what
        self._changes += 1


def _known_cut(pack: dict[str, Any], config: RunConfig) -> tuple[float | None, float | None]:
    """Cosine distances of a pack's prior: its cut, and that of strangers; None: unknown here."""
    try:
        info = find_pack(with_pack(config, resolve_pack(pack["name"], config.s3)))
    except (PackError, StorageError, UsageError):
        return None, None
    if info.prior is None or info.encoder_hash != pack["encoder_hash"]:
        return None, None
    return info.prior.cut, 1 - info.prior.stranger_cosine


class OpenTitles:
    """All titles of an output, of which some are open.

    Args:
        storage: The output.
        who: Of whom the edits are; None: the user of this process.
        config: How S3 and packs are reached.
        max_bytes: Memory of all open titles together.
    """

    def __init__(
        self,
        storage: Storage,
        who: str | None = None,
        config: RunConfig | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.storage = storage
        self._who = who
        self._config = config or RunConfig()
        self._max_bytes = max_bytes
        self.known = KnownNames(storage)
        self._lock = threading.Lock()  # of the two below
        self._open: OrderedDict[str, OpenTitle] = OrderedDict()
        self._locks: dict[str, threading.RLock] = {}
        self._names: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {}

    @contextmanager
    def use(self, title_id: str) -> Iterator[OpenTitle]:
        """Hold a title; it is opened if need be.

        Raises:
            UsageError: There is no such title, or another version made it.
            StorageError: It cannot be read.
        """
        with self._lock_of(title_id):
            with self._lock:
                title = self._open.get(title_id)
            if title is None:
                if title_id not in self.storage.names("titles"):
                    raise UsageError(f"{self.storage.uri} has no title {title_id!r}")
                title = OpenTitle(self.storage, title_id, self._who, self._config, self.known)
                with self._lock:
                    self._open[title_id] = title
            with self._lock:
                self._open.move_to_end(title_id)
            yield title
            if title.stale:  # the next call, which the page makes for the new result, opens it
                title.settle()
                with self._lock:
                    self._open.pop(title_id, None)
        self._close_some(title_id)

    def jpeg(self, title_id: str, row: int, number: int) -> bytes | None:
        """A picture of an open title, at once; None: it is not open, or has no such picture.

        Pictures never change, so this waits for nobody who uses the title.
        """
        title = self._open.get(title_id)
        return title.faces.jpeg(row, number) if title else None

    def names(self) -> list[Json]:
        """Ids and names of all titles that have a result, by name."""
        ids = self.storage.names("titles")
        latest = map_in_order(self._pointer, ids, THREADS)
        found = [
            {"id": title_id, "name": pointer["title"]}
            for title_id, pointer in zip(ids, latest, strict=True)
            if pointer is not None
        ]
        return sorted(found, key=lambda each: (each["name"].casefold(), each["id"]))

    def _pointer(self, title_id: str) -> Json | None:
        return self.storage.find_sound_json(f"titles/{title_id}/latest.json")

    def summary(self, title_id: str) -> Json:
        """What the list of titles says of one; it is opened only where its edits need it."""
        with self._lock:
            is_open = title_id in self._open
        quick = None if is_open else self._quick_summary(title_id)
        if quick is not None:
            return quick
        with self.use(title_id) as title:
            return title.summary()

    def _quick_summary(self, title_id: str) -> Json | None:
        """By tables that are written already; None where there are none of its present edits."""
        edits = edit_names(self.storage, title_id)
        if not edits:
            folder, _ = read_result(title_id, self.storage)
            people = CommittedFolder.open(self.storage, folder).read_table("people.parquet")
            return summary_json(people.to_pylist(), 0, 0)
        tables = self._tables_after(title_id, edits)
        if tables is None:
            return None
        people = tables.read_table("people.parquet").to_pylist()
        return summary_json(people, tables.manifest["misfits"], tables.manifest["corrections"])

    def _tables_after(self, title_id: str, edits: list[str]) -> CommittedFolder | None:
        """The tables of a title after all its edits, where somebody has written them."""
        home = f"titles/{title_id}"
        latest = self.storage.find_sound_json(f"{home}/latest.json") or {"result": ""}
        for name in self.storage.names(home):
            if name.startswith(REVIEWED):
                found = CommittedFolder.find(self.storage, f"{home}/{name}")
                now = (latest["result"], edits)
                if found and (found.manifest["result"], found.manifest["edits"]) == now:
                    return found
        return None

    def known_names(self) -> list[str]:
        """All names that any reviewer has given anybody in this output."""
        titles = sorted(edited_titles(self.storage))
        names = frozenset[str]().union(*map_in_order(self._names_of, titles, THREADS))
        return sorted(names, key=str.casefold)

    def _names_of(self, title_id: str) -> frozenset[str]:
        files = tuple(edit_names(self.storage, title_id))
        known = self._names.get(title_id)
        if known is None or known[0] != files:
            known = (files, self._read_names(title_id, files))
            self._names[title_id] = known
        return known[1]

    def _read_names(self, title_id: str, files: tuple[str, ...]) -> frozenset[str]:
        tables = self._tables_after(title_id, list(files))
        if tables is not None:
            names = tables.read_table("people.parquet", ["name"]).column("name").to_pylist()
        else:
            names = [edit.name for edit in EditLog(self.storage, title_id).read(files)]
        return frozenset(name for name in names if name)

    def settle(self, quiet_seconds: float = 0.0) -> list[str]:
        """Write the tables of all titles that were edited; returns what could not be written.

        Args:
            quiet_seconds: Since the last edit of a title.
        """
        with self._lock:
            titles = list(self._open)
        problems = [self._settle(title_id, quiet_seconds) for title_id in titles]
        return [problem for problem in problems if problem]

    def _settle(self, title_id: str, quiet_seconds: float = 0.0) -> str:
        with self._lock_of(title_id):
            title = self._open.get(title_id)
            try:
                if title:
                    title.settle(quiet_seconds)
            except (StorageError, UsageError) as error:
                return str(error)
        return ""

    def _lock_of(self, title_id: str) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(title_id, threading.RLock())

    def _close_some(self, but: str) -> None:
        """Close the titles that were not used for the longest time, while there is no room."""
        while True:
            with self._lock:
                total = sum(title.nbytes for title in self._open.values())
                oldest = next((name for name in self._open if name != but), None)
            if total <= self._max_bytes or oldest is None or self._settle(oldest):
                return
            with self._lock:
                self._open.pop(oldest, None)
