"""Decisions without the tracks of an erased person; it reads no storage.

A decision about an erased person goes, with what undoes it. One about somebody else loses the
anchors that are the erased person's, and gets another id, because that is a hash of its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from vcn_ray.edits.record import Anchor
from vcn_ray.registry.decisions import Decision, PersonMark

MIN_FRACTION = 0.5
"""Fraction of a mark's anchors that must be erased for it to be taken as the person's."""

IsErased = Callable[[Anchor], bool]


def scrub_decisions(
    decisions: Iterable[Decision],
    is_erased: IsErased,
    persons: Iterable[tuple[str, str]],
) -> dict[str, Decision | None]:
    """What to do with decisions: the new content, or None to remove it; the others stay.

    Args:
        decisions: All of an output, also those that do not count.
        is_erased: Whether an anchor is of an erased track.
        persons: Title and person of each erased one, for marks without anchors.

    Returns:
        By the old id.
    """
    known = {decision.decision_id: decision for decision in decisions}
    gone = frozenset(persons)
    changes: dict[str, Decision | None] = {}

    def scrubbed(name: str) -> Decision | None:
        """A decision after the erasure; undos follow what they undo, which is never a circle."""
        if name in changes:
            return changes[name]
        decision = known[name]
        new: Decision | None = decision
        if decision.undoes in known:
            undone = scrubbed(decision.undoes)
            new = None if undone is None else _undo_of(undone, decision)
        elif decision.left is not None and decision.right is not None:
            new = _without(decision, decision.left, decision.right, is_erased, gone)
        if new is None or new.decision_id != name:
            changes[name] = new
        return new

    for name in known:
        scrubbed(name)
    return changes


def _undo_of(undone: Decision, undo: Decision) -> Decision:
    """An undo of a decision that may have another id now."""
    if undo.undoes == undone.decision_id:
        return undo
    return replace(undo, undoes=undone.decision_id, note="")


def _without(
    decision: Decision,
    left: PersonMark,
    right: PersonMark,
    is_erased: IsErased,
    gone: frozenset[tuple[str, str]],
) -> Decision | None:
    marks = [_mark_without(mark, is_erased, gone) for mark in (left, right)]
    if marks[0] is None or marks[1] is None:
        return None
    if marks == [left, right]:
        return decision
    # Nobody knows whom the note is about.
    return replace(decision, left=marks[0], right=marks[1], note="")


def _mark_without(
    mark: PersonMark, is_erased: IsErased, gone: frozenset[tuple[str, str]]
) -> PersonMark | None:
    """A mark without erased tracks; None where it is the erased person's."""
    if not mark.anchors:
        return None if (mark.title_id, mark.person_id) in gone else mark
    kept = tuple(anchor for anchor in mark.anchors if not is_erased(anchor))
    if len(mark.anchors) - len(kept) >= MIN_FRACTION * len(mark.anchors):
        return None
    return replace(mark, anchors=kept) if len(kept) < len(mark.anchors) else mark
