"""WebVTT metadata for players: who is on screen, as JSON in a cue for each range; rows to text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vcn_ray.exports.ranges import ExportVideo, Range


def write_cues(videos: Sequence[ExportVideo]) -> bytes:
    """Cues in order of their start, in seconds as players count them."""
    (video,) = videos
    ordered = sorted(video.ranges, key=lambda seen: (seen.start_seconds, seen.person.number))
    return ("WEBVTT\n\n" + "".join(_cue(seen) for seen in ordered)).encode()


def _cue(seen: Range) -> str:
    start = round(1000 * seen.start_seconds)
    end = max(round(1000 * seen.end_seconds), start + 1)
    payload = {
        "person_id": seen.person.person_id,
        "name": seen.person.name,
        "in_frame": seen.start_frame,
        "out_frame": seen.end_frame,
    }
    text = json.dumps(payload, ensure_ascii=False)
    for letter in "<>&":  # an arrow or a tag would end the cue, or be taken out of it
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return f"{_clock(start)} --> {_clock(end)}\n{text}\n\n"


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
