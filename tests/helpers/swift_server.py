"""OpenStack Swift with its S3 middleware, as an S3 server that is nobody's imitation.

Four servers (proxy, account, container, object) run as child processes on free ports of loopback
over one device and one replica. Swift is found by the environment variable VCN_SWIFT, the folder of
a virtual environment that it is installed in; it is no dependency of ours. Neither root nor a cache
server is needed: files are the caller's, and without memcached Swift looks everything up anew.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.system.processes import free_ports

HOST = "127.0.0.1"
REGION = "us-east-1"
STORES = ("account", "container", "object")
START_SECONDS = 60
PAGE_KEYS = 20
"""Of a listing, however many are asked for: thousands take Swift minutes to write."""
FILTERS = (
    *("catch_errors", "gatekeeper", "listing_formats", "s3api", "tempauth"),
    *("copy", "slo", "dlo", "versioned_writes", "symlink"),
)


class NoSwiftError(Exception):
    """Swift is not installed where it was looked for; says what to do."""


@dataclass(frozen=True)
class SwiftServer:
    """A running Swift, as S3."""

    url: str
    access_key: str
    secret_key: str

    @property
    def client(self) -> Any:
        """A plain client to prepare and look with."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}),
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    @property
    def settings(self) -> list[str]:
        """Words for the command line that lead here."""
        return ["--set", f"s3.endpoint={self.url}", "--set", f"s3.region={REGION}"]

    @property
    def credentials(self) -> dict[str, str]:
        """The keys, as AWS wants them in the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def find_swift() -> Path:
    """The folder with Swift's programs.

    Raises:
        NoSwiftError: VCN_SWIFT is not set.
        FileNotFoundError: It is set and wrong, which is no reason to skip: it was meant to run.
    """
    venv = os.environ.get("VCN_SWIFT", "")
    if not venv:
        raise NoSwiftError("VCN_SWIFT names no virtual environment with Swift: see CONTRIBUTING.md")
    programs = Path(venv).absolute() / "bin"
    if not (programs / "swift-proxy-server").is_file():
        raise FileNotFoundError(f"VCN_SWIFT={venv} has no bin/swift-proxy-server")
    return programs


@contextmanager
def swift_s3(programs: Path) -> Iterator[SwiftServer]:
    """Start Swift with the programs of a folder, and end it and its files afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vcn-swift-"))
    ports = dict(zip(("proxy", *STORES), free_ports(1 + len(STORES)), strict=True))
    server = SwiftServer(f"http://{HOST}:{ports['proxy']}", "test:tester", secrets.token_hex(16))
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _configure(folder, ports, server)
        _make_rings(programs, folder, ports)
        for name in ports:
            running[name] = _start(programs, folder, name)
        _wait(running, ports, folder)
        yield server
    finally:
        _end(list(running.values()))
        shutil.rmtree(folder)


def _configure(folder: Path, ports: dict[str, int], server: SwiftServer) -> None:
    (folder / "devices" / "d1").mkdir(parents=True)
    suffix = secrets.token_hex(8)
    (folder / "swift.conf").write_text(f"[swift-hash]\nswift_hash_path_suffix = {suffix}\n")
    for name, port in ports.items():
        text = f"""
            [DEFAULT]
            bind_ip = {HOST}
            bind_port = {port}
            workers = 0
            user = {pwd.getpwuid(os.getuid()).pw_name}
            swift_dir = {folder}
            devices = {folder / "devices"}
            mount_check = false
            recon_cache_path = {folder}
            """ + (_proxy(server) if name == "proxy" else _store(name))
        lines = [line.strip() for line in text.splitlines()]
        (folder / f"{name}.conf").write_text("\n".join(lines))


def _proxy(server: SwiftServer) -> str:
    filters = "".join(
        f"\n[filter:{name}]\nuse = egg:swift#{name}\n{_options(name, server)}" for name in FILTERS
    )
    return f"""
        [pipeline:main]
        pipeline = {" ".join(FILTERS)} proxy-server
        [app:proxy-server]
        use = egg:swift#proxy
        account_autocreate = true
        {filters}
        """


def _options(filter_name: str, server: SwiftServer) -> str:
    if filter_name == "s3api":
        return f"location = {REGION}\nmax_bucket_listing = {PAGE_KEYS}\n"
    if filter_name == "tempauth":
        return f"user_{server.access_key.replace(':', '_')} = {server.secret_key} .admin\n"
    if filter_name == "versioned_writes":
        return "allow_object_versioning = true\n"
    return ""


def _store(name: str) -> str:
    return f"""
        [pipeline:main]
        pipeline = {name}-server
        [app:{name}-server]
        use = egg:swift#{name}
        """


def _make_rings(programs: Path, folder: Path, ports: dict[str, int]) -> None:
    for name in STORES:
        device = f"r1z1-{HOST}:{ports[name]}/d1"
        for words in (["create", "4", "1", "1"], ["add", device, "1"], ["rebalance"]):
            builder = [str(programs / "swift-ring-builder"), str(folder / f"{name}.builder")]
            made = subprocess.run(
                [*builder, *words], capture_output=True, text=True, timeout=60, check=False
            )
            if made.returncode:
                raise RuntimeError(f"no ring for {name}:\n{made.stdout}{made.stderr}")


def _start(programs: Path, folder: Path, name: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(programs / f"swift-{name}-server"), str(folder / f"{name}.conf"), "-v"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )


def _wait(running: dict[str, subprocess.Popen[bytes]], ports: dict[str, int], folder: Path) -> None:
    """Wait until every server takes connections."""
    deadline = time.monotonic() + START_SECONDS
    for name, process in running.items():
        while not _answers(ports[name]):
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"swift-{name}-server did not start:\n{log}")
            time.sleep(0.1)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
