"""All formats in one table: how files are named, what they need, and what writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from vcn_ray.exports import box_files, csv_files, edl, webvtt
from vcn_ray.exports.fcpxml import without_commas, write_fcpxml
from vcn_ray.exports.ranges import ExportVideo

Write = Callable[[Sequence[ExportVideo]], bytes]


def _as_it_is(label: str) -> str:
    return label


def _write_otio(videos: Sequence[ExportVideo]) -> bytes:
    from vcn_ray.exports.otio import write_timeline  # the library takes a moment to import

    return write_timeline(videos)


class Format(NamedTuple):
    """A format of export."""

    ending: str  # of its files
    write: Write
    each: Literal["video", "title", "all"] = "video"  # what gets a file of its own
    timecode: Literal["needed", "optional", "none"] = "needed"
    boxes: bool = False  # holds boxes in pictures, and not ranges of time
    spell: Callable[[str], str] = _as_it_is  # a label as the format can hold it
    one_a_frame: bool = False  # ranges that begin at one frame share a marker
    separated: Callable[[str], Write] | None = None  # what writes with another separator


FORMATS = {
    "csv": Format(
        ".csv",
        csv_files.write_ranges,
        each="all",
        timecode="optional",
        spell=csv_files.guarded,
        separated=lambda sign: partial(csv_files.write_ranges, separator=sign),
    ),
    "resolve-edl": Format(
        ".resolve.edl", edl.write_resolve, spell=edl.without_bars, one_a_frame=True
    ),
    "avid-markers": Format(".avid.txt", edl.write_avid),
    "edl": Format(".edl", edl.write_locators),
    "otio": Format(".otio", _write_otio),
    "fcpxml": Format(".fcpxml", write_fcpxml, spell=without_commas),
    "webvtt": Format(".vtt", webvtt.write_cues, timecode="none"),
    "boxes": Format(
        ".boxes.csv",
        csv_files.write_boxes,
        timecode="none",
        boxes=True,
        spell=csv_files.guarded,
        separated=lambda sign: partial(csv_files.write_boxes, separator=sign),
    ),
    "mot": Format(".mot.txt", box_files.write_mot, timecode="none", boxes=True),
    "coco": Format(".coco.json", box_files.write_coco, each="title", timecode="none", boxes=True),
}
"""Every format by its name on the command line; FORMAT_WORDS says what each is for."""
