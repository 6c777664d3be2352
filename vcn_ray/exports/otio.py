"""An OpenTimelineIO timeline of a video, with a marker for each range: rows to JSON."""

from __future__ import annotations

from collections.abc import Sequence

import opentimelineio as otio

from vcn_ray.exports.ranges import ExportVideo, Range
from vcn_ray.exports.timecode import rate_name

METADATA = "vcn_ray"  # the one key under which our ids are
COLOURS = ("RED", "GREEN", "BLUE", "CYAN", "MAGENTA", "YELLOW", "ORANGE", "PINK", "PURPLE")


def write_timeline(videos: Sequence[ExportVideo]) -> bytes:
    """One clip, the video, in one track; markers count in the clip's own time, as it starts."""
    (video,) = videos
    whole = _span(video, 0, video.frames)
    media = otio.schema.ExternalReference(target_url=video.uri, available_range=whole)
    clip = otio.schema.Clip(
        name=video.name,
        media_reference=media,
        source_range=whole,
        metadata={METADATA: {"video_id": video.video_id, "title_id": video.title_id}},
    )
    clip.markers.extend(_marker(video, seen) for seen in video.ranges)
    track = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video, children=[clip])
    timeline = otio.schema.Timeline(name=video.title, global_start_time=whole.start_time)
    timeline.tracks.append(track)
    timeline.metadata[METADATA] = {
        "rate": rate_name(video.rate),
        "drop_frame": video.timecode.drop,
    }
    return str(otio.adapters.write_to_string(timeline, "otio_json")).encode()


def _marker(video: ExportVideo, seen: Range) -> otio.schema.Marker:
    return otio.schema.Marker(
        name=seen.person.label,
        marked_range=_span(video, seen.start_frame, seen.end_frame),
        color=COLOURS[(seen.person.number - 1) % len(COLOURS)],
        comment=f"{seen.person.person_id}, {video.timecode.at(seen.start_frame)}",
        metadata={
            METADATA: {
                "person_id": seen.person.person_id,
                "shots": list(seen.shots),
                "tracks": list(seen.tracks),
            }
        },
    )


def _span(video: ExportVideo, start: int, end: int) -> otio.opentime.TimeRange:
    rate, first = float(video.rate), video.timecode.start
    return otio.opentime.TimeRange(
        otio.opentime.RationalTime(first + start, rate),
        otio.opentime.RationalTime(end - start, rate),
    )
