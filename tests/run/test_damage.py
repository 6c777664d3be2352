"""What is damaged in storage is named, counts as not committed, and is done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.system.chaos import files_of
from benchmarks.system.damage import DAMAGES, KINDS, swap
from tests.helpers.films import QUICK, Ran, vcn
from vcn_ray.api import index, verify
from vcn_ray.config import RunConfig, load_config
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.run.events import DamageFound, Event, WorkDone
from vcn_ray.run.stored import stored_titles

pytestmark = pytest.mark.slow

LOCAL = ["--local", *QUICK]

BY_INDEX = [kind for kind in KINDS if kind.startswith(("videos/*/track", "titles/*/cluster"))]
"""Kinds of files that the result of a finished title needs."""


@pytest.fixture(scope="module")
def whole(film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed output, with pages."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert vcn("index", film, "--output", output, "--pack", yunet_pack, *LOCAL).code == 0
    assert vcn("report", output).code == 0
    return output


@pytest.fixture
def output(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.fixture(scope="module")
def config(yunet_pack: Path) -> RunConfig:
    given = dict(word.split("=", 1) for word in QUICK if "=" in word)
    return load_config(None, given | {"pack": str(yunet_pack)})


def again(film: Path, output: Path, pack: Path) -> Ran:
    return vcn("index", film, "--output", output, "--pack", pack, *LOCAL)


def hurt(output: Path, kind: str, way: str) -> str:
    """Damage the first file of a kind; returns its path below the output."""
    path, *others = sorted(output.glob(kind))
    if way == "swap":
        swap(path, others[0])
    else:
        DAMAGES[way](path, np.random.default_rng(0))
    return str(path.relative_to(output))


def test_a_copied_output_is_sound(output: Path, film: Path, yunet_pack: Path, whole: Path) -> None:
    ran = again(film, output, yunet_pack)
    assert (ran.code, ran.record["damaged"]) == (0, [])
    assert "nothing to do" in ran.out
    assert files_of(output) == files_of(whole)
    ran = vcn("verify", output)
    assert (ran.code, ran.record["damaged"]) == (0, [])
    assert ran.record["files"] == len([p for p in output.rglob("*") if p.is_file()])


@pytest.mark.parametrize("way", [*DAMAGES, "swap"])
@pytest.mark.parametrize("kind", ["titles/*/cluster-*/*.parquet", "videos/*/track-*/*.parquet"])
def test_the_next_run_mends_what_results_need(
    output: Path, film: Path, yunet_pack: Path, whole: Path, kind: str, way: str
) -> None:
    path = hurt(output, kind, way)
    ran = again(film, output, yunet_pack)
    assert ran.code == 0, ran.err
    assert any(f"/{path} is damaged: " in line for line in ran.record["damaged"])
    assert f"/{path} is damaged: " in ran.err
    assert "nothing to do" not in ran.out
    assert ran.record["work"].keys() <= {"track", "cluster"}  # from the last sound step on
    assert files_of(output) == files_of(whole)
    assert "nothing to do" in again(film, output, yunet_pack).out


@pytest.mark.parametrize("kind", BY_INDEX)
def test_a_file_that_is_gone_is_not_nothing_to_do(
    output: Path, film: Path, yunet_pack: Path, whole: Path, kind: str
) -> None:
    hurt(output, kind, "delete")
    ran = again(film, output, yunet_pack)
    assert ran.code == 0, ran.err
    assert "nothing to do" not in ran.out
    assert files_of(output) == files_of(whole)


@pytest.mark.parametrize(
    "kind",
    [
        "titles",
        "titles/*",
        "titles/*/cluster-*",
        "titles/*/adapt-*",
        "videos/*",
        "videos/*/track-*",
    ],
)
def test_a_file_in_the_place_of_a_folder_is_named_and_makes_room(
    output: Path, film: Path, yunet_pack: Path, whole: Path, kind: str
) -> None:
    folder = next(output.glob(kind))
    shutil.rmtree(folder)
    folder.write_bytes(b"not ours")
    ran = vcn("verify", output)
    assert ran.code == 1
    assert f"{folder} is damaged: it is a file where a folder belongs" in ran.record["damaged"]
    assert again(film, output, yunet_pack).code == 0
    vcn("verify", output, "--repair", "--local")  # what the result does not need, and pages
    assert files_of(output).items() >= files_of(whole).items()
    assert [p.read_bytes() for p in output.rglob(".*.aside")] == [b"not ours"]
    assert vcn("verify", output).code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_repair_makes_every_kind_of_file_again(output: Path, whole: Path, kind: str) -> None:
    path = hurt(output, kind, "flip")
    ran = vcn("verify", output)
    assert ran.code == 1
    assert path in " ".join(ran.record["damaged"])
    assert ran.record["left"] == ran.record["damaged"]
    assert f"/{path} is damaged: " in ran.err
    assert ran.out.splitlines()[-2] == f"next: vcn verify {output} --repair"
    ran = vcn("verify", output, "--repair", "--local")
    assert ran.code == 0, ran.err
    assert ran.record["left"] == []
    assert vcn("verify", output).code == 0
    assert files_of(output) == files_of(whole)


@pytest.mark.parametrize(
    "kind", ["videos/*/detect-*/manifest.json", "titles/*/adapt-*/manifest.json"]
)
def test_a_deleted_manifest_is_damage_and_a_deleted_folder_is_not(output: Path, kind: str) -> None:
    path = output / hurt(output, kind, "delete")
    assert vcn("verify", output).code == 1
    shutil.rmtree(path.parent)
    assert vcn("verify", output).code == 0


def test_folders_of_other_videos_are_no_results(output: Path) -> None:
    """As where somebody has exchanged whole folders: one repair is enough."""
    video = next((output / "videos").iterdir())
    for folder in list(video.iterdir()):
        if folder.is_dir():
            folder.rename(folder.with_name(folder.name + "0"))
    moved = vcn("verify", output)
    assert (moved.code, "checksum does not match its place" in moved.err) == (1, True)
    repaired = vcn("verify", output, "--repair", "--local")
    assert repaired.code == 0
    assert vcn("verify", output).code == 0


def test_an_older_result_is_repaired_and_stays_the_older_one(
    output: Path, film: Path, yunet_pack: Path
) -> None:
    pointer = next(output.glob("titles/*/latest.json"))
    first = pointer.read_bytes()
    words = [*LOCAL, "--set", "cluster.rule=paper"]
    assert vcn("index", film, "--output", output, "--pack", yunet_pack, *words).code == 0
    newest = pointer.read_bytes()
    assert newest != first
    both = files_of(output)
    older = json.loads(first)["result"]
    hurt(output, f"titles/*/{older}/people.parquet", "flip")
    assert vcn("verify", output, "--repair", "--local").code == 0
    assert pointer.read_bytes() == newest
    assert files_of(output) == both
    pointer.unlink()  # the last one that was made becomes the newest again
    assert vcn("verify", output, "--repair", "--local").code == 0
    assert files_of(output) == both
    assert pointer.exists()


def test_a_repair_says_what_it_cannot_make_again(output: Path, film: Path, tmp_path: Path) -> None:
    shutil.rmtree(next(output.glob("videos/*/detect-*")))
    hurt(output, "videos/*/track-*/crops.parquet", "empty")
    moved = film.rename(tmp_path / "elsewhere.mp4")
    try:
        ran = vcn("verify", output, "--repair", "--local")
    finally:
        moved.rename(film)
    assert ran.code == 1
    assert "film.mp4: missing: no such file" in ran.err
    assert ran.record["left"]
    assert vcn("verify", output, "--repair", "--local").code == 0


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("detect", "videos/*/detect-*/seg-00000.parquet"),
        ("detect", "videos/*/detect-*/frames-00001.parquet"),
        ("track", "videos/*/track-*/crops.parquet"),
        ("adapt", "titles/*/adapt-*/outputs.safetensors"),
        ("adapt", "titles/*/adapt-*/model.safetensors"),
    ],
)
def test_damage_between_two_steps_is_mended_in_the_same_run(
    film: Path, config: RunConfig, whole: Path, tmp_path: Path, step: str, kind: str
) -> None:
    output, named, left = tmp_path / "out", [], 2 if step == "detect" else 1

    def watch(event: Event) -> None:
        nonlocal left
        if isinstance(event, DamageFound):
            named.append(event.message)
        elif isinstance(event, WorkDone) and event.work.step == step and left:
            left -= 1
            if not left:  # as soon as it is there, and before it is read
                hurt(output, kind, "flip")

    done = index(film, output, local=True, config=config, progress=watch)
    assert done.failures == ()
    assert len(named) == 1
    assert Path(kind).name in named[0]
    assert done.record["damaged"] == named
    assert files_of(output) == files_of(whole)


def test_a_medium_that_never_keeps_bytes_is_a_storage_error(
    film: Path, config: RunConfig, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def watch(event: Event) -> None:
        if isinstance(event, WorkDone) and event.work.step == "track":
            hurt(output, "videos/*/track-*/crops.parquet", "flip")

    done = index(film, output, local=True, config=config, progress=watch)
    assert [(f.step, f.reason) for f in done.failures] == [("adapt", "storage_error")]
    assert "crops.parquet is damaged" in done.failures[0].message
    again = index(film, output, local=True, config=config)
    assert again.failures == ()


def test_storage_that_is_lost_midway_still_gives_the_last_line(
    film: Path, yunet_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    commit = FolderWriter.commit

    def lose(self: FolderWriter, manifest: dict[str, Any], name: str = "manifest.json") -> None:
        commit(self, manifest, name)
        if "/track-" in self.folder:
            shutil.rmtree(output)
            output.write_text("a disk that is gone")

    monkeypatch.setattr(FolderWriter, "commit", lose)
    ran = again(film, output, yunet_pack)
    assert ran.code == 1
    assert ran.record["failures"] == 1
    assert "storage_error" in ran.err
    assert "the record of the run is not written: cannot write" in ran.err
    assert "Traceback" not in ran.err


def test_a_report_leaves_a_damaged_title_out_and_says_so(output: Path, yunet_pack: Path) -> None:
    path = hurt(output, "titles/*/cluster-*/people.parquet", "flip")
    ran = vcn("report", output)
    assert ran.code == 1
    title_id = path.split("/")[1]
    assert ran.out.splitlines()[-1] == f"skipped 1 damaged title: {title_id}"
    assert title_id not in (output / "index.html").read_text()
    assert list(stored_titles(Storage.open(str(output)))) == []
    labels = output / "labels.csv"
    labels.write_text("video,frame,x0,y0,x1,y1,identity\nfilm.mp4,1,2,3,4,5,who\n")
    refused = vcn("evaluate", output, "--labels", labels)
    assert refused.code == 2
    assert "damaged, so there are no scores" in refused.err
    hurt(output, "titles/*/cluster-*/model.safetensors", "flip")
    refused = vcn("packs", "export", output, output / "film.onnx", "--pack", yunet_pack)
    assert refused.code == 2
    assert "model.safetensors is damaged" in refused.err
    assert refused.err.endswith(f"use vcn verify {output} --repair\n")


def test_a_pointer_that_is_lost_or_damaged_is_written_again(
    output: Path, film: Path, yunet_pack: Path
) -> None:
    pointer = next(output.glob("titles/*/latest.json"))
    content = pointer.read_bytes()
    for damage in (b"", b"{}", None):
        if damage is None:
            pointer.unlink()
        else:
            pointer.write_bytes(damage)
        assert vcn("report", output).code == 1
        assert again(film, output, yunet_pack).code == 0
        assert pointer.read_bytes() == content


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    ran = vcn("verify", tmp_path)
    assert ran.code == 2
    assert ran.err == f"vcn verify: {tmp_path} holds no results: name the --output of vcn index\n"


def test_python_has_the_same_door(output: Path, config: RunConfig, whole: Path) -> None:
    path = hurt(output, "titles/*/adapt-*/model.safetensors", "cut")
    found = verify(output)
    assert len(found.damage) == 1
    assert path in found.damage[0]
    assert found.left == found.damage
    mended = verify(output, repair=True, local=True)
    assert (len(mended.damage), mended.left, mended.failures) == (1, (), ())
    assert files_of(output) == files_of(whole)
