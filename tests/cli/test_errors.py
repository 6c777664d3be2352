"""Everything that users and files get wrong: one clear line each, and the other videos finished."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.films import Ran, results, vcn
from tests.helpers.videos import encode, encode_sound
from vcn_ray.io.storage import Storage


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with one good video and all that can be wrong with a video."""
    folder = tmp_path_factory.mktemp("catalog")
    good = shared / "data/videos/grid_bbaf2n.mpg"
    shutil.copy(good, folder / "good.mpg")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("This is no film.\n" * 100)
    encode_sound(folder / "sound.mp4")
    noise = np.random.default_rng(0).integers(0, 255, (40, 120, 160, 3), dtype=np.uint8)
    encode(folder / "one_frame.mp4", noise[:1])
    encode(folder / "no_face.mp4", noise)
    whole = (folder / "no_face.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def ran(
    catalog: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, Path]:
    output = tmp_path_factory.mktemp("output")
    inputs = [catalog, catalog / "missing.mp4"]
    return vcn("index", *inputs, "--output", output, "--pack", yunet_pack, "--local"), output


REASONS = {
    "empty.mp4": "unreadable",
    "text.mp4": "unreadable",
    "sound.mp4": "no_video_stream",
    "truncated.mp4": "unreadable",
    "missing.mp4": "missing",
}


def test_each_bad_video_gets_one_line_and_one_row(ran: tuple[Ran, Path]) -> None:
    result, output = ran
    assert result.code == 1
    storage = Storage.open(str(output))
    table = storage.read_table(f"runs/{result.record['run_id']}/failures.parquet")
    rows = {Path(row["uri"]).name: row for row in table.to_pylist()}
    assert {name: row["reason"] for name, row in rows.items()} == REASONS
    for name in REASONS:
        lines = [line for line in result.err.splitlines() if name in line]
        assert len(lines) == 1, lines
        assert lines[0].startswith("failed: ")
    assert "Traceback" not in result.err


def test_the_other_videos_are_finished(ran: tuple[Ran, Path]) -> None:
    result, output = ran
    titles = results(output)
    assert set(titles) == {"good", "one_frame", "no_face"}
    assert titles["good"].people.num_rows == 1
    for name in ("one_frame", "no_face"):
        assert titles[name].people.num_rows == 0
        assert [w["code"] for w in titles[name].summary["warnings"]] == ["empty"]
    assert result.record["videos"] == {"done": 3, "reused": 0, "partial": 0, "failed": 5, "open": 0}


def test_a_second_run_tells_the_same_failures_and_does_nothing(
    ran: tuple[Ran, Path], catalog: Path, yunet_pack: Path
) -> None:
    first, output = ran
    before = _files(output)
    again = vcn(
        "index",
        catalog,
        catalog / "missing.mp4",
        "--output",
        output,
        "--pack",
        yunet_pack,
        "--local",
    )
    assert again.code == 1
    assert "nothing to do" in again.out
    told = [[line for line in r.err.splitlines() if "failed" in line] for r in (first, again)]
    assert sorted(told[0]) == sorted(told[1])
    assert {n: t for n, t in _files(output).items() if not n.startswith("runs/")} == {
        n: t for n, t in before.items() if not n.startswith("runs/")
    }


def _files(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index", "x.mp4"], "--output"),
        (["index", "{good}", "--output", "{out}", "--pack", "dlibb"], "dlibb.*dlib"),
        (["index", "{good}", "--output", "{out}", "--set", "cluster.nonsense=1"], "nonsense"),
        (["index", "{good}", "--output", "{out}", "--set", "seed"], "section.key=value"),
        (["index", "{good}", "--output", "{out}", "--config", "no.toml"], "no.toml"),
        (["index", "no.csv", "--output", "{out}"], "no such manifest"),
        (["index", "{manifest}", "--output", "{out}"], "did you mean 'uri'"),
        (["report", "{out}"], "holds no results"),
        (["evaluate", "{out}", "--labels", "no.csv"], "no.csv"),
        (["packs", "show"], "required: PACK"),
        (["packs", "add", "{out}"], "is no folder: give the one that holds the model files"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_wrong_words_end_with_2_and_one_line(
    words: list[str], message: str, tmp_path: Path, catalog: Path
) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text("url\na.mp4\n")
    places = {"good": catalog / "good.mpg", "out": tmp_path / "out", "manifest": manifest}
    ran = vcn(*(word.format(**places) for word in words))
    assert ran.code == 2
    assert "Traceback" not in ran.err
    complaint = [line for line in ran.err.splitlines() if line.startswith("vcn") and ": " in line]
    assert len(complaint) == 1
    assert re.search(message, complaint[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(catalog: Path, yunet_pack: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ran = vcn(
        "index", catalog / "good.mpg", "--output", tmp_path / "out", "--pack", yunet_pack, "--local"
    )
    assert ran.code == 2
    assert "cannot write" in ran.err


def test_an_output_that_is_a_file(catalog: Path, yunet_pack: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    ran = vcn(
        "index", catalog / "good.mpg", "--output", tmp_path / "out", "--pack", yunet_pack, "--local"
    )
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert "cannot write" in ran.err
