"""What `vcn packs` does: each function is one of its actions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, fields

from vcn_ray.config import with_pack
from vcn_ray.console import ProgressDisplay, say, show_table
from vcn_ray.io.pack_cache import pull_pack
from vcn_ray.models.pack_add import Added, Wishes, add_pack
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


def _add(options: argparse.Namespace) -> int:
    asked = {field.name: getattr(options, field.name) for field in fields(Wishes)}
    added = add_pack(options.folder, Wishes(**asked), options.force)
    _say_fields(_nets_found(added))
    result = asdict(added.check)
    problems = result.pop("problems")
    _say_fields({key: value for key, value in result.items() if key != "name"})
    say(f"written: {added.path}")
    for problem in problems:
        say(f"problem: {problem}")
    if not problems:
        say(f"check: all is well; next: vcn index INPUT --output OUT --pack {options.folder}")
    else:
        say(f"to do: change {added.path}, then try it by vcn packs check {options.folder}")
    return 1 if problems else 0


def _nets_found(added: Added) -> dict[str, object]:
    """What was found in a folder, a line each."""
    detector, encoder = added.spec.detector, added.spec.encoder
    side = detector.input_pixels
    sees = f"frames shrunk to {side} pixels" if side else "frames as they are"
    scale = "that of its kind"
    if encoder.mean and encoder.std:
        why = " (chosen: people are told apart better so)" if added.chose_scale else ""
        scale = f"mean {encoder.mean}, std {encoder.std}, {encoder.channels}{why}"
    return {
        "name": added.spec.name,
        "detector": f"{detector.kind}, {detector.file}, sees {sees}",
        "encoder": f"{encoder.kind}, {encoder.file}, takes crops of {encoder.input_pixels} pixels",
        "scale of the encoder's input": scale,
        "licence": added.spec.licence,
        "commercial use": "yes" if added.spec.commercial_use else "no",
        "source": added.spec.source,
    }


def _say_fields(found: dict[str, object]) -> None:
    for name, value in found.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name.replace('_', ' ')}: {shown if shown not in ('', [], None) else '-'}")


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "add": _add,
    "pull": _pull,
}
