from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from tests.helpers.containers import Track, mux, with_edits
from tests.helpers.videos import encode, encode_sound, shot
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import DecodedFrame, read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.timeline import Timeline
from vcn_ray.io.video import DecodeConfig

SECOND = DecodeConfig(segment_seconds=1.0)
PLAIN = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=0"}
FRAMES = 75  # 3 s
WALL_CLOCK = 1.7e9


class Material(NamedTuple):
    """A film without sound, and sound of the same length."""

    film: Path
    sound: Path


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("clock")
    film = encode(folder / "film.mp4", shot(3, FRAMES, speed=2), options=PLAIN)
    return Material(film, encode_sound(folder / "sound.wav", 3.0, codec="pcm_s16le"))


def read(path: Path) -> list[DecodedFrame]:
    """All frames, segment by segment, of a file in which nothing is wrong."""
    frames: list[DecodedFrame] = []
    for segment in plan_segments(path, SECOND):
        reader = read_segment(path, segment, SECOND)
        frames += reader
        assert reader.problems == []
    return frames


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "nut", "ts"])
@pytest.mark.parametrize("start", [0.0, 5.0, WALL_CLOCK])
def test_a_late_picture_is_late(
    tmp_path: Path, material: Material, ending: str, start: float
) -> None:
    """Second 0 is where the sound begins; an MP4 that begins at 5 s waits for 5 s."""
    sound = material.sound
    if ending in ("mp4", "ts", "mov"):
        sound = encode_sound(tmp_path / "sound.mp2.mkv", 3.0, codec="mp2")
    tracks = [Track(material.film, start + 2.0), Track(sound, start)]
    path = mux(tmp_path / f"late.{ending}", tracks)
    waits = start if ending in ("mp4", "mov") and start < WALL_CLOCK else 0.0
    frames = read(path)
    assert len(frames) == FRAMES
    assert frames[0].seconds == pytest.approx(waits + 2.0, abs=0.06)
    assert frames[-1].end_seconds == pytest.approx(waits + 5.0, abs=0.06)
    planned = plan_segments(path, SECOND)
    assert planned[0].start_seconds == pytest.approx(waits + 2.0, abs=0.06)
    assert planned[-1].end_seconds == pytest.approx(waits + 5.0, abs=0.09)


def test_an_edit_list_delays_a_film_without_sound(tmp_path: Path, material: Material) -> None:
    path = mux(tmp_path / "delayed.mp4", [Track(material.film, 1.08)])
    assert read(path)[0].seconds == pytest.approx(1.08)
    assert probe(path).duration_seconds == pytest.approx(4.08)


def test_what_an_edit_list_cuts_away_is_not_seen(tmp_path: Path, material: Material) -> None:
    path = mux(tmp_path / "trimmed.mp4", [Track(material.film, -1.0)])
    frames = read(path)
    assert (frames[0].seconds, len(frames)) == (0.0, 50)
    assert frames[-1].end_seconds == pytest.approx(2.0)


EDITS: dict[str, tuple[list[tuple[int, float | None]], float, float]] = {
    "the middle is cut away": ([(1000, 0.0), (1000, 2.0)], 0.0, 2.0),
    "the end is shown first": ([(1000, 2.0), (1000, 0.0)], 0.0, 2.0),
    "a second is shown three times": ([(1000, 0.0)] * 3, 0.0, 3.0),
    "two waits before the first picture": ([(1000, None), (1000, None), (1000, 0.0)], 2.0, 3.0),
}


@pytest.mark.parametrize("case", EDITS)
def test_edit_lists_of_several_entries(tmp_path: Path, material: Material, case: str) -> None:
    """What an edit leaves out begins no segment."""
    edits, start, end = EDITS[case]
    frames = read(with_edits(material.film, tmp_path / "edited.mp4", edits))
    assert frames[0].seconds == pytest.approx(start, abs=0.001)
    assert frames[-1].end_seconds == pytest.approx(end, abs=0.001)
    assert len(frames) == round((end - start) * 25)


@pytest.mark.parametrize("start", [0.0, 600.0, WALL_CLOCK])
def test_fragments_begin_at_zero(tmp_path: Path, material: Material, start: float) -> None:
    """A part of a live stream keeps the clock of the broadcast; players begin at its start."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = mux(tmp_path / "part.mp4", [Track(material.film, start)], **options)
    frames = read(path)
    assert (frames[0].seconds, len(frames)) == (0.0, FRAMES)
    assert frames[-1].end_seconds == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("start", [95_441.0, 95_443.0, 95_300.0])
def test_stamps_that_wrap_run_on(tmp_path: Path, material: Material, start: float) -> None:
    """Stamps of a transport stream have 33 bits: they restart after 26.5 h."""
    frames = read(mux(tmp_path / "wrap.ts", [Track(material.film, start)]))
    assert len(frames) == FRAMES
    assert frames[-1].end_seconds == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("starts", [(0, 0, 0), (500, 0, 0), (0, 5_000, 200)])
@pytest.mark.parametrize("ending", ["ts", "mpg"])
def test_joined_recordings_are_one_timeline(
    tmp_path: Path, material: Material, starts: tuple[int, ...], ending: str
) -> None:
    source = material.film
    if ending == "mpg":
        source = encode(tmp_path / "old.mpg", shot(3, FRAMES, speed=2), "mpeg2video", {"bf": "0"})
    path = tmp_path / f"joined.{ending}"
    parts = [
        mux(tmp_path / f"part-{n}.{ending}", [Track(source, float(start))]).read_bytes()
        for n, start in enumerate(starts)
    ]
    path.write_bytes(b"".join(parts))
    frames = read(path)
    seconds = [frame.seconds for frame in frames]
    assert len(frames) == pytest.approx(3 * FRAMES, abs=3)
    assert all(0 < b - a < 0.5 for a, b in itertools.pairwise(seconds))
    assert frames[-1].end_seconds == pytest.approx(9.0, abs=0.4)
    assert plan_segments(path, SECOND)[-1].end_seconds == pytest.approx(9.0, abs=0.4)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts", "nut"])
def test_a_frame_stands_until_the_next(tmp_path: Path, ending: str) -> None:
    times = [0, 40, 80, 2_080, 2_120, 6_120, 6_160]
    film = encode(tmp_path / "film.mp4", shot(3, len(times)), options=PLAIN, times=times)
    frames = read(mux(tmp_path / f"held.{ending}", [Track(film)]))
    stands = [frame.end_seconds - frame.seconds for frame in frames]
    assert stands[:-1] == pytest.approx([0.04, 0.04, 2.0, 0.04, 4.0, 0.04], abs=2e-3)
    assert [frame.analysed for frame in frames][2:6:3] == [True, True]  # those that stand


def test_the_last_frame_stands_as_long_as_the_file_says(tmp_path: Path) -> None:
    """A muxer takes the time of the last frame from its packet."""
    source = encode(tmp_path / "film.mp4", shot(3, 3), options=PLAIN, times=[0, 40, 80])
    path = tmp_path / "last.mp4"
    with av.open(str(source)) as film, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is not None:
                is_last = packet.pts * packet.time_base > 0.07
                packet.duration = int((3.0 if is_last else 0.04) / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    *_, last = read(path)
    assert last.end_seconds - last.seconds == pytest.approx(3.0, abs=0.01)
    assert last.analysed


def test_times_that_make_no_sense_never_count() -> None:
    clock = Timeline(period=0.04, max_gap=60.0)
    times = [clock.read(t) for t in (1e9, 1e9 + 0.04, -5e8, None, 3e8, 3e8 + 50)]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 50.16])
    assert (clock.jumps, clock.jumped_back) == (2, True)


def test_an_absurd_duration_in_the_header_is_not_believed(
    tmp_path: Path, material: Material
) -> None:
    path = mux(tmp_path / "absurd.mkv", [Track(material.film)])
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # Duration, eight bytes of a float
    for value in (1e15, -3000.0, float("nan"), float("inf")):
        path.write_bytes(data[:at] + struct.pack(">d", value) + data[at + 8 :])
        assert plan_segments(path, SECOND)[-1].end_seconds == pytest.approx(3.0, abs=0.05)
        assert read(path)[-1].end_seconds == pytest.approx(3.0, abs=0.01)
