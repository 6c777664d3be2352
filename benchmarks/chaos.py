"""Does a run on a cluster that loses something at any moment end in the rows of one that does not?

    python benchmarks/chaos.py VIDEO ... --pack DIR [--runs 20] [--seed 0] [--only WHAT ...]

A head and two nodes of Ray run on this machine. The videos are indexed once undisturbed; then again
and again into empty folders, and each time one thing is killed (SIGKILL) at a random moment of the
run: a segment worker, a decoder process, a trainer, the reducer, a whole node, or the driver, which
is then started again with the same words. What is killed goes round, the moment is drawn.

How to read a row: `rows` says whether all tables and models are equal to the undisturbed run's, to
the byte; `done again` is how many steps were finished more often than once, by stage (a segment, a
title's fine-tuning or clustering), as far as the runs' own records tell: a driver that was killed
left none. "nothing to kill" means that the run ended before such a process was there: it counts for
nothing.

Only processes that this script has started are killed: they are told by an environment variable.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster
from running import say
from scoring import Cell, Report

MARK = "VCN_CHAOS"
"""Environment variable by which our processes are known."""

TITLES = {
    "segment worker": "MapWorker",
    "decoder": "vcn_ray.io.decoder_child",
    "trainer": "ray::TitleTrainer",
    "reducer": "ray::Reducer",
}
"""What a process is called, by what is killed."""

KINDS = (*TITLES, "node", "driver")
COLUMNS = {
    "run": "",
    "killed": "",
    "after s": ".1f",
    "took s": ".0f",
    "rows": "",
    "done again": "",
    "note": "",
}
FAST_DEATHS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
}


@dataclass
class Machines:
    """A head without work and two nodes; a node that was killed is replaced."""

    cluster: Any
    nodes: list[Any] = field(default_factory=list)

    def fill(self) -> None:
        """Have two nodes again."""
        while len(self.nodes) < 2:
            self.nodes.append(self.cluster.add_node(num_cpus=2, object_store_memory=200 << 20))
        self.cluster.wait_for_nodes()

    def kill_node(self, which: int) -> None:
        """Take a node away without a word."""
        self.cluster.remove_node(self.nodes.pop(which), allow_graceful=False)


@contextmanager
def machines() -> Iterator[Machines]:
    """Start the cluster; end it, and only it."""
    os.environ[MARK] = uuid.uuid4().hex
    head = {"num_cpus": 0, "object_store_memory": 200 << 20, "_system_config": FAST_DEATHS}
    found = Machines(Cluster(initialize_head=True, connect=False, head_node_args=head))
    try:
        found.fill()
        yield found
    finally:
        found.cluster.shutdown()


@dataclass(frozen=True)
class Job:
    """What is run, but for its output."""

    videos: list[str]
    pack: str
    address: str
    folder: Path

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        """The driver, as its own process."""
        words = ["index", *self.videos, "--output", str(output), "--pack", self.pack]
        words += ["--set", "decode.segment_seconds=1", "--set", "resources.segment_workers_max=2"]
        with (self.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "vcn_ray", *words],
                env=os.environ | {"RAY_ADDRESS": self.address, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--pack", required=True, help="built-in name or folder")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path, metavar="OUT", help="the rows as data")
    options = parser.parse_args(argv)
    rng = np.random.default_rng(options.seed)
    report = Report(COLUMNS)
    with machines() as cluster, tempfile.TemporaryDirectory() as folder:
        pack = str(Path(options.pack).absolute()) if Path(options.pack).is_dir() else options.pack
        job = Job(options.videos, pack, cluster.cluster.address, Path(folder))
        began = time.monotonic()
        job.start(Path(folder, "whole")).wait()
        usual = time.monotonic() - began
        whole = files_of(Path(folder, "whole"))
        if not whole:
            raise SystemExit(Path(folder, "driver.log").read_text())
        say(f"undisturbed: {len(whole)} files in {usual:.0f} s")
        for number in range(options.runs):
            cluster.fill()
            kind = options.only[number % len(options.only)]
            moment = float(rng.uniform(0.15, 0.95)) * usual
            row = disturb(cluster, job, Path(folder, f"run-{number}"), kind, moment)
            report.add({"run": str(number), **row, **compare(whole, Path(folder, f"run-{number}"))})
    report.save(options.json)
    bad = [row for row in report.rows if row["rows"] != "equal"]
    say(f"{len(report.rows) - len(bad)} of {len(report.rows)} runs ended in equal rows")
    raise SystemExit(1 if bad else 0)


def disturb(cluster: Machines, job: Job, output: Path, kind: str, moment: float) -> dict[str, Cell]:
    """Run once, and kill something in the middle."""
    began = time.monotonic()
    driver = job.start(output)
    killed_at = None
    while driver.poll() is None:
        time.sleep(0.05)
        now = time.monotonic() - began
        if killed_at is None and now >= moment and kill(cluster, driver, kind):
            killed_at = now
    if kind == "driver" and killed_at is not None:
        driver = job.start(output)
        driver.wait()
    return {
        "killed": kind,
        "after s": killed_at,
        "took s": time.monotonic() - began,
        "note": ("" if killed_at else "nothing to kill")
        + ("" if driver.returncode == 0 else f" exit {driver.returncode}"),
    }


def kill(cluster: Machines, driver: subprocess.Popen[bytes], kind: str) -> bool:
    """Kill one of a kind; false where there is none yet."""
    if kind == "driver":
        driver.kill()
        driver.wait()
        return True
    if kind == "node":
        cluster.kill_node(0)
        return True
    for pid, title in ours():
        if TITLES[kind] in title and (kind != "trainer" or "adapt" in title):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def ours() -> Iterator[tuple[int, str]]:
    """Processes that came of this one, and how they call themselves.

    Decoders have an environment of their own, so they are known by their parents.
    """
    mark = f"{MARK}={os.environ[MARK]}".encode()
    known: set[int] = set()
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents[int(folder.name)] = (parent, title)
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                known.add(int(folder.name))
    for pid, (parent, title) in parents.items():
        if pid in known or (parent in known and TITLES["decoder"] in title):
            yield pid, title


def files_of(output: Path) -> dict[str, str]:
    """Hash of every table and model that counts: of committed folders, by path."""
    found = {}
    for manifest in output.glob("*/*/*/manifest.json"):
        for path in manifest.parent.iterdir():
            if path.suffix in (".parquet", ".safetensors"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(output))] = content
    return found


def compare(whole: dict[str, str], output: Path) -> dict[str, Cell]:
    """What came out, against the undisturbed run."""
    found = files_of(output)
    wrong = [name for name in whole if found.get(name) != whole[name]]
    return {
        "rows": "equal" if found == whole else f"{len(wrong)} of {len(whole)} files differ",
        **repeated(output),
    }


def repeated(output: Path) -> dict[str, Cell]:
    """Work that was done more than once, as the runs' own records tell."""
    steps: dict[str, int] = {}
    for record in output.glob("runs/*/run.json"):
        for stage, work in json.loads(record.read_text())["work"].items():
            steps[stage] = steps.get(stage, 0) + work["steps"]
    there = {
        "faces": len(list(output.glob("videos/*/faces-*/seg-*.json"))),
        "tracks": len(list(output.glob("videos/*/tracks-*/manifest.json"))),
        "adapt": len(list(output.glob("titles/*/adapted-*/manifest.json"))),
        "result": len(list(output.glob("titles/*/result-*/manifest.json"))),
    }
    more = {stage: steps.get(stage, 0) - count for stage, count in there.items()}
    return {"done again": ", ".join(f"{n} {stage}" for stage, n in more.items() if n > 0) or "0"}


if __name__ == "__main__":
    main()
