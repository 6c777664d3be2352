"""The edits of a title in storage: one small object each, which is written once and never changed.

    titles/<title_id>/edits/00000012-3f2a9c0b1d5e7f60.json
    edited/<title_id>.json

An object's name is the edit's place in the order and the hash of its content, and it is written
only where there is none. So reviewers who work at once never overwrite each other: two edits of
one place are both kept, and their hashes say which comes first. The second file only says that a
title has edits: one listing finds all such titles of a catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from vcn_ray.edits.record import ID_HEX, Edit, edit_as_json, edit_from_json, order_edits
from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage

EDITED = "edited"
SUFFIX = ".json"
THREADS = 16
"""Edits that are read at once: each is a small object, and reading it is mostly waiting."""

NAME = re.compile(rf"(\d{{8}})-[0-9a-f]{{{ID_HEX}}}\.json")
"""File name of an edit: its place in the order, and the hash of its content."""


def edits_folder(title_id: str) -> str:
    """Where the edits of a title are, below the output."""
    return f"titles/{title_id}/edits"


def edited_titles(storage: Storage) -> frozenset[str]:
    """Ids of all titles that have edits, by one listing."""
    names = storage.names(EDITED)
    return frozenset(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))


def marker_path(title_id: str) -> str:
    """The file that says that a title has edits, below the output."""
    return f"{EDITED}/{title_id}{SUFFIX}"


def write_marker(storage: Storage, title_id: str) -> None:
    """Say that a title has edits, whatever is there."""
    storage.write_json(marker_path(title_id), {"title_id": title_id})


def edit_names(storage: Storage, title_id: str) -> list[str]:
    """Names of a title's edits, in the order in which they apply."""
    return [
        name
        for name in storage.names(edits_folder(title_id))
        if name.endswith(SUFFIX) and not name.startswith(".")
    ]


class EditLog:
    """Reads and writes the edits of a title; each object is read once.

    Args:
        storage: The output.
        title_id: Of the title.

    Attributes:
        damaged: What is wrong with each object that is not what was written, by its name; such an
            edit does not count.
    """

    def __init__(self, storage: Storage, title_id: str) -> None:
        self.damaged: dict[str, str] = {}
        self._storage = storage
        self._title_id = title_id
        self._known: dict[str, Edit] = {}
        self._bad: dict[str, str] = {}

    def read(self, only: tuple[str, ...] | None = None) -> list[Edit]:
        """All edits that can be read, in the order in which they apply.

        Args:
            only: Names of the edits to read, as a plan lists them; None: those that there are.

        Raises:
            StorageError: Storage cannot be read.
        """
        names = edit_names(self._storage, self._title_id) if only is None else only
        new = [name for name in names if name not in self._known and name not in self._bad]
        if len(new) > 1:
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(self._read_one, new))
        else:
            for name in new:
                self._read_one(name)
        self.damaged = {name: self._bad[name] for name in names if name in self._bad}
        return order_edits([self._known[name] for name in names if name in self._known])

    def append(self, draft: Edit) -> Edit:
        """Write an edit after all others that there are; returns it as written.

        Raises:
            StorageError: It cannot be written.
        """
        names = edit_names(self._storage, self._title_id)
        edit = replace(draft, sequence=1 + _last_sequence(names))
        if not names:
            marker = {"title_id": self._title_id}
            self._storage.create_json(marker_path(self._title_id), marker)
        # False: the very same edit was written, as by an attempt whose answer was lost.
        self._storage.create_json(self._path(edit.file_name), edit_as_json(edit))
        self._known[edit.file_name] = edit
        return edit

    def _read_one(self, name: str) -> None:
        path = self._path(name)
        if not NAME.fullmatch(name):
            self._bad[name] = f"{self._storage.locate(path)} is no edit: it was put there by hand"
            return
        try:
            edit = edit_from_json(self._storage.read_json(path))
            if edit.file_name != name:
                raise self._storage.damaged(path, "its content belongs to another name")
        except DamagedError as error:
            self._bad[name] = str(error)
        except UsageError as error:
            self._bad[name] = f"{self._storage.locate(path)}: {error}"
        else:
            self._known[name] = edit

    def _path(self, name: str) -> str:
        return f"{edits_folder(self._title_id)}/{name}"


def _last_sequence(names: Iterable[str]) -> int:
    """The largest place in the order; that of a damaged edit counts, too."""
    matches = map(NAME.fullmatch, names)
    return max((int(match[1]) for match in matches if match), default=0)
