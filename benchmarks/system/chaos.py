"""Does a run that loses a process or a node end with the same rows as an undisturbed run?

    python -m benchmarks.system.chaos VIDEO ... --pack DIR [--runs 20] [--only WHAT ...]

A Ray head and two nodes run on this machine. The videos are indexed once undisturbed. Then they are
indexed again and again into empty folders, and each time one thing is killed (SIGKILL) at a random
moment: a segment worker, a decoder process, a decoder that is still starting, the reducer, a whole
node, a raylet (of any node, the head too), the GCS, or the driver. The kinds take turns. The moment
is a time; for the first two kinds a number of finished segments, and for a starting decoder an age
in seconds, of one of the first three that start.

A driver that was killed, or that ended because its raylet or the GCS was, is started again with the
same command, once, on a new cluster where the old one is lost. After any other kill the run must
end well by itself.

Two kinds are killed while they fine-tune: a warm trainer, and a process of a Ray Train job. Their
runs have the first video alone, a longer training and a checkpoint every second, and are compared
with an undisturbed run of the same. Their random moment is the number of epochs in the checkpoint
at the kill. The training must resume from there, which the manifest of the adapted model shows; a
training that restarted from scratch fails like wrong rows.

How to read a row: `rows` says whether all tables and models are byte for byte those of the
undisturbed run. `epochs saved` is the number of epochs in the checkpoint at the kill, `resumed at`
the number of epochs that the training did not repeat, of all. `repeated` counts the steps that were
finished more than once (a segment, a title's fine-tuning or clustering), as the runs' own records
show them; a killed driver leaves no record. "nothing to kill" means that the run ended before its
moment: such a row shows nothing, and another run takes its place.

Only processes that this script started are killed: an environment variable marks them.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
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
from safetensors import safe_open

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.index_run import IndexRun, finished_segments, finished_titles
from benchmarks.system.processes import marked_processes

MARK = "VCN_CHAOS"
"""Environment variable that marks our processes."""

TITLES = {
    "segment worker": "MapWorker",
    "decoder": "vcn_ray.io.decoder_child",
    "reducer": "ray::Reducer",
    "trainer": "ray::TitleTrainer.adapt",
    "train worker": "ray::RayTrainWorker",
}
"""Part of the command line of each kind of process."""

STARTING = "starting decoder"
STARTS_SEEN = 3  # the run's first decoders: that of the plan, and of two segment workers
START_SECONDS = 0.4  # within which no decoder has ever finished its imports

OF_SEGMENTS = ("segment worker", "decoder")
"""Kinds that live only while segments are processed, a small part of a run of short films."""

HANGS = "hangs"
MAX_SECONDS = 600.0  # after which a run hangs
RESTARTED = "restarted from scratch"
RERUN = ("driver", "raylet", "gcs")
"""Kinds whose kill may end the driver, which is then started again, once."""

KINDS = (*TITLES, STARTING, "node", *RERUN)
TRIES = 3  # to find something to kill
SETTINGS = ("detect.segment_seconds=1", "resources.detect_workers_max=2")
LONG = ("adapt.encoder_epochs=32", "resources.checkpoint_seconds=1")
"""Settings that make a title of seconds train for several checkpoints."""

TRAINERS = {"trainer": LONG, "train worker": (*LONG, "resources.adapt_job_crops=0")}
"""Kinds that are killed while they train, and the settings of their runs, which give equal bits."""
COLUMNS = {
    "run": "",
    "killed": "",
    "after s": ".1f",
    "took s": ".0f",
    "epochs saved": "",
    "resumed at": "",
    "rows": "",
    "repeated": "",
    "note": "",
}
FAST_DEATHS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 20,  # a busy machine answers late, and is not dead
    "gcs_rpc_server_reconnect_timeout_s": 10,
    "worker_niceness": 0,  # else whatever else runs here comes first
}


@dataclass
class Machines:
    """A head without CPUs and two nodes; a killed node, or head, is replaced."""

    cluster: Any = None
    nodes: list[Any] = field(default_factory=list)

    def fill(self) -> None:
        """Start a head where it is lost, and nodes until there are two."""
        if self.cluster and not lives(self.cluster.head_node, "gcs_server", "raylet"):
            self.end()
        if not self.cluster:
            head = {"num_cpus": 0, "object_store_memory": 200 << 20, "_system_config": FAST_DEATHS}
            self.cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
        for node in [node for node in self.nodes if not lives(node, "raylet")]:
            self.nodes.remove(node)
            self.cluster.remove_node(node, allow_graceful=False)
        while len(self.nodes) < 2:
            self.nodes.append(self.cluster.add_node(num_cpus=2, object_store_memory=200 << 20))
        self.cluster.wait_for_nodes()

    def end(self) -> None:
        """End the head and all nodes, whatever is left of them."""
        cluster, self.cluster, self.nodes = self.cluster, None, []
        if cluster:
            for node in [*cluster.worker_nodes, cluster.head_node]:
                cluster.remove_node(node, allow_graceful=False)
            cluster.shutdown()

    def kill_node(self, which: int) -> None:
        """Kill all processes of a node without warning."""
        self.cluster.remove_node(self.nodes.pop(which), allow_graceful=False)

    def kill_part(self, kind: str, which: int) -> None:
        """Kill the raylet of a node, counted from the head, or the GCS, and nothing beside it."""
        nodes = [self.cluster.head_node, *self.nodes]
        node, part = (nodes[0], "gcs_server") if kind == "gcs" else (nodes[which], "raylet")
        for process in node.all_processes[part]:
            process.process.kill()
            process.process.wait()


def lives(node: Any, *parts: str) -> bool:
    """Whether these processes of a Ray node live."""
    found = [node.all_processes.get(part) for part in parts]
    return all(some and some[0].process.poll() is None for some in found)


@contextmanager
def machines() -> Iterator[Machines]:
    """Start the cluster, and end it afterwards."""
    os.environ[MARK] = uuid.uuid4().hex
    found = Machines()
    try:
        found.fill()
        yield found
    finally:
        found.end()


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    add_pack(parser)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    options = read_options(parser, argv)
    rng = np.random.default_rng(options.seed)
    report = Report(COLUMNS)
    with machines() as cluster, tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "driver.log")
        run = IndexRun(options.videos, options.pack, cluster.cluster.address, log, SETTINGS)
        wholes = {
            trains: undisturbed(run_for("trainer", run) if trains else run, f"whole-{trains}")
            for trains in sorted({kind in TRAINERS for kind in options.only})
        }
        for number in range(options.runs):
            kind = options.only[number % len(options.only)]
            for attempt in range(TRIES):
                whole = wholes[kind in TRAINERS]
                cluster.fill()
                output = Path(folder, f"run-{number}-{attempt}")
                now = replace(run_for(kind, run), address=cluster.cluster.address)
                row = disturb(cluster, now, output, Aim(kind, rng, whole))
                report.add({"run": str(number), **row, **compare(whole.files, output)})
                save(options, report)  # what was measured stays, should the script be ended
                # The first run may have met a busier machine than those after it.
                if not row["note"]:
                    seconds = min(whole.seconds, float(row["took s"] or 0))
                    wholes[kind in TRAINERS] = replace(whole, seconds=seconds)
                if row["after s"] is not None:
                    break
    wrong = (RESTARTED, HANGS)
    bad = [
        row
        for row in report.rows
        if row["rows"] != "equal" or any(word in str(row["note"]) for word in wrong)
    ]
    say(f"{len(report.rows) - len(bad)} of {len(report.rows)} runs ended correctly")
    raise SystemExit(1 if bad else 0)


@dataclass(frozen=True)
class Whole:
    """The result of an undisturbed run."""

    seconds: float
    files: dict[str, str]
    segments: int
    epochs: int  # of the longest training


def undisturbed(run: IndexRun, name: str) -> Whole:
    """Run once without killing anything."""
    began, output = time.monotonic(), run.log.with_name(name)
    run.start(output).wait()
    seconds, files = time.monotonic() - began, files_of(output)
    if not files:
        raise SystemExit(run.log.read_text())
    epochs = max(len(manifest["history"]) for manifest in adapted_in(output))
    say(f"undisturbed: {len(files)} files, {epochs} epochs in {seconds:.0f} s")
    return Whole(seconds, files, len(finished_segments(output)), epochs)


def run_for(kind: str, run: IndexRun) -> IndexRun:
    """The run in which a kind is killed: for trainers one video and a longer training."""
    if kind not in TRAINERS:
        return run
    return replace(run, videos=run.videos[:1], settings=(*run.settings, *TRAINERS[kind]))


class Aim:
    """What is killed, and when: after some seconds, segments, or epochs in a checkpoint."""

    def __init__(self, kind: str, rng: np.random.Generator, whole: Whole) -> None:
        self.kind = kind
        progress = float(rng.uniform(0.15, 0.95))
        self.node = int(rng.integers(3))  # whose raylet is killed; 0 is the head
        self._start = int(rng.integers(STARTS_SEEN))
        self._age = float(rng.uniform(0, START_SECONDS))
        self._seen: dict[int, float] = {}  # decoders by id, and when each was first seen
        self._moment = progress * whole.seconds
        self._segments = round(progress * (whole.segments - 1))
        # A run ends a second or two after the last epoch, and checkpoints are a second apart.
        self._epochs = round(0.8 * progress * whole.epochs)
        self.saved: int | None = None  # epochs in the last checkpoint seen

    def is_due(self, seconds: float, output: Path) -> bool:
        """Whether the moment of the kill has come."""
        if self.kind == STARTING:
            return self.starting() is not None
        if self.kind in OF_SEGMENTS:
            return len(finished_segments(output)) >= self._segments
        if self.kind not in TRAINERS:
            return seconds >= self._moment
        self.saved = epochs_saved(output)
        return self.saved is not None and self.saved >= self._epochs

    def starting(self) -> int | None:
        """The decoder that is to be killed, once it has its age."""
        now = time.monotonic()
        for pid, title in ours():
            if TITLES["decoder"] in title:
                self._seen.setdefault(pid, now)
        chosen = list(self._seen)[self._start : self._start + 1]
        return chosen[0] if chosen and now - self._seen[chosen[0]] >= self._age else None


def epochs_saved(output: Path) -> int | None:
    """Number of epochs in the checkpoint of a title; None while there is no checkpoint."""
    for path in output.glob("titles/*/adapt-*/checkpoint.safetensors"):
        # It may vanish any time, but is never half written.
        with suppress(FileNotFoundError), safe_open(path, "np") as file:
            return len(json.loads(file.metadata()["state"])["history"])
    return None


def disturb(cluster: Machines, run: IndexRun, output: Path, aim: Aim) -> dict[str, Cell]:
    """Run once, and kill something meanwhile."""
    began = time.monotonic()
    driver = run.start(output)
    killed_at = None
    notes: list[str] = []
    while driver.poll() is None:
        time.sleep(0.05)
        now = time.monotonic() - began
        if killed_at is None and aim.is_due(now, output) and kill(cluster, driver, aim):
            killed_at = now
        if now > MAX_SECONDS:
            driver.kill()
            notes.append(HANGS)
            break
    driver.wait()
    if killed_at is None:
        notes += ["nothing to kill"]
    elif aim.kind in RERUN and driver.returncode:
        notes += [f"exit {driver.returncode}, run again"]
        cluster.fill()
        driver = replace(run, address=cluster.cluster.address).start(output)
        driver.wait()
    notes += [f"exit {driver.returncode}"] if driver.returncode else []
    row: dict[str, Cell] = {
        "killed": aim.kind,
        "after s": killed_at,
        "took s": time.monotonic() - began,
    }
    if killed_at and aim.saved is not None:
        row["epochs saved"] = str(aim.saved)
        for manifest in adapted_in(output):
            resumed = manifest["resumed_epochs"]
            row["resumed at"] = f"{resumed} of {len(manifest['history'])}"
            notes += [RESTARTED] if resumed < aim.saved else []
    return row | {"note": ", ".join(notes)}


def kill(cluster: Machines, driver: subprocess.Popen[bytes], aim: Aim) -> bool:
    """Kill one process of a kind; false while there is none."""
    kind = aim.kind
    if kind == STARTING:
        pid = aim.starting()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False
    if kind in ("raylet", "gcs"):
        cluster.kill_part(kind, aim.node)
        return True
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
    """Ids and command lines of our processes.

    Decoders have an environment of their own, so their parents show that they are ours.
    """
    known = set(marked_processes(MARK, os.environ[MARK]))
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents[int(folder.name)] = (parent, title)
    for pid, (parent, title) in parents.items():
        if pid in known or (parent in known and TITLES["decoder"] in title):
            yield pid, title


def adapted_in(output: Path) -> list[dict[str, Any]]:
    """The manifest of each adapted model."""
    return [json.loads(path.read_text()) for path in output.glob("titles/*/adapt-*/manifest.json")]


def files_of(output: Path) -> dict[str, str]:
    """Hash of every committed table and model, by path."""
    found = {}
    for manifest in output.glob("*/*/*/manifest.json"):
        for path in manifest.parent.iterdir():
            if path.suffix in (".parquet", ".safetensors"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(output))] = content
    return found


def compare(whole: dict[str, str], output: Path) -> dict[str, Cell]:
    """Compare the output with that of the undisturbed run."""
    found = files_of(output)
    wrong = [name for name in whole if found.get(name) != whole[name]]
    return {
        "rows": "equal" if found == whole else f"{len(wrong)} of {len(whole)} files differ",
        **repeated(output),
    }


def repeated(output: Path) -> dict[str, Cell]:
    """Count the steps that were finished more than once, by the runs' own records."""
    steps: dict[str, int] = {}
    for record in output.glob("runs/*/run.json"):
        for step, work in json.loads(record.read_text())["work"].items():
            steps[step] = steps.get(step, 0) + work["steps"]
    there = {
        "faces": len(finished_segments(output)),
        "tracks": len(list(output.glob("videos/*/track-*/manifest.json"))),
        "adapt": len(list(output.glob("titles/*/adapt-*/manifest.json"))),
        "result": len(finished_titles(output)),
    }
    more = {step: steps.get(step, 0) - count for step, count in there.items()}
    return {"repeated": ", ".join(f"{n} {step}" for step, n in more.items() if n > 0) or "0"}


if __name__ == "__main__":
    main()
