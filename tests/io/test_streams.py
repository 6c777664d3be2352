from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.helpers.containers import Track, mux
from tests.helpers.videos import encode, encode_sound, shot
from vcn_ray.errors import MediaError
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig, open_video

SMALL, LARGE = (160, 96), (320, 192)
JPEG = {"strict": "unofficial"}


class Material(NamedTuple):
    """Streams to put together."""

    film: Path  # LARGE
    other: Path  # LARGE
    proxy: Path  # SMALL
    cover: Path  # one JPEG, larger than all
    thumbnails: Path  # JPEGs, one each second
    still: Path  # one frame of H.264
    sound: Path


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("streams")
    seconds = [1000 * n for n in range(3)]
    wide = shot(5, 3, size=(640, 384))
    return Material(
        film=encode(folder / "film.mkv", shot(1, 60, speed=2, size=LARGE)),
        other=encode(folder / "other.mkv", shot(2, 60, speed=2, size=LARGE)),
        proxy=encode(folder / "proxy.mkv", shot(1, 60, speed=1, size=SMALL)),
        cover=encode(folder / "cover.mkv", wide[:1], "mjpeg", JPEG),
        thumbnails=encode(folder / "thumbs.mkv", wide, "mjpeg", JPEG, times=seconds),
        still=encode(folder / "still.mkv", wide[:1]),
        sound=encode_sound(folder / "sound.mkv", 2.4),
    )


CASES = {
    "cover first": (("cover", "film"), LARGE, 1),
    "cover last": (("film", "cover", "sound"), LARGE, 1),
    "proxy first": (("proxy", "film"), LARGE, 2),
    "proxy last": (("film", "proxy"), LARGE, 2),
    "previews first": (("thumbnails", "film"), LARGE, 1),
    "a still beside a film": (("still", "film", "sound"), LARGE, 1),
    "two cameras": (("film", "other"), LARGE, 2),
    "a film alone": (("sound", "film"), LARGE, 1),
    "a still alone": (("still", "sound"), (640, 384), 1),
}


@pytest.mark.parametrize("ending", ["mkv", "mov"])
@pytest.mark.parametrize("case", CASES)
def test_the_main_moving_picture_is_the_film(
    tmp_path: Path, material: Material, case: str, ending: str
) -> None:
    names, size, moving = CASES[case]
    tracks = [Track(getattr(material, name)) for name in names]
    info = probe(mux(tmp_path / f"film.{ending}", tracks))
    assert (info.width, info.height) == size
    assert info.moving_pictures == moving


def test_a_flagged_cover_is_no_picture(tmp_path: Path, material: Material) -> None:
    cover = Track(material.cover, disposition=Disposition.attached_pic)
    info = probe(mux(tmp_path / "film.mp4", [cover, Track(material.film)]))
    assert (info.width, info.moving_pictures) == (LARGE[0], 1)


def test_of_two_alike_the_default_is_taken(tmp_path: Path, material: Material) -> None:
    tracks = [
        Track(material.film, disposition=Disposition(0)),
        Track(material.other, disposition=Disposition.default),
    ]
    path = mux(tmp_path / "film.mkv", tracks)
    info = probe(path)
    assert info.moving_pictures == 2
    with av.open(str(path)) as container:
        defaults = [s.disposition & Disposition.default for s in container.streams.video]
    assert [bool(flag) for flag in defaults] == [False, True]
    with open_video(path) as video:
        assert video.stream.index == 1


def test_a_song_with_an_unmarked_cover_is_no_film(tmp_path: Path, material: Material) -> None:
    path = mux(tmp_path / "song.mkv", [Track(material.cover), Track(material.sound)])
    with pytest.raises(MediaError, match="only sound and a cover") as caught:
        probe(path)
    assert caught.value.reason == "no_video_stream"


def test_a_file_is_read_on_where_it_was_after_a_second_look(
    tmp_path: Path, material: Material
) -> None:
    """The streams are counted on a second container over the same file object."""
    path = mux(tmp_path / "two.mkv", [Track(material.cover), Track(material.film, 1.0)])
    with path.open("rb") as file:
        (segment,) = plan_segments(file, DecodeConfig())
        frames = list(read_segment(file, segment, DecodeConfig()))
    assert len(frames) == 60
    assert np.abs(frames[0].small.astype(int) - frames[1].small).mean() < 40
