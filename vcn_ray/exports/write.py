"""Exports an output: chooses titles and people, and writes the files to a folder or to S3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.errors import UsageError, listed
from vcn_ray.exports.dataset import write_dataset
from vcn_ray.exports.edl import by_frame
from vcn_ray.exports.formats import FORMATS, Format
from vcn_ray.exports.gather import Wanted, read_export
from vcn_ray.exports.ranges import NO_RATE, NUMBERED, ExportVideo, labels, plain
from vcn_ray.exports.words import DATASET, DATASET_FOLDER, FORMAT_WORDS, SEPARATORS
from vcn_ray.io.storage import Storage, is_remote
from vcn_ray.registry.names import CatalogName, Place, catalog_names, named_from_catalog
from vcn_ray.run.current import CurrentTitle, read_current
from vcn_ray.run.stored import TitleReader, find_title_id, find_titles
from vcn_ray.run.tombstones import check_no_open_erasure

WHOLE = "appearances"  # stem of a file that holds all titles
MAX_NAMED = 3  # videos that a note names
MAX_LISTED = 12  # people that an error names
PAST_MIDNIGHT = (
    "frames at 24 hours of timecode and behind have none: name an earlier start by --start"
)
ONE_A_FRAME = (
    "several people come in on one frame, where Resolve keeps only one marker: it has all names, "
    "the length of the longest, and in its note the length of each; --person exports one by one"
)
SHOWN = 40  # characters of a name in a note


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and where to.

    Attributes:
        format: One of FORMATS.
        wanted: Who, and how frames are counted.
        title: Name or id; None: all titles.
        to: A folder, a file, or either on S3; None: the present folder, and for a dataset
            DATASET_FOLDER in it.
        separator: Of the cells of a CSV, one of SEPARATORS; None: a comma.
    """

    format: str
    wanted: Wanted
    title: str | None = None
    to: str | None = None
    separator: str | None = None


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: Where each file is.
        notes: Sentences on what the files rest on.
        rows: Number of ranges, or of boxes.
        refused: Why a format cannot hold a video; the others are written.
        skipped: Titles that are damaged, or that another version made.
    """

    files: tuple[str, ...]
    notes: tuple[str, ...]
    rows: int
    refused: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


class _Target(NamedTuple):
    """Where files go."""

    folder: Storage
    name: str | None  # of the only file; None: each has its own


class _File(NamedTuple):
    """A file that is to be written."""

    name: str
    videos: tuple[ExportVideo, ...]


def export_output(storage: Storage, request: ExportRequest, config: RunConfig) -> Exported:
    """Write who is seen where in a format of FORMATS.

    Args:
        storage: The output of `vcn index`.
        request: What to export, and where to.
        config: How S3 and videos are reached.

    Raises:
        UsageError: There is no such format, title or person; nothing to export; several files for
            one name; or a video whose frames no timecode can name.
        StorageError: The output cannot be read, or the target not written.
    """
    if request.format == DATASET:
        return _export_dataset(storage, request, config)
    form = _format(request.format)
    _check_options(form, request)
    if request.separator is not None and form.separated is not None:
        form = form._replace(write=form.separated(SEPARATORS[request.separator]))
    target = _open_target("." if request.to is None else request.to, storage, config)
    check_no_open_erasure(storage)
    reader = TitleReader(storage)
    timed = form.timecode != "none"
    wanted = replace(request.wanted, boxes=form.boxes, timed=timed)
    written = _Written(form, target)
    # A file's name is for one file, so the second is made before the first is written.
    waiting: _File | None = None
    for file in _files(form, _read_titles(reader, request, wanted, config)):
        if waiting and target.name:
            raise UsageError(
                f"{request.to} names one file, and there are several: name a folder, with a / at "
                "its end, or one title by --title"
            )
        if waiting:
            written.add(waiting)
        waiting = file
    if waiting is None:
        raise UsageError(_nothing(storage, request))
    written.add(waiting)
    return written.result(tuple(dict.fromkeys(reader.damaged)))


def _export_dataset(storage: Storage, request: ExportRequest, config: RunConfig) -> Exported:
    """Write or update the dataset of a catalog; it takes the place of other formats' files.

    Raises:
        UsageError: Something else than the whole catalog is asked for.
    """
    if request.title is not None or request.separator or request.wanted != Wanted():
        raise UsageError(
            f"a {DATASET} holds the whole catalog: name only --to, and choose in your queries"
        )
    place = DATASET_FOLDER if request.to is None else request.to
    done = write_dataset(storage, Storage.open(place, config.s3))
    note = f"{done.files:,} files, {done.bytes:,} bytes"
    if done.copied:
        note += f"; {done.copied} of {done.buckets} buckets were unchanged"
    return Exported((done.place,), (note,), sum(done.rows.values()), skipped=done.damaged)


def _check_options(form: Format, request: ExportRequest) -> None:
    """Refuse options that would do nothing."""
    wanted = request.wanted
    counted = {"--start": wanted.start, "--rate": wanted.rate, "--drop-frame": wanted.drop}
    given = [name for name, value in counted.items() if value not in ("", None)]
    if given and form.timecode == "none":
        raise UsageError(
            f"{given[0]} is about timecode, and {request.format} has none: leave it out"
        )
    if request.separator is not None and form.separated is None:
        raise UsageError(
            f"--separator is about csv and boxes, and {request.format} has none: leave it out"
        )
    if request.separator is not None and request.separator not in SEPARATORS:
        raise UsageError(
            f"there is no separator {request.separator!r}: name one of {' '.join(SEPARATORS)}"
        )
    if wanted.join_seconds is not None and form.boxes:
        raise UsageError(f"--join is about ranges, and {request.format} has none: leave it out")
    if wanted.others and not wanted.persons:
        raise UsageError("--others is about everybody but those whom --person names: name one")


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"there is no format {name}: name one of {', '.join(FORMAT_WORDS)}")
    return FORMATS[name]


def _open_target(to: str, storage: Storage, config: RunConfig) -> _Target:
    folder, name = to, None
    is_folder = to.endswith("/") or (not is_remote(to) and os.path.isdir(os.path.expanduser(to)))
    if not is_folder and PurePath(to).suffix and PurePath(to).name != "..":
        folder, name = to.rpartition("/")[0] or ("/" if to.startswith("/") else "."), to
        name = to.rpartition("/")[2]
    target = Storage.open(folder, config.s3)
    if storage.holds(target):
        raise UsageError(
            f"{to} lies in the output itself, where vcn erase would not find what exports say of a "
            "person: name another place by --to"
        )
    return _Target(target, name)


def _read_titles(
    reader: TitleReader, request: ExportRequest, wanted: Wanted, config: RunConfig
) -> Iterator[list[ExportVideo]]:
    """The videos of each title in which somebody who is wanted is seen."""
    storage = reader.storage
    if request.title is not None:
        ids = [find_title_id(storage, request.title)]
    else:
        ids = list(find_titles(storage))
    read = partial(_read_title, reader, catalog_names(storage), len(ids) == 1)
    if wanted.persons:
        ids = _titles_with(ids, wanted, read, storage.uri)
    for title_id in ids:
        title = read(title_id)
        if title is not None and (videos := read_export(title, wanted, storage, config)):
            yield videos


def _read_title(
    reader: TitleReader, names: Mapping[Place, CatalogName], alone: bool, title_id: str
) -> CurrentTitle | None:
    """A title; None where it has to be skipped, which the only one never is.

    Who is named in another title is named here, too.
    """
    read = partial(read_current, title_id, reader.storage)
    title = read() if alone else reader.attempt(title_id, read)
    return None if title is None else named_from_catalog(title, names)


def _titles_with(
    ids: list[str],
    wanted: Wanted,
    read: Callable[[str], CurrentTitle | None],
    uri: str,
) -> list[str]:
    """The titles that have somebody who is wanted.

    Raises:
        UsageError: Somebody is in none, or an id would be another person in each.
    """
    if len(ids) > 1:
        _check_ids(wanted)
    missing = {plain(person): person for person in wanted.persons}
    people: dict[str, None] = {}
    found = []
    for title_id in ids:
        title = read(title_id)
        here = _names(title) if title is not None else []
        if wanted.others or any(plain(person) in here for person in wanted.persons):
            found.append(title_id)
        for name in here:
            missing.pop(name, None)
            people[name] = None
    if missing:
        some = listed(people, MAX_LISTED) or "nobody"
        what = next(iter(missing.values()))
        raise UsageError(f"{uri} has no person {what!r} there, only {some}")
    return found


def _names(title: CurrentTitle) -> list[str]:
    """Names and ids of a title's people, names first."""
    people = title.tables.people
    names = [plain(name) for name in people.column("name").to_pylist() if name]
    return [*names, *people.column("person_id").to_pylist()]


def _check_ids(wanted: Wanted) -> None:
    """Refuse ids where several titles are exported: p003 is somebody else in each."""
    for person in wanted.persons:
        if NUMBERED.fullmatch(person) or person.startswith("r-"):
            raise UsageError(
                f"{person} is another person in every title: name one title by --title, or the "
                "person by name"
            )


def _nothing(storage: Storage, request: ExportRequest) -> str:
    where = storage.uri if request.title is None else request.title
    if request.wanted.persons:
        return f"{where}: the people that were asked for are seen in no video: nothing is written"
    return f"{where}: nobody was found, so there is nothing to export: vcn report shows why"


def _files(form: Format, titles: Iterable[list[ExportVideo]]) -> Iterator[_File]:
    """What belongs into each file.

    A video that is in several titles has other people in each, so it has a file for each.
    """
    used: set[str] = set()
    if form.each == "all":
        found = [video for videos in titles for video in videos]
        ids = {video.title_id for video in found}
        if found:
            yield _File((ids.pop() if len(ids) == 1 else WHOLE) + form.ending, tuple(found))
        return
    for videos in titles:
        if form.each == "title":
            yield _File(videos[0].title_id + form.ending, tuple(videos))
        else:
            for video in videos:
                stem = video.video_id
                if stem in used:
                    stem = f"{stem}.{video.title_id}"
                used.add(stem)
                yield _File(stem + form.ending, (video,))


class _Written:
    """Writes files, and collects what to say of them: each note once, with its videos."""

    def __init__(self, form: Format, target: _Target) -> None:
        self._form = form
        self._target = target
        self._files: list[str] = []
        self._rows = 0
        self._refused: list[str] = []
        self._about: dict[str, list[str]] = {}
        self._changed: dict[str, str] = {}

    def add(self, file: _File) -> None:
        """Write a file, unless the format cannot hold a video."""
        try:
            data = self._form.write(file.videos)
        except UsageError as error:
            name, why = file.videos[0].name, str(error)
            self._refused.append(why if why.startswith(name) else f"{name}: {why}")
            return
        name = self._target.name or file.name
        self._target.folder.write_bytes(name, data)
        self._files.append(self._target.folder.locate(name))
        for video in file.videos:
            boxes = sum(len(track.picture) for track in video.boxes)
            self._rows += boxes if self._form.boxes else len(video.ranges)
            for note in video.clock.notes:
                self._about.setdefault(note, []).append(video.name)
            if self._form.one_a_frame and len(by_frame(video.ranges)) < len(video.ranges):
                self._about.setdefault(ONE_A_FRAME, []).append(video.name)
            if self._form.timecode == "optional" and video.clock.timecode is None:
                self._about.setdefault(NO_RATE, []).append(video.name)
            elif self._form.timecode == "optional" and not video.timecode.reaches(video.frames):
                self._about.setdefault(PAST_MIDNIGHT, []).append(video.name)
        for label in labels(file.videos):
            if (written := self._form.spell(label)) != label:
                self._changed[label] = written

    def result(self, skipped: tuple[str, ...]) -> Exported:
        """What was written.

        Raises:
            UsageError: Nothing was.
        """
        if not self._files:
            rest = len(self._refused) - 1
            more = f" (and {rest} more videos)" if rest else ""
            raise UsageError(self._refused[0] + more)
        notes = [f"{listed(videos, MAX_NAMED)}: {note}" for note, videos in self._about.items()]
        notes += [
            f"the name {label[:SHOWN]} is written as {written[:SHOWN]}: the format needs one of its"
            " signs for itself"
            for label, written in self._changed.items()
        ]
        refused = tuple(self._refused)
        return Exported(tuple(self._files), tuple(notes), self._rows, refused, skipped)
