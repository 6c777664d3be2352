"""Rows of corrections applied to titles; each row that does not fit is named, and stops no other.

It reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vcn_ray.edits.record import Edit, active_edits
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.review.sheet import Row, Sheet
from vcn_ray.run.stored import find_title_id


@dataclass(slots=True)
class Imported:
    """What an import did.

    Attributes:
        edits: New edits.
        unchanged: Rows that were applied before.
        problems: A line for each row that was not applied.
        folders: Of the tables after all corrections, of each title that rows are about.
    """

    edits: list[Edit] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def import_sheet(
    sheet: Sheet, storage: Storage, title: str | None = None, who: str | None = None, note: str = ""
) -> Imported:
    """Apply the rows of a sheet, in order; what was applied before changes nothing.

    Args:
        sheet: The rows.
        storage: The output.
        title: Name or id of the title of rows that name none; None: as the sheet is called, or the
            only one there is.
        who: Of whom the edits are; None: the user of this process.
        note: Of rows without one.

    Raises:
        StorageError: Storage cannot be read or written.
    """
    done = Imported(problems=list(sheet.problems))
    desks: dict[str, Desk] = {}
    for row in sheet.rows:
        try:
            desk = _desk(row.title or title or sheet.title or None, who, storage, desks)
            if sheet.result and desk.reviewed.result != sheet.result:
                raise UsageError(
                    f"the names are of an older result than {desk.reviewed.result}: write and open "
                    "the page again"
                )
            edit = None if is_applied(row, desk) else apply_row(row, desk, row.note or note)
        except UsageError as error:
            done.problems.append(f"{row.where}: {error}")
        else:
            done.edits += [edit] if edit else []
            done.unchanged += edit is None
    done.folders = [desk.commit() for desk in desks.values()]
    return done


def _desk(title: str | None, who: str | None, storage: Storage, desks: dict[str, Desk]) -> Desk:
    title_id = find_title_id(storage, title)
    if title_id not in desks:
        desks[title_id] = Desk(storage, title_id, who)
    return desks[title_id]


def apply_row(row: Row, desk: Desk, note: str) -> Edit:
    """Make the edit that a row asks for.

    Raises:
        UsageError: It does not fit the title.
    """
    match row.action:
        case "name":
            return desk.name(row.subject, row.name, note)
        case "merge":
            return desk.merge(row.subject, row.into, note)
        case "move":
            return desk.move(row.subject.split(), row.into or None, note)
        case "no_face":
            return desk.no_face(row.subject.split(), note)
        case "nobody":
            return desk.nobody(row.subject, note)
        case "lock":
            return desk.lock(row.subject, note)
        case "unlock":
            return desk.unlock(row.subject, note)


def is_applied(row: Row, desk: Desk) -> bool:
    """Whether a title is as a row wants it already."""
    state = desk.reviewed.state
    tracks = row.subject.split()
    people = {state.person.get(track) for track in tracks}
    if row.action in ("merge", "move") and not (row.action == "move" and row.into):
        return any(_says_the_same(row, edit, desk) for edit in active_edits(desk.reviewed.edits))
    if row.action == "move":
        return people == {row.into}
    if row.action == "no_face":
        return set(tracks) <= state.no_face
    who = state.person.get(row.subject) or row.subject
    about = state.people.get(who)
    if row.action == "name":
        return (about.name if about else "") == row.name and who in state.person.values()
    if about is None:
        return row.action == "nobody" and row.subject in state.settled
    return {
        "nobody": about.nobody or row.subject in state.settled,
        "lock": about.locked,
        "unlock": not about.locked,
    }[row.action]


def _says_the_same(row: Row, edit: Edit, desk: Desk) -> bool:
    if edit.kind != row.action or edit.result != desk.reviewed.result:
        return False
    if row.action == "merge":
        return (edit.person, edit.into_person) == (row.subject, row.into)
    made_new = not edit.into
    return made_new and [a.track_id for a in edit.subject] == row.subject.split()
