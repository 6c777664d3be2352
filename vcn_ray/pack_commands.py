"""What `vcn packs` does: each function is one of its actions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

from vcn_ray.config import with_pack
from vcn_ray.console import ProgressDisplay, say, show_table
from vcn_ray.io.pack_cache import pull_pack
from vcn_ray.models.pack_check import check_pack
from vcn_ray.models.packs import describe_pack, insightface_home, list_packs
from vcn_ray.options import given_settings
from vcn_ray.run.find_pack import list_remote_packs, pack_on_this_machine, resolve_pack


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
        for info in list_packs() + list_remote_packs(given_settings(options).s3)
    ]
    show_table("Packs", ["name", "nets", "licence", "commercial use", "where"], rows)
    return 0


def _show(options: argparse.Namespace) -> int:
    _say_fields(asdict(describe_pack(_on_this_machine(options))))
    return 0


def _check(options: argparse.Namespace) -> int:
    result = check_pack(_on_this_machine(options))
    _say_fields(asdict(result))
    return 1 if result.problems else 0


def _pull(options: argparse.Namespace) -> int:
    url = given_settings(options).download.url
    with ProgressDisplay() as display:
        folder = pull_pack(
            options.pack, insightface_home(), url, lambda share: display.share("download", share)
        )
    say(describe_pack(str(folder)).licence)
    say(f"next: vcn packs check {options.pack}; vcn index INPUT --output OUT --pack {options.pack}")
    return 0


def _on_this_machine(options: argparse.Namespace) -> str:
    """What was named, fetched where it is on S3."""
    settings = given_settings(options)
    return pack_on_this_machine(with_pack(settings, resolve_pack(options.pack, settings.s3)))


def _say_fields(fields: dict[str, object]) -> None:
    for name, value in fields.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name.replace('_', ' ')}: {shown if shown not in ('', [], None) else '-'}")


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "pull": _pull,
}
