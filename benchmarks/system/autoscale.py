"""Does a cluster without workers grow when a run needs them, and shrink afterwards?

    python -m benchmarks.system.autoscale VIDEO ... --pack DIR [--nodes 2] [--idle-seconds 15]

A Ray head without CPUs runs on this machine with Ray's own autoscaler. Ray's fake provider starts
processes instead of machines: the requests, the decisions and the removal of nodes are real, only
the machines are not. Then `vcn index` is started as a process of its own, as on any cluster.

How to read the table: each change is a row, with the seconds since the start of the run. `nodes`
and `CPUs` are those of the cluster without the head, `segments` and `titles` are the finished ones
in the output. The exit code is 1 unless nodes came, the run succeeded, and all nodes went.

Only processes that this script started are ended: an environment variable marks them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.index_run import IndexRun, finished_segments, finished_titles
from benchmarks.system.processes import end_marked, free_ray_ports, stop

MARK = "RAY_AUTH_TOKEN_PATH"
"""Environment variable that marks our processes: only they know its file."""
SETTINGS = ("detect.segment_seconds=1",)
STORE_BYTES = 200 << 20
COLUMNS = {"s": ".1f", "nodes": "", "CPUs": ".0f", "segments": "", "titles": "", "run": ""}
ALIVE = "ALIVE"  # as Ray calls the state of a node
START_SECONDS = 120.0
POLL_SECONDS = 0.25
FOR_REAL_MACHINES = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files"),
)
"""Lists that the configuration must have, for the setup of real machines."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


@dataclass(frozen=True)
class Machines:
    """How the cluster may grow."""

    max_nodes: int  # the cluster starts with none
    cpus: int  # of each
    idle_seconds: float  # after which a node is removed

    def config(self, address: str) -> dict[str, Any]:
        """The configuration of the autoscaler.

        Ray's wheel lacks the defaults of its type `fake_multinode`; as an external provider the
        same class needs none. Without the address it would use port 6379.
        """
        resources = {"CPU": self.cpus, "object_store_memory": STORE_BYTES}
        worker = {"resources": resources, "node_config": {}, "max_workers": self.max_nodes}
        return {
            "cluster_name": "vcn-autoscale",
            "max_workers": self.max_nodes,
            "idle_timeout_minutes": self.idle_seconds / 60,
            "provider": {
                "type": "external",
                "module": PROVIDER,
                "gcs_address": address,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                "ray.head.default": {
                    "resources": {"CPU": 0},
                    "node_config": {},
                    "max_workers": 0,
                },
                "worker": worker | {"min_workers": 0},
            },
            "head_node_type": "ray.head.default",
            **{key: [] for key in FOR_REAL_MACHINES},
        }


@dataclass(frozen=True)
class Head:
    """A running head."""

    address: str
    dashboard: str

    def cpus(self) -> list[float]:
        """CPUs of each node except the head, which has none."""
        # Not by ray.init, which would make this process a driver; Ray reads the token on import.
        request = urllib.request.Request(f"{self.dashboard}/api/v0/nodes?detail=1&limit=1000")
        token = Path(os.environ[MARK]).read_text(encoding="utf-8")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            nodes = json.load(answer)["data"]["result"]["result"]
        cpus = [node["resources_total"].get("CPU", 0.0) for node in nodes if node["state"] == ALIVE]
        return [number for number in cpus if number > 0]


@dataclass
class Watcher:
    """Observes the cluster and the output, and prints each change."""

    cluster: Head
    output: Path
    report: Report
    began: float = field(default_factory=time.monotonic)
    max_nodes: int = 0
    _last: dict[str, Cell] = field(default_factory=dict)

    def observe(self, run: str) -> int:
        """Print a row if anything changed; returns the number of nodes."""
        cpus = self.cluster.cpus()
        now: dict[str, Cell] = {
            "nodes": len(cpus),
            "CPUs": sum(cpus),
            "segments": len(finished_segments(self.output)),
            "titles": len(finished_titles(self.output)),
            "run": run,
        }
        if now != self._last:
            self.report.add({"s": time.monotonic() - self.began, **now})
            self._last = now
        self.max_nodes = max(self.max_nodes, len(cpus))
        return len(cpus)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    add_pack(parser)
    parser.add_argument("--nodes", type=int, default=2, help="maximum number of nodes")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs of each node")
    parser.add_argument("--idle-seconds", type=float, default=15.0)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--patience", type=float, default=400.0, help="time limit in seconds")
    options = read_options(parser, argv)
    machines = Machines(options.nodes, options.cpus, options.idle_seconds)
    with own_folder() as folder, head(machines, folder) as started:
        log = folder / "driver.log"
        watcher = Watcher(started, folder / "out", Report(COLUMNS))
        watcher.observe("-")
        settings = (*SETTINGS, f"resources.detect_workers_max={options.nodes}", *options.set)
        run = IndexRun(options.videos, options.pack, started.address, log, settings)
        driver = run.start(folder / "out")
        try:
            problems = watch(driver, watcher, options)
        finally:
            stop(driver)
        if problems:
            say(log.read_text(encoding="utf-8"))
    for problem in problems:
        say(problem)
    raise SystemExit(1 if problems else 0)


def watch(
    driver: subprocess.Popen[bytes], watcher: Watcher, options: argparse.Namespace
) -> list[str]:
    """Observe the run to its end and the nodes to theirs; returns what went wrong."""
    deadline = watcher.began + options.patience
    while driver.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        watcher.observe("running")
    ended = "running" if driver.returncode is None else f"exit {driver.returncode}"
    left = watcher.observe(ended)
    while driver.returncode is not None and left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = watcher.observe(ended)
    save(options, watcher.report)
    return [
        *(["no node came"] if not watcher.max_nodes else []),
        *([f"the run: {ended}"] if driver.returncode != 0 else []),
        *([f"{left} nodes stayed"] if left else []),
    ]


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for everything, with a token that keeps other programs off the cluster."""
    folder = Path(tempfile.mkdtemp(prefix="vcn"))  # short: sockets are below it
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    os.environ |= {"RAY_AUTH_MODE": "token", MARK: str(token)}
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def head(machines: Machines, folder: Path) -> Iterator[Head]:
    """Start a head whose autoscaler can add nodes; end it and all its processes afterwards."""
    ports = free_ray_ports()
    address = f"{ray.util.get_node_ip_address()}:{ports['--port']}"
    (folder / "cluster.json").write_text(json.dumps(machines.config(address)), encoding="utf-8")
    log = folder / "head.log"
    words = [
        *("start", "--head", "--block", "--disable-usage-stats", "--num-cpus", "0"),
        *("--temp-dir", str(folder / "ray"), "--object-store-memory", str(STORE_BYTES)),
        *("--autoscaling-config", str(folder / "cluster.json")),
        *(word for name, port in ports.items() for word in (name, str(port))),
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), *words],
            env=os.environ | _environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"the head did not start, see its log:\n{log.read_text(encoding='utf-8')}"
                )
            time.sleep(0.2)
        yield Head(address, f"http://127.0.0.1:{ports['--dashboard-port']}")
    except OSError:  # the head is gone: it ends when its autoscaler cannot start
        for path in (log, *folder.glob("ray/session_2*/logs/monitor.err")):
            say(path.read_text(encoding="utf-8"))
        raise
    finally:
        stop(process)
        end_marked(MARK, os.environ[MARK])


def _environment() -> dict[str, str]:
    """Variables that make the head start processes as nodes, without delay."""
    return {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_worker_niceness": "0",  # otherwise they starve beside other programs
    }


if __name__ == "__main__":
    main()
