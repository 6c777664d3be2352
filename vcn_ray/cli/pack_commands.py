"""What `vcn packs` does: each function is one of its actions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields

from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig, with_pack
from vcn_ray.console import ProgressDisplay, count, one_printable_line, say, show_table
from vcn_ray.errors import PackError
from vcn_ray.io.video import DecodeConfig
from vcn_ray.packs.accuracy import RATES, FaceCheck, check_faces
from vcn_ray.packs.add import Added, Wishes, add_pack
from vcn_ray.packs.cache import pull_pack
from vcn_ray.packs.check import check_pack
from vcn_ray.packs.embedded import NAME as DLIB
from vcn_ray.packs.face_folder import find_faces
from vcn_ray.packs.face_pack import BUILT_IN, PackInfo
from vcn_ray.packs.find import list_remote_packs, open_pack, pack_on_this_machine, resolve_pack
from vcn_ray.packs.load import describe_pack, insightface_home, list_packs
from vcn_ray.packs.speed import measure_speed

MEGABYTE = 1e6
LONG_SIDE = DecodeConfig().long_side_pixels
"""Pictures are looked at as the frames of a film are."""
NAMED_FILES = 10  # of those that cannot be read; the rest are counted


def packs(options: argparse.Namespace) -> int:
    """Do what was asked for with packs."""
    return ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    settings = given_settings(options)
    infos = list_packs() + list_remote_packs(settings.s3)
    speeds = _speeds(infos, settings) if options.speed else {}
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
    if not info.encoder_bytes:
        return "-"
    return f"{info.detector_bytes / MEGABYTE:.1f} + {info.encoder_bytes / MEGABYTE:.1f}"


def _speeds(infos: list[PackInfo], settings: RunConfig) -> dict[str, list[str]]:
    """For each pack's place, frames and faces a second; a pack that fails has dashes."""
    cells = {}
    with ProgressDisplay() as display:
        for number, info in enumerate(infos):
            cells[info.place] = ["-", "-"] if info.problem else _speed(info, settings, display)
            display.advance("speed", (number + 1) / len(infos))
    return cells


def _speed(info: PackInfo, settings: RunConfig, display: ProgressDisplay) -> list[str]:
    try:
        place = DLIB if info.place == BUILT_IN else info.place
        speed = measure_speed(open_pack(with_pack(settings, place)), LONG_SIDE)
    except PackError as error:  # its networks differ from what describes them
        display.note(f"{info.name}: {error}")
        return ["-", "-"]
    return [f"{speed.frames:.1f}", f"{speed.faces:.0f}"]


def _show(options: argparse.Namespace) -> int:
    told = asdict(describe_pack(_on_this_machine(options)))
    for part in ("detector", "encoder"):
        told[f"{part}_MB"] = told.pop(f"{part}_bytes") / MEGABYTE
    _say_fields(told)
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.faces is not None:
        find_faces(options.faces)  # what is wrong with it is said before anything is tried
    pack = _on_this_machine(options)
    result = check_pack(pack)
    _say_fields(asdict(result))
    if options.faces is None:
        return 1 if result.problems else 0
    with ProgressDisplay() as display:
        check = check_faces(
            pack, options.faces, LONG_SIDE, lambda done: display.advance("check", done)
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


def _pull(options: argparse.Namespace) -> int:
    url = given_settings(options).download.url
    with ProgressDisplay() as display:
        folder = pull_pack(
            options.pack, insightface_home(), url, lambda share: display.advance("download", share)
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


def _say_fields(found: Mapping[str, object]) -> None:
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
