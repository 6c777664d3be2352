"""The actions of `vcn edits`, one function each; what they show and where is decided here."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator

from vcn_ray.cli.options import given_settings
from vcn_ray.console import complain, count, misfit_words, say, show_table
from vcn_ray.edits.record import Edit, active_undos
from vcn_ray.edits.words import describe_edit
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.review.imports import import_sheet
from vcn_ray.review.sheet import read_sheet, write_sheet
from vcn_ray.run.reviewed import ReviewedTitle, read_reviewed
from vcn_ray.run.stored import TitleReader, find_title_id, read_title

MIN_PREFIX = 4  # letters of an edit's id that may stand for it


def edits(options: argparse.Namespace) -> int:
    """Run an action and return the exit code."""
    return ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    storage = _storage(options)
    title_id = find_title_id(storage, options.title)
    reviewed = read_reviewed(read_title(title_id, storage), storage)
    if not reviewed.edits and not reviewed.damaged:
        name, output = _name(reviewed), options.output
        say(f"{name} has no corrections: make them with vcn review {output}, or vcn edits name")
        return 0
    columns = ["no.", "edit", "who", "when", "what", "note", "state"]
    show_table(_name(reviewed), columns, list(_edit_rows(reviewed)))
    parts = [count(reviewed.corrections, "correction")]
    parts += [misfit_words(reviewed.misfits)] if reviewed.misfits else []
    say("; ".join(parts))
    for row in reviewed.tables.conflicts.to_pylist():
        say(f"does not fit: {row['edit_id']}: {row['message']}{_place(row)}")
    _say_tables(reviewed.folder, storage, storage.is_committed(reviewed.folder))
    return 0


def _place(row: dict[str, object]) -> str:
    """Where a conflict is, in words."""
    if row["start_seconds"] is None:
        return ""
    track = f"track {row['track_id']}, " if row["track_id"] else ""
    start, end = row["start_seconds"], row["end_seconds"]
    return f" ({track}{start:.1f} to {end:.1f} s of {row['video_id']})"


def _edit_rows(reviewed: ReviewedTitle) -> Iterator[list[str]]:
    undone = active_undos(reviewed.edits)
    problems: dict[str, Counter[str]] = {}
    for row in reviewed.tables.conflicts.to_pylist():
        problems.setdefault(row["edit_id"], Counter())[row["problem"]] += 1
    for edit in reviewed.edits:
        found = problems.get(edit.edit_id, Counter())
        state = "undone" if edit.edit_id in undone else ", ".join(found) or "counts"
        yield [
            str(edit.sequence),
            edit.edit_id,
            edit.who,
            edit.at[:19].replace("T", " "),
            describe_edit(edit, name_tracks=True),
            edit.note,
            state,
        ]


def _name_person(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.name(options.who_is, options.name, options.note))


def _merge(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.merge(options.person, options.into, options.note))


def _apart(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.apart(options.person, options.into, options.note))


def _move(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.move(options.tracks, options.into, options.note))


def _no_face(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.no_face(options.tracks, options.note))


def _nobody(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.nobody(options.who_is, options.note))


def _lock(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.lock(options.person, options.note))


def _unlock(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.unlock(options.person, options.note))


def _undo(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.undo(_edit_id(options.edit, desk), options.note))


def _redo(options: argparse.Namespace) -> int:
    return _decide(options, lambda desk: desk.redo(_edit_id(options.edit, desk), options.note))


def _edit_id(given: str | None, desk: Desk) -> str | None:
    """The id of the only edit that begins with what was given; else, what was given."""
    ids = [edit.edit_id for edit in desk.reviewed.edits]
    fits = [each for each in ids if given and each.startswith(given) and len(given) >= MIN_PREFIX]
    return fits[0] if len(fits) == 1 else given


def _decide(options: argparse.Namespace, make: Callable[[Desk], Edit]) -> int:
    """Make an edit, write the tables, and say both."""
    storage = _storage(options)
    desk = Desk(storage, options.title, options.who)
    edit = make(desk)
    folder = desk.commit()
    title = _name(desk.reviewed)
    undo = edit.kind == "undo"
    what = _undo_words(edit, desk) if undo else describe_edit(edit, name_tracks=True)
    say(f"{title}: {what} (edit {edit.edit_id} by {edit.who})")
    problems = [c.problem for c in desk.reviewed.state.conflicts if c.edit == edit]
    for problem in dict.fromkeys(problems):
        say(f"it does not fit what others have decided meanwhile: {problem}")
    _say_tables(folder, storage)
    return 0


def _undo_words(edit: Edit, desk: Desk) -> str:
    """What an undo did: to an edit, or to an undo of one."""
    known = {each.edit_id: each for each in desk.reviewed.edits}
    undone, verb = known[edit.undoes], "undone"
    if undone.kind == "undo":
        undone, verb = known[undone.undoes], "redone"
    return f"{verb}: {describe_edit(undone, name_tracks=True)}"


def _import(options: argparse.Namespace) -> int:
    storage, failed, folders = _storage(options), False, dict[str, None]()
    for path in options.files:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        sheet = read_sheet(path.name, data)
        done = import_sheet(sheet, storage, options.title, options.who, options.note)
        for problem in done.problems:
            complain(f"{path.name}: {problem}")
        failed |= bool(done.problems)
        folders |= dict.fromkeys(done.folders)
        parts = [count(len(done.edits), "new correction"), f"{done.unchanged} there before"]
        parts += [f"{len(done.problems)} not applied"] if done.problems else []
        say(f"{path.name}: {', '.join(parts)}")
    for folder in folders:
        _say_tables(folder, storage)
    return 1 if failed else 0


def _export(options: argparse.Namespace) -> int:
    storage = _storage(options)
    reader = TitleReader(storage)
    if options.title is None:
        titles = [read_reviewed(title, storage) for title in reader]
    else:
        title = read_title(find_title_id(storage, options.title), storage)
        titles = [read_reviewed(title, storage)]
    rows = list(_people_rows(titles))
    try:
        options.file.write_bytes(write_sheet(rows, options.separator))
    except OSError as error:
        raise UsageError(f"{options.file} cannot be written: {error.strerror}") from error
    people = count(len(rows), "person", "people")
    say(f"{people} of {count(len(titles), 'title')} in {options.file}")
    say(f"next: fill in column name, then vcn edits import {options.output} {options.file}")
    return 1 if reader.damaged else 0


def _people_rows(titles: list[ReviewedTitle]) -> Iterator[tuple[object, ...]]:
    """Rows under `sheet.EXPORTED`."""
    names = Counter(map(_name, titles))
    for reviewed in titles:
        name = _name(reviewed)
        title = name if names[name] == 1 else reviewed.title.title_id
        for row in reviewed.tables.people.to_pylist():
            yield (
                title,
                row["person_id"],
                row["name"] or "",
                f"{row['screen_seconds']:.1f}",
                row["tracks"],
                "yes" if row["locked"] else "",
                "yes" if row["nobody"] else "",
            )


def _storage(options: argparse.Namespace) -> Storage:
    return Storage.open(options.output, given_settings(options).s3)


def _name(reviewed: ReviewedTitle) -> str:
    return str(reviewed.title.summary["title"])


def _say_tables(folder: str, storage: Storage, there: bool = True) -> None:
    where = storage.locate(folder)
    say(f"reviewed tables: {where}" if there else f"reviewed tables, once written: {where}")


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "name": _name_person,
    "merge": _merge,
    "apart": _apart,
    "move": _move,
    "no-face": _no_face,
    "nobody": _nobody,
    "lock": _lock,
    "unlock": _unlock,
    "undo": _undo,
    "redo": _redo,
    "import": _import,
    "export": _export,
}
