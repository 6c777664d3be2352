"""What a run keeps, reuses and does again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import onnxruntime
import pytest

from tests.helpers.films import SMALL, Ran, results, vcn
from vcn_ray.io.storage import Storage
from vcn_ray.schema import (
    TABLES,
)

pytestmark = pytest.mark.slow

LOCAL = ["--local", *SMALL]


@pytest.fixture(scope="module")
def first(
    film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, Path]:
    output = tmp_path_factory.mktemp("output")
    return vcn("index", film, "--output", output, "--pack", yunet_pack, *LOCAL), output


def _written(output: Path) -> dict[str, int]:
    parts = [p for part in ("videos", "titles") for p in (output / part).rglob("*")]
    return {str(p.relative_to(output)): p.stat().st_mtime_ns for p in parts if p.is_file()}


def test_a_run_says_what_it_did(first: tuple[Ran, Path]) -> None:
    ran, output = first
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("film: 2 people in ")
    assert lines[-2] == f"next: vcn report {output}"
    assert ran.record["titles"][0]["people"] == 2
    stored = Storage.open(str(output)).read_json(f"runs/{ran.record['run_id']}/run.json")
    assert tomllib.loads(stored.pop("config"))["detect"]["segment_seconds"] == 2
    assert set(stored.pop("files")) == {"videos.parquet", "failures.parquet"}
    assert stored == ran.record


def test_every_stored_table_has_its_schema(first: tuple[Ran, Path]) -> None:
    storage = Storage.open(str(first[1]))
    known = {schema.metadata[b"vcn_table"]: schema for schema in TABLES}
    seen = set()
    for path in first[1].rglob("*.parquet"):
        table = storage.read_table(str(path.relative_to(first[1])))
        name = table.schema.metadata[b"vcn_table"]
        assert table.schema.equals(known[name]), path
        # Parquet adds its own numbers to a field's metadata; the notes must still be there.
        assert table.schema.metadata == known[name].metadata
        assert [f.metadata[b"note"] for f in table.schema] == [
            f.metadata[b"note"] for f in known[name]
        ]
        seen.add(name)
    later = (b"reviewed_", b"conflicts", b"catalog_", b"dataset_")  # other commands write them
    assert seen == {name for name in known if not name.startswith(later)}


def test_a_second_run_does_nothing_and_says_so(
    first: tuple[Ran, Path], film: Path, yunet_pack: Path
) -> None:
    before = _written(first[1])
    again = vcn("index", film, "--output", first[1], "--pack", yunet_pack, *LOCAL)
    assert again.code == 0
    assert "film: 2 people" in again.out
    assert "already done" in again.out
    assert "nothing to do" in again.out
    assert _written(first[1]) == before


def test_plan_says_what_is_there_and_touches_nothing(
    first: tuple[Ran, Path], film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    done = vcn("plan", film, "--output", first[1], "--pack", yunet_pack, *LOCAL)
    assert "nothing: its result exists" in " ".join(done.out.split())
    assert done.record["titles_finished"] == 1
    assert done.record["estimated_seconds"] == 0
    new = vcn("plan", film, "--output", tmp_path / "new", "--pack", yunet_pack, *LOCAL)
    assert new.record == {
        "titles": 1,
        "titles_finished": 0,
        "titles_by_action": {"everything": 1},
        "videos": 1,
        "video_seconds": done.record["video_seconds"],
        "segments": done.record["segments"],
        "unreadable": 0,
        "estimated_from_titles": 0,
        **{
            f"estimated_{unit}seconds{end}": None
            for unit in ("", "cpu_", "gpu_")
            for end in ("", "_low", "_high")
        },
        "speed": None,
    }
    assert done.record["speed"]["video_hours_per_core_hour"] > 0
    assert done.record["segments"] >= 2
    assert not (tmp_path / "new").exists()


def test_a_clustering_option_redoes_only_the_result(
    first: tuple[Ran, Path], film: Path, yunet_pack: Path
) -> None:
    before = _written(first[1])
    words = [*LOCAL, "--set", "cluster.rule=paper"]
    again = vcn("index", film, "--output", first[1], "--pack", yunet_pack, *words)
    assert again.code == 0
    after = _written(first[1])
    assert {name: after[name] for name in before if "latest" not in name} == {
        name: before[name] for name in before if "latest" not in name
    }
    new = {name.split("/")[2].split("-")[0] for name in set(after) - set(before)}
    assert new == {"cluster"}
    assert results(first[1])["film"].summary["config"]["cluster"]["rule"] == "paper"


def test_a_killed_step_is_done_again_and_gives_the_same(
    first: tuple[Ran, Path], film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    words = ["index", str(film), "--output", str(tmp_path), "--pack", str(yunet_pack), *LOCAL]
    assert vcn(*words).code == 0
    whole = {n: (tmp_path / n).read_bytes() for n in _written(tmp_path) if n.endswith(".parquet")}
    # What a kill leaves: files of a segment without its marker, steps without their manifests.
    for name in _written(tmp_path):
        if name.endswith(("manifest.json", "seg-00001.json", "latest.json", "crops.parquet")):
            (tmp_path / name).unlink()
    again = vcn(*words)
    assert again.code == 0
    assert "already done" not in again.out
    assert {n: (tmp_path / n).read_bytes() for n in whole} == whole


def test_the_adapted_encoder_is_exported(
    first: tuple[Ran, Path], yunet_pack: Path, tmp_path: Path
) -> None:
    file = tmp_path / "film.onnx"
    ran = vcn("packs", "export", first[1], file, "--pack", yunet_pack)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("adapted to film; it takes crops of 112 pixels, RGB")
    assert [len(v.shape) for v in onnxruntime.InferenceSession(file).get_outputs()] == [2]


def test_labels_are_compared(first: tuple[Ran, Path], tmp_path: Path) -> None:
    title = results(first[1])["film"]
    rows = title.crops.to_pylist()
    person = dict(
        zip(*(title.tracks.column(n).to_pylist() for n in ("track_id", "person_id")), strict=True)
    )
    lines = ["video,frame,x0,y0,x1,y1,identity"]
    for row in rows:
        box = ",".join(str(row[f"{n}_pixels"]) for n in ("x0", "y0", "x1", "y1"))
        lines.append(f"film.mp4,{row['frame']},{box},{person[row['track_id']]}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines))
    ran = vcn("evaluate", first[1], "--labels", labels)
    assert ran.code == 0
    scores = ran.record["titles"][0]
    assert (scores["wcp"], scores["pcr"], scores["bcubed_f"]) == (1.0, 1.0, 1.0)
    assert scores["detection_recall"] == scores["track_recall"] == 1.0
    assert (scores["identities_found"], scores["people_made"], scores["people_mixed"]) == (2, 2, 0)
    assert scores["shots"] is None
    (tmp_path / "cuts.csv").write_text("video,seconds\nfilm.mp4,9999\n")
    ran = vcn("evaluate", first[1], "--labels", labels, "--cuts", tmp_path / "cuts.csv")
    assert ran.record["titles"][0]["shots"]["recall"] == 0
    (tmp_path / "film.labels.csv").write_text(labels.read_text().replace(",p002", ",?"))
    scores = vcn("evaluate", first[1], "--labels", tmp_path).record["titles"][0]
    assert (scores["people_true"], scores["people_of_no_face"], scores["people_mixed"]) == (1, 1, 0)
    labels.write_text(labels.read_text().replace(",p002", ",p001"))
    scores = vcn("evaluate", first[1], "--labels", labels).record["titles"][0]
    assert (scores["people_true"], scores["pcr"]) == (1, 2.0)
    labels.write_text(labels.read_text().replace("film.mp4", "other.mp4"))
    assert "no such video" in vcn("evaluate", first[1], "--labels", labels).err
