"""The benchmark of a GPU, on a CPU: its floors, its rows, and that no part stops the others."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.report import Report
from benchmarks.result_file import read_result, write_result
from benchmarks.system import gpu, gpu_compare, gpu_speed
from benchmarks.system.gpu_compare import frame_faces, nearest_face, same_people
from benchmarks.system.gpu_floors import Rates, Work, encoder_work, onnx_work
from benchmarks.system.gpu_task import Task, or_reason
from tests.helpers.synth import TinyBackbone
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.embedded import CENTERFACE, DEFAULT
from vcn_ray.schema import BOX_COLUMNS


def test_the_slower_of_two_floors_counts() -> None:
    work = Work(flops=2e9, moved=1e6, weights=4e6)
    assert work.fastest(Rates(flops=1e12, bytes=1e9), 1) == pytest.approx((500, 200))
    assert work.fastest(Rates(flops=1e12, bytes=1e9), 4) == pytest.approx((500, 500))


def test_the_work_of_an_encoder_is_that_of_its_layers() -> None:
    """Counted by hand: two convolutions of 3 x 3, from 16 pixels to 8 and 4, and a matrix."""
    work = encoder_work(TinyBackbone())
    assert work.flops == 2 * (12 * 64 * 27 + 16 * 16 * 108 + 24 * 64)
    assert work.moved == 4 * (3 * 256 + 2 * 12 * 64 + 16 * 16 + 64 + 24)
    assert work.weights == 4 * (12 * 27 + 16 * 108 + 24 * 64)
    assert encoder_work(TinyBackbone(), 2).moved == work.moved / 2


def test_the_work_of_a_graph_grows_with_its_pixels() -> None:
    path = find_shipped(CENTERFACE)
    small, large = onnx_work(path, 96, 160), onnx_work(path, 192, 320)
    assert large.flops == pytest.approx(4 * small.flops)
    assert large.moved == pytest.approx(4 * small.moved)
    assert large.weights == small.weights
    assert small.weights == pytest.approx(path.stat().st_size, rel=0.1)


def test_runs_agree_by_groups_and_not_by_names() -> None:
    ours = {"a": "p1", "b": "p1", "c": "p2", "d": None}
    theirs = {"a": "p9", "b": "p9", "c": "p8", "d": None}
    assert same_people(ours, theirs) == "4 of 4 tracks"
    assert same_people(ours, theirs | {"c": "p9", "e": "p1"}) == "1 of 5 tracks"


def test_faces_of_two_tables_are_matched_by_their_place() -> None:
    sides = dict(zip(BOX_COLUMNS, (10.0, 10.0, 30.0, 30.0), strict=True))
    rows = [
        {"frame_in_segment": 3, "score": 0.5, "landmarks_pixels": [1.0] * 10} | sides,
        {"frame_in_segment": 3, "score": 0.9, "landmarks_pixels": [2.0] * 10}
        | {name: side + 100 for name, side in sides.items()},
    ]
    faces = frame_faces(pa.Table.from_pylist(rows))[3]
    moved = faces[1] | {"box": faces[1]["box"] + 0.25}
    assert nearest_face(moved, faces) is faces[1]
    assert nearest_face(moved | {"box": np.array([500.0, 0, 520, 20])}, faces) is None
    assert nearest_face(moved, []) is None


def test_a_row_that_fails_says_why() -> None:
    def fail() -> dict[str, float | int | str | None]:
        raise torch.cuda.OutOfMemoryError("no room | left")

    assert or_reason(fail) == {"note": "failed: no room / left"}


@pytest.mark.parametrize(
    ("program", "limit", "note"),
    [
        ("raise ValueError('of its own')", 30.0, "failed (exit code 1): ValueError: of its own"),
        ("import os; os.abort()", 30.0, "failed (exit code -6): "),
        ("import time; time.sleep(60)", 0.5, "ended after 0 s"),
    ],
)
def test_a_part_that_fails_is_a_row(program: str, limit: float, note: str) -> None:
    first = 'print(\'noise\'); print(\'ROW {"machine": "copy", "rate": 1.5}\', flush=True)\n'
    began = time.monotonic()
    found = list(gpu.part_rows("machine", [sys.executable, "-c", first + program], limit))
    assert time.monotonic() - began < 20
    assert [row["machine"] for row in found[-1:]] == ["machine"]
    assert str(found[-1]["note"]).startswith(note)
    if limit > 1:
        assert found[0] == {"machine": "copy", "rate": 1.5}


def test_a_part_without_time_is_left_out() -> None:
    assert list(gpu.part_rows("decode", ["false"], -1.0)) == [
        {"film": "decode", "note": "left out: no time is left"}
    ]


def test_rates_reach_later_parts(tmp_path: Path) -> None:
    task = Task("cpu", "dlib", tmp_path, quick=True)
    assert task.rates("float32") is None
    gpu.keep_rate(tmp_path, {"machine": "copy", "rate": 3.0})
    gpu.keep_rate(tmp_path, {"machine": "product in float32", "rate": 7.0})
    gpu.keep_rate(tmp_path, {"machine": "machine", "note": "failed"})
    assert task.rates("float32") == Rates(7.0, 3.0)
    assert task.rates("tf32") is None


def test_parts_run_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--quick", "--results", str(tmp_path)]
    gpu.main([*words, "--only", "machine"])
    (machine,) = read_result(tmp_path / "gpu.md").tables
    assert [row["machine"] for row in machine] == ["product in float32", "copy"]
    assert all(float(row["rate"]) > 1e6 for row in machine)
    assert {row["note"] for row in machine} == {"-"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        gpu.main([*words, "--only", "machine,encoders"])
    assert "no part is called encoders" in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_knows_the_rates_of_an_earlier_one(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--quick", "--only", "machine,encoder"]
    gpu.main([*words, "--results", str(tmp_path)])
    _, encoder = read_result(tmp_path / "gpu.md").tables
    assert {row["note"] for row in encoder} == {"-"}
    assert all(float(row["of floor"]) > 0 for row in encoder)


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path) -> None:
    """All parts in this process: nine processes would import torch nine times."""
    task = Task("cpu", DEFAULT, tmp_path / "work", quick=True)
    task.folder.mkdir()
    measures = gpu_speed.MEASURES | gpu_compare.MEASURES
    assert measures.keys() == gpu.PARTS.keys()
    reports = []
    for name, part in gpu.PARTS.items():
        reports.append(Report(part.columns))
        for row in measures[name](task):
            reports[-1].add(json.loads(json.dumps(row)))  # as a part hands it to its parent
            if name == "machine":
                gpu.keep_rate(task.folder, row)
    write_result(tmp_path / "gpu.md", "a test", reports)
    tables = read_result(tmp_path / "gpu.md").tables
    notes = [row["note"] for table in tables for row in table]
    assert not [note for note in notes if "failed" in note or "ended" in note]
    by_name = dict(zip(gpu.PARTS, tables, strict=True))
    assert {row["largest difference"] for row in by_name["rows"]} == {"0"}
    assert len({row["same"] for row in by_name["people"]}) == 1
    assert float(by_name["sharing"][0]["video hours a GPU-day"]) > 0
    assert all(float(row["of floor"]) > 0 for row in by_name["encoder"])
    assert float(by_name["fine-tune"][1]["over floor"]) > 0


@pytest.mark.gpu
def test_every_part_runs_on_a_gpu(tmp_path: Path) -> None:
    gpu.main(["--quick", "--results", str(tmp_path)])
    notes = [row["note"] for table in read_result(tmp_path / "gpu.md").tables for row in table]
    assert not [note for note in notes if "failed" in note or "ended" in note]
