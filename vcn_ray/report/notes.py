"""The notes around the people of a page: warnings, unused faces, footer; it knows no tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vcn_ray.report.words import brief, capitalised, count, percent, rejected_words, sentence
from vcn_ray.run.summary import explain_warning, warning_text
from vcn_ray.steps import STEPS


@dataclass(frozen=True, slots=True)
class WarningView:
    """A warning about the result."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class RejectedView:
    """Faces that were detected and not used, for one reason."""

    heading: str
    text: str
    faces: int
    bar_percent: float  # of the most frequent reason


@dataclass(frozen=True, slots=True)
class PackView:
    """The models that were used, and their licence."""

    name: str
    licence: str
    use: str
    source: str
    link: bool  # whether the source is a web address


@dataclass(frozen=True, slots=True)
class Listing:
    """Names and values in the footer."""

    name: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class MisfitView:
    """A correction, or a part of one, that does not fit the result."""

    text: str
    place: str  # when it is about; empty: unknown


@dataclass(frozen=True, slots=True)
class Notes:
    """Everything on a page that is not about one person or track."""

    warnings: list[WarningView]
    rejected: list[RejectedView]  # most faces first
    rejected_text: str  # how many altogether
    pack: PackView
    listings: list[Listing]  # videos, seconds, versions, seeds; none is empty
    config: str  # JSON


def build_notes(result: Mapping[str, Any], removed: Mapping[str, str] | None = None) -> Notes:
    """Make the notes of a title.

    Args:
        result: Its `result.json`.
        removed: What retention has removed, and when.
    """
    gone = [explain_warning("retention")] if removed else []
    rejected = result["counts"]["rejected"]
    return Notes(
        warnings=[
            _warning_view(item["code"], item["message"]) for item in (*result["warnings"], *gone)
        ],
        rejected=_rejected_views(rejected),
        rejected_text=_rejected_text(sum(rejected.values()), result["counts"]["faces"]),
        pack=_pack_view(result["pack"]),
        listings=_listings(result),
        config=json.dumps(result["config"], indent=2, ensure_ascii=False),
    )


def _warning_view(code: str, message: str) -> WarningView:
    return WarningView(warning_text(code).heading, sentence(message))


def _rejected_views(rejected: Mapping[str, int]) -> list[RejectedView]:
    most = max(rejected.values(), default=0)
    ranked = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return [
        RejectedView(*rejected_words(reason), faces=faces, bar_percent=100 * faces / most)
        for reason, faces in ranked
        if faces > 0
    ]


def _rejected_text(rejected: int, faces: int) -> str:
    """Say how many of the `faces` detections of a title were not used."""
    if not faces:
        return "No face was detected. Small faces need frames analysed at a larger size."
    if not rejected:
        return "Every detected face was used."
    return (
        f"{rejected:,} of the {count(faces, 'face')} detected in single frames "
        f"({percent(rejected / faces)}) {'was' if rejected == 1 else 'were'} not used. "
        "All of them stay in the tables of detections."
    )


def _pack_view(pack: Mapping[str, Any]) -> PackView:
    source = str(pack["source"])
    return PackView(
        name=str(pack["name"]),
        licence=str(pack["licence"]),
        use=(
            "Commercial use is allowed."
            if pack["commercial_use"]
            else "For research only: commercial use needs the permission of the owners."
        ),
        source=source,
        link=source.startswith(("https://", "http://")),
    )


def _listings(result: Mapping[str, Any]) -> list[Listing]:
    seconds = [(capitalised(step.doing), brief(result["seconds"][step.name])) for step in STEPS]
    listings = [
        Listing("Videos", [(str(video["uri"]), _video_text(video)) for video in result["videos"]]),
        Listing("Time taken", seconds),
        Listing("Versions", [(name, str(value)) for name, value in result["versions"].items()]),
        Listing("Seeds", [(name, str(value)) for name, value in result["seeds"].items()]),
    ]
    return [listing for listing in listings if listing.rows]


def _video_text(video: Mapping[str, Any]) -> str:
    size = f"{video['width']} \u00d7 {video['height']}"
    return f"{size}, {video['frame_rate']:.4g} frames a second"
