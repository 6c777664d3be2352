"""What an edit says, in a few words of English; it knows neither people's faces nor results."""

from __future__ import annotations

from vcn_ray.edits.record import Edit

MAX_TRACKS = 5  # ids of tracks that a line names


def describe_edit(edit: Edit, name_tracks: bool = False) -> str:
    """What an edit says.

    Args:
        edit: Any edit.
        name_tracks: Name tracks by their ids, and the edit that an undo is about; else tracks are
            counted.
    """
    tracks = _named(edit) if name_tracks else _counted(len(edit.subject))
    whom = edit.person or tracks
    into = edit.into_person or "a new person"
    match edit.kind:
        case "name":
            return f"{whom} is called {edit.name}" if edit.name else f"{whom} has no name"
        case "merge":
            return f"{whom} is {into}"
        case "apart":
            return f"{whom} is not {into}"
        case "move":
            return f"{tracks} moved to {into}"
        case "no_face":
            return f"{tracks} show{'s' if len(edit.subject) == 1 else ''} no face"
        case "nobody":
            return f"{whom} is nobody known"
        case "lock":
            return f"{whom} is locked"
        case "unlock":
            return f"{whom} is not locked"
        case "undo":
            return f"edit {edit.undoes} is undone" if name_tracks else "an edit is undone"


def _counted(tracks: int) -> str:
    return f"{tracks} track{'' if tracks == 1 else 's'}"


def _named(edit: Edit) -> str:
    ids = [anchor.track_id for anchor in edit.subject]
    if len(ids) == 1:
        return f"track {ids[0]}"
    more = len(ids) - MAX_TRACKS
    return f"tracks {', '.join(ids[:MAX_TRACKS])}{f' and {more} more' if more > 0 else ''}"
