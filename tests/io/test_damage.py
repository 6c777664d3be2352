from __future__ import annotations

import io
import random
from pathlib import Path
from typing import BinaryIO, cast

import av
import pytest

from tests.helpers.containers import CENC, Track, mux
from tests.helpers.videos import encode, encode_sound, shot
from vcn_ray.errors import MediaError
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig, Source

SECOND = DecodeConfig(segment_seconds=1.0)
CODECS = {"avi": "mpeg4", "mpg": "mpeg2video", "webm": "libvpx", "mxf": "mpeg2video"}
SPEED = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}}
SOUNDS = {"mpg": "mp2", "avi": "mp2", "webm": "libopus", "ts": "mp2", "m2ts": "mp2"}
FILES = ["a.mp4", "live.mp4", "a.mkv", "live.mkv", "a.webm", "live.webm"]
FILES += ["a.avi", "a.mpg", "a.ts", "a.m2ts", "a.flv", "a.mxf"]
OPTIONS = {
    "a.mp4": {"movflags": "faststart"},
    "live.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "live.mkv": {"live": "1"},
    "live.webm": {"live": "1"},
}


def make(folder: Path, name: str) -> Path:
    """A film with sound, three seconds long."""
    ending = name.rpartition(".")[2]
    source = "mkv" if ending == "mxf" else ending
    codec = CODECS.get(ending, "libx264")
    film = encode(
        folder / f"film.{source}", shot(3, 75, speed=2), codec, {"g": "12"} | SPEED.get(codec, {})
    )
    tracks = [Track(film)]
    if ending != "mxf":
        sound = SOUNDS.get(ending, "aac")
        tracks.append(Track(encode_sound(folder / "sound.mkv", 3.0, codec=sound)))
    return mux(folder / name, tracks, **OPTIONS.get(name, {}))


def problems_of(path: Source) -> list[str]:
    """What a run would report of a file that can be opened."""
    problems = []
    for segment in plan_segments(path, SECOND):
        reader = read_segment(path, segment, SECOND)
        try:
            for _ in reader:
                pass
        except MediaError as error:
            problems.append(error.message)
        problems += reader.problems
    assert all("\n" not in problem for problem in problems)
    return problems


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_is_partial(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name)
    assert problems_of(path) == []
    data, rng = path.read_bytes(), random.Random(name)
    for _ in range(6):
        end = rng.randrange(len(data) * 3 // 10, len(data) - 20)
        path.write_bytes(data[:end])
        assert problems_of(path), f"{end} of {len(data)} bytes"


@pytest.mark.parametrize("name", ["a.mkv", "live.mkv", "a.webm", "live.webm"])
@pytest.mark.parametrize("kind", ["zeros", "noise", "missing"])
def test_a_matroska_with_a_hole_is_partial(tmp_path: Path, name: str, kind: str) -> None:
    path = make(tmp_path, name)
    with av.open(str(path)) as container:
        largest = max(packet.size for packet in container.demux())
    data, rng = path.read_bytes(), random.Random(name + kind)
    for _ in range(3):
        # Longer than any frame: a hole inside one of VP8 cannot be noticed.
        size = largest + rng.randrange(1000, 8000)
        at = rng.randrange(len(data) // 5, max(len(data) * 4 // 5 - size, len(data) // 5 + 1))
        fill = {"zeros": bytes(size), "noise": rng.randbytes(size), "missing": b""}[kind]
        path.write_bytes(data[:at] + fill + data[at + size :])
        assert problems_of(path), f"{size} bytes at {at} of {len(data)}"


def test_a_hole_in_a_transport_stream_is_partial(tmp_path: Path) -> None:
    data = make(tmp_path, "a.ts").read_bytes()
    path, start = tmp_path / "hole.ts", 188 * (len(data) // 188 // 3)
    path.write_bytes(data[:start] + data[start + 188 * (len(data) // 188 // 3) :])
    assert problems_of(path)


class ShortReads(io.FileIO):
    """A file whose reads end at multiples of 509 bytes, as those of objects end at blocks."""

    def read(self, size: int | None = -1, /) -> bytes:
        rest = 509 - self.tell() % 509
        return super().read(rest if size is None or size < 0 else min(size, rest)) or b""


@pytest.mark.parametrize("name", FILES)
def test_short_reads_are_no_damage(tmp_path: Path, name: str) -> None:
    with ShortReads(make(tmp_path, name)) as file:
        assert problems_of(cast(BinaryIO, file)) == []


def test_an_empty_ending_is_no_damage(tmp_path: Path) -> None:
    """Elements that a muxer reserved and left empty are part of the format."""
    path = make(tmp_path, "live.mkv")
    void = b"\xec\x01" + (5_000).to_bytes(7) + bytes(5_000)
    later = b"\x4f\xff\x82ab"  # an element that this version of the format does not know
    path.write_bytes(path.read_bytes() + void + later + void)
    assert problems_of(path) == []


@pytest.mark.parametrize("name", ["a.mp4", "live.mp4", "a.mkv", "a.webm", "a.avi"])
@pytest.mark.parametrize("kind", ["noise", "zeros"])
def test_what_others_append_is_no_damage(tmp_path: Path, name: str, kind: str) -> None:
    path = make(tmp_path, name)
    junk = random.Random(1).randbytes(5_000) if kind == "noise" else bytes(5_000)
    path.write_bytes(path.read_bytes() + junk)
    assert problems_of(path) == []


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
def test_an_encrypted_mp4_says_so(tmp_path: Path, movflags: str) -> None:
    film = encode(tmp_path / "film.mp4", shot(3, 30))
    path = mux(tmp_path / "locked.mp4", [Track(film)], movflags=movflags, **CENC)
    with pytest.raises(MediaError, match=r"locked\.mp4: its picture is encrypted") as caught:
        probe(path)
    assert caught.value.reason == "encrypted"


@pytest.mark.parametrize("readable", [True, False])
def test_a_scrambled_broadcast_says_so(tmp_path: Path, readable: bool) -> None:
    path = make(tmp_path, "a.ts")
    data, rng = bytearray(path.read_bytes()), random.Random(1)
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100:  # the picture
            data[at + 3] |= 0x80
            if not readable:
                start = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
                data[start : at + 188] = rng.randbytes(at + 188 - start)
    path.write_bytes(bytes(data))
    with pytest.raises(MediaError, match="its picture is encrypted"):
        probe(path)
