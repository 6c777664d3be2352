"""People of a title whom the catalog knows by a name that another title gave them.

The registry is read when a title is first opened, and again once another one was built. It knows
no HTTP, and decides nothing but what a reviewer says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vcn_ray.edits.record import now
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.cards import read_covers
from vcn_ray.registry.decisions import Decision, mark_person, write_decision
from vcn_ray.registry.names import CatalogName, catalog_names
from vcn_ray.registry.stored import POINTER
from vcn_ray.run.current import CurrentTitle, read_current
from vcn_ray.run.stored import read_result

CHECK_SECONDS = 30.0  # from one look whether another registry was built to the next
MAX_FACES = 500  # of other titles that are kept in memory

ByTrack = Mapping[str, CatalogName]
"""Names by a track of the person."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A decision that a person is not whom the catalog knows."""

    decision_id: str
    at: str  # ISO 8601, UTC
    title_id: str
    person_id: str
    known: CatalogName
    registry: object  # the pointer to the registry that knew the name

    @property
    def what(self) -> str:
        """For the page, as an edit is described."""
        return f"{self.person_id} is not {self.known.name}"


class KnownNames:
    """Names of other titles for the people of the titles of an output.

    Args:
        storage: The output.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._by_title: dict[str, dict[str, CatalogName]] = {}
        self._seen: object = None  # the pointer
        self._looked = float("-inf")
        self._faces: dict[tuple[str, str, int], bytes | None] = {}

    def of(self, title_id: str) -> ByTrack:
        """The names for a title, as the newest registry has them; the same object until then."""
        with self._lock:
            if time.monotonic() - self._looked >= CHECK_SECONDS:
                pointer = self._storage.find_sound_json(POINTER)
                if pointer != self._seen:
                    self._read()
                self._seen, self._looked = pointer, time.monotonic()
            return self._by_title.setdefault(title_id, {})

    def _read(self) -> None:
        self._by_title = {}
        for (title_id, _), known in catalog_names(self._storage).items():
            self._by_title.setdefault(title_id, {})[known.cover_track_id] = known

    def face(self, known: CatalogName) -> bytes | None:
        """The face of the named person in the other title, JPEG; None: not kept."""
        wanted = (known.source_track_id, known.source_frame)
        key = (known.title_id, *wanted)
        if key not in self._faces:
            try:
                latest = read_result(known.title_id, self._storage)
                (picture,) = read_covers(latest, [wanted], self._storage)
            except (DamagedError, UsageError):  # the other title has changed, or is gone
                picture = None
            if len(self._faces) >= MAX_FACES:
                self._faces.clear()
            self._faces[key] = picture
        return self._faces[key]

    def deny(self, title_id: str, person_id: str, known: CatalogName, who: str) -> Denial:
        """Decide that a person is not the named one, for the next registry.

        Raises:
            UsageError: The other title has no such person any more.
        """
        mine, other = (read_current(t, self._storage) for t in (title_id, known.title_id))
        left = mark_person(mine, person_id, self._storage)
        right = mark_person(other, _owner(known, other), self._storage)
        decision = Decision("apart", who, now(), left, right)
        name = write_decision(self._storage, decision)
        with self._lock:
            names = self._by_title.get(title_id, {})
            kept = {track: each for track, each in names.items() if each != known}
            self._by_title[title_id] = kept
            return Denial(name, decision.at, title_id, person_id, known, self._seen)

    def allow(self, denial: Denial, who: str) -> str:
        """Take a denial back; returns the id of the decision that does.

        The name is shown again, unless another registry was built since, which keeps the two apart.
        """
        undo = Decision("undo", who, now(), undoes=denial.decision_id)
        name = write_decision(self._storage, undo)
        with self._lock:
            if self._seen == denial.registry:
                names = self._by_title.get(denial.title_id, {})
                again = {denial.known.cover_track_id: denial.known}
                self._by_title[denial.title_id] = names | again
        return name


def _owner(known: CatalogName, title: CurrentTitle) -> str:
    """The named person's present id in the other title."""
    tracks = title.tables.tracks.select(["track_id", "person_id"]).to_pylist()
    person = {row["track_id"]: row["person_id"] for row in tracks}
    return person.get(known.source_track_id) or known.person_id


def known_json(known: CatalogName) -> dict[str, Any]:
    """What the page shows of a name."""
    return {"name": known.name, "title": known.title}
