"""Final Cut Pro's XML, version 1.10, with a keyword for each range: rows to XML.

A keyword covers a range, as "a person is here" does, while a marker is a point. Times are fractions
of a second that are multiples of a frame, since Final Cut refuses others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from xml.etree import ElementTree as ET

from vcn_ray.exports.ranges import ExportVideo
from vcn_ray.io.paths import local_path
from vcn_ray.io.storage import is_remote

VERSION = "1.10"
COMMA, COMMA_WRITTEN = ",", "\u201a"  # a low quotation mark looks alike, and separates nothing


def without_commas(label: str) -> str:
    """A label as one keyword: a comma would make two of it."""
    return label.replace(COMMA, COMMA_WRITTEN)


def write_fcpxml(videos: Sequence[ExportVideo]) -> bytes:
    """A project whose one clip is the video; its asset begins at the video's start timecode."""
    (video,) = videos
    start, length = _time(video, video.timecode.start), _time(video, video.frames)
    form = "DF" if video.timecode.drop else "NDF"
    root = ET.Element("fcpxml", version=VERSION)
    resources = ET.SubElement(root, "resources")
    ET.SubElement(
        resources,
        "format",
        id="r1",
        frameDuration=_time(video, 1),
        width=str(video.width),
        height=str(video.height),
    )
    asset = ET.SubElement(
        resources,
        "asset",
        id="r2",
        name=video.name,
        start=start,
        duration=length,
        hasVideo="1",
        format="r1",
    )
    ET.SubElement(asset, "media-rep", kind="original-media", src=_address(video.uri))
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name=video.title)
    project = ET.SubElement(event, "project", name=video.name)
    sequence = ET.SubElement(
        project, "sequence", format="r1", tcStart=start, tcFormat=form, duration=length
    )
    clip = ET.SubElement(
        ET.SubElement(sequence, "spine"),
        "asset-clip",
        ref="r2",
        offset=start,
        name=video.name,
        start=start,
        duration=length,
        format="r1",
        tcFormat=form,
    )
    for seen in video.ranges:
        ET.SubElement(
            clip,
            "keyword",
            start=_time(video, video.timecode.start + seen.start_frame),
            duration=_time(video, seen.frames),
            value=without_commas(seen.person.label),
            note=f"{seen.person.person_id} {seen.person.name}".strip(),
        )
    ET.indent(root)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return (head + ET.tostring(root, encoding="unicode") + "\n").encode()


def _time(video: ExportVideo, frames: int) -> str:
    """So many frames as seconds, with the frame rate below the line: 1001/30000s, 2s."""
    seconds = frames / video.rate
    if seconds.denominator == 1:
        return f"{seconds}s"
    return f"{frames * video.rate.denominator}/{video.rate.numerator}s"


def _address(uri: str) -> str:
    if is_remote(uri):
        return uri
    path = PurePath(local_path(uri))
    return path.as_uri() if path.is_absolute() else uri
