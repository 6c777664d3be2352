"""Corrections without the tracks of an erased person; it knows of their format what it must.

A correction is a JSON object. It names tracks by anchors, in lists: an anchor has a `track_id`, a
`video_id`, and `boxes` of seconds and four coordinates. Where it has a `name`, or a `note`, these
may be about the erased person.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vcn_ray.edits.record import content_id
from vcn_ray.edits.store import NAME

MIN_FRACTION = 0.5
"""Fraction of a list's anchors that must be erased for its name to be taken as the person's."""

ONLY_TEACHES = "away"
"""Key of anchors without which a correction still says who is who."""

Anchor = dict[str, Any]
IsErased = Callable[[Anchor], bool]


def scrub_edit(edit: dict[str, Any], is_erased: IsErased) -> dict[str, Any] | None:
    """A correction without erased tracks; None where nothing is left that it could say.

    Args:
        edit: Its JSON object.
        is_erased: Whether an anchor is of an erased track.
    """
    left, named = dict(edit), False
    for key, value in edit.items():
        if not _is_anchors(value):
            continue
        kept = [anchor for anchor in value if not is_erased(anchor)]
        if not kept and key == ONLY_TEACHES:
            del left[key]
            continue
        if not kept:
            return None
        named |= len(value) - len(kept) >= MIN_FRACTION * len(value)
        left[key] = kept
    if left == edit:
        return edit
    if named and left.get("name"):
        return None
    left.pop("note", None)  # nobody knows whom it is about
    return left


def _is_anchors(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and "track_id" in each for each in value)
    )


def scrub_log(
    edits: dict[str, dict[str, Any]], is_erased: IsErased
) -> dict[str, tuple[str, dict[str, Any]] | None]:
    """What to do with the corrections of a title, in the order of their names.

    A correction that changes gets another name, because the name holds a hash of the content; what
    undoes it follows, and what undoes a removed one is removed.

    Args:
        edits: By file name.
        is_erased: Whether an anchor is of an erased track.

    Returns:
        By old name: the new name and content, or None to remove it; the others stay.
    """
    changes: dict[str, tuple[str, dict[str, Any]] | None] = {}
    moved: dict[str, str | None] = {}  # ids
    for name in sorted(edits):
        edit = edits[name]
        undone = str(edit.get("undoes", ""))
        if undone in moved:
            new = None if moved[undone] is None else {**edit, "undoes": moved[undone]}
        else:
            new = scrub_edit(edit, is_erased)
        if new == edit:
            continue
        old_id = name.removesuffix(".json").rpartition("-")[2]
        changes[name] = None if new is None else (_name_of(name, new), new)
        kept = changes[name]
        moved[old_id] = None if kept is None else kept[0].removesuffix(".json").rpartition("-")[2]
    return changes


def _name_of(name: str, edit: dict[str, Any]) -> str:
    found = NAME.fullmatch(name)
    if found is None:
        return name
    return f"{found[1]}-{content_id(edit)}.json"
