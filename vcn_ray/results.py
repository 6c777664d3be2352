"""Results as Python sees them: titles, and their people, appearances and tracks as records.

It reads what `run.stored` reads, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

import pyarrow as pa

from vcn_ray.errors import UsageError, listed
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.run.current import read_current
from vcn_ray.run.stored import find_title_id, find_titles, read_result

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

MAX_SHOWN = 10  # records that a list prints


class Person(NamedTuple):
    """One person of a title."""

    person_id: str  # p001 has the most screen time
    tracks: int
    screen_seconds: float
    first_seconds: float
    confidence: float  # in [0, 1]
    cover_track_id: str
    cover_crop: int  # frame of the cover in its video


class Appearance(NamedTuple):
    """One span of time in which a person is seen."""

    person_id: str
    video_id: str
    start_seconds: float
    end_seconds: float
    track_id: str


class Track(NamedTuple):
    """One face followed through one shot."""

    track_id: str
    video_id: str
    shot_id: str
    start_seconds: float
    end_seconds: float
    start_frame: int
    end_frame: int  # one past the last
    crops: int
    quality: float  # METHOD 3.1, in [0, 1]
    status: str  # clustered | unknown | no_face
    reason: str | None  # why it is of nobody; None when clustered
    person_id: str | None  # None unless clustered
    confidence: float


class ReviewedPerson(NamedTuple):
    """One person of a title after all corrections."""

    person_id: str  # as in `people`; r-..., of a person whom a reviewer made
    name: str | None  # None: not named
    locked: bool  # no run merges it with another locked person
    nobody: bool  # nobody whom the reviewer knows
    tracks: int
    screen_seconds: float
    first_seconds: float
    confidence: float  # in [0, 1]
    cover_track_id: str
    cover_crop: int  # frame of the cover in its video


class ReviewedAppearance(NamedTuple):
    """One span of time in which a person is seen, after all corrections."""

    person_id: str
    video_id: str
    start_seconds: float
    end_seconds: float
    track_id: str
    name: str | None  # of the person


class ReviewedTrack(NamedTuple):
    """A track after all corrections."""

    track_id: str
    video_id: str
    shot_id: str
    start_seconds: float
    end_seconds: float
    start_frame: int
    end_frame: int  # one past the last
    crops: int
    quality: float
    status: str  # clustered | unknown | no_face
    reason: str | None  # as of Track; also reviewer, or conflict
    person_id: str | None
    confidence: float  # 1 where a reviewer decided
    edit_id: str | None  # the last correction that moved it


class Misfit(NamedTuple):
    """A correction, or a part of one, that does not fit the result."""

    edit_id: str
    sequence: int  # place of the correction in the order
    kind: str
    who: str
    at: str  # ISO 8601
    name: str  # that it gives; empty: none
    problem: str  # lost | unclear | two_names | locked | contested | damaged
    track_id: str | None  # None: all that it is about
    video_id: str | None
    start_seconds: float | None
    end_seconds: float | None
    message: str


class Records(Sequence[T], Generic[T]):
    """Rows of a result table as typed records.

    Args:
        table: With the columns that the record names.
        make: Makes a record of a row's columns.
    """

    def __init__(self, table: pa.Table, make: Callable[..., T]) -> None:
        self._table = table
        self._make = make

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Records[T]: ...

    def __getitem__(self, index: int | slice) -> T | Records[T]:
        if isinstance(index, slice):
            rows = pa.array(range(len(self))[index], pa.int64())
            return Records(self._table.take(rows), self._make)
        row = range(len(self))[index]
        return self._make(**self._table.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[T]:
        return (self._make(**row) for row in self._table.to_pylist())

    def __repr__(self) -> str:
        lines = [repr(record) for record in self[:MAX_SHOWN]]
        more = len(self) - len(lines)
        return "\n".join([*lines, f"... and {more} more"] if more else lines) or "no records"

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas data frame; pandas must be installed."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame


@dataclass(frozen=True, eq=False)
class Title:
    """The newest result of a title; each table is read when it is first asked for.

    Attributes:
        title_id: Its id below the output.
        name: A file's name, or what the manifest calls it.
        warnings: Sentences on what to be careful about.
        summary: The content of result.json: counts, settings, licences, versions.
    """

    title_id: str
    name: str
    warnings: tuple[str, ...]
    summary: dict[str, Any]
    _folder: str
    _storage: Storage

    @property
    def videos(self) -> dict[str, str]:
        """The uri of each of its videos, by video id."""
        return {video["video_id"]: video["uri"] for video in self.summary["videos"]}

    @cached_property
    def people(self) -> Records[Person]:
        """Its people, the one with the most screen time first."""
        return Records(self._table("people"), Person)

    @cached_property
    def tracks(self) -> Records[Track]:
        """All tracks, those of nobody too."""
        return Records(self._table("tracks"), Track)

    @cached_property
    def appearances(self) -> Records[Appearance]:
        """When each person is seen, by person and time."""
        return Records(self._table("appearances"), Appearance)

    def _table(self, name: str) -> pa.Table:
        return self._result.read_table(f"{name}.parquet")

    @cached_property
    def _result(self) -> CommittedFolder:
        return CommittedFolder.open(self._storage, self._folder)

    @cached_property
    def reviewed(self) -> Reviewed:
        """The same after all corrections that there are now, as `vcn edits` and reviewers made."""
        tables = read_current(self.title_id, self._storage).tables
        return Reviewed(tables.people, tables.tracks, tables.appearances, tables.conflicts)

    def appearances_of(self, person_id: str) -> Records[Appearance]:
        """When one person is seen.

        Raises:
            UsageError: There is no such person.
        """
        people = self.people.to_arrow().column("person_id").to_pylist()
        if person_id not in people:
            some = listed(people, MAX_SHOWN) or "nobody"
            raise UsageError(f"{self.name} has no person {person_id!r}, only {some}")
        table = self.appearances.to_arrow()
        keep = [who == person_id for who in table.column("person_id").to_pylist()]
        return Records(table.filter(pa.array(keep, pa.bool_())), Appearance)

    def __repr__(self) -> str:
        counts = self.summary["counts"]
        shown = ", ".join(
            f"{what}={counts[what]}" for what in ("people", "tracks", "unknown", "no_face")
        )
        return f"Title({self.name!r}, {shown})"


class Reviewed:
    """A title after all corrections.

    Attributes:
        people: Its people with their names, the one with the most screen time first.
        tracks: All tracks, those of nobody too.
        appearances: When each person is seen, by person and time.
        misfits: Corrections that do not fit the result, in order; docs/review.md says why.
    """

    def __init__(
        self, people: pa.Table, tracks: pa.Table, appearances: pa.Table, conflicts: pa.Table
    ) -> None:
        self.people = Records(people, ReviewedPerson)
        self.tracks = Records(tracks, ReviewedTrack)
        self.appearances = Records(appearances, ReviewedAppearance)
        self.misfits = Records(conflicts, Misfit)

    def __repr__(self) -> str:
        named = sum(person.name is not None for person in self.people)
        return f"Reviewed(people={len(self.people)}, named={named}, misfits={len(self.misfits)})"


class Results(Sequence[Title]):
    """The titles of an output that have a result, by id; each is read when it is asked for.

    Args:
        storage: The output.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @cached_property
    def _ids(self) -> list[str]:
        return list(find_titles(self._storage))

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Title: ...

    @overload
    def __getitem__(self, index: slice) -> list[Title]: ...

    def __getitem__(self, index: int | slice) -> Title | list[Title]:
        if isinstance(index, slice):
            return [self._read(title_id) for title_id in self._ids[index]]
        return self._read(self._ids[index])

    def title(self, name: str) -> Title:
        """A title by its name or id.

        Raises:
            UsageError: There is none, or several of that name.
        """
        return self._read(find_title_id(self._storage, name))

    def _read(self, title_id: str) -> Title:
        latest = read_result(title_id, self._storage)
        warnings = tuple(warning["message"] for warning in latest.summary["warnings"])
        name, folder = latest.summary["title"], latest.folder
        return Title(title_id, name, warnings, latest.summary, folder, self._storage)

    def __repr__(self) -> str:
        return f"Results({self._storage.uri!r}, titles={len(self)})"


def open_results(output: str | os.PathLike[str], *, s3: S3Config | None = None) -> Results:
    """The results in an output folder or S3 prefix.

    Args:
        output: What `index` was given as output.
        s3: How S3 is reached.

    Raises:
        UsageError: There are none.
        StorageError: The place cannot be read.
    """
    storage = Storage.open(os.fspath(output), s3 or S3Config())
    results = Results(storage)
    if not len(results):
        raise UsageError(f"{storage.uri} holds no results: run vcn index --output {storage.uri}")
    return results
