"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from vcn_ray.io.atomic import MAX_SYNCED, STALE_SECONDS, atomic_file, fill_once


def write(path: Path, text: str, fail: bool = False) -> None:
    with atomic_file(path) as part:
        part.write_text(text)
        if fail:
            raise RuntimeError("killed")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(RuntimeError):
        write(path, "half", fail=True)
    assert list(tmp_path.iterdir()) == []
    write(path, "old")
    with pytest.raises(RuntimeError):
        write(path, "half", fail=True)
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_fails_before_the_work(tmp_path: Path) -> None:
    done = []
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "nowhere" / "a.txt"):
        done.append("work")
    assert done == []


def has_both(folder: Path) -> bool:
    return (folder / "a.bin").exists() and (folder / "pack.toml").exists()


def fill_both(part: Path) -> None:
    assert part.name == "pack"
    (part / "pack.toml").write_text("new")
    (part / "a.bin").write_text("new")


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    folder, filled = tmp_path / "below" / "pack", []

    def fill(part: Path) -> None:
        filled.append(part)
        time.sleep(0.05)  # so that the others come while this one fills
        fill_both(part)

    threads = [threading.Thread(target=fill_once, args=(folder, has_both, fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    assert has_both(folder)
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]


def test_a_folder_that_is_not_whole_is_mended(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "a.bin").write_text("damaged")
    (folder / "other.txt").write_text("kept")
    fill_once(folder, has_both, fill_both, last=(".toml",))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a.bin": "new",
        "pack.toml": "new",
        "other.txt": "kept",
    }


def test_a_failure_leaves_nothing_and_old_leftovers_go(tmp_path: Path) -> None:
    old, young = tmp_path / ".pack.1.part", tmp_path / ".pack.2.part"
    for folder in (old, young):
        folder.mkdir()
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(old, (long_ago, long_ago))

    def fail(part: Path) -> None:
        (part / "a.bin").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fill_once(tmp_path / "pack", has_both, fail)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [young]


@pytest.mark.parametrize(("files", "synced"), [(MAX_SYNCED, MAX_SYNCED), (MAX_SYNCED + 1, 0)])
def test_many_files_are_not_synced_one_by_one(
    files: int, synced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))

    def fill(part: Path) -> None:
        for number in range(files):
            (part / f"{number}.bin").write_text("new")

    fill_once(tmp_path / "pack", Path.is_dir, fill)
    assert calls == (["fsync"] * synced or ["sync"])
    assert len(list((tmp_path / "pack").iterdir())) == files
