"""Does a run on a cluster that loses something at any moment end in the rows of one that does not?

    python benchmarks/chaos.py VIDEO ... --pack DIR [--runs 20] [--seed 0] [--only WHAT ...]

A head and two nodes of Ray run on this machine. The videos are indexed once undisturbed; then again
and again into empty folders, and each time one thing is killed (SIGKILL) at a random moment of the
run: a segment worker, a decoder process, the reducer, a whole node, or the driver, which is then
started again with the same words. What is killed goes round, the moment is drawn: of the first two
as a number of segments that are done.

Two kinds are killed while they fine-tune: a warm trainer, and the process of a Ray Train job. So
that they can be met, they are given the first video alone, trained for longer and with a checkpoint
every second, beside an undisturbed run of the same; what is drawn is the epoch that must be in the
checkpoint before the kill. They must go on from there: that they did is read from the manifest of
the adapted model, and a training that began anew is as bad as wrong rows.

How to read a row: `rows` says whether all tables and models are equal to the undisturbed run's, to
the byte; `kept`, how many epochs the checkpoint held that was seen before the kill, and `went on
after`, how many the training did not do again, of how many there are; `done again` is how many
steps were finished more often than once, by stage (a segment, a title's fine-tuning or clustering),
as far as the runs' own records tell: a driver that was killed left none. "nothing to kill" means
that the run ended before such a process was there: it counts for nothing.

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster
from running import say
from safetensors import safe_open
from scoring import Cell, Report

MARK = "VCN_CHAOS"
"""Environment variable by which our processes are known."""

TITLES = {
    "segment worker": "MapWorker",
    "decoder": "vcn_ray.io.decoder_child",
    "reducer": "ray::Reducer",
    "trainer": "ray::TitleTrainer.adapt",
    "train worker": "ray::RayTrainWorker",
}
"""What a process is called, by what is killed."""

OF_SEGMENTS = ("segment worker", "decoder")
"""What is there only while segments are, which is a small part of a run of such short films."""

KINDS = (*TITLES, "node", "driver")
SETTINGS = ("decode.segment_seconds=1", "resources.segment_workers_max=2")
LONG = ("finetune.encoder_epochs=32", "resources.checkpoint_seconds=1")
"""Settings under which a title of seconds trains for longer than a few checkpoints are apart."""

TRAINERS = {"trainer": LONG, "train worker": (*LONG, "resources.trainer_crops=0")}
"""What is killed while it trains, and its settings; how it is trained must not change a bit."""
COLUMNS = {
    "run": "",
    "killed": "",
    "after s": ".1f",
    "took s": ".0f",
    "kept": "",
    "went on after": "",
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
    settings: tuple[str, ...] = SETTINGS

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        """The driver, as its own process."""
        words = ["index", *self.videos, "--output", str(output), "--pack", self.pack]
        for setting in self.settings:
            words += ["--set", setting]
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
        wholes = {
            trains: undisturbed(job_for("trainer", job) if trains else job, f"whole-{trains}")
            for trains in sorted({kind in TRAINERS for kind in options.only})
        }
        for number in range(options.runs):
            cluster.fill()
            kind = options.only[number % len(options.only)]
            whole = wholes[kind in TRAINERS]
            output = Path(folder, f"run-{number}")
            row = disturb(cluster, job_for(kind, job), output, Aim(kind, rng, whole))
            report.add({"run": str(number), **row, **compare(whole.files, output)})
    report.save(options.json)
    bad = [row for row in report.rows if row["rows"] != "equal" or "began anew" in str(row["note"])]
    say(f"{len(report.rows) - len(bad)} of {len(report.rows)} runs ended as they should")
    raise SystemExit(1 if bad else 0)


@dataclass(frozen=True)
class Whole:
    """A run that nothing happened to."""

    seconds: float
    files: dict[str, str]
    segments: int
    epochs: int  # of its longest training


def undisturbed(job: Job, name: str) -> Whole:
    """Run once and leave it alone."""
    began, output = time.monotonic(), job.folder / name
    job.start(output).wait()
    seconds, files = time.monotonic() - began, files_of(output)
    if not files:
        raise SystemExit((job.folder / "driver.log").read_text())
    epochs = max(len(manifest["history"]) for manifest in adapted_in(output))
    say(f"undisturbed: {len(files)} files, {epochs} epochs in {seconds:.0f} s")
    return Whole(seconds, files, len(segments_in(output)), epochs)


def job_for(kind: str, job: Job) -> Job:
    """What is run for a kind: of one video where a trainer is to be met."""
    if kind not in TRAINERS:
        return job
    return replace(job, videos=job.videos[:1], settings=(*job.settings, *TRAINERS[kind]))


class Aim:
    """What is killed, and when: after some seconds, segments, or epochs that a checkpoint holds."""

    def __init__(self, kind: str, rng: np.random.Generator, whole: Whole) -> None:
        self.kind = kind
        share = float(rng.uniform(0.15, 0.95))
        self._moment = share * whole.seconds
        self._segments = round(share * (whole.segments - 1))
        # Training ends a second or two after its last epochs, and checkpoints are a second apart.
        self._epochs = round(0.8 * share * whole.epochs)
        self.kept: int | None = None  # epochs in the checkpoint that was seen

    def is_due(self, seconds: float, output: Path) -> bool:
        """Whether the time has come."""
        if self.kind in OF_SEGMENTS:
            return len(segments_in(output)) >= self._segments
        if self.kind not in TRAINERS:
            return seconds >= self._moment
        self.kept = epochs_kept(output)
        return self.kept is not None and self.kept >= self._epochs


def epochs_kept(output: Path) -> int | None:
    """How many epochs the checkpoint of a title holds; None while there is none."""
    for path in output.glob("titles/*/adapted-*/checkpoint.safetensors"):
        # It may just be dropped; it is never seen half written.
        with suppress(FileNotFoundError), safe_open(path, "np") as file:
            return len(json.loads(file.metadata()["state"])["history"])
    return None


def disturb(cluster: Machines, job: Job, output: Path, aim: Aim) -> dict[str, Cell]:
    """Run once, and kill something in the middle."""
    began = time.monotonic()
    driver = job.start(output)
    killed_at = None
    while driver.poll() is None:
        time.sleep(0.05)
        now = time.monotonic() - began
        if killed_at is None and aim.is_due(now, output) and kill(cluster, driver, aim.kind):
            killed_at = now
    if aim.kind == "driver" and killed_at is not None:
        driver = job.start(output)
        driver.wait()
    notes = [] if killed_at else ["nothing to kill"]
    notes += [f"exit {driver.returncode}"] if driver.returncode else []
    row: dict[str, Cell] = {
        "killed": aim.kind,
        "after s": killed_at,
        "took s": time.monotonic() - began,
    }
    if killed_at and aim.kept is not None:
        row["kept"] = str(aim.kept)
        for manifest in adapted_in(output):
            resumed = manifest["resumed_epochs"]
            row["went on after"] = f"{resumed} of {len(manifest['history'])}"
            notes += ["began anew"] if resumed < aim.kept else []
    return row | {"note": ", ".join(notes)}


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
        if TITLES[kind] in title:
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


def segments_in(output: Path) -> list[Path]:
    """The segments that are committed."""
    return list(output.glob("videos/*/faces-*/seg-*.json"))


def adapted_in(output: Path) -> list[dict[str, Any]]:
    """What is told of each adapted model."""
    return [
        json.loads(path.read_text()) for path in output.glob("titles/*/adapted-*/manifest.json")
    ]


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
        "faces": len(segments_in(output)),
        "tracks": len(list(output.glob("videos/*/tracks-*/manifest.json"))),
        "adapt": len(list(output.glob("titles/*/adapted-*/manifest.json"))),
        "result": len(list(output.glob("titles/*/result-*/manifest.json"))),
    }
    more = {stage: steps.get(stage, 0) - count for stage, count in there.items()}
    return {"done again": ", ".join(f"{n} {stage}" for stage, n in more.items() if n > 0) or "0"}


if __name__ == "__main__":
    main()
