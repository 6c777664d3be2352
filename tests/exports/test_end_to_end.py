"""From a QuickTime file with a timecode track to markers at the right frames of its pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import opentimelineio as otio
import pandas as pd
import pytest

import vcn_ray
from tests.helpers.films import SMALL, vcn
from vcn_ray.config import RunConfig
from vcn_ray.exports.fcpxml import write_fcpxml
from vcn_ray.exports.frame_clock import find_rate
from vcn_ray.exports.gather import Wanted, read_export
from vcn_ray.io.decoding import probe
from vcn_ray.io.storage import Storage
from vcn_ray.records import U8
from vcn_ray.run.current import read_current

START = "10:00:00:05"


def with_timecode(source: Path, path: Path, timecode: str) -> Path:
    """The same pictures in another file that states a start timecode."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        stream.metadata["timecode"] = timecode
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return path


@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv", "mxf"])
def test_the_start_timecode_is_read_from_every_container(
    film: Path, tmp_path: Path, ending: str
) -> None:
    path = with_timecode(film, tmp_path / f"film.{ending}", START)
    assert probe(path).timecode == START
    assert probe(film).timecode == ""


@pytest.mark.slow
def test_markers_are_at_the_frames_of_the_file(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    path = with_timecode(film, tmp_path / "film.mov", START)
    out = tmp_path / "out"
    ran = vcn("index", path, "--output", out, "--pack", yunet_pack, "--local", *SMALL)
    assert ran.code == 0, ran.err
    done = vcn_ray.export(out, "otio", to=tmp_path / "film.otio")
    assert done.notes == ()  # the rate and the start are the file's
    (clip,) = otio.adapters.read_from_file(str(tmp_path / "film.otio")).find_clips()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stated = stream.average_rate
        rate = float(stated)
        shown = [frame.time for frame in container.decode(stream)]
    start = otio.opentime.from_timecode(START, rate)
    assert clip.source_range.start_time == start
    assert clip.source_range.duration.value == len(shown)
    (title,) = vcn_ray.open_results(out)
    tracks = [track for track in title.tracks if track.person_id]
    assert len(tracks) == len(clip.markers) > 1
    for track in tracks:
        frame = track.start_frame
        assert shown[frame] == pytest.approx(track.start_seconds, abs=1e-6)
        assert any(
            marker.name == track.person_id
            and marker.marked_range.start_time.value - start.value == frame
            and marker.marked_range.duration.value == track.end_frame - frame
            for marker in clip.markers
        )
    summary = title.summary["videos"][0]
    assert summary["start_timecode"] == START
    storage = Storage.open(str(out))
    current = read_current(title.title_id, storage)
    (found,) = read_export(current, Wanted(), storage, RunConfig())
    assert find_rate(found.clock.times, 0.0) == found.rate == stated
    assert path.as_uri().encode() in write_fcpxml([found])


def recipe(page: str, heading: str) -> str:
    """The Python of a section of a page."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return str(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0])


def pictures(path: Path) -> list[U8]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def detail(picture: U8, box: Sequence[float]) -> float:
    """How much a region differs from what a twentieth of its width smooths away."""
    x0, y0, x1, y1 = (round(side) for side in box)
    region = picture[y0:y1, x0:x1].astype(np.float32)
    return float((region - cv2.GaussianBlur(region, (0, 0), (x1 - x0) / 20)).std())


@pytest.mark.slow
def test_the_recipe_blurs_whom_it_is_told_to(
    film: Path, yunet_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    path = Path(shutil.copy(film, tmp_path / "film.mp4"))
    ran = vcn("index", path, "--output", out, "--pack", yunet_pack, "--local", *SMALL)
    assert ran.code == 0, ran.err
    everybody = pd.read_csv(vcn_ray.export(out, "boxes", to=tmp_path / "all.csv").files[0])
    vcn_ray.export(out, "boxes", person="p001", title="film", to=tmp_path / "boxes.csv")
    monkeypatch.chdir(tmp_path)
    exec(compile(recipe("exports.md", "Blur people"), "exports.md", "exec"), {})
    before, after = pictures(path), pictures(tmp_path / "blurred.mp4")
    assert len(after) == len(before)
    kept: dict[bool, list[float]] = {True: [], False: []}
    for row in everybody.to_dict("records"):
        box = [row[side] for side in ("x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels")]
        here = detail(after[row["frame"]], box) / detail(before[row["frame"]], box)
        kept[row["person_id"] == "p001"].append(here)
    assert min(map(len, kept.values())) > 20
    assert max(kept[True]) < 0.15
    assert min(kept[False]) > 0.9
