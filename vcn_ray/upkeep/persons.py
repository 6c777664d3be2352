"""Whom an erasure is about: persons by their ids, or by the names that corrections give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from vcn_ray.edits.store import edit_names
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.run.reviewed import read_reviewed
from vcn_ray.run.stored import StoredTitle, find_title_id, read_title


class Wanted(NamedTuple):
    """A person to erase."""

    title_id: str
    person_id: str


class CorrectedTitles:
    """The newest results with their people and tracks after all corrections.

    Each is read, and its corrections are replayed, once: however often it is asked for, the answer
    is of one moment.

    Attributes:
        storage: The output.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._read: dict[str, StoredTitle] = {}

    def read(self, title_id: str) -> StoredTitle:
        """A title after its corrections.

        Raises:
            DamagedError: Its newest result is damaged.
        """
        if title_id not in self._read:
            title = read_title(title_id, self.storage)
            if edit_names(self.storage, title_id):
                tables = read_reviewed(title, self.storage).tables
                title = replace(title, people=tables.people, tracks=tables.tracks)
            self._read[title_id] = title
        return self._read[title_id]

    def find(self, text: str) -> Wanted:
        """The person that `TITLE:p003` or `TITLE:Ann` names; the title by its name or id.

        Raises:
            UsageError: It names none, or several.
        """
        title, _, person = text.rpartition(":")
        if not title or not person:
            raise UsageError(
                f"{text!r} names no person: write TITLE:p003, with a title's name or id"
            )
        title_id = find_title_id(self.storage, title)
        called = [who for who, name in self._named(title_id).items() if name == person]
        if len(called) > 1:
            raise UsageError(f"{len(called)} people of {title} are called so: {', '.join(called)}")
        return Wanted(title_id, called[0] if called else person)

    def names_of(self, wanted: Sequence[Wanted]) -> list[str]:
        """The names that corrections give to some people."""
        names = []
        for title_id in dict.fromkeys(each.title_id for each in wanted):
            ids = {each.person_id for each in wanted if each.title_id == title_id}
            named = self._named(title_id)
            names += [name for person_id, name in named.items() if person_id in ids]
        return names

    def _named(self, title_id: str) -> dict[str, str]:
        """The names of a title's people, by id; none where an erasure has left it half done."""
        if not edit_names(self.storage, title_id):
            return {}
        try:
            rows = self.read(title_id).people.to_pylist()
        except DamagedError:
            return {}
        return {row["person_id"]: row["name"] for row in rows if row.get("name")}
