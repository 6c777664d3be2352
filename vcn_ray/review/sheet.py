"""Corrections as rows of a spreadsheet, or of the names that a page exports; it knows no title.

A sheet has a row of headings, in any order: `person` or `track`, and as needed `title`, `name`,
`action`, `into` and `note`; other columns are for people. It may come from Excel: with a byte order
mark, with semicolons, with a first line `sep=;`, and with texts that look like formulas.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast, get_args

from vcn_ray.errors import UsageError

Action = Literal["name", "merge", "move", "no_face", "nobody", "lock", "unlock"]

COLUMNS = ("title", "person", "track", "name", "action", "into", "note")
EXPORTED = ("title", "person", "name", "seconds", "tracks", "locked", "nobody")
SEPARATORS = (",", ";", "\t")
_HINT = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_FORMULA = tuple("=+-@\t\r")  # a spreadsheet computes what begins like this
_QUOTED = re.compile(r'="(.*)"', re.DOTALL)  # how Excel keeps the zeros of 007
_EXPORT = re.compile(
    r"(?P<title>.+?)(?:\.(?P<result>cluster-[0-9a-f]+))?-names(?: ?\(\d+\))?\.json"
)


class Row(NamedTuple):
    """One correction as somebody wrote it."""

    where: str  # what an error names: the row of a sheet, or the person of a page
    title: str  # name or id; empty: not said
    action: Action
    subject: str  # id of a person, or ids of tracks with spaces between them
    name: str = ""
    into: str = ""  # id of a person; empty: a new one
    note: str = ""


class Sheet(NamedTuple):
    """What a file holds."""

    rows: list[Row]
    problems: list[str]  # a line for each row that says nothing that could be done
    title: str = ""  # id of the title that rows without one are about; empty: not said
    result: str = ""  # that the rows are about; empty: not said


def read_sheet(name: str, data: bytes) -> Sheet:
    """Read a file of corrections.

    Args:
        name: Of the file; one that ends in `.json` is what a page exported.
        data: Its bytes.

    Raises:
        UsageError: It is not such a file.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f'{name} is not UTF-8: in Excel, save it as "CSV UTF-8"') from error
    return _read_names(name, text) if name.lower().endswith(".json") else _read_rows(name, text)


def _read_names(name: str, text: str) -> Sheet:
    """The names that somebody typed in the page of a title: by the ids of people, or null."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no JSON: import what the page exported") from error
    known = re.fullmatch(_EXPORT, name)
    if not isinstance(names, dict) or not all(v is None or type(v) is str for v in names.values()):
        raise UsageError(f"{name} holds no names by person: import what the page exported")
    title, result = (known["title"], known["result"] or "") if known else ("", "")
    rows = [Row(who, "", "name", who, typed) for who, typed in names.items() if typed]
    return Sheet(rows, [], title, result)


def _read_rows(name: str, text: str) -> Sheet:
    hint = _HINT.match(text)
    text = text[hint.end() :] if hint else text
    separator = hint[1] if hint else _separator(text)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UsageError(f"{name} is no CSV: {error}") from error
    headings = [_cell(each).lower() for each in lines[0]] if lines else []
    if not {"person", "track"} & set(headings):
        raise UsageError(f"{name} has no column person or track in its first row")
    rows, problems = [], []
    for number, line in enumerate(lines[1:], start=2):
        cells = dict(zip(headings, map(_cell, line), strict=False))
        try:
            row = _row(f"row {number}", cells)
        except UsageError as error:
            problems.append(f"row {number}: {error}")
        else:
            rows += [row] if row else []
    return Sheet(rows, problems)


def _separator(text: str) -> str:
    """The one that the first line has most of."""
    first = text.partition("\n")[0]
    return max(SEPARATORS, key=first.count)


def _cell(text: str) -> str:
    """What a cell says: without what keeps a spreadsheet from computing it."""
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return quoted[1].replace('""', '"').strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _row(where: str, cells: Mapping[str, str]) -> Row | None:
    """The correction of a row; None where it asks for nothing.

    Raises:
        UsageError: It is not clear what it asks for.
    """
    title, person, track, name, action, into, note = (cells.get(each, "") for each in COLUMNS)
    if not action and not name:
        return None
    kind = action.lower().replace("-", "_").replace(" ", "_") or "name"
    if kind not in get_args(Action):
        raise UsageError(f"there is no action {action!r}: use one of {', '.join(get_args(Action))}")
    if bool(person) == bool(track):
        raise UsageError("name a person or a track" if not person else "name one: person or track")
    if kind in ("move", "no_face") and person:
        raise UsageError(f"{action} is about tracks: name them in column track")
    if kind in ("merge", "lock", "unlock") and track:
        raise UsageError(f"{action} is about a person: name it in column person")
    if kind == "merge" and not into:
        raise UsageError("merge needs a person in column into")
    return Row(where, title, cast(Action, kind), person or track, name, into, note)


def write_sheet(rows: Iterable[Sequence[object]], separator: str = ",") -> bytes:
    """Rows under EXPORTED as CSV that Excel opens as it is meant, and computes nothing of."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow(EXPORTED)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
