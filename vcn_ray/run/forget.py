"""Erases permanent failures, so that the run retries them; results stay until they are replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from vcn_ray.io.storage import MANIFEST, Storage, one_line
from vcn_ray.run.damage import segment_file
from vcn_ray.run.plan import PlannedTitle, VideoPlan

log = logging.getLogger(__name__)


class FailureEraser:
    """Removes the commit of each segment that failed, and of everything made without it.

    A retry is worth while where the decoder is a newer one, or its limits are wider.

    Args:
        storage: The output.

    Attributes:
        again: Uris of the videos that are retried, so far.
    """

    def __init__(self, storage: Storage) -> None:
        self.again: list[str] = []
        self._storage = storage
        self._seen: set[str] = set()  # video ids: a video of two titles is erased only once
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
                log.warning("failures are not retried: %s", one_line(error))
            yield planned

    def _erase(self, video: VideoPlan) -> None:
        failed = _failed_segments(video, self._storage)
        if not failed:
            return
        if self._made_of is None:
            self._made_of = made_of_tracks(self._storage)
        # Results go first: a run killed here leaves no result whose inputs are open. Results
        # of other settings, and of other titles with this video, were made without it too.
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
    """Committed folders of titles by the track folders they were made of, results first."""
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
        summary = storage.find_sound_json(f"{folder}/result.json")
        return list(summary["keys"]["track"]) if summary else []
    if name.startswith("adapt-"):
        manifest = storage.find_sound_json(f"{folder}/{MANIFEST}")
        return list(manifest["tracks"]) if manifest else []
    return []


def _failed_segments(video: VideoPlan, storage: Storage) -> list[int]:
    """Segments whose committed output is a failure."""
    manifest = storage.find_sound_json(f"{video.track_folder}/{MANIFEST}")
    if manifest is not None:
        return [failure["segment"] for failure in manifest["detect"]["failures"]]
    found = []
    for segment in video.segments:
        path = segment_file(video.detect_folder, segment.index, "seg", "json")
        marker = storage.find_sound_json(path)
        if marker is not None and marker["failure"]:
            found.append(segment.index)
    return found
