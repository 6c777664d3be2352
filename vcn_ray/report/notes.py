"""What stands around the people on a page: warnings, unused faces, the foot; it knows no tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vcn_ray.report.words import count, length, percent, readable, rejected_words, warning_words

STAGE_NAMES = {
    "faces": "Finding faces",
    "tracks": "Following faces",
    "adapt": "Learning this title",
    "result": "Grouping",
}


@dataclass(frozen=True, slots=True)
class RejectedView:
    """Faces that were found and not used, for one reason."""

    name: str
    text: str
    faces: int
    share: float  # per cent of the largest reason


@dataclass(frozen=True, slots=True)
class WarningView:
    """Something the reader must know."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Names and values in the page's foot."""

    name: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PackView:
    """The networks that were used, and who may use them for what."""

    name: str
    licence: str
    use: str
    source: str
    link: bool  # whether the source is a web address


def view_warnings(result: Mapping[str, Any]) -> list[WarningView]:
    """Return the warnings of `result.json`, in its order."""
    return [
        WarningView(warning_words(str(item["code"])), str(item["message"]))
        for item in result.get("warnings", [])
    ]


def view_rejected(rejected: Mapping[str, int]) -> list[RejectedView]:
    """Return the reasons why faces were not used, most faces first, none without any."""
    most = max(rejected.values(), default=0)
    ranked = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return [
        RejectedView(*rejected_words(reason), faces=faces, share=100 * faces / most)
        for reason, faces in ranked
        if faces > 0
    ]


def rejected_text(rejected: Mapping[str, int], faces: int | None) -> str:
    """Say how many faces were not used.

    Args:
        rejected: Faces by reason.
        faces: All faces found in single frames, where it is known.
    """
    total = sum(rejected.values())
    if faces == 0:
        return "No face was found at all; small faces need frames analysed at a larger size."
    if not total:
        return "Every face that was found was used."
    text = f"{count(total, 'face was', 'faces were')} found and left aside"
    if faces and faces >= total:
        text += f", {percent(total / faces)} of the {faces:,} found in single frames"
    return text + ". They stay in the tables, marked with the reason."


def view_pack(result: Mapping[str, Any]) -> PackView:
    """Return the pack of `result.json` with what its licence means in words."""
    pack = result.get("pack", {})
    source = str(pack.get("source") or "")
    use = {
        True: "Commercial use is allowed.",
        False: "Not for commercial use: research only, unless its owners agree to more.",
    }
    return PackView(
        name=str(pack.get("name") or "unnamed"),
        licence=str(pack.get("licence") or "licence not stated"),
        use=use.get(pack.get("commercial_use"), "Whether commercial use is allowed is not stated."),
        source=source,
        link=source.startswith(("https://", "http://")),
    )


def view_listings(result: Mapping[str, Any]) -> list[Listing]:
    """Return the tables of the foot: videos, time of the stages, versions, seeds; none is empty."""
    seconds = result.get("seconds") or {}
    videos = [
        (str(video.get("uri", video["video_id"])), _video_text(video)) for video in result["videos"]
    ]
    listings = [
        Listing("Videos", videos),
        Listing(
            "Time taken",
            [
                (STAGE_NAMES.get(name, readable(name)), _taken(value))
                for name, value in seconds.items()
            ],
        ),
        Listing("Versions", _rows(result.get("versions"))),
        Listing("Seeds", _rows(result.get("seeds"))),
    ]
    return [listing for listing in listings if listing.rows]


def view_config(result: Mapping[str, Any]) -> str:
    """Return the configuration in use as indented JSON; empty where there is none."""
    config = result.get("config")
    return json.dumps(config, indent=2, ensure_ascii=False) if config else ""


def _rows(values: Any) -> list[tuple[str, str]]:
    if values is None:
        return []
    if isinstance(values, Mapping):
        return [(str(name), str(value)) for name, value in values.items()]
    return [("seed", str(values))]


def _taken(seconds: float) -> str:
    return length(seconds) if seconds >= 10 else f"{seconds:.1f} s"


def _video_text(video: Mapping[str, Any]) -> str:
    size = f"{video.get('width') or '?'} by {video.get('height') or '?'}"
    rate = float(video.get("frame_rate") or 0)
    return f"{size}, {rate:.4g} frames a second" if rate else size
