"""Forgetting what failed, so that the next run tries it again; results stay until replaced."""

from __future__ import annotations

from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.plan import Plan, VideoPlan
from vcn_ray.run.steps import segment_file


def forget_failures(plan: Plan, storage: Storage) -> tuple[str, ...]:
    """Take back the commit of every segment that failed, and of all that was made without it.

    A fault of the content is committed with its segment and not tried again, because it would be as
    wrong the next time: unless the decoder is another one now, or its limits are wider.

    Returns:
        Uris of the videos that the next run tries again.
    """
    again = {
        video.video_id: segments
        for video in plan.videos
        if (segments := _failed_segments(video, storage))
    }
    lame = [video for video in plan.videos if video.video_id in again]
    if not lame:
        return ()
    # From the end to the start: a run that is killed here never finds a result whose inputs are
    # open. Results of other settings, and of other titles that hold the video, are made of it too.
    for folder in _made_of({video.tracks for video in lame}, storage):
        storage.delete(f"{folder}/{MANIFEST}")
    for video in lame:
        for folder in (video.tracks, video.faces):
            storage.delete(f"{folder}/{MANIFEST}")
        for index in again[video.video_id]:
            storage.delete(segment_file(video.faces, index, "seg", "json"))
    return tuple(video.uri for video in lame)


def _made_of(tracks: set[str], storage: Storage) -> list[str]:
    """Committed folders of titles that were made of any of these tracks, results first."""
    results, adapted = [], []
    for title in storage.names("titles"):
        for name in storage.names(f"titles/{title}"):
            folder = f"titles/{title}/{name}"
            if name.startswith("result-"):
                summary = storage.find_json(f"{folder}/result.json")
                if summary and tracks & set(summary["keys"]["tracks"]):
                    results.append(folder)
            elif name.startswith("adapted-"):
                manifest = storage.find_json(f"{folder}/{MANIFEST}")
                # One of an earlier version names none; its key is another one, and never looked at.
                if manifest and tracks & set(manifest.get("tracks", ())):
                    adapted.append(folder)
    return results + adapted


def _failed_segments(video: VideoPlan, storage: Storage) -> list[int]:
    """Segments whose committed output tells of a failure."""
    if storage.is_committed(video.tracks):
        failures = storage.read_manifest(video.tracks)["faces_stage"]["failures"]
        return [failure["segment"] for failure in failures]
    found = []
    for segment in video.segments:
        marker = storage.find_json(segment_file(video.faces, segment.index, "seg", "json"))
        if marker is not None and marker["failure"]:
            found.append(segment.index)
    return found
