"""Free ports for servers, and processes that are found and ended by a mark in their environment.

A started process gets an environment variable with a unique value, which its own children inherit.
So only processes that were started here are ever ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

RAY_PORTS = (
    "--port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
    "--ray-client-server-port",
)
"""Ports of a Ray head that must be named: another cluster on the machine may use the defaults."""


def free_ports(number: int) -> list[int]:
    """Ports without a listener, below those that the system gives to outgoing connections."""
    found: list[int] = []
    while len(found) < number:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("", port))
            found += [] if port in found else [port]
    return found


def free_ray_ports() -> dict[str, int]:
    """A free port for each port option of `ray start --head`."""
    return dict(zip(RAY_PORTS, free_ports(len(RAY_PORTS)), strict=True))


def marked_processes(name: str, value: str) -> Iterator[int]:
    """Ids of the processes that have this environment variable, without this process."""
    mark = f"{name}={value}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def end_marked(name: str, value: str, seconds: float = 10.0) -> None:
    """End the processes that have this environment variable, by force after some seconds."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked_processes(name, value):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + seconds
        while any(marked_processes(name, value)) and time.monotonic() < deadline:
            time.sleep(0.2)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End one process, by force where it does not end within 15 seconds."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
