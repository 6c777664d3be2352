"""Options that actions of several commands share."""

from __future__ import annotations

import argparse

OUTPUT = "the --output of vcn index"


def add_nothing(parser: argparse.ArgumentParser) -> None:
    """No further options."""


def add_decider(parser: argparse.ArgumentParser) -> None:
    """Add who decides, and why."""
    parser.add_argument("--who", help="who decides (default: the user of this machine)")
    parser.add_argument("--note", default="", metavar="TEXT", help="for people")
