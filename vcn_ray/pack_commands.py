"""What `vcn packs` does: each function is one of its actions."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from vcn_ray.console import say, show_table
from vcn_ray.models.pack_check import check_pack
from vcn_ray.models.packs import describe_pack, list_packs


def packs(options: argparse.Namespace) -> int:
    """Do what was asked for with packs."""
    return ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    rows = [
        [
            info.name,
            f"{info.detector} + {info.encoder}",
            info.licence,
            "yes" if info.commercial_use else "no",
            info.problem or info.place,
        ]
        for info in list_packs()
    ]
    show_table("Packs", ["name", "nets", "licence", "commercial use", "where"], rows)
    return 0


def _show(options: argparse.Namespace) -> int:
    _say_fields(asdict(describe_pack(options.pack)))
    return 0


def _check(options: argparse.Namespace) -> int:
    result = check_pack(options.pack)
    _say_fields(asdict(result))
    return 1 if result.problems else 0


def _say_fields(fields: dict[str, object]) -> None:
    for name, value in fields.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name.replace('_', ' ')}: {shown if shown not in ('', [], None) else '-'}")


ACTIONS = {"list": _list, "show": _show, "check": _check}
