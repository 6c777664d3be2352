"""`result.json`: what a title's result is, how it was made and what to be careful about."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vcn_ray.config import RunConfig, dump_config, select, with_settings
from vcn_ray.io.identity import title_id
from vcn_ray.io.paths import file_name
from vcn_ray.io.tables import column_array
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.redact import redact
from vcn_ray.rows.result_rows import CLUSTERED, NO_FACE, UNKNOWN, ResultTables
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.schema import SCHEMA_VERSION
from vcn_ray.steps import KEY_SETTINGS, METHOD_VERSION, RESULT_SETTINGS

ORIGIN = "origin"  # key of result.json and of the manifest beside it
DECODED_ON = "decoded_on"  # of a segment or video; what was stored before has none, and was on cpu

START_TIMECODE = "start_timecode"  # of a video; null, or no key: nobody looked for it

LIBRARIES = ("vcn-ray", "torch", "av", "numpy", "scipy", "opencv-python", "trackers")


SILENT = ("few_tracks", "nobody_returns")
"""Codes of step `adapt` that are no reason to worry."""

MOSTLY = 0.5
MIN_SMALL = 20  # small faces that a title needs before they are worth a word


class WarningText(NamedTuple):
    """What a warning means, for people."""

    heading: str  # the consequence, in a few words
    message: str  # the cause; a warning can carry one of its own instead


WARNINGS = {
    "collapsed": WarningText(
        "Adapting to this title failed",
        "fine-tuning collapsed, so the pretrained encoder was used",
    ),
    "encoder_collapsed": WarningText(
        "Adapting to this title partly failed",
        "fine-tuning the encoder collapsed; only the head was adapted",
    ),
    "partial": WarningText(
        "Parts of the title are missing",
        "a part of the title could not be read; people who appear only there are missing",
    ),
    "several_pictures": WarningText(
        "Only one of several pictures was indexed",
        "a file has several moving pictures, as of two cameras",
    ),
    "turned": WarningText(
        "The picture may be sideways or upside down",
        "most faces are turned",
    ),
    "unreadable": WarningText(
        "Most faces could not be told apart",
        "most of the time on screen belongs to nobody",
    ),
    "small": WarningText(
        "Most faces are too small",
        "most faces are smaller than detect.min_face_pixels",
    ),
    "empty": WarningText(
        "Nobody was found",
        "no face was found, or none could be tracked long enough to be compared",
    ),
    "over_merging": WarningText(
        "Different people may be merged into one",
        "tracks in one frame that look like two people are one person here",
    ),
    "seen_twice": WarningText(
        "Some faces appear twice in one frame",
        "tracks in one frame look like one face, as in a mirror",
    ),
    "erased": WarningText(
        "A person was erased",
        "a person was removed on request; all others are as they were before",
    ),
    "retention": WarningText(
        "Pictures of faces were removed",
        "they were kept only for a limited time; times and people are complete",
    ),
}
"""Warning code -> its meaning."""

ADAPTED = "adapted"
NOT_ADAPTED = {
    "empty": "not adapted: there is no track",
    "few_tracks": "not adapted: the title has too few tracks to learn from",
    "nobody_returns": "not adapted: no two tracks look like one person",
    "collapsed": "not adapted: fine-tuning collapsed",
}
"""What `result.json` says of the adaptation, by the code that step `adapt` gives."""


class Manifests(NamedTuple):
    """The manifests of what a result is made of."""

    tracks: list[dict[str, Any]]  # of step `track`, of each video of the title
    adapted: dict[str, Any]  # of step `adapt`


def used_pack(summary: Mapping[str, Any]) -> str:
    """The pack that a title was indexed with, as its settings name it."""
    if ORIGIN not in summary:
        return str(summary["pack"]["name"])
    return with_settings(RunConfig(), summary[ORIGIN]["settings"], "the result").pack


def build_summary(
    title: TitlePlan,
    tables: ResultTables,
    cluster_warnings: tuple[str, ...],
    pack: FacePack,
    config: RunConfig,
    manifests: Manifests,
) -> dict[str, Any]:
    """All that `result.json` says of a title whose tables are `tables`."""
    tracks, adapted = manifests
    faces = [manifest["detect"] for manifest in tracks]
    partial = bool(title.missing) or any(manifest["failures"] for manifest in faces)
    learned = next(
        (NOT_ADAPTED[code] for code in adapted["warnings"] if code in NOT_ADAPTED), ADAPTED
    )
    codes = [code for code in (*adapted["warnings"], *cluster_warnings) if code not in SILENT]
    codes += ["partial"] if partial else []
    codes += [text for video in title.videos for text in _other_pictures(video)]
    counts = {
        "people": tables.people.num_rows,
        **count_tracks(tables.tracks),
        "faces": sum(manifest["faces"] for manifest in faces),
        "rejected": _sum_counts([manifest["rejected"] for manifest in tracks]),
    }
    codes += doubts(counts, tracks, config)
    return {
        "schema_version": SCHEMA_VERSION,
        "method_version": METHOD_VERSION,
        "title": title.title,
        "title_id": title.title_id,
        "videos": [
            _describe(video, manifest) for video, manifest in zip(title.videos, tracks, strict=True)
        ],
        "missing_videos": [redact(uri) for uri in title.missing],
        "keys": {
            "detect": [video.detect_folder for video in title.videos],
            "track": [video.track_folder for video in title.videos],
            "adapt": title.adapt_folder,
            "cluster": title.cluster_folder,
        },
        "counts": counts,
        "pack": {
            "name": pack.name,
            "licence": pack.licence,
            "commercial_use": pack.commercial_use,
            "source": pack.source,
            "detector_hash": pack.detector_hash,
            "encoder_hash": pack.encoder_hash,
        },
        "seeds": {"adapt": config.seed},
        "seconds": {
            "detect": round(sum(manifest["seconds"] for manifest in faces), 3),
            "track": round(sum(manifest["seconds"] for manifest in tracks), 3),
            "adapt": adapted["seconds"],
        },
        "splits": adapted["splits"],
        "adaptation": learned,
        "taught_by": list(title.teaching),
        "adapt_seconds": adapted["adapt_seconds"],
        "adapt_peak_bytes": adapted["adapt_peak_bytes"],
        "warnings": [explain_warning(code) for code in dict.fromkeys(codes)],
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
        "config": select(config, RESULT_SETTINGS),
        ORIGIN: _origin(title, config),
    }


def _origin(title: TitlePlan, config: RunConfig) -> dict[str, Any]:
    """What a result is made of: enough to make it again."""
    return {
        "title": title.title,
        "named": title.title_id == title_id(title.title, []),
        "uris": [redact(video.uri) for video in title.videos] + [redact(u) for u in title.missing],
        "detect": [video.detect_folder for video in title.videos],
        "track": [video.track_folder for video in title.videos],
        "adapt": title.adapt_folder,
        "settings": dump_config(config, KEY_SETTINGS),
    }


def doubts(
    counts: dict[str, Any], tracks: list[dict[str, Any]], config: RunConfig
) -> Iterator[str]:
    """Say what speaks against a result as a whole: warnings with their messages.

    Args:
        counts: Of the title, as in `result.json`.
        tracks: The manifests of step `track` of its videos.
        config: Settings of the run.
    """
    upset = [manifest for manifest in tracks if is_turned(manifest)]
    if upset:
        turned, tracked = (sum(m[name] for m in upset) for name in ("turned", "tracked"))
        which = "" if len(tracks) == 1 else f" in {len(upset)} of {len(tracks)} videos"
        yield (
            f"turned: {turned} of {tracked} faces{which} lie on their side or upside down, so "
            "nobody there can be told apart; turn the video upright and index it again"
        )
    seconds = counts["seconds"]
    if seconds["people"] < (1 - MOSTLY) * seconds["tracks"]:
        share = 1 - seconds["people"] / seconds["tracks"]
        yield (
            f"unreadable: {share:.0%} of the time on screen belongs to faces that cannot be told "
            "apart, or to no faces, as in cartoons, in the dark or from afar"
        )
    small = counts["rejected"].get("small", 0)
    if small > max(counts["faces"] - small, MIN_SMALL):
        yield (
            f"small: {small} of {counts['faces']} faces are smaller than detect.min_face_pixels = "
            f"{config.detect.min_face_pixels:g} and were left out; lower it, or give a larger copy "
            "of the video"
        )


def is_turned(tracks: dict[str, Any]) -> bool:
    """True if most faces of a video lie on their side or upside down.

    Args:
        tracks: The manifest of its step `track`.
    """
    return bool(tracks["turned"] > MOSTLY * tracks["tracked"])


def count_tracks(tracks: pa.Table) -> dict[str, Any]:
    """Count a title's tracks, and their lengths in seconds, by what they show.

    Args:
        tracks: Schema RESULT_TRACKS.

    Returns:
        Numbers of all `tracks`, the `unknown` ones and those with `no_face`; and `seconds` of each
        and of `people`, which add up to those of all `tracks`. Two faces at once count twice.
    """
    status = np.array(tracks.column("status").to_pylist(), dtype=object)
    length = column_array(tracks, "end_seconds") - column_array(tracks, "start_seconds")
    parts = {"people": CLUSTERED, "unknown": UNKNOWN, "no_face": NO_FACE}
    seconds = {name: float(length[status == value].sum()) for name, value in parts.items()}
    return {
        "tracks": len(status),
        "unknown": int((status == UNKNOWN).sum()),
        "no_face": int((status == NO_FACE).sum()),
        "seconds": {
            name: round(value, 3)
            for name, value in {"tracks": float(length.sum()), **seconds}.items()
        },
    }


def _other_pictures(video: VideoPlan) -> Iterator[str]:
    info = video.info
    if info.moving_pictures > 1:
        name = file_name(redact(video.uri))
        yield (
            f"several_pictures: {name} has {info.moving_pictures} moving pictures, and only the "
            f"main one of {info.width} x {info.height} pixels was indexed; give the others as "
            "files of their own"
        )


def _describe(video: VideoPlan, tracks: dict[str, Any]) -> dict[str, Any]:
    """What a result says of a video.

    Its length is that of the pictures that were read; where some are missing, at least the length
    that its container states.
    """
    info, seconds = video.info, tracks["end_seconds"]
    if tracks["detect"]["failures"]:
        seconds = max(seconds, info.duration_seconds)
    return {
        "video_id": video.video_id,
        "uri": redact(video.uri),
        "duration_seconds": seconds,
        "width": info.width,
        "height": info.height,
        "frame_rate": info.frame_rate,
        "codec": info.codec,
        "hdr": info.hdr,
        "interlaced": info.interlaced,
        START_TIMECODE: info.timecode,
        DECODED_ON: tracks["detect"].get(DECODED_ON, "cpu"),
    }


def explain_warning(warning: str) -> dict[str, str]:
    """Split a warning `code` or `code: message` into code and message."""
    code, _, message = warning.partition(": ")
    return {"code": code, "message": message or WARNINGS[code].message}


def warning_text(code: str) -> WarningText:
    """Return the meaning of a warning code; one of another version gets a general text."""
    return WARNINGS.get(code) or WarningText(f"Please note: {code.replace('_', ' ')}", code)


def _sum_counts(counts: list[dict[str, int]]) -> dict[str, int]:
    names = sorted({name for each in counts for name in each})
    return {name: sum(each.get(name, 0) for each in counts) for name in names}
