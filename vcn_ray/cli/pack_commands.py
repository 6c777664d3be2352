"""The actions of `vcn packs`, one function each; what they show and where is decided here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig, with_pack
from vcn_ray.console import ProgressDisplay, count, say, show_table
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import PackError, UsageError
from vcn_ray.io.storage import Storage, is_remote
from vcn_ray.io.video import DecodeConfig
from vcn_ray.models.onnx_export import describe_input
from vcn_ray.packs.accuracy import FALSE_RATES, FaceCheck, check_faces, find_faces
from vcn_ray.packs.add import AddedPack, PackOptions, add_pack, add_prior
from vcn_ray.packs.check import PackCheck, check_pack, measure_speed
from vcn_ray.packs.describe import PACK_TOML
from vcn_ray.packs.face_pack import BUILT_IN, PackInfo
from vcn_ray.packs.fetch import pull_pack
from vcn_ray.packs.find import (
    find_pack,
    list_packs,
    open_pack,
    pack_on_this_machine,
    resolve_pack,
)
from vcn_ray.packs.inspect import MANIFEST
from vcn_ray.packs.load import describe_pack, insightface_home
from vcn_ray.redact import clean
from vcn_ray.run.encoder import adapted_encoder
from vcn_ray.run.stored import find_title

NO_PRIOR = "a title's own tracks alone decide who is alike and which faces can be recognised"

MEGABYTE = 1e6
MAX_SIDE = DecodeConfig().long_side_pixels
"""Pictures are shrunk like frames of a film."""
MAX_NAMED_FILES = 10  # unreadable pictures that are listed by name; the rest are counted


def packs(options: argparse.Namespace) -> int:
    """Run an action and return the exit code."""
    return ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    settings = given_settings(options)
    infos = list_packs(settings.s3)
    speeds = _speeds(infos, settings) if options.speed else {}
    rows = [
        [
            info.name,
            f"{info.detector} + {info.encoder}",
            _megabytes(info),
            *speeds.get(info.place, []),
            info.licence,
            _yes(info.commercial_use),
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
    """Frames and faces per second by the pack's place; dashes for a pack that fails."""
    cells = {}
    with ProgressDisplay() as display:
        for number, info in enumerate(infos):
            cells[info.place] = ["-", "-"] if info.problem else _speed(info, settings, display)
            display.advance("speed", (number + 1) / len(infos))
    return cells


def _speed(info: PackInfo, settings: RunConfig, display: ProgressDisplay) -> list[str]:
    try:
        place = info.name if info.place == BUILT_IN else info.place
        speed = measure_speed(open_pack(with_pack(settings, place)), MAX_SIDE)
    except PackError as error:  # the networks differ from their description
        display.note(f"{info.name}: {error}")
        return ["-", "-"]
    return [f"{speed.frames:.1f}", f"{speed.faces:.0f}"]


def _show(options: argparse.Namespace) -> int:
    settings = _pack_settings(options)
    info = find_pack(settings)
    unmeasured = f"none, so {NO_PRIOR}: {_how_to_measure(info, settings.pack)}"
    _say_fields(_info_fields(info) | _prior_fields(info.prior, unmeasured))
    return 0


def _how_to_measure(info: PackInfo, pack: str) -> str:
    """Say how to measure the prior of a pack in a folder or on S3."""
    if is_remote(pack):  # it was fetched into a cache, whose files must stay as they are
        return "vcn packs add DIR --keep measures one in a folder, from which to upload it again"
    described = any((Path(info.place) / name).is_file() for name in (PACK_TOML, MANIFEST))
    return f"vcn packs add {info.place}{' --keep' if described else ''} measures one"


def _check(options: argparse.Namespace) -> int:
    if options.faces is not None:
        find_faces(options.faces)  # a wrong folder must fail before the check, which takes long
    pack = pack_on_this_machine(_pack_settings(options))
    check = check_pack(pack)
    _say_fields(_check_fields(check))
    _say_problems(check.problems)
    if options.faces is None:
        return 1 if check.problems else 0
    with ProgressDisplay() as display:
        faces = check_faces(pack, options.faces, MAX_SIDE, partial(display.advance, "check"))
    say(f"\n{options.faces}:")
    _say_fields(face_fields(faces))
    _say_problems(faces.problems)
    return 1 if check.problems or faces.problems else 0


def _add(options: argparse.Namespace) -> int:
    given = PackOptions(**{each.name: getattr(options, each.name) for each in fields(PackOptions)})
    if options.keep and given != PackOptions():
        raise UsageError("--keep takes no other option than --faces: change pack.toml by hand")
    with ProgressDisplay() as display:
        show = partial(display.advance, "prior")
        if options.keep:
            added = add_prior(options.folder, options.faces, show)
        else:
            added = add_pack(options.folder, given, options.force, options.faces, show)
    pictures = f"measured on {added.measured.pictures}"
    _say_fields(_net_fields(added) | _check_fields(added.check))
    _say_fields(_prior_fields(added.measured.prior, "none", pictures))
    say(f"written: {added.path}")
    _say_problems(added.check.problems)
    again = f"vcn packs add {options.folder} --keep"
    if added.check.problems:
        say(f"to do: change {added.path}, then run {again}")
        return 1
    if added.measured.problem:
        more = f"for more faces run {again} --faces FOLDER"
        say(f"without a prior, {NO_PRIOR}: {added.measured.problem}; {more}")
    say(f"next: vcn index INPUT --output OUT --pack {options.folder}")
    return 0


def _pull(options: argparse.Namespace) -> int:
    url = given_settings(options).download.url
    with ProgressDisplay() as display:
        show = partial(display.advance, "download")
        folder = pull_pack(options.pack, insightface_home(), url, show)
    say(describe_pack(str(folder)).licence)
    say(f"next: vcn packs check {options.pack}; vcn index INPUT --output OUT --pack {options.pack}")
    return 0


def _export(options: argparse.Namespace) -> int:
    """Write the adapted encoder of a title as ONNX."""
    settings = given_settings(options)
    storage = Storage.open(options.output, settings.s3)
    title = find_title(storage, options.title)
    name = options.pack or title.summary["pack"]["name"]
    try:
        pack = open_pack(with_pack(settings, resolve_pack(name, settings.s3)))
    except PackError as error:
        raise PackError(f"{error}; name the pack it was indexed with by --pack") from error
    encoder = adapted_encoder(title, pack, storage)
    try:
        pack.write_onnx(encoder, options.file)
    except OSError as error:
        raise UsageError(f"{options.file} cannot be written: {error.strerror}") from error
    say(f"{options.file}: {pack.encoder} of pack {pack.name} ({pack.licence})")
    say(f"adapted to {title.summary['title']}; it takes {describe_input(encoder)}")
    return 0


def _pack_settings(options: argparse.Namespace) -> RunConfig:
    """The settings with the resolved pack that the user named."""
    settings = given_settings(options)
    return with_pack(settings, resolve_pack(options.pack, settings.s3))


def _info_fields(info: PackInfo) -> dict[str, object]:
    """The lines about a pack, in order."""
    return {
        "name": info.name,
        "licence": info.licence,
        "commercial use": _yes(info.commercial_use),
        "source": info.source,
        "place": info.place,
        "detector": info.detector,
        "encoder": info.encoder,
        "detector MB": info.detector_bytes / MEGABYTE,
        "encoder MB": info.encoder_bytes / MEGABYTE,
        "detector hash": info.detector_hash,
        "encoder hash": info.encoder_hash,
    }


def _prior_fields(
    prior: FacePrior | None, unmeasured: str, measured: str = "measured"
) -> dict[str, object]:
    """The lines about a prior, in order; the first one says whether there is one."""
    if prior is None:
        return {"prior": unmeasured}
    return {
        "prior": measured,
        "tracks of one person": f"cosine distance up to {prior.cut:.4f}, pretrained encoder",
        "faces that can be recognised": f"nearly all score {prior.min_score:.2f} or more",
    }


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _check_fields(check: PackCheck) -> dict[str, object]:
    """The lines about the picture of six people, in order."""
    scale = check.better_scale
    return {
        "name": check.name,
        "faces in the picture": check.faces,
        "faces found": check.found,
        "boxes without a face": check.extra,
        "seconds to detect": check.detect_seconds,
        "seconds to embed a face": check.embed_seconds,
        "cosine of a face and its mirror image, minimum": check.same_cosine,
        "cosine of two people, maximum": check.different_cosine,
        "pixels from landmarks to their places": check.landmark_pixels,
        "deviations between people": check.separation,
        "better input scale": scale and f"mean {list(scale.mean)}, std {list(scale.std)}",
    }


def face_fields(check: FaceCheck) -> dict[str, object]:
    """The lines about a labelled folder, in order."""
    within = f", {check.bordered} of them within a border" if check.bordered else ""
    rates = {
        f"TAR at FAR {false:g}": true
        for false, true in zip(FALSE_RATES, check.accepted, strict=True)
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
    }


def _unreadable(files: list[str]) -> str:
    """The number of files, and their names."""
    if not files:
        return ""
    rest = len(files) - MAX_NAMED_FILES
    more = f" and {rest} more" if rest > 0 else ""
    named = ", ".join(files[:MAX_NAMED_FILES])
    return clean(f"{count(len(files), 'picture')} ({named}{more})")


def _pace(number: int, what: str, seconds: float) -> str:
    if not number:
        return ""
    return f"{seconds:.1f} s, {number / seconds:.1f} {what}s a second"


def _net_fields(added: AddedPack) -> dict[str, object]:
    """The lines about the nets of a folder, in order."""
    detector, encoder = added.spec.detector, added.spec.encoder
    side = detector.input_pixels
    resized = "scaled" if detector.kind == "centerface" else "shrunk"
    frames = f"frames {resized} to {side} pixels" if side else "frames of any size"
    scale = "that of its kind"
    if encoder.mean and encoder.std:
        why = " (chosen: it tells people apart better)" if added.scale_chosen else ""
        scale = f"mean {encoder.mean}, std {encoder.std}, {encoder.channels}{why}"
    return {
        "name": added.spec.name,
        "detector": f"{detector.kind}, {detector.file}, takes {frames}",
        "encoder": f"{encoder.kind}, {encoder.file}, takes crops of {encoder.input_pixels} pixels",
        "input scale of the encoder": scale,
        "licence": added.spec.licence,
        "commercial use": _yes(added.spec.commercial_use),
        "source": added.spec.source,
    }


def _say_fields(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name}: {shown if shown not in ('', None) else '-'}")


def _say_problems(problems: list[str]) -> None:
    for problem in problems:
        say(f"problem: {problem}")
    if not problems:
        say("problems: none")


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "add": _add,
    "pull": _pull,
    "export": _export,
}
