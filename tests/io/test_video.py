from __future__ import annotations

import gc
import itertools
import math
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.containers import Track, mux
from tests.helpers.videos import dissolve, encode, encode_sound, look, scene, shot
from vcn_ray.errors import MediaError, Reason
from vcn_ray.io import isolation
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import DecodedFrame, read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig
from vcn_ray.records import U8, Segment

SECOND = DecodeConfig(segment_seconds=1.0)
GROUPS = "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"
OPEN = {"x264-params": f"{GROUPS}:open-gop=1"}
CLOSED = {"x264-params": GROUPS}
PICTURES = shot(1, 45, speed=3) + shot(2, 45, speed=2)


def whole(path: Path, config: DecodeConfig = SECOND) -> list[DecodedFrame]:
    segment = Segment(index=0, start_pts=0, end_pts=None, start_seconds=0.0, end_seconds=0.0)
    return list(read_segment(path, segment, config))


def picture(frame: DecodedFrame) -> U8:
    """The picture of a frame that is analysed."""
    assert frame.image is not None
    return frame.image


def reason_of(call: Callable[..., object], *arguments: object) -> Reason:
    with pytest.raises(MediaError) as caught:
        call(*arguments)
    assert "\n" not in caught.value.message
    return caught.value.reason


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PICTURES as an mp4 whose groups of pictures are open."""
    return encode(tmp_path_factory.mktemp("film") / "film.mp4", PICTURES, options=OPEN)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds under a moving camera, as an mp4 with its index first."""
    path = tmp_path_factory.mktemp("film") / "long.mp4"
    return encode(path, shot(7, 200, speed=2), options=CLOSED, movflags="faststart")


CASES = {
    "open.mp4": ("libx264", OPEN),
    "closed.mp4": ("libx264", CLOSED),
    "refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}),
    "open.mkv": ("libx264", OPEN),
    "open.ts": ("libx264", OPEN),
    "open.avi": ("libx264", OPEN),
    "old.ts": ("mpeg2video", {"g": "12", "bf": "2"}),
    "old.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "old.avi": ("mpeg4", {"g": "12"}),
    "plain.h264": ("libx264", CLOSED),
}


@pytest.mark.parametrize("name", CASES)
def test_segments_together_are_the_whole_file(tmp_path: Path, name: str) -> None:
    codec, options = CASES[name]
    path = encode(tmp_path / name, PICTURES, codec, options)
    segments = plan_segments(path, SECOND)
    if name not in ("open.avi", "plain.h264"):  # their frames have no times of their own
        assert len(segments) >= 2
    frames: list[DecodedFrame] = []
    problems: list[str] = []
    for segment in segments:
        reader = read_segment(path, segment, SECOND)
        found = list(reader)
        assert [frame.number_in_segment for frame in found] == list(range(len(found)))
        assert found[0].analysed
        frames += found
        problems += reader.problems
    expected = whole(path)
    assert len(frames) == len(expected) == len(PICTURES)
    assert [frame.seconds for frame in frames] == [frame.seconds for frame in expected]
    assert all(np.array_equal(a.small, b.small) for a, b in zip(frames, expected, strict=True))
    assert problems == []
    # In order of presentation: every frame is most like the picture that it was made of.
    for number in (0, 30, 46, 89):
        shown = frames[number].small.astype(int)
        errors = [np.abs(shown - source).mean() for source in PICTURES]
        assert int(np.argmin(errors)) == number


def test_the_open_groups_of_the_test_are_open(film: Path) -> None:
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe][1:]
    times = [packet.pts for packet in packets if packet.pts is not None]
    assert any(times[key + 1] < times[key] for key in keys)


def test_segments_are_as_long_as_asked_and_meet(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", PICTURES * 2, options=CLOSED)
    for seconds in (1.0, 2.0, 60.0):
        segments = plan_segments(path, DecodeConfig(segment_seconds=seconds))
        assert [segment.index for segment in segments] == list(range(len(segments)))
        assert all(s.end_seconds - s.start_seconds >= seconds for s in segments[:-1])
        for before, after in itertools.pairwise(segments):
            assert (before.end_pts, before.end_seconds) == (after.start_pts, after.start_seconds)
        assert segments[-1].end_pts is None
        assert segments[0].start_seconds == 0.0
        assert segments[-1].end_seconds == pytest.approx(180 / 25, abs=0.01)


def test_a_binary_file_serves_as_well_as_a_path(film: Path) -> None:
    with film.open("rb") as file:
        segment = plan_segments(file, SECOND)[1]
        assert segment.start_pts == plan_segments(film, SECOND)[1].start_pts
        assert len(list(read_segment(file, segment, SECOND))) == len(
            list(read_segment(film, segment, SECOND))
        )
        assert not file.closed


def test_times_of_a_variable_rate_come_from_its_frames(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(3).integers(8, 90, len(PICTURES))).tolist()
    path = encode(tmp_path / "vfr.mp4", PICTURES, options=OPEN, times=times)
    frames = [f for s in plan_segments(path, SECOND) for f in read_segment(path, s, SECOND)]
    expected = np.array(times) / 1000  # an edit list delays the first picture
    np.testing.assert_allclose([frame.seconds for frame in frames], expected, atol=2e-3)
    analysed = [frame.seconds for frame in frames if frame.analysed]
    assert all(frame.image is not None for frame in frames if frame.analysed)
    assert all(frame.image is None for frame in frames if not frame.analysed)
    assert len({int(seconds * 8) for seconds in analysed}) == len({int(t * 8) for t in expected})


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    upright = look(scene(5), (256, 256), (192, 128))
    stored = np.rot90(upright, -(rotation // 90))
    path = encode(tmp_path / "turned.mp4", [stored] * 5, rotation=rotation)
    info = probe(path)
    assert (info.rotation, info.width, info.height) == (rotation, 192, 128)
    frame = whole(path)[0]
    assert picture(frame).shape == frame.small.shape == (128, 192, 3)
    assert np.abs(picture(frame).astype(int) - upright).mean() < 12


@pytest.mark.parametrize("rotation", [0, 90])
def test_decoded_pictures_do_not_wait_for_garbage_collection(tmp_path: Path, rotation: int) -> None:
    path = encode(tmp_path / "film.mp4", shot(1, 40), rotation=rotation)
    (segment,) = plan_segments(path, DecodeConfig())
    gc.collect()
    gc.disable()
    try:
        frames = sum(1 for _ in read_segment(path, segment, DecodeConfig()))
        waiting = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert frames == 40
    assert waiting <= 3


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_mirrored_picture_is_mirrored_back(tmp_path: Path, rotation: int) -> None:
    """As selfies are, by the display matrix; players show them so."""
    upright = look(scene(5), (256, 256), (192, 128))
    stored = np.rot90(upright[:, ::-1], -(rotation // 90))
    path = encode(tmp_path / "selfie.mp4", [stored] * 5, rotation=rotation, mirrored=True)
    shown = whole(path)[0]
    assert np.abs(picture(shown).astype(int) - upright).mean() < 12
    assert np.abs(shown.small.astype(int) - upright).mean() < 12


def test_a_display_matrix_without_sense_turns_nothing(tmp_path: Path, film: Path) -> None:
    data = bytearray(film.read_bytes())
    at = data.index(b"tkhd") + 44
    assert int.from_bytes(data[at : at + 4]) == 1 << 16
    data[at : at + 36] = bytes(36)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data)
    assert (probe(path).rotation, probe(path).width) == (0, 256)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", PICTURES[:5], aspect=Fraction(3, 2))
    assert (probe(path).width, probe(path).height) == (384, 144)
    frame = whole(path, DecodeConfig(long_side_pixels=96))[0]
    assert picture(frame).shape == (36, 96, 3)
    assert frame.small.shape == (96, 256, 3)
    assert frame.scale == 4.0
    assert frame.displayed_width == 384


def test_small_frames_are_not_enlarged(film: Path) -> None:
    frame = whole(film)[0]
    assert picture(frame).shape == frame.small.shape == (144, 256, 3)
    assert frame.scale == 1.0


def test_probe_reads_the_properties_of_a_film(film: Path) -> None:
    info = probe(film)
    assert info.codec == "h264"
    assert info.frame_rate == pytest.approx(25.0)
    assert info.duration_seconds == pytest.approx(3.6)
    assert not info.hdr
    assert not info.interlaced


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "one.mp4", PICTURES[:1])
    (segment,) = plan_segments(path, SECOND)
    (frame,) = read_segment(path, segment, SECOND)
    assert frame.analysed
    assert frame.seconds == 0.0


def test_files_that_are_no_video_say_why(tmp_path: Path) -> None:
    empty, text, noise, playlist = (
        tmp_path / n for n in ("empty.mp4", "text.mp4", "noise.mp4", "list.m3u8")
    )
    empty.write_bytes(b"")
    text.write_text("[project]\nname = 'no video'\n" * 50)
    noise.write_bytes(np.random.default_rng(1).bytes(100_000))
    other = encode(tmp_path / "other.ts", PICTURES)
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n")
    notes = tmp_path / "notes.txt"
    notes.write_text("hello\n" * 100)
    calls: tuple[Callable[[Path], object], ...] = (probe, lambda path: plan_segments(path, SECOND))
    for call in calls:
        assert reason_of(call, tmp_path / "none.mp4") == "missing"
        for path in (empty, text, noise, playlist, notes, tmp_path):
            assert reason_of(call, path) == "unreadable", path
        assert reason_of(call, encode_sound(tmp_path / "sound.mp4")) == "no_video_stream"


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "song.mka"
    cover = cv2.imencode(".png", PICTURES[0])[1].tobytes()
    encode_sound(tmp_path / "sound.mp4")
    with av.open(str(tmp_path / "sound.mp4")) as source, av.open(str(path), "w") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        picture = target.add_attachment("cover.png", "image/png", cover)
        assert picture is not None
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
    assert reason_of(probe, path) == "no_video_stream"


@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_a_film_cut_short_gives_its_readable_part(
    tmp_path: Path, long_film: Path, ending: str
) -> None:
    path = tmp_path / f"short.{ending}"
    if ending == "mp4":
        data = long_film.read_bytes()
    else:
        data = encode(path, shot(7, 200, speed=2), options=CLOSED).read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames: list[DecodedFrame] = []
    problems: list[str] = []
    for segment in plan_segments(path, SECOND):
        reader = read_segment(path, segment, SECOND)
        frames += list(reader)
        problems += reader.problems
    assert 80 < len(frames) < 150
    if ending == "mp4":
        assert any("were promised" in problem for problem in problems)


def test_a_segment_without_one_frame_is_an_error(tmp_path: Path, long_film: Path) -> None:
    segments = plan_segments(long_film, SECOND)
    path = tmp_path / "half.mp4"
    path.write_bytes(long_film.read_bytes()[: long_film.stat().st_size // 2])
    assert reason_of(lambda: list(read_segment(path, segments[-1], SECOND))) == "decode_error"


def test_damage_in_the_middle_is_skipped_and_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", shot(7, 100, speed=2), options=CLOSED)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6_000] = np.random.default_rng(0).bytes(6_000)
    path.write_bytes(bytes(data))
    segment = Segment(index=0, start_pts=0, end_pts=None, start_seconds=0.0, end_seconds=4.0)
    reader = read_segment(path, segment, SECOND)
    frames = list(reader)
    assert 60 <= len(frames) <= 100
    assert reader.problems
    assert np.all(np.diff([frame.seconds for frame in frames]) >= 0)


def test_time_that_restarts_counts_on(tmp_path: Path) -> None:
    part = encode(tmp_path / "part.ts", PICTURES, options=CLOSED).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(2 * part)
    (segment,) = plan_segments(path, SECOND)
    seconds = [frame.seconds for frame in read_segment(path, segment, SECOND)]
    assert len(seconds) >= 175
    assert np.all(np.diff(seconds) > 0)
    assert seconds[-1] == pytest.approx(2 * 3.6, abs=0.3)


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", dissolve(PICTURES[:45], PICTURES[45:], 10), options=OPEN)
    reader = read_segment(path, plan_segments(path, SECOND)[1], SECOND)
    for a, b in zip(reader, reader, strict=True):
        assert a.seconds == b.seconds
        assert np.array_equal(a.small, b.small)


@pytest.mark.parametrize("name", [field.name for field in fields(DecodeConfig)])
def test_settings_have_to_make_sense(name: str) -> None:
    for value in (0, -1, math.inf):
        change: dict[str, Any] = {name: value}
        with pytest.raises(ValidationError, match=name):
            replace(SECOND, **change)


def test_errors_travel_between_processes() -> None:
    error = MediaError("missing", "gone")
    assert pickle.loads(pickle.dumps(error)).reason == "missing"


def test_clips_read_in_pieces_as_in_one(shared: Path) -> None:
    for name, frames in (("face_then_cartoon_cut.mov", 169), ("grid_lbbc2a.mpg", 75)):
        path = shared / "data" / "videos" / name
        found = [f for s in plan_segments(path, SECOND) for f in read_segment(path, s, SECOND)]
        expected = whole(path)
        assert len(found) == len(expected) == frames
        pairs = zip(found, expected, strict=True)
        assert all(np.array_equal(a.small, b.small) for a, b in pairs)


class Part(NamedTuple):
    """A stretch of a stream of one shape."""

    size: tuple[int, int]
    shown: tuple[int, int]
    aspect: Fraction | None = None
    rotate: int = 0
    pixels: str = "yuv420p"


CHANGES = {
    "size": Part((144, 256), (144, 256)),
    "a larger size": Part((512, 288), (512, 288)),
    "pixel aspect": Part((256, 144), (384, 144), aspect=Fraction(3, 2)),
    "rotation": Part((256, 144), (144, 256), rotate=90),
    "pixel format": Part((256, 144), (256, 144), pixels="yuv444p"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_frame_has_its_own_geometry(tmp_path: Path, change: str) -> None:
    """Two recordings of other shapes, joined."""
    upright = Part((256, 144), (256, 144), aspect=Fraction(1))
    joined = b""
    for number, part in enumerate((upright, CHANGES[change], upright)):
        source = encode(
            tmp_path / "part.mp4",
            shot(number, 40, size=part.size),
            options=OPEN,
            aspect=part.aspect,
            pixels=part.pixels,
        )
        filters = (
            f"h264_metadata=display_orientation=insert:rotate={part.rotate}" if part.rotate else ""
        )
        track = Track(source, 1.6 * number, filters=filters)
        joined += mux(tmp_path / "part.ts", [track]).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(joined)
    frames = [f for s in plan_segments(path, SECOND) for f in isolated(path, s)]
    assert len(frames) == 120
    for number, frame in enumerate(frames):
        shown = CHANGES[change].shown if 40 <= number < 80 else (256, 144)
        assert (frame.displayed_width, frame.displayed_height) == shown, number
        if frame.image is not None:
            height, width = frame.image.shape[:2]
            assert width / height == pytest.approx(shown[0] / shown[1], rel=0.01)
            assert frame.scale == pytest.approx(shown[0] / width)


def isolated(path: Path, segment: Segment) -> list[DecodedFrame]:
    reader = isolation.read_segment(path, segment, SECOND, isolation.IsolationConfig())
    frames = list(reader)
    assert reader.problems == []
    return frames
