"""Forgetting what failed, so that the next run tries it again; results stay until replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from vcn_ray.io.storage import MANIFEST, Storage, one_line
from vcn_ray.run.commit import segment_file
from vcn_ray.run.plan import PlannedTitle, VideoPlan

log = logging.getLogger(__name__)


class FailureEraser:
    """Takes back the commit of every segment that failed, and of all that was made without it.

    A fault of the content is committed with its segment and not tried again, because it would be as
    wrong the next time: unless the decoder is another one now, or its limits are wider.

    Args:
        storage: Where results lie.

    Attributes:
        again: Uris of the videos that are tried again, so far.
    """

    def __init__(self, storage: Storage) -> None:
        self.again: list[str] = []
        self._storage = storage
        self._seen: set[str] = set()  # ids of videos: one in two titles must not be erased at work
        self._made_of: dict[str, list[str]] | None = None

    def pass_on(self, titles: Iterable[PlannedTitle]) -> Iterator[PlannedTitle]:
        """Erase the failures of each title before it is passed on."""
        for planned in titles:
            try:
                for video in planned.title.videos if planned.title else ():
                    if video.video_id not in self._seen:
                        self._seen.add(video.video_id)
                        self._erase(video)
            except Exception as error:  # one title must never stop the others
                log.warning("what failed is not tried again: %s", one_line(error))
            yield planned

    def _erase(self, video: VideoPlan) -> None:
        failed = _failed_segments(video, self._storage)
        if not failed:
            return
        if self._made_of is None:
            self._made_of = made_of_tracks(self._storage)
        # From the end to the start: a run that is killed here never finds a result whose inputs are
        # open. Results of other settings and of other titles that hold the video are made of it.
        for folder in (
            *self._made_of.pop(video.track_folder, ()),
            video.track_folder,
            video.detect_folder,
        ):
            self._storage.delete(f"{folder}/{MANIFEST}")
        for index in failed:
            self._storage.delete(segment_file(video.detect_folder, index, "seg", "json"))
        self.again.append(video.uri)


def made_of_tracks(storage: Storage) -> dict[str, list[str]]:
    """Committed folders of titles that were made of each video's tracks, results first."""
    found: dict[str, list[str]] = {}
    for title in storage.names("titles"):
        # "cluster-..." comes before "adapt-..." when names are read from the end
        for name in storage.names(f"titles/{title}")[::-1]:
            folder = f"titles/{title}/{name}"
            for tracks in _tracks_of(folder, name, storage):
                found.setdefault(tracks, []).append(folder)
    return found


def _tracks_of(folder: str, name: str, storage: Storage) -> list[str]:
    if name.startswith("cluster-"):
        summary = storage.find_json(f"{folder}/result.json")
        return list(summary["keys"]["track"]) if summary else []
    if name.startswith("adapt-"):
        manifest = storage.find_json(f"{folder}/{MANIFEST}")
        # One of an earlier version names none; its key is another one, and never looked at.
        return list(manifest.get("tracks", ())) if manifest else []
    return []


def _failed_segments(video: VideoPlan, storage: Storage) -> list[int]:
    """Segments whose committed output tells of a failure."""
    if storage.is_committed(video.track_folder):
        failures = storage.read_manifest(video.track_folder)["detect"]["failures"]
        return [failure["segment"] for failure in failures]
    found = []
    for segment in video.segments:
        marker = storage.find_json(segment_file(video.detect_folder, segment.index, "seg", "json"))
        if marker is not None and marker["failure"]:
            found.append(segment.index)
    return found
