"""The options of `vcn registry` and `vcn search`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vcn_ray.cli.actions import OUTPUT, add_decider, add_nothing


def add_registry_actions(
    actions: Any, common: argparse.ArgumentParser, config: Callable[[Any], None]
) -> None:
    """Add the actions of `vcn registry`.

    Args:
        actions: Takes the parsers of actions.
        common: Options of every command.
        config: Adds the options that say how storage is reached.
    """
    for name, (words, add_options) in REGISTRY_ACTIONS.items():
        action = actions.add_parser(name, parents=[common], help=words)
        action.add_argument("output", metavar="OUT", help=OUTPUT)
        add_options(action)
        config(action)


def _build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--local", action="store_true", help="in this process, without Ray")


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=_positive, default=50, metavar="N", help="people to show (default: 50)"
    )
    parser.add_argument(
        "--suggested", action="store_true", help="pairs that are perhaps one person instead"
    )


def _pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "left",
        metavar="PERSON",
        help="TITLE:p003, the title by its name or id; or an id or a name as vcn registry list "
        "shows it",
    )
    parser.add_argument("right", metavar="OTHER", help="a person of another title")
    add_decider(parser)


def _undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("decision", metavar="ID", help="as join and apart print it")
    add_decider(parser)


REGISTRY_ACTIONS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "build": ("join the people of all titles into people of the catalog", _build),
    "list": ("list the people of the catalog, or who might be the same", _list),
    "join": ("decide that two people of different titles are one", _pair),
    "apart": ("decide that two people of different titles are not one", _pair),
    "undo": ("take a decision back", _undo),
    "decisions": ("list the decisions that count", add_nothing),
}
"""What each action does, for its help, and what adds its options."""


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `vcn search`."""
    parser.add_argument("output", metavar="OUT", help=OUTPUT)
    parser.add_argument(
        "wanted",
        metavar="PHOTO",
        help="a picture of a face; or a person as TITLE:p003, or by an id or a name that vcn "
        "registry list shows",
    )
    parser.add_argument(
        "--limit", type=_positive, default=5, metavar="N", help="people to find (default: 5)"
    )
    parser.add_argument(
        "--face",
        type=_positive,
        metavar="N",
        help="which face of the picture, the largest first (default: the only one)",
    )
    parser.add_argument(
        "--page", type=Path, metavar="F.html", help="write a page with their faces, too"
    )
    parser.add_argument(
        "--pack", help="face models that the titles were indexed with (default: centerface-sface)"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {value}")
    return value
