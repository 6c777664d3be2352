"""What `vcn packs` does: each function is one of its actions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict

from vcn_ray.console import ProgressDisplay, count, one_printable_line, say, show_table
from vcn_ray.errors import PackError
from vcn_ray.io.video import DecodeConfig
from vcn_ray.models.face_folder import find_faces
from vcn_ray.models.pack_accuracy import RATES, FaceCheck, check_faces
from vcn_ray.models.pack_check import check_pack
from vcn_ray.models.pack_speed import measure_speed
from vcn_ray.models.packs import BUILT_IN, DLIB, PackInfo, describe_pack, list_packs, load_pack

MEGABYTE = 1e6
LONG_SIDE = DecodeConfig().long_side_pixels
"""Pictures are looked at as the frames of a film are."""
NAMED_FILES = 10  # of those that cannot be read; the rest are counted


def packs(options: argparse.Namespace) -> int:
    """Do what was asked for with packs."""
    return ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    infos = list_packs()
    speeds = _speeds(infos) if options.speed else {}
    rows = [
        [
            info.name,
            f"{info.detector} + {info.encoder}",
            _megabytes(info),
            *speeds.get(info.place, []),
            info.licence,
            "yes" if info.commercial_use else "no",
            info.problem or info.place,
        ]
        for info in infos
    ]
    timed = ["frames/s", "faces/s"] if options.speed else []
    columns = ["name", "nets", "MB", *timed, "licence", "commercial use", "where"]
    show_table("Packs", columns, rows)
    return 0


def _megabytes(info: PackInfo) -> str:
    if info.problem:
        return "-"
    return f"{info.detector_bytes / MEGABYTE:.1f} + {info.encoder_bytes / MEGABYTE:.1f}"


def _speeds(infos: list[PackInfo]) -> dict[str, list[str]]:
    """For each pack's place, frames and faces a second; a pack that fails has dashes."""
    cells = {}
    with ProgressDisplay() as display:
        for number, info in enumerate(infos):
            cells[info.place] = ["-", "-"] if info.problem else _speed(info, display)
            display.share("speed", (number + 1) / len(infos))
    return cells


def _speed(info: PackInfo, display: ProgressDisplay) -> list[str]:
    try:
        pack = load_pack(DLIB if info.place == BUILT_IN else info.place)
        speed = measure_speed(pack, LONG_SIDE)
    except PackError as error:  # its networks differ from what describes them
        display.note(f"{info.name}: {error}")
        return ["-", "-"]
    return [f"{speed.frames:.1f}", f"{speed.faces:.0f}"]


def _show(options: argparse.Namespace) -> int:
    fields = asdict(describe_pack(options.pack))
    for part in ("detector", "encoder"):
        fields[f"{part}_MB"] = fields.pop(f"{part}_bytes") / MEGABYTE
    _say_fields(fields)
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.faces is not None:
        find_faces(options.faces)  # what is wrong with it is said before anything is tried
    result = check_pack(options.pack)
    _say_fields(asdict(result))
    if options.faces is None:
        return 1 if result.problems else 0
    with ProgressDisplay() as display:
        check = check_faces(
            options.pack, options.faces, LONG_SIDE, lambda done: display.share("check", done)
        )
    say(f"\n{options.faces}:")
    _say_fields(face_fields(check))
    return 1 if result.problems or check.problems else 0


def face_fields(check: FaceCheck) -> dict[str, object]:
    """The lines on a labelled folder, in order."""
    within = f", {check.bordered} of them within a border" if check.bordered else ""
    rates = {
        f"TAR at FAR {rate:g}": share for rate, share in zip(RATES, check.accepted, strict=True)
    }
    return {
        "people": check.people,
        "pictures": check.pictures,
        "unreadable": _unreadable(check.unreadable),
        "faces found": f"{check.found}{within}",
        "detection recall": check.recall,
        "pairs": f"{check.same_pairs} of one person, {check.different_pairs} of two",
        **rates,
        "detection": _pace(check.pictures, "picture", check.detect_seconds),
        "embedding": _pace(check.found, "face", check.embed_seconds),
        "problems": check.problems,
    }


def _unreadable(files: list[str]) -> str:
    """How many files, and their names."""
    if not files:
        return ""
    more = f" and {len(files) - NAMED_FILES} more" if len(files) > NAMED_FILES else ""
    named = ", ".join(files[:NAMED_FILES])
    return one_printable_line(f"{count(len(files), 'picture')} ({named}{more})")


def _pace(number: int, what: str, seconds: float) -> str:
    if not number:
        return ""
    return f"{seconds:.1f} s, {number / seconds:.1f} {what}s a second"


def _say_fields(fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name.replace('_', ' ')}: {shown if shown not in ('', [], None) else '-'}")


ACTIONS = {"list": _list, "show": _show, "check": _check}
