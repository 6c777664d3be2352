"""The options of `vcn edits`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vcn_ray.cli.actions import OUTPUT, add_decider, add_nothing


def add_edit_actions(
    actions: Any, common: argparse.ArgumentParser, config: Callable[[Any], None]
) -> None:
    """Add the actions of `vcn edits`.

    Args:
        actions: Takes the parsers of actions.
        common: Options of every command.
        config: Adds the options that say how storage is reached.
    """
    for name, (words, add_options) in EDIT_ACTIONS.items():
        action = actions.add_parser(name, parents=[common], help=words)
        action.add_argument("output", metavar="OUT", help=OUTPUT)
        add_options(action)
        action.add_argument("--title", help="its name or id (default: the only one there is)")
        if name not in ("list", "export"):
            add_decider(action)
        config(action)


def _person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("person", metavar="PERSON", help="an id, such as p001")


def _person_or_track(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("who_is", metavar="WHO", help="id of a person, or of a track of nobody")


def _name(parser: argparse.ArgumentParser) -> None:
    _person_or_track(parser)
    parser.add_argument("name", metavar="NAME", help="an empty one removes the name")


def _merge(parser: argparse.ArgumentParser) -> None:
    _person(parser)
    parser.add_argument("into", metavar="OTHER", help="id of the other person")


def _tracks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tracks", nargs="+", metavar="TRACK", help="ids, as in tracks.parquet")


def _move(parser: argparse.ArgumentParser) -> None:
    _tracks(parser)
    parser.add_argument("--into", metavar="PERSON", help="id (default: a new person)")


def _edit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "edit", nargs="?", metavar="EDIT", help="id, or how it begins (default: your last one)"
    )


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a page's names (.json), or CSV with person or track, name and, as needed, title, "
        "action, into, note",
    )


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.csv", help="file to write")
    parser.add_argument(
        "--separator",
        choices=[",", ";"],
        default=",",
        help="between cells; Excel wants ; where numbers are written 1,5",
    )


EDIT_ACTIONS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "list": ("list the corrections of a title, and what does not fit any more", add_nothing),
    "name": ("name a person, or a track of nobody", _name),
    "merge": ("say that two people are one", _merge),
    "apart": ("say that two people are not one, so that no later run merges them", _merge),
    "move": ("say that tracks belong to another person, or to a new one", _move),
    "no-face": ("say that tracks show no face", _tracks),
    "nobody": ("say that a person or track is nobody you know", _person_or_track),
    "lock": ("forbid runs to merge a named person with another locked one", _person),
    "unlock": ("take the lock of a person back", _person),
    "undo": ("let a correction no longer count", _edit),
    "redo": ("let an undone correction count again", _edit),
    "import": ("apply corrections from a spreadsheet or a page", _import),
    "export": ("write the people of a title, or of all, as CSV", _export),
}
"""What each action does, for its help, and what adds its options."""
