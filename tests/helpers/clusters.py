"""A Ray head of a test's own, with token authentication, as its own processes on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.system.processes import end_marked, free_ray_ports

PROJECT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
LOG = "head.log"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"


@dataclass(frozen=True)
class Head:
    """A running head, and what its clients need in their environment."""

    address: str
    token: str
    environment: dict[str, str]
    ports: dict[str, int]

    def ray(self, *words: str | Path, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Run `ray ...` in the project's folder and wait for it."""
        return subprocess.run(
            [str(RAY), *map(str, words)],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def job(self, submission_id: str) -> dict[str, Any]:
        """What the head knows of a job."""
        return self._ask(submission_id)

    def stop_job(self, submission_id: str) -> None:
        """Stop a job as `ray job stop` does, which takes longer to start than a small job runs."""
        assert self._ask(f"{submission_id}/stop", "POST") == {"stopped": True}

    def _ask(self, what: str, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}/api/jobs/{what}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: dict[str, Any] = json.load(answer)
        return content


@contextmanager
def start_head(cpus: int = 3, attempts: int = 3) -> Iterator[Head]:
    """Start a head, wait until it takes jobs, and end just the processes that came of it.

    Ray gives up where a process of its own needs 15 s to start, as on a busy machine: the next
    attempt finds all files in memory.
    """
    for attempt in range(attempts):
        folder = Path(tempfile.mkdtemp(prefix="vcn"))  # short: sockets are below it
        head = _make_head(folder)
        process = _start(head, folder, cpus)
        try:
            if not _takes_jobs(head, process, folder) and attempt < attempts - 1:
                continue
            assert process.poll() is None, (folder / LOG).read_text(encoding="utf-8")
            yield head
            return
        finally:
            _end(process, Path(head.environment[TOKEN_PATH]))
            while folder.exists():  # what ends last may write a last line
                shutil.rmtree(folder, ignore_errors=True)


def _make_head(folder: Path) -> Head:
    token = secrets.token_hex(32)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token, encoding="utf-8")
    ports = free_ray_ports()
    address = f"http://127.0.0.1:{ports['--dashboard-port']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        TOKEN_PATH: str(token_file),
        "RAY_ADDRESS": address,
        "OMP_NUM_THREADS": "1",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "120",
        "RAY_worker_niceness": "0",  # else they starve beside anything else on the machine
    }
    return Head(address, token, environment, ports)


def _start(head: Head, folder: Path, cpus: int) -> subprocess.Popen[bytes]:
    words = [
        *("start", "--head", "--block", "--disable-usage-stats", "--num-cpus", str(cpus)),
        *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
        *("--temp-dir", str(folder / "ray"), "--object-store-memory", str(200 << 20)),
        *(word for name, port in head.ports.items() for word in (name, str(port))),
    ]
    with (folder / LOG).open("w") as stream:
        return subprocess.Popen(
            [str(RAY), *words],
            env={k: v for k, v in head.environment.items() if k != "RAY_ADDRESS"},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def _takes_jobs(head: Head, process: subprocess.Popen[bytes], folder: Path) -> bool:
    request = urllib.request.Request(f"{head.address}/api/jobs/")
    request.add_header("Authorization", f"Bearer {head.token}")
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if "Ray runtime started" in (folder / LOG).read_text(encoding="utf-8"):
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):
                return True
        time.sleep(0.5)
    return False


def _end(process: subprocess.Popen[bytes], token_file: Path) -> None:
    """End the head and all that it started, told by the token file that only they know."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    end_marked(TOKEN_PATH, str(token_file), seconds=5)
    process.wait(timeout=20)
