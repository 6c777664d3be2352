"""Every export read back by readers of others: each in and out must be the frame it was.

Where a reader loses something by itself, a parser of the lines stands in, and the comment says so.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import motmetrics
import opentimelineio as otio
import pandas as pd
import pycmx
import pytest
import webvtt
from pycocotools.coco import COCO

from tests.helpers.exports import HOSTILE, RATES, STARTS, person, spans_in, spans_of, track, video
from vcn_ray.exports.box_files import write_coco, write_mot
from vcn_ray.exports.csv_files import write_boxes, write_ranges
from vcn_ray.exports.edl import write_avid, write_locators, write_resolve
from vcn_ray.exports.fcpxml import write_fcpxml
from vcn_ray.exports.otio import write_timeline
from vcn_ray.exports.ranges import ExportVideo, plain
from vcn_ray.exports.timecode import Timecode
from vcn_ray.exports.webvtt import write_cues

Spans = list[tuple[int, int]]

each_rate = pytest.mark.parametrize(("rate", "drop"), RATES)
each_start = pytest.mark.parametrize("start", STARTS)
CLOCK = r"(\d+):(\d\d):(\d\d\.\d{3}) (\d+):(\d\d):(\d\d\.\d{3})"
LOCATOR = re.compile(r"\* LOC: (\S{11}) (GREEN|RED)\s+(.*)")
LENGTHS = re.compile(r"p\d+ (\d+) frames?")
RESOLVE = re.compile(r"([^\d*|][^|]*)\|C:ResolveColor\w+ \|M:([^|]*) \|D:(\d+)")


def frame_of(found: ExportVideo, text: str) -> int:
    """The frame of the video that OpenTimelineIO reads from a timecode."""
    time = otio.opentime.from_timecode(text, float(found.rate))
    frame: int = round(time.value) - found.timecode.start
    return frame


def text_of(data: bytes) -> str:
    return data.decode().replace("\r\n", "\n")


def read_csv(found: ExportVideo) -> tuple[Spans, list[str]]:
    table = pd.read_csv(io.BytesIO(write_ranges([found])), keep_default_na=False)
    spans = list(zip(table["in_frame"], table["out_frame"], strict=True))
    seen = zip(table["in_timecode"], table["out_timecode"], strict=True)
    assert [(frame_of(found, a), frame_of(found, b)) for a, b in seen] == spans
    seconds = zip(table["in_seconds"], table["out_seconds"], strict=True)
    assert [(round(a * found.rate), round(b * found.rate)) for a, b in seconds] == spans
    assert {str(rate) for rate in table["rate"]} == {str(found.rate)}
    return spans, table["name"].tolist()


def read_resolve(found: ExportVideo) -> tuple[Spans, list[str]]:
    text = text_of(write_resolve([found]))
    spans, names = [], []
    markers = [line for line in text.splitlines() if "|C:" in line]
    mode = "DROP FRAME" if found.timecode.drop else "NON-DROP FRAME"
    assert text.splitlines()[1] == f"FCM: {mode}"
    events = list(pycmx.parse_cmx3600(io.StringIO(text)).events)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    for event, marker in zip(events, markers, strict=True):
        (edit,) = event.edits
        assert (edit.source, edit.source_in, edit.source_out) == (
            "001",
            edit.record_in,
            edit.record_out,
        )
        first = frame_of(found, edit.record_in)
        assert frame_of(found, edit.record_out) == first + 1
        read = RESOLVE.fullmatch(marker)
        assert read is not None, marker
        lengths = [int(each) for each in LENGTHS.findall(read[1])] or [int(read[3])]
        assert max(lengths) == int(read[3])
        spans += [(first, first + length) for length in lengths]
        names.append(read[2])
    assert len(dict(spans)) == len(events)  # Resolve keeps one marker on a frame
    return spans, names


def read_avid(found: ExportVideo) -> tuple[Spans, list[str]]:
    table = pd.read_csv(
        io.BytesIO(write_avid([found])),
        sep="\t",
        header=None,
        names=["user", "timecode", "track", "colour", "comment", "frames"],
        quoting=3,
        keep_default_na=False,
    )
    assert set(table["track"]) == {"V1"}
    first = [frame_of(found, text) for text in table["timecode"]]
    ends = [start + length for start, length in zip(first, table["frames"], strict=True)]
    return list(zip(first, ends, strict=True)), table["comment"].tolist()


def read_locators(found: ExportVideo) -> tuple[Spans, list[str]]:
    text = text_of(write_locators([found]))
    ((edit,),) = (event.edits for event in pycmx.parse_cmx3600(io.StringIO(text)).events)
    assert (frame_of(found, edit.record_in), frame_of(found, edit.record_out)) == (0, found.frames)
    assert edit.clip_name == found.name
    # pycmx keeps no locators, and the adapter of OpenTimelineIO none at 29.97: their lines it is.
    lines = [LOCATOR.fullmatch(line) for line in text.splitlines() if line.startswith("* LOC")]
    places = [(frame_of(found, line[1]), line[2], line[3]) for line in lines if line]
    assert len(places) == len(lines) == 2 * len(found.ranges)
    spans, names, open_at = [], [], dict[str, list[int]]()
    for frame, colour, name in places:
        if colour == "GREEN":
            open_at.setdefault(name, []).append(frame)
        else:
            ends = frame + 1
            spans.append((open_at[name].pop(0), ends))
            names.append(name)
    return spans, names


def read_otio(found: ExportVideo) -> tuple[Spans, list[str]]:
    timeline = otio.adapters.read_from_string(write_timeline([found]).decode(), "otio_json")
    (clip,) = timeline.find_clips()
    start = found.timecode.start
    assert timeline.global_start_time == otio.opentime.RationalTime(start, float(found.rate))
    assert clip.source_range == clip.media_reference.available_range
    assert clip.source_range.duration.value == found.frames
    spans = []
    for marker in clip.markers:
        assert marker.marked_range.start_time.rate == float(found.rate)
        first = marker.marked_range.start_time.value - start
        spans.append((int(first), int(first + marker.marked_range.duration.value)))
    return spans, [marker.name for marker in clip.markers]


def read_fcpxml(found: ExportVideo) -> tuple[Spans, list[str]]:
    root = ET.fromstring(write_fcpxml([found]))
    (clip,) = root.iter("asset-clip")
    (sequence,) = root.iter("sequence")
    assert sequence.get("tcFormat") == ("DF" if found.timecode.drop else "NDF")
    spans = []
    for keyword in clip.iter("keyword"):
        times = [Fraction(keyword.attrib[name].removesuffix("s")) for name in ("start", "duration")]
        start, length = (time * found.rate for time in times)
        assert start.denominator == length.denominator == 1  # multiples of a frame
        first = int(start) - found.timecode.start
        spans.append((first, first + int(length)))
    return spans, [keyword.attrib["note"][5:] for keyword in clip.iter("keyword")]


def read_cues(found: ExportVideo) -> tuple[Spans, list[str]]:
    cues = list(webvtt.from_string(write_cues([found]).decode()))
    payloads = [json.loads(cue.raw_text) for cue in cues]
    spans = [(each["in_frame"], each["out_frame"]) for each in payloads]
    # webvtt-py gives whole seconds as numbers, and the text as it is.
    shown = [re.fullmatch(CLOCK, f"{cue.start} {cue.end}") for cue in cues]
    for line, span in zip(shown, spans, strict=True):
        assert line is not None
        h, m, s, *end = line.groups()
        first, last = (3600 * int(a) + 60 * int(b) + Fraction(c) for a, b, c in ((h, m, s), end))
        assert (round(first * found.rate), round(last * found.rate)) == span
    return spans, [each["name"] for each in payloads]


READERS: dict[str, Callable[[ExportVideo], tuple[Spans, list[str]]]] = {
    "csv": read_csv,
    "resolve-edl": read_resolve,
    "avid-markers": read_avid,
    "edl": read_locators,
    "otio": read_otio,
    "fcpxml": read_fcpxml,
    "webvtt": read_cues,
}
KEEPS_TO_A_GUARD = {"csv": "'=1+1", "resolve-edl": "Ann \u00a6 Lee \u00a6D:7"}
"""What becomes of the names that these formats cannot hold."""


@each_rate
@each_start
@pytest.mark.parametrize("name", READERS)
def test_every_in_and_out_is_the_frame(name: str, rate: Fraction, drop: bool, start: str) -> None:
    wanted = spans_of(rate)
    # Locators are paired by their name, so a person must not be seen twice at once there.
    names = [f"Ann {row}" for row in range(len(wanted))] if name == "edl" else ["Ann"]
    found = video(rate, drop, start, wanted, names)
    spans, _ = READERS[name](found)
    wanted = spans_in(found)
    assert sorted(spans) == sorted(wanted) if name == "edl" else spans == wanted


@pytest.mark.parametrize("name", READERS)
def test_hostile_names_survive_or_are_written_as_the_format_allows(name: str) -> None:
    labels = [plain(text) for text in HOSTILE]
    spans = [(100 * row, 100 * row + 50) for row in range(len(labels))]
    found = video(Fraction(25), spans=spans, names=labels)
    read, names = READERS[name](found)
    assert read == spans
    guard = KEEPS_TO_A_GUARD.get(name)
    changed = {"csv": "=1+1", "resolve-edl": "Ann | Lee |D:7"}.get(name)
    assert names == [guard if label == changed else label for label in labels]


def test_people_who_come_in_together_share_a_marker_in_resolve() -> None:
    spans = [(10, 40), (10, 11), (10, 25), (50, 60)]
    found = video(Fraction(25), spans=spans, names=["Ann", "", "Lee", "Ann"])
    read, names = read_resolve(found)
    assert (read, names) == (spans, ["Ann + p002 + Lee", "Ann"])
    text = text_of(write_resolve([found]))
    assert "p001 30 frames, p002 1 frame, p003 15 frames |C:ResolveColorBlue" in text


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("write", [write_ranges, write_boxes])
def test_a_csv_has_the_separator_that_is_asked_for(
    separator: str, write: Callable[..., bytes]
) -> None:
    found = (
        with_boxes()
        if write is write_boxes
        else video(Fraction(25), spans=[(0, 9), (10, 12)], names=["Lee; Ann, \u201cx\u201d", "Bob"])
    )
    usual = pd.read_csv(io.BytesIO(write([found])), keep_default_na=False)
    other = pd.read_csv(
        io.BytesIO(write([found], separator=separator)), sep=separator, keep_default_na=False
    )
    pd.testing.assert_frame_equal(usual, other)
    assert len(usual.columns) > 10


def test_a_tab_in_a_name_is_a_space() -> None:
    assert plain("Ann\tLee\r\n\x1b[2J\u2028x") == "Ann Lee [2J x"


@pytest.mark.parametrize("rate", [24, 25, 30])
@pytest.mark.parametrize("write", [write_locators, write_resolve])
def test_opentimelineio_reads_the_lists_at_whole_rates(
    rate: int, write: Callable[[list[ExportVideo]], bytes]
) -> None:
    spans = [(0, 40), (50, 70), (7000, 7001)]
    found = video(Fraction(rate), start="01:00:00:00", spans=spans, names=["Ann", "Bob", "Cy"])
    text = text_of(write([found]))
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=rate)
    clips = list(timeline.find_clips())
    if write is write_resolve:
        starts = [int(clip.source_range.start_time.value) - 3600 * rate for clip in clips]
        assert starts == [first for first, _ in spans]
        assert all(clip.source_range.duration.value == 1 for clip in clips)
        return
    (clip,) = clips
    read = {
        (m.name, m.color): int(m.marked_range.start_time.value) - 3600 * rate for m in clip.markers
    }
    assert read == {
        (name, colour): frame
        for (first, end), name in zip(spans, ("Ann", "Bob", "Cy"), strict=True)
        for colour, frame in (("GREEN", first), ("RED", end - 1))
    }


def test_final_cut_adapter_reads_whole_rates() -> None:
    found = video(Fraction(24), start="01:00:00:00", spans=[(48, 96)], names=["Ann"])
    (timeline,) = otio.adapters.read_from_string(write_fcpxml([found]).decode(), "fcpx_xml")
    (clip,) = timeline.find_clips()
    assert clip.source_range.start_time.value == 24 * 3600
    assert clip.source_range.duration.value == found.frames


def test_more_events_than_three_digits_count_on() -> None:
    spans = [(frame, frame + 1) for frame in range(0, 2400, 2)]
    found = video(Fraction(25), spans=spans, names=["Ann"])
    assert read_resolve(found)[0] == spans


def test_a_player_can_show_a_cue_of_a_hundred_hours() -> None:
    found = video(Fraction(25), spans=[(9_000_000, 9_000_050)], names=["Ann"])
    (cue,) = webvtt.from_string(write_cues([found]).decode())
    assert (cue.start, cue.end) == ("100:00:00.000", "100:00:02.000")


def with_boxes() -> ExportVideo:
    """Ann twice in one frame, as in a mirror, and a face of nobody."""
    ann, found = person(3, "Ann"), video(Fraction(25))
    boxes = (
        track("a", ann, [4, 5, 6], [True, False, True], left=8.25),
        track("b", ann, [6, 7], [True, True], left=100),
        track("c", None, [6], [True], left=200),
        track("d", ann, [8], [True], left=8.25),
    )
    return ExportVideo(
        **{name: getattr(found, name) for name in found.__slots__} | {"boxes": boxes}
    )


# motmetrics 1.4 subtracts a tuple from columns, which pandas 3 announces to change.
@pytest.mark.filterwarnings("ignore:Operation with tuple is deprecated")
def test_mot_lines_are_one_based_and_no_id_is_twice_in_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    path.write_bytes(write_mot([with_boxes()]))
    table = motmetrics.io.loadtxt(str(path), fmt="mot16")
    assert table.index.tolist() == [
        (5, 3),
        (6, 3),
        (7, 3),
        (7, 4),
        (7, 5),
        (8, 4),
        (9, 3),
    ]
    assert table[["X", "Y", "Width", "Height"]].to_numpy()[0].tolist() == [8.25, 10.5, 20, 30]
    assert table["Visibility"].tolist() == [1, 0, 1, 1, 1, 1, 1]
    assert set(table["Confidence"]) == {1}


def test_coco_keeps_who_and_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(write_coco([with_boxes()]))
    coco = COCO(str(path))
    boxes = [coco.anns[number] for number in sorted(coco.anns)]
    assert len({box["id"] for box in boxes}) == len(boxes) == 7
    images = coco.loadImgs([box["image_id"] for box in boxes])
    assert [image["frame_index"] for image in images] == [4, 5, 6, 6, 7, 6, 8]
    assert [box["measured"] for box in boxes] == [True, False, True, True, True, True, True]
    assert boxes[0]["bbox"] == [8.25, 10.5, 20.0, 30.0]
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert [names[box["category_id"]] for box in boxes] == ["Ann"] * 5 + ["unknown", "Ann"]
    assert (images[0]["width"], images[0]["height"], images[0]["video_id"]) == (640, 360, 1)
    assert coco.getAnnIds(imgIds=[images[2]["id"]]) == [3, 4, 6]


def test_boxes_say_whether_they_were_measured() -> None:
    table = pd.read_csv(io.BytesIO(write_boxes([with_boxes()])), keep_default_na=False)
    assert table["frame"].tolist() == [4, 5, 6, 6, 6, 7, 8]
    assert table["position"].tolist() == ["measured", "interpolated"] + ["measured"] * 5
    assert table["name"].tolist() == ["Ann", "Ann", "Ann", "Ann", "", "Ann", "Ann"]
    box = table[["x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels"]].to_numpy()[0]
    assert box.tolist() == [8.25, 10.5, 28.25, 40.5]


GOLDEN = Path(__file__).parent / "golden"
WRITERS: dict[str, Callable[[list[ExportVideo]], bytes]] = {
    "film.csv": write_ranges,
    "film.resolve.edl": write_resolve,
    "film.avid.txt": write_avid,
    "film.edl": write_locators,
    "film.otio": write_timeline,
    "film.fcpxml": write_fcpxml,
    "film.vtt": write_cues,
    "film.boxes.csv": write_boxes,
    "film.mot.txt": write_mot,
    "film.coco.json": write_coco,
}


@pytest.mark.parametrize("name", WRITERS)
def test_golden_files(name: str) -> None:
    """Equal to what was looked at by eye; `film.avid.txt` has no other reader."""
    rate, drop = RATES[3]
    found = video(
        rate, drop, "01:00:00:00", [(0, 30), (1795, 1805), (1800, 1801)], ["Ann, Lee", ""]
    )
    if "boxes" in name or "mot" in name or "coco" in name:
        found = with_boxes()
    assert WRITERS[name]([found]) == (GOLDEN / name).read_bytes()


def test_every_timecode_of_a_frame_is_that_of_its_range() -> None:
    timecode = Timecode(RATES[3][0], drop=True, start=107_892)
    assert (timecode.at(0), timecode.at(1800)) == ("01:00:00;00", "01:01:00;02")
