"""How a committed title went, and the pointer to its newest result."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.redact import redact
from vcn_ray.run.plan import TitlePlan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TitleStatus:
    """How a title went."""

    title: str
    title_id: str
    result: str  # folder below the output
    people: int
    tracks: int
    unknown: int  # tracks
    no_face: int  # tracks
    seconds: float  # spent on it in this run
    warnings: tuple[str, ...]
    reused: bool
    corrections: int = 0  # that count
    misfits: int = 0  # of these, that do not fit the result, or only partly


def read_status(title: TitlePlan, storage: Storage, reused: bool) -> TitleStatus:
    """How a committed title went."""
    summary = storage.read_json(f"{title.cluster_folder}/result.json")
    counts = summary["counts"]
    return TitleStatus(
        title=title.title,
        title_id=title.title_id,
        result=title.cluster_folder,
        people=counts["people"],
        tracks=counts["tracks"],
        unknown=counts["unknown"],
        no_face=counts["no_face"],
        seconds=0.0 if reused else float(sum(summary["seconds"].values())),
        warnings=tuple(w["code"] for w in summary["warnings"]),
        reused=reused,
    )


def point_to(title: TitlePlan, storage: Storage) -> None:
    """Make `latest.json` of a title name this result and the present places of its videos."""
    content = {
        "result": title.cluster_folder.rsplit("/", 1)[-1],
        "title": title.title,
        "uris": {video.video_id: redact(video.uri) for video in title.videos},
    }
    path = f"titles/{title.title_id}/latest.json"
    # A second run of a finished catalog writes nothing, not even this.
    if _read_pointer(path, storage) != content:
        storage.write_json(path, content)


def _read_pointer(path: str, storage: Storage) -> dict[str, Any] | None:
    try:
        return storage.find_json(path)
    except DamagedError as error:
        log.warning("%s; it is written again", error)
        return None
