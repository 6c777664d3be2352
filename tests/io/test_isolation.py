"""What a decoder process gives: the same frames, segments and errors as decoding in this one."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.helpers.decoders import LIMITS, SECOND, decoders, error_of, read_all
from tests.helpers.films import results, vcn
from tests.helpers.videos import encode, encode_sound, shift_times, shot
from vcn_ray.config import load_config
from vcn_ray.errors import ConfigError, StorageError
from vcn_ray.io import decoding, isolation, keyframes
from vcn_ray.io import frames as in_process
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.video import DecodeConfig, Source

pytestmark = pytest.mark.usefixtures("no_decoder_left")


NOTHING = np.zeros((0, 0, 3), np.uint8)


def same(left: DecodedFrame, right: DecodedFrame) -> bool:
    pictures = ((left.image, right.image), (left.small, right.small))
    plain = [frame._replace(image=None, small=NOTHING)[:4] for frame in (left, right)]
    return (
        plain[0] == plain[1]
        and left[6:] == right[6:]
        and all(a is b is None or np.array_equal(cast(Any, a), cast(Any, b)) for a, b in pictures)
    )


def read_both(source: Source, path: Path, config: DecodeConfig = SECOND) -> int:
    """Frames of a file; they, its segments and problems must be those decoded in this process."""
    assert asdict(isolation.probe(source, LIMITS)) == asdict(decoding.probe(path))
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
        ours = error_of(partial(isolation.probe, path, LIMITS))
        theirs = error_of(partial(decoding.probe, path))
        assert (ours.reason, ours.message) == (theirs.reason, theirs.message)
    assert len(decoders()) == 1  # it lives on


def test_what_reading_a_source_raises_comes_out_as_it_is(film: Path) -> None:
    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise StorageError("the bucket is gone")

    with Broken(film) as file, pytest.raises(StorageError, match="the bucket is gone"):
        isolation.probe(file, LIMITS)
    assert not decoders()


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
    bomb = shift_times(huge, tmp_path / "bomb.ts", seconds=1.6)
    (catalog / "hostile.ts").write_bytes(calm + bomb)
    settings = ("detect.segment_seconds=1", "isolation.memory_bytes=134217728")
    words = ["--pack", str(yunet_pack), "--local", *(w for s in settings for w in ("--set", s))]
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
