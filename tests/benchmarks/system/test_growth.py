"""How exponents are fitted, what the works are made of, and the plot."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from benchmarks.result_file import read_result
from benchmarks.system.growth import Kept, fit_growth, fit_row, main, start_pool
from benchmarks.system.growth_films import (
    CROWD,
    crowd_frames,
    write_film,
)
from benchmarks.system.growth_plot import Curve, draw
from benchmarks.system.growth_tables import made_segments
from benchmarks.system.reels import repeat_film
from vcn_ray.config import RunConfig
from vcn_ray.steps import track_video

SIZES = [100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_an_exponent_lies_within_its_standard_error(exponent: float) -> None:
    noise = np.random.default_rng(0).normal(1, 0.05, len(SIZES))
    growth = fit_growth(SIZES, list(1e-3 * np.array(SIZES) ** exponent * noise))
    assert 0.002 < growth.error < 0.03
    assert abs(growth.exponent - exponent) < 2 * growth.error


def test_a_work_above_its_limit_is_marked() -> None:
    square = [1e5 if size < 3_000 else size**2 for size in SIZES]  # small sizes do not count
    rows = [fit_row(Curve("tracks", work, SIZES, square, square)) for work in ("track", "cluster")]
    assert [row["exponent"] for row in rows] == [pytest.approx(2, abs=0.01)] * 2
    assert [row["last step"] for row in rows] == [pytest.approx(2)] * 2
    assert [row["within"] for row in rows] == ["no", "yes"]


def test_a_film_is_repeated_frame_by_frame(tmp_path: Path) -> None:
    shades = np.linspace(0, 250, 20).astype(np.uint8)
    frames = [np.full((90, 160, 3), shade, np.uint8) for shade in shades]
    film = write_film(tmp_path / "film.mp4", frames, 25)
    with av.open(str(repeat_film(film, tmp_path / "long.mp4", 3))) as long:
        decoded = [(f.time, f.to_ndarray(format="gray").mean()) for f in long.decode(video=0)]
    seconds, grey = np.array(decoded).T
    assert seconds - seconds[0] == pytest.approx(np.arange(60) / 25, abs=1e-3)
    assert grey.reshape(3, 20) == pytest.approx(np.tile(shades, (3, 1)), abs=4)


def test_a_crowd_has_its_faces_in_places_of_their_own() -> None:
    few, many = next(crowd_frames(1, 1)), next(crowd_frames(20, 1))
    assert few.shape == many.shape == (CROWD[1], CROWD[0], 3)
    drawn = [(picture != picture[0, 0]).any(axis=2).mean() for picture in (few, many)]
    assert 15 < drawn[1] / drawn[0] < 25


def test_made_tables_have_as_many_tracks_as_they_should() -> None:
    segments = list(made_segments(700))
    pictures = [segment.detections for segment in segments]
    tables = track_video("film-0123456789ab", segments, RunConfig(), pictures)
    assert tables.tracks.num_rows == 700
    assert set(tables.tracks.column("faces").to_pylist()) == {4}
    assert tables.shots.num_rows == 70


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with start_pool(reuse=True) as pool:
        first = Kept(path, "pack", pool).get("work", 3, dict.fromkeys, ["CPU s"], 1.5)
        assert Kept(path, "pack", pool).get("work", 3, dict.fromkeys, ["CPU s"], 2.5) == first
        assert Kept(path, "other", pool).get("work", 3, dict.fromkeys, ["CPU s"], 2.5) != first


@pytest.mark.parametrize(("reuse", "processes"), [(False, 3), (True, 1)])
def test_each_measurement_has_a_process_of_its_own_unless_it_is_a_test(
    reuse: bool, processes: int
) -> None:
    with start_pool(reuse) as pool:
        assert len({pool.submit(os.getpid).result() for _ in range(3)}) == processes


def test_the_plot_is_svg_with_a_line_for_each_work() -> None:
    curves = [
        Curve("tracks", "cluster", [100, 1_000, 10_000], [0.1, 1, 100], [1, 1, 1]),
        Curve("tracks", "adapt & more", [100, 1_000, 10_000], [1, 10, 100], [1, 1, 1]),
        Curve("faces a frame", "detect", [1, 2, 4], [3, 3, 3], [1, 1, 1]),
    ]
    root = ElementTree.fromstring(draw(curves, ["cluster: 2.00", "adapt & more", "detect"]))
    lines = root.findall(".//{*}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 3, 3]
    rows = [point.split(",") for point in lines[0].attrib["points"].split()]
    assert [float(x) for x, _ in rows] == sorted(float(x) for x, _ in rows)
    assert [float(y) for _, y in rows] == sorted((float(y) for _, y in rows), reverse=True)
    words = [text.text for text in root.findall(".//{*}text")]
    assert {"cluster: 2.00", "adapt & more", "detect", "10,000"} <= set(words)


@pytest.mark.slow
def test_all_works_are_measured(yunet_pack: Path, tmp_path: Path) -> None:
    plot = tmp_path / "growth.svg"
    main(["--quick", "--pack", str(yunet_pack), "--results", str(tmp_path), "--plot", str(plot)])
    fits, points, segments = read_result(tmp_path / "growth.md").tables
    assert len(fits) == 10
    assert len(points) == 18
    assert all(float(row["CPU s"]) >= 0 < float(row["peak MiB"]) for row in points)
    found = {(row["work"], row["size"]): row["found"] for row in points}
    assert found["detect", "2"] == "32 faces"
    assert found["track", "200"] == "200 tracks"
    assert found["report", "3"] == "3 pages"
    assert float(segments[0]["last / first"]) > 0
    assert len(ElementTree.parse(plot).findall(".//{*}polyline")) == 10
