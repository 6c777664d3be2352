"""Does a cluster without a single worker grow when a run asks for work, and shrink afterwards?

    python benchmarks/autoscale.py VIDEO ... --pack DIR [--nodes 2] [--cpus 2] [--idle-seconds 15]

A head of Ray without CPUs runs on this machine with Ray's own autoscaler, whose machines are only
processes here (Ray's fake provider): what is asked for, what decides and what is taken away again
are real, only the machines are not. Then `vcn index` is started as a process of its own, as on any
cluster.

How to read the table: a row for every change, with the seconds since the run was started. `nodes`
and `CPUs` are those of the cluster without the head, `segments` and `titles` what is committed in
the output. The exit code is 1 unless nodes came, the run ended well, and all nodes went.

Only processes that this script has started are ended: they are told by an environment variable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
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
from running import say
from scoring import Cell, Report

MARK = "RAY_AUTH_TOKEN_PATH"
"""Environment variable by which our processes are known: the file is this script's alone."""
PORTS = (
    *("--port", "--dashboard-port", "--dashboard-agent-listen-port"),
    *("--dashboard-agent-grpc-port", "--runtime-env-agent-port", "--metrics-export-port"),
    "--ray-client-server-port",
)
STORE_BYTES = 200 << 20
COLUMNS = {"s": ".1f", "nodes": "", "CPUs": ".0f", "segments": "", "titles": "", "run": ""}
ALIVE = "ALIVE"  # as Ray calls the state of a node
START_SECONDS = 120.0
POLL_SECONDS = 0.25
FOR_REAL_MACHINES = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files"),
)
"""Lists that must be there: what a real machine is told and given when it starts."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


@dataclass(frozen=True)
class Machines:
    """How the cluster may grow."""

    nodes: int  # at most; none at first
    cpus: int  # of each
    idle_seconds: float  # after which one goes

    def config(self, address: str) -> dict[str, Any]:
        """What the autoscaler is told.

        Ray's wheel lacks the defaults that belong to its type `fake_multinode`; as an external
        provider the same class needs none. It is told the address, or it takes port 6379.
        """
        resources = {"CPU": self.cpus, "object_store_memory": STORE_BYTES}
        worker = {"resources": resources, "node_config": {}, "max_workers": self.nodes}
        return {
            "cluster_name": "vcn-autoscale",
            "max_workers": self.nodes,
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
        """CPUs of each node that has any; the head has none."""
        # Not by ray.init: what is a driver counts as one, and Ray takes the token once, on import.
        request = urllib.request.Request(f"{self.dashboard}/api/v0/nodes?detail=1&limit=1000")
        token = Path(os.environ[MARK]).read_text(encoding="utf-8")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            nodes = json.load(answer)["data"]["result"]["result"]
        cpus = [node["resources_total"].get("CPU", 0.0) for node in nodes if node["state"] == ALIVE]
        return [number for number in cpus if number > 0]


@dataclass
class Watcher:
    """Looks at the cluster and at the output, and prints what changed."""

    cluster: Head
    output: Path
    report: Report
    began: float = field(default_factory=time.monotonic)
    most_nodes: int = 0
    _last: dict[str, Cell] = field(default_factory=dict)

    def look(self, run: str) -> int:
        """Print a row if anything is new; the nodes there are now."""
        cpus = self.cluster.cpus()
        now: dict[str, Cell] = {
            "nodes": len(cpus),
            "CPUs": sum(cpus),
            "segments": len(list(self.output.glob("videos/*/faces-*/seg-*.json"))),
            "titles": len(list(self.output.glob("titles/*/result-*/manifest.json"))),
            "run": run,
        }
        if now != self._last:
            self.report.add({"s": time.monotonic() - self.began, **now})
            self._last = now
        self.most_nodes = max(self.most_nodes, len(cpus))
        return len(cpus)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--pack", required=True, help="built-in name or folder")
    parser.add_argument("--nodes", type=int, default=2, help="that there may be at most")
    parser.add_argument("--cpus", type=int, default=2, help="of each node")
    parser.add_argument("--idle-seconds", type=float, default=15.0)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--patience", type=float, default=400.0, help="seconds for run and end")
    parser.add_argument("--json", type=Path, metavar="OUT", help="the rows as data")
    options = parser.parse_args(argv)
    machines = Machines(options.nodes, options.cpus, options.idle_seconds)
    with own_folder() as folder, head(machines, folder) as started:
        log = folder / "driver.log"
        watcher = Watcher(started, folder / "out", Report(COLUMNS))
        watcher.look("-")
        driver = start_run(options, started.address, folder / "out", log)
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
    """Follow the run to its end and the nodes to theirs; what was not as it should be."""
    deadline = watcher.began + options.patience
    while driver.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        watcher.look("goes on")
    ended = "goes on" if driver.returncode is None else f"exit {driver.returncode}"
    left = watcher.look(ended)
    while driver.returncode is not None and left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = watcher.look(ended)
    watcher.report.save(options.json)
    return [
        *(["no node came"] if not watcher.most_nodes else []),
        *([f"the run: {ended}"] if driver.returncode != 0 else []),
        *([f"{left} nodes did not go"] if left else []),
    ]


def start_run(
    options: argparse.Namespace, address: str, output: Path, log: Path
) -> subprocess.Popen[bytes]:
    """The product, as its own process and as one would call it."""
    pack = str(Path(options.pack).absolute()) if Path(options.pack).is_dir() else options.pack
    settings = ["decode.segment_seconds=1", f"resources.segment_workers_max={options.nodes}"]
    words = ["index", *options.videos, "--output", str(output), "--pack", pack]
    words += [word for setting in (*settings, *options.set) for word in ("--set", setting)]
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "vcn_ray", *words],
            env=os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for everything, with a token in it that keeps others off the cluster."""
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
    """Start a head that believes it has machines at hand, and end all that came of it."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
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
                raise SystemExit(f"the head did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.2)
        yield Head(address, f"http://127.0.0.1:{ports['--dashboard-port']}")
    except OSError:  # it is gone: an autoscaler that cannot start takes the head with it
        for path in (log, *folder.glob("ray/session_2*/logs/monitor.err")):
            say(path.read_text(encoding="utf-8"))
        raise
    finally:
        stop(process)
        end_ours()


def _environment() -> dict[str, str]:
    """What makes a head look for machines among its own processes, and at once."""
    return {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_worker_niceness": "0",  # else they starve beside anything else on the machine
    }


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to outgoing connections."""
    found: list[int] = []
    while len(found) < number:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            found += [] if port in found else [port]
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """End one process of ours, if need be by force."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_ours() -> None:
    """End what the head has started, its pretended machines among them."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + 10
        while any(ours()) and time.monotonic() < deadline:
            time.sleep(0.2)


def ours() -> Iterator[int]:
    """Processes that came of this one, but for itself."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


if __name__ == "__main__":
    main()
