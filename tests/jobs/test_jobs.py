"""The entry scripts under `ray job submit`, on a head with token authentication."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.clusters import PROJECT, Head, start_head
from tests.helpers.montage import write_montage

pytestmark = [pytest.mark.ray, pytest.mark.network, pytest.mark.slow]

SETTINGS = ["--set", "detect.segment_seconds=2", "--set", "detect.analysis_fps=5"]
SETTINGS += ["--set", "resources.detect_workers_max=1", "--set", "adapt.encoder=frozen"]
SETTINGS += ["--set", "adapt.rounds=1", "--set", "adapt.epochs=1"]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One head for all tests of this module."""
    with start_head() as started:
        yield started


@pytest.fixture(scope="module")
def catalog(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of people who speak, and a manifest of it alone."""
    folder = tmp_path_factory.mktemp("films")
    clips = sorted((shared / "data/videos").glob("grid_*.mpg"))
    write_montage(clips[:3], folder / "good.mp4", seed=1)
    (folder / "bad.mp4").write_bytes(b"no video at all" * 1000)
    (folder / "good.csv").write_text("uri\ngood.mp4\n", encoding="utf-8")
    return folder


def submit(head: Head, name: str, script: str, *words: str | Path) -> list[str]:
    return [
        *("job", "submit", "--submission-id", name, "--working-dir", "."),
        *("--", sys.executable, f"jobs/{script}.py", *map(str, words)),
    ]


@pytest.fixture(scope="module")
def undisturbed(
    head: Head, catalog: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of the good film that nothing disturbs."""
    output = tmp_path_factory.mktemp("undisturbed")
    words = [str(catalog / "good.csv"), "--output", str(output), "--pack", str(yunet_pack)]
    words += SETTINGS
    # More workers than there is room for, as on a cluster that has yet to grow.
    for end in ("min", "max"):
        words += ["--set", f"resources.detect_workers_{end}=5"]
    return head.ray(*submit(head, "undisturbed", "index", *words)), output


def test_a_job_runs_tells_how_far_it_is_and_succeeds(
    head: Head, undisturbed: tuple[subprocess.CompletedProcess[str], Path]
) -> None:
    ran, output = undisturbed
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = ran.stdout.splitlines()
    assert any(line.startswith("detecting faces good") for line in told)
    assert any(line.startswith("good: ") for line in told)
    assert "\r" not in ran.stdout
    assert "Traceback" not in ran.stdout
    assert record_of(ran.stdout)["videos"] == {
        "done": 1,
        "reused": 0,
        "partial": 0,
        "failed": 0,
        "open": 0,
    }
    assert head.job("undisturbed")["status"] == "SUCCEEDED"
    assert len(rows_of(output)) > 5


def test_nobody_gets_in_without_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=10)


def test_wrong_words_fail_the_job_with_2(head: Head, tmp_path: Path) -> None:
    ran = head.ray(*submit(head, "wrong", "index", tmp_path / "none.csv", "--output", tmp_path))
    assert ran.returncode == 1
    assert "no such manifest" in ran.stdout
    assert head.job("wrong")["driver_exit_code"] == 2


def test_a_stopped_job_leaves_nothing_half_and_the_next_goes_on(
    head: Head,
    catalog: Path,
    yunet_pack: Path,
    undisturbed: tuple[subprocess.CompletedProcess[str], Path],
    tmp_path: Path,
) -> None:
    words = [str(catalog), "--output", str(tmp_path), "--pack", str(yunet_pack), *SETTINGS]
    job = subprocess.Popen(
        ["ray", *submit(head, "stopped", "index", *words)],
        executable=str(Path(sys.executable).with_name("ray")),
        cwd=PROJECT,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: list(tmp_path.rglob("seg-*.json")), job)
    head.stop_job("stopped")
    told = job.communicate(timeout=60)[0]
    assert head.job("stopped")["status"] == "STOPPED"
    log = head.ray("job", "logs", "stopped").stdout
    assert "stopped: finished work is kept" in log, told
    assert_whole(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seg-*.json")}

    again = head.ray(*submit(head, "again", "index", *words))
    assert again.returncode == 1, again.stdout
    assert head.job("again")["driver_exit_code"] == 1
    assert record_of(again.stdout)["videos"]["failed"] == 1
    assert record_of(again.stdout)["videos"]["done"] == 1
    assert "bad.mp4: unreadable" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not done again
    assert_whole(tmp_path)
    assert rows_of(tmp_path) == rows_of(undisturbed[1])

    report = head.ray(*submit(head, "report", "report", tmp_path))
    assert report.returncode == 0, report.stdout
    assert (tmp_path / "index.html").is_file()


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def record_of(told: str) -> dict[str, Any]:
    """The machine-readable line; the job command adds lines of its own after it."""
    lines = [line for line in told.splitlines() if line.startswith("{")]
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def rows_of(output: Path) -> dict[str, bytes]:
    """Every stored table and model by its path, but those that name the run."""
    found = [p for part in ("videos", "titles") for p in (output / part).rglob("*") if p.is_file()]
    kinds = (".parquet", ".safetensors")
    return {str(p.relative_to(output)): p.read_bytes() for p in found if p.suffix in kinds}


def assert_whole(output: Path) -> None:
    """What has a manifest has all that belongs to it; what is pointed to has a manifest."""
    belongs = {
        "track": ["shots.parquet", "tracks.parquet", "crops.parquet"],
        "adapt": ["model.safetensors", "outputs.safetensors"],
        "cluster": [f"{n}.parquet" for n in ("people", "tracks", "appearances", "merges")],
    }
    for manifest in output.rglob("manifest.json"):
        kind = manifest.parent.name.split("-")[0]
        names = belongs.get(kind, [])
        if kind == "detect":
            segments = json.loads(manifest.read_text(encoding="utf-8"))["segments"]
            names = [f"seg-{index:05d}.json" for index in range(segments)]
        for name in names:
            assert (manifest.parent / name).is_file(), manifest
    for marker in output.rglob("seg-*.json"):
        assert marker.with_suffix(".parquet").is_file()
    for table in output.rglob("*.parquet"):
        pq.read_metadata(table)
    for latest in output.rglob("latest.json"):
        folder = json.loads(latest.read_text(encoding="utf-8"))["result"]
        assert (latest.parent / folder / "manifest.json").is_file()
