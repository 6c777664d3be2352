from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.videos import encode, encode_sound, shot
from vcn_ray.errors import UsageError
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.folders import APPLE_DOUBLE, DANGLING, NO_FILE, NO_VIDEO, PREVIEW, SEEN
from vcn_ray.io.paths import file_name, file_uri, local_path

ENDINGS = (
    *("divx", "ogm", "m2t", "mpe", "dv", "f4v", "3g2", "wtv", "rmvb", "insv", "MKV"),
    *("mod", "tod", "dvr-ms"),
)


def names_in(folder: Path) -> dict[str, str]:
    """Each video found below a folder, by its path there, with its problem if any."""
    return {
        os.path.relpath(local_path(video.uri), folder): video.problem
        for video in read_catalog([str(folder)])
    }


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_of_videos_are_taken(tmp_path: Path, ending: str) -> None:
    content = b"\0\0\1\xba" if ending in ("mod", "tod") else b""
    (tmp_path / f"film.{ending}").write_bytes(content)
    assert names_in(tmp_path) == {f"film.{ending}": ""}


def test_a_video_without_a_known_ending_is_found_by_its_content(tmp_path: Path) -> None:
    codecs = {"avi": "mpeg4", "mpg": "mpeg2video"}
    for ending in ("mp4", "mkv", "ts", "m2ts", "flv", "avi", "mpg", "mov"):
        codec = codecs.get(ending, "libx264")
        path = encode(tmp_path / f"film.{ending}", shot(1, 5), codec)
        path.rename(tmp_path / f"{ending}.part")
    encode_sound(tmp_path / "song.m4a")
    (tmp_path / "notes.part").write_text("no film\n" * 100)
    found = names_in(tmp_path)
    assert sorted(found) == sorted(
        f"{e}.part" for e in ("mp4", "mkv", "ts", "m2ts", "flv", "avi", "mpg", "mov")
    )
    assert read_catalog([str(tmp_path)]).skipped == {NO_VIDEO: 2}


def test_every_entry_is_taken_or_left_out_for_a_reason(tmp_path: Path) -> None:
    films, other = tmp_path / "films", tmp_path / "other"
    (films / "deep").mkdir(parents=True)
    other.mkdir()
    for path in (films / "a.mp4", films / "deep" / "b.mkv", other / "c.mp4"):
        path.write_bytes(b"")
    for name in ("._a.mp4", "notes.txt", "GOPR1.LRV"):
        (films / name).write_bytes(b"")
    os.mkfifo(films / "pipe.mp4")
    (films / "link.mp4").symlink_to(other / "c.mp4")
    (films / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (films / "gone").symlink_to(tmp_path / "nothing")
    (films / "loop.mp4").symlink_to("loop.mp4")
    (films / "linked").symlink_to(other)
    (films / "linked again").symlink_to(other)
    (films / "deep" / "up").symlink_to(films)
    assert names_in(films) == {
        "a.mp4": "",
        "deep/b.mkv": "",
        "gone.mp4": DANGLING,
        "link.mp4": "",
        "linked/c.mp4": "",
        "loop.mp4": "it cannot be read: Too many levels of symbolic links",
    }
    assert read_catalog([str(films)]).skipped == Counter(
        {APPLE_DOUBLE: 1, NO_VIDEO: 1, PREVIEW: 1, NO_FILE: 1, DANGLING: 1, SEEN: 2}
    )


def test_a_folder_that_cannot_be_searched_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "locked").mkdir(mode=0)
    if os.geteuid() == 0:  # root may read everything
        listdir = os.listdir

        def refuse(folder: str) -> list[str]:
            if folder.endswith("locked"):
                raise PermissionError(13, "Permission denied")
            return listdir(folder)

        monkeypatch.setattr(os, "listdir", refuse)
    found = names_in(tmp_path)
    assert found == {
        "a.mp4": "",
        "locked": "the folder cannot be searched: Permission denied",
    }


def test_names_of_any_bytes_can_be_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    encode(tmp_path / "film.mp4", shot(1, 5)).rename(tmp_path / name)
    (video,) = read_catalog([str(tmp_path)])
    assert video.uri == f"file://{tmp_path}/caf%E9.mp4"
    assert local_path(video.uri) == str(tmp_path / name)
    assert Path(local_path(video.uri)).is_file()
    assert file_name(video.uri) == "caf\\xe9.mp4"
    (by_name,) = read_catalog([str(tmp_path / name)])
    assert by_name == video


def test_file_addresses_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a b%20c.mp4"
    path.write_bytes(b"")
    for address in (
        f"file://{tmp_path}/a%20b%2520c.mp4",
        f"file://localhost{tmp_path}/a%20b%2520c.mp4",
    ):
        assert [video.uri for video in read_catalog([address])] == [str(path)]
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"uri\nfile://{tmp_path}/a%20b%2520c.mp4\n")
    assert [video.uri for video in read_catalog([str(manifest)])] == [str(path)]
    assert [video.uri for video in read_catalog([str(path)])] == [str(path)]
    with pytest.raises(UsageError, match="another machine"):
        read_catalog(["file://server/films/a.mp4"])


def test_a_path_stays_as_it_is() -> None:
    assert file_uri("/films/été 100%.mp4") == "/films/été 100%.mp4"
    assert file_name("s3://bucket/films/a%20b.mp4") == "a%20b.mp4"
