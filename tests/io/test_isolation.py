"""Files that crash, hang or bloat their decoder: real ones, in real processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.helpers.films import results, vcn
from tests.helpers.videos import encode, encode_sound, shot
from vcn_ray.config import load_config
from vcn_ray.errors import ConfigError, MediaError, StorageError
from vcn_ray.io import frames as in_process
from vcn_ray.io import isolation, keyframes, video
from vcn_ray.io.decoder import DecoderError, close_idle
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.video import DecodeConfig, Source

SECOND = DecodeConfig(segment_seconds=1.0)
LIMITS = IsolationConfig()
SHORT = IsolationConfig(stall_seconds=0.5)
BRIEF = IsolationConfig(cpu_seconds=0.5)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Whatever a test does, it leaves one idle decoder at most, and no memory."""
    before = set(os.listdir("/dev/shm"))
    yield
    assert len(decoders()) <= 1
    close_idle()
    assert not decoders()
    assert set(os.listdir("/dev/shm")) <= before


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds, a keyframe each; more frames than fit between the processes."""
    folder = tmp_path_factory.mktemp("film")
    pictures = shot(1, 75, speed=2.0)
    return encode(folder / "film.mp4", pictures, options={"g": "25"})


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few kilobytes that decode to pictures of 36 million pixels."""
    return grey(tmp_path_factory.mktemp("huge") / "huge.ts", 6000, frames=2)


def grey(path: Path, side: int, frames: int) -> Path:
    """A square film in one colour."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:
            plane.update(b"\x80" * plane.buffer_size)
        for number in range(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def children(pid: int) -> list[int]:
    """Decoders that a process started and that are not over."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            mine = parent == pid and b"decoder_child" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        found += [int(folder.name)] if mine else []
    return found


def decoders() -> list[int]:
    return children(os.getpid())


def same(left: DecodedFrame, right: DecodedFrame) -> bool:
    pictures = zip(left[3:5], right[3:5], strict=True)
    return (left[:3], left[5:]) == (right[:3], right[5:]) and all(
        a is b is None or np.array_equal(cast(Any, a), cast(Any, b)) for a, b in pictures
    )


def read_both(source: Source, path: Path, config: DecodeConfig = SECOND) -> int:
    """Frames of a file; they, its segments and problems must be those decoded in this process."""
    assert asdict(isolation.probe(source, LIMITS)) == asdict(video.probe(path))
    segments = isolation.plan_segments(source, config, LIMITS)
    expected = keyframes.plan_segments(path, config)
    assert [asdict(s) for s in segments] == [asdict(s) for s in expected]
    count = 0
    for segment in segments:
        ours = isolation.read_segment(source, segment, config, LIMITS)
        theirs = in_process.read_segment(path, segment, config)
        for left, right in zip(ours, theirs, strict=True):
            assert same(left, right)
            count += 1
        assert ours.problems == theirs.problems
    return count


def read_all(path: Source, limits: IsolationConfig = LIMITS) -> list[DecodedFrame]:
    segments = isolation.plan_segments(path, SECOND, limits)
    return [f for s in segments for f in isolation.read_segment(path, s, SECOND, limits)]


def error_of(call: Callable[[], Any]) -> MediaError:
    with pytest.raises(MediaError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "grid_bbaf2n.mpg",
        pytest.param("crowd_8faces.mp4", marks=pytest.mark.slow),
        pytest.param("face_then_cartoon_cut.mov", marks=pytest.mark.slow),
        pytest.param("one_face_expressions.mp4", marks=pytest.mark.slow),
    ],
)
def test_clips_decode_to_the_same_bits(shared: Path, name: str) -> None:
    path = shared / "data/videos" / name
    assert read_both(path, path) > 30


def test_files_made_here_decode_to_the_same_bits(film: Path, tmp_path: Path) -> None:
    pictures = shot(2, 30, size=(256, 144))
    turned = encode(tmp_path / "turned.mp4", pictures, rotation=90)
    wide = encode(tmp_path / "wide.mkv", pictures, aspect=Fraction(3, 2))
    cut = tmp_path / "cut.ts"
    whole = encode(tmp_path / "whole.ts", pictures, options={"g": "10"}).read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3] + b"\0" * 1000)
    large = replace(SECOND, analysis_fps=25, long_side_pixels=4000)
    for path in (turned, wide, cut):
        assert read_both(path, path, large)
    assert read_both(film, film) == 75
    with film.open("rb") as file:
        assert read_both(file, film) == 75
    assert len(decoders()) == 1  # one served them all


def test_segments_can_be_read_in_turns(film: Path) -> None:
    first, second, _ = isolation.plan_segments(film, SECOND, LIMITS)
    readers = [isolation.read_segment(film, s, SECOND, LIMITS) for s in (first, second)]
    in_turns = list(zip(*readers, strict=True))
    expected = [in_process.read_segment(film, s, SECOND) for s in (first, second)]
    for pair, right in zip(in_turns, zip(*expected, strict=True), strict=True):
        assert all(map(same, pair, right))


def test_a_reader_that_is_left_early_leaves_nothing(film: Path) -> None:
    segment = isolation.plan_segments(film, SECOND, LIMITS)[0]
    frames = iter(isolation.read_segment(film, segment, SECOND, LIMITS))
    next(frames)
    assert decoders()
    cast(Any, frames).close()
    assert not decoders()
    assert len(read_all(film)) == 75


def test_errors_are_those_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video " * 100)
    encode_sound(tmp_path / "sound.mp4")
    for name in ("gone.mp4", "empty.mp4", "text.mp4", "sound.mp4"):
        path = tmp_path / name
        ours = error_of(lambda path=path: isolation.probe(path, LIMITS))
        theirs = error_of(lambda path=path: video.probe(path))
        assert (ours.reason, ours.message) == (theirs.reason, theirs.message)
    assert len(decoders()) == 1  # it lives on


@pytest.mark.parametrize(
    ("number", "content_fault"), [(signal.SIGSEGV, True), (signal.SIGKILL, False)]
)
def test_a_crash_costs_one_segment(film: Path, number: signal.Signals, content_fault: bool) -> None:
    segment = isolation.plan_segments(film, SECOND, LIMITS)[0]
    (pid,) = decoders()
    with Trickling(film) as file:
        frames = iter(isolation.read_segment(file, segment, SECOND, LIMITS))
        next(frames)
        os.kill(pid, number)
        error = error_of(lambda: list(frames))
    assert isinstance(error, DecoderError)
    assert number.name in error.message
    assert (error.reason, error.content_fault) == ("crash", content_fault)
    assert len(read_all(film)) == 75
    assert decoders() != [pid]


class Trickling(io.FileIO):
    """A file that is read slowly, in small parts, so that a decoder never runs far ahead."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 4096)) or b""


def test_a_file_that_never_answers_is_given_up(film: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)  # opening it waits for somebody who writes
    error = error_of(lambda: isolation.probe(pipe, SHORT))
    assert isinstance(error, DecoderError)
    assert (error.reason, error.content_fault) == ("timeout", False)
    assert len(read_all(film)) == 75


def test_a_stopped_decoder_is_given_up(film: Path) -> None:
    segment = isolation.plan_segments(film, SECOND, LIMITS)[0]
    with Trickling(film) as file:
        frames = iter(isolation.read_segment(file, segment, SECOND, SHORT))
        next(frames)
        os.kill(decoders()[0], signal.SIGSTOP)
        assert error_of(lambda: list(frames)).reason == "timeout"


def test_a_file_without_end_ends_with_its_cpu_seconds(film: Path, tmp_path: Path) -> None:
    endless = encode(tmp_path / "endless.mpg", shot(3, 20), codec="mpeg2video")
    os.truncate(endless, 1 << 40)  # a hole: zeros in which FFmpeg looks for the next start code
    error = error_of(lambda: isolation.plan_segments(endless, SECOND, BRIEF))
    assert isinstance(error, DecoderError)
    assert (error.reason, error.content_fault) == ("timeout", True)
    assert len(read_all(film)) == 75


def test_a_memory_bomb_costs_one_segment(huge: Path, film: Path) -> None:
    limits = IsolationConfig(memory_bytes=128 << 20)
    for call in (lambda: isolation.probe(huge, limits), lambda: read_all(huge, limits)):
        error = error_of(call)
        assert isinstance(error, DecoderError)
        assert (error.reason, error.content_fault) == ("out_of_memory", True)
        assert not decoders()
    assert len(read_all(film, limits)) == 75


@pytest.mark.parametrize("isolate", [True, False])
def test_pictures_over_the_limit_are_not_decoded(huge: Path, film: Path, isolate: bool) -> None:
    limits = IsolationConfig(max_pixels=256 * 144, isolate=isolate)
    error = error_of(lambda: isolation.probe(huge, limits))
    assert error.reason == "too_large"
    assert "6000 x 6000" in error.message
    assert len(read_all(film, limits)) == 75
    assert error_of(lambda: read_all(film, replace(limits, max_pixels=256 * 143))).reason == (
        "too_large"
    )
    assert isolate or not decoders()


def test_flat_pixels_do_not_make_a_picture_too_wide(tmp_path: Path) -> None:
    flat = encode(tmp_path / "flat.mkv", shot(4, 5), aspect=Fraction(100, 1))
    limits = IsolationConfig(max_pixels=1_000_000)
    assert error_of(lambda: isolation.probe(flat, limits)).reason == "too_large"
    limits = IsolationConfig(max_pixels=100 * 256 * 144)
    assert isolation.probe(flat, limits).width == 100 * 256


def test_what_reading_a_source_raises_comes_out_as_it_is(film: Path) -> None:
    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise StorageError("the bucket is gone")

    with Broken(film) as file, pytest.raises(StorageError, match="the bucket is gone"):
        isolation.probe(file, LIMITS)
    assert not decoders()


def test_a_decoder_has_no_secrets_and_few_rights(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_idle()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    isolation.probe(film, LIMITS)
    (pid,) = decoders()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environment
    assert b"hidden" not in environment
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    limits = dict(
        line.split("  ", 1) for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
    )
    assert limits["Max core file size"].split()[:2] == ["0", "0"]
    assert limits["Max file size"].split()[:2] == ["0", "0"]
    assert int(limits["Max open files"].split()[1]) <= 64


@pytest.mark.parametrize("busy", [False, True])
def test_a_decoder_dies_with_its_parent(film: Path, tmp_path: Path, busy: bool) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    source = pipe if busy else film
    program = (
        "import sys\n"
        "from vcn_ray.io.isolation import IsolationConfig, probe\n"
        f"probe({str(film)!r}, IsolationConfig())\n"
        "print('ready', flush=True)\n"
        f"probe({str(source)!r}, IsolationConfig())\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        (pid,) = children(parent.pid)
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def test_limits_are_checked_and_change_no_key() -> None:
    config = load_config(None, {"isolation.stall_seconds": "5", "isolation.isolate": "false"})
    assert (config.isolation.stall_seconds, config.isolation.isolate) == (5.0, False)
    for name in ("memory_bytes", "stall_seconds", "cpu_seconds", "max_pixels"):
        with pytest.raises(ConfigError, match=name):
            load_config(None, {f"isolation.{name}": "0"})
    with pytest.raises(ConfigError, match=r"memory_bytes: .*or equal to 134217728"):
        load_config(None, {"isolation.memory_bytes": "1000000"})


def test_one_hostile_film_of_three_is_partial(huge: Path, tmp_path: Path, yunet_pack: Path) -> None:
    catalog = tmp_path / "films"
    catalog.mkdir()
    encode(catalog / "one.mp4", shot(5, 40))
    encode(catalog / "two.mp4", shot(6, 40))
    # A film whose pictures grow to a thousand times their size on the way.
    calm = encode(tmp_path / "calm.ts", shot(7, 40), options={"g": "25"}).read_bytes()
    bomb = later(huge, tmp_path / "bomb.ts", seconds=1.6)
    (catalog / "hostile.ts").write_bytes(calm + bomb)
    limits = ["--set", "isolation.memory_bytes=134217728"]
    words = ["--pack", yunet_pack, "--local", "--set", "detect.segment_seconds=1", *limits]
    ran = vcn("index", catalog, "--output", tmp_path / "out", *words)
    assert ran.code == 1
    run = tmp_path / "out/runs" / ran.record["run_id"]
    (row,) = pq.read_table(run / "failures.parquet").to_pylist()
    assert (row["reason"], row["step"], row["attempts"]) == ("out_of_memory", "detect", 2)
    assert Path(row["uri"]).name == "hostile.ts"
    warnings = {
        name: [w["code"] for w in title.summary["warnings"]]
        for name, title in results(tmp_path / "out").items()
    }
    assert set(warnings) == {"one", "two", "hostile"}
    assert {name for name, codes in warnings.items() if "partial" in codes} == {"hostile"}
    again = vcn("index", catalog, "--output", tmp_path / "out", *words)
    assert "nothing to do" in again.out


def later(path: Path, out: Path, seconds: float) -> bytes:
    """A film's transport stream with all its times moved on."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            packet.dts += int(seconds / packet.time_base)
            packet.pts += int(seconds / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    return out.read_bytes()
