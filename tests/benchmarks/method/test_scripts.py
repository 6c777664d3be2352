"""Every benchmark of the method from end to end, on a tiny film."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.method.films import load_film, make_film
from benchmarks.result_file import read_result

COMMANDS = {
    "film_tracks": "--profile default --floor",
    "robustness": "--seeds 2 --people 1 2 3-once",
    "ablation": "--size 20",
    "rules": "--held-out",
    "constants": "--only cluster.cut.view_factor --only adapt.augment.shift "
    "--only adapt.teacher_temperature --only cluster.quality.min_score",
    "quality": "--cut -1",
    "growth": "--tracks 6 --crops 2",
    "season": "--episodes 2",
}


@pytest.fixture(scope="module")
def tiny(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of four people, three crops a track."""
    path = tmp_path_factory.mktemp("bench") / "tiny.npz"
    make_film(shared, path, seed=3, cast=4, tracks=8)
    film, data = load_film(path), dict(np.load(path))
    kept = np.concatenate(
        [np.flatnonzero(film.title.track == t)[:3] for t in range(len(film.truth))]
    )
    np.savez(path, **(data | {name: data[name][kept] for name in ("crops", "track", "frame")}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS)
def test_the_script_prints_and_writes_its_table(script, tiny, yunet_pack, tmp_path, capsys):
    rows = tmp_path / "rows.json"
    words = [str(tiny), str(tiny), "--pack", str(yunet_pack), "--quick", "--device", "cpu"]
    words += ["--json", str(rows), "--cache", str(tiny.with_name("cache"))]
    words += ["--results", str(tmp_path), "--variant", "tiny"]
    importlib.import_module(f"benchmarks.method.{script}").main(words + COMMANDS[script].split())
    written = json.loads(rows.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(written) + 2
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    scores = [row["NMI"] for row in written if row["NMI"] is not None]
    assert scores
    assert all(0 <= score <= 1 for score in scores)
    (table,) = read_result(tmp_path / f"{script}-tiny.md").tables
    assert len(table) == len(written)


@pytest.mark.slow
def test_packs_are_compared(shared, yunet_pack, tmp_path, capsys):
    from benchmarks.method import packs

    for number in range(2):
        person = shared / "data" / "faces" / f"id{number:03d}"
        (tmp_path / "faces" / person.name).mkdir(parents=True)
        for path in sorted(person.iterdir())[:6]:
            shutil.copy(path, tmp_path / "faces" / person.name)
    words = ["--packs", str(yunet_pack.parent), "--faces", str(tmp_path / "faces")]
    words += ["--json", str(tmp_path / "rows.json"), "--pack", yunet_pack.name]
    words += ["--results", str(tmp_path)]
    packs.main(words)
    nothing, row = json.loads((tmp_path / "rows.json").read_text())
    assert nothing["pack"] == "nothing"
    assert nothing["peak MiB"] < row["peak MiB"]
    assert (row["pictures"], row["recall"], row["licence"]) == (12, 1, "Apache-2.0")
    assert row["TAR at FAR 1e-2"] is None  # 36 pairs are too few
    assert min(row["frames/CPU s"], row["faces/CPU s"]) > 0
    assert len(capsys.readouterr().out.splitlines()) == 4
