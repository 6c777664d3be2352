"""Whom an erasure is about: persons by their ids, or by the names that corrections give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vcn_ray.edits.store import edit_names
from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.persons import PersonOfTitle, pick_person, split_person
from vcn_ray.run.reviewed import read_reviewed
from vcn_ray.run.stored import StoredTitle, read_title


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

    def find(self, text: str) -> PersonOfTitle:
        """The person that `TITLE:p003` or `TITLE:Ann` names; the title by its name or id.

        Raises:
            UsageError: It names none, or several.
        """
        title_id, person = split_person(text, self.storage)
        names = self._named(title_id)
        return PersonOfTitle(title_id, pick_person(names, person, text.rpartition(":")[0]))

    def name_of(self, person: PersonOfTitle) -> str:
        """The name that corrections give to somebody; empty: none."""
        return self._named(person.title_id).get(person.person_id, "")

    def names_of(self, wanted: Sequence[PersonOfTitle]) -> list[str]:
        """The names that corrections give to some people."""
        return [name for name in map(self.name_of, wanted) if name]

    def _named(self, title_id: str) -> dict[str, str]:
        """The names of a title's people, by id; none where an erasure has left it half done."""
        if not edit_names(self.storage, title_id):
            return {}
        try:
            rows = self.read(title_id).people.to_pylist()
        except DamagedError:
            return {}
        return {row["person_id"]: row["name"] for row in rows if row.get("name")}
