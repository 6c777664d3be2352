"""Real clips beside their labels, and average linkage of the same tracks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.method import real
from benchmarks.method.baselines import hac, hac_cuts
from benchmarks.result_file import read_result
from tests import reference
from tests.helpers.films import SMALL, results, vcn
from vcn_ray.core.linkage import CannotLink
from vcn_ray.core.vectors import unit_rows
from vcn_ray.evaluation.labels import Truth, read_truth
from vcn_ray.evaluation.output import MatchedTitle
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.records import F64

HEADER = "video,frame,x0,y0,x1,y1,identity\n"


def rows_of(seed: int, count: int = 9) -> F64:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, 4)))


@pytest.mark.parametrize("seed", range(3))
def test_every_cut_of_the_linkage_equals_its_literal_twin(seed: int) -> None:
    rows = rows_of(seed)
    cuts = hac_cuts(rows)
    assert [len(set(label.tolist())) for _, label in cuts] == list(range(9, 0, -1))
    for cut, label in cuts:
        wanted = reference.average_linkage(1 - rows @ rows.T, cut + 1e-9, CannotLink.none())
        pairs = label[:, None] == label
        np.testing.assert_array_equal(pairs, wanted[:, None] == wanted)
        np.testing.assert_array_equal(hac(rows, cut), label)


@pytest.mark.parametrize("count", [0, 1])
def test_the_linkage_of_none_or_one(count: int) -> None:
    assert [label.tolist() for _, label in hac_cuts(rows_of(0, count))] == [[0] * count]
    assert hac(rows_of(0, count)).tolist() == [0] * count


def title_of(tracks: list[tuple[str, str | None]]) -> MatchedTitle:
    none = np.zeros(0, np.bool_)
    return MatchedTitle(
        title="clip",
        tracks=tuple(MatchedTrack("t", name, person, 1.0, True) for name, person in tracks),
        there={"a", "b"},
        boxes=np.zeros((0, 4), np.float32),
        detected=none,
        tracked=none,
        cuts=None,
    )


def test_the_baseline_clusters_the_tracks_that_are_in_a_person() -> None:
    people = [("a", "p1"), ("b", None), ("a", "p2"), ("b", "p1"), ("?", "p3")]
    rows = np.array([[1, 0, 0], [0, 0, 1], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.float64)
    cells = real.baseline_cells(title_of(people), unit_rows(rows), cut=3.0)
    assert (cells["oracle made"], cells["oracle NMI"], cells["oracle F"]) == (3, 1, 1)
    assert (cells["fixed made"], cells["fixed NMI"], cells["fixed cut"]) == (1, 0, 3.0)
    nobody = real.baseline_cells(title_of([("a", None)]), unit_rows(rows[:1]), cut=0.5)
    assert (nobody["oracle made"], nobody["oracle NMI"]) == (0, 0)


def test_the_last_row_has_sums_and_means() -> None:
    row = dict.fromkeys(real.COLUMNS)
    rows = [{**row, "made": 2, "NMI": 0.5, "shots P": 1.0}, {**row, "made": 3, "NMI": 1.0}]
    total = real.sum_row(rows)
    assert total == {"clip": "sum, mean", "made": 5, "NMI": 0.75, "shots P": 1.0}


def test_clips_are_found_by_their_stems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mkv", "b.txt", "c.mp4"):
        (tmp_path / name).touch()
    file = tmp_path / "labels.csv"
    file.write_text(HEADER + "".join(f"{n},0,0,0,1,1,x\n" for n in ("a", "b", "c.mp4")))
    truth: Truth = read_truth([file])
    found = real.find_clips(tmp_path, truth)
    assert found == {"a": tmp_path / "a.mkv", "c.mp4": tmp_path / "c.mp4"}
    assert capsys.readouterr().err.startswith("b: not in ")
    with pytest.raises(SystemExit):
        real.main([str(tmp_path / "none"), "--labels", str(file)])


@pytest.mark.slow
def test_a_clip_is_indexed_once_and_scored(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    vcn("index", film, "--output", out / yunet_pack.name, "--pack", yunet_pack, "--local", *SMALL)
    title = results(out / yunet_pack.name)["film"]
    person = {row["track_id"]: row["person_id"] for row in title.tracks.to_pylist()}
    lines = [
        f"film,{row['frame']},"
        + ",".join(str(row[f"{side}_pixels"]) for side in ("x0", "y0", "x1", "y1"))
        + f",{person[row['track_id']]}\n"
        for row in title.crops.to_pylist()
    ]
    (tmp_path / "film.labels.csv").write_text(HEADER + "".join(lines))
    (tmp_path / "gone.labels.csv").write_text(f"{HEADER}gone,0,0,0,1,1,x\n")
    words = [str(film.parent), "--labels", str(tmp_path), "--packs", str(yunet_pack), *SMALL]
    words += ["--out", str(out), "--results", str(tmp_path), "--json", str(tmp_path / "rows.json")]
    real.main(words)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert (row["pack"], row["clip"], row["people"], row["found"], row["made"]) == (
        yunet_pack.name,
        "film",
        2,
        2,
        2,
    )
    assert (row["NMI"], row["recall"], row["oracle NMI"], row["shots P"]) == (1, 1, 1, None)
    assert row["CPU s"] is None  # nothing was left to do
    real.main([*words, "--set", "cluster.rule=paper"])
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert 0 < row["CPU s"] < 60
    (table,) = read_result(tmp_path / f"real-{yunet_pack.name}.md").tables
    assert [line["clip"] for line in table] == ["film", "sum, mean"]
