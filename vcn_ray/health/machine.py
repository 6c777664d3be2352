"""Checks the machine that it runs on: processors, GPUs, memory, disks, Ray's token and ports."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vcn_ray.errors import PackError
from vcn_ray.health.finding import Finding, checked, fault, ok, warning
from vcn_ray.health.software import software_findings
from vcn_ray.io.hardware import EXACT
from vcn_ray.io.isolation import IsolationConfig, device_problem
from vcn_ray.packs.fetch import cache_folder
from vcn_ray.packs.find import PackSettings, list_packs, open_pack
from vcn_ray.run.devices import count_cpus
from vcn_ray.run.token_file import TOKEN, TOKEN_MODE, token_path, uses_token

GIB = 1 << 30
MIN_DISK, LOW_DISK = 1 * GIB, 10 * GIB
MIN_SHARED = 1 * GIB  # a container's default is 64 MiB
MIN_MEMORY, LOW_MEMORY = 2 * GIB, 6 * GIB
SHARED_MEMORY = Path("/dev/shm")
SHOWN_HASH = 12  # digits of a hash

RAY_PORTS = {
    6379: "GCS",
    8265: "dashboard",
    10001: "Ray client",
    44217: "metrics of the autoscaler",
    44227: "metrics of the dashboard",
    52365: "agent of the dashboard",
}
"""Ports of a Ray that are the same everywhere."""

NVIDIA = Path("/proc/driver/nvidia/version")
LISTENING = "0A"  # state of a socket in /proc/net
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def machine_findings(settings: PackSettings, in_cluster: bool = False) -> Iterator[Finding]:
    """Check this machine.

    Args:
        settings: The pack that a run would use, and access to S3.
        in_cluster: Whether it is a node of a cluster, whose ports other nodes must reach.
    """
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("software", software_findings),
        ("gpu", gpu_findings),
        ("decode device", lambda: [decode_device_finding()]),
        ("packs", lambda: pack_findings(settings)),
        ("memory", memory_findings),
        ("disk", disk_findings),
        ("token", lambda: [token_finding()]),
        ("ports", lambda: port_findings(in_cluster)),
    )
    for subject, check in checks:
        yield from checked(subject, check)


def gpu_findings() -> Iterator[Finding]:
    """Check the processors, and whether torch and onnxruntime see the GPUs that are there."""
    import onnxruntime
    import torch

    yield ok("cpus", f"{count_cpus()} for this process")
    there = NVIDIA.exists()
    if not torch.cuda.is_available():
        if there:
            yield warning(
                "gpu",
                f"an NVIDIA driver is there, but torch {torch.__version__} sees no GPU",
                "install torch with CUDA, and check that this process may use the GPU",
            )
        else:
            yield ok("gpu", f"none; torch {torch.__version__} runs on the CPU")
        return
    for number in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(number)
        yield ok(
            "gpu", f"{known.name}, {known.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        yield warning(
            "gpu",
            "onnxruntime has no CUDA, so detectors cannot use the GPU",
            "install onnxruntime-gpu instead of onnxruntime",
        )


def decode_device_finding() -> Finding:
    """Check where a run decodes: what `resources.decode_device = "auto"` uses on this machine."""
    problem = device_problem("cuda", IsolationConfig())
    if not problem:
        codecs = ", ".join(EXACT)
        text = f"cuda, for {codecs}, in workers that reserve a GPU; the CPU for all others"
        return ok("decode device", text)
    text = f"the CPU, because no GPU can decode here: {problem}"
    if not NVIDIA.exists():
        return ok("decode device", text)
    parts = "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
    return warning("decode device", text, f"give a container the driver's decoder, by {parts}")


def pack_findings(settings: PackSettings) -> Iterator[Finding]:
    """Check the packs of this machine, and load the one that a run would use."""
    for pack in list_packs(settings.s3):
        if pack.problem:
            yield warning(f"pack {pack.name}", pack.problem, "repair it, or remove it")
            continue
        use = "commercial use allowed" if pack.commercial_use else "no commercial use"
        hashes = f"{pack.detector_hash[:SHOWN_HASH]} {pack.encoder_hash[:SHOWN_HASH]}"
        yield ok(f"pack {pack.name}", f"{pack.licence} ({use}), hashes {hashes}")
    try:
        pack_used = open_pack(settings)
        pack_used.check_encoder()
    except PackError as error:
        yield fault("pack in use", str(error), "repair it, or name another one with --pack")
    else:
        yield ok("pack in use", f"{pack_used.name} loads")


def memory_findings() -> Iterator[Finding]:
    """Check main memory, and the shared memory in which Ray keeps objects."""
    free = free_memory()
    if free is not None:
        text = f"{free / GIB:.1f} GiB free"
        advice = "end other programs, or lower resources.detect_workers_max"
        yield _by_room("memory", text, free, MIN_MEMORY, LOW_MEMORY, advice)
    if SHARED_MEMORY.is_dir():
        total = shutil.disk_usage(SHARED_MEMORY)
        text = f"{SHARED_MEMORY} has {total.free / GIB:.1f} of {total.total / GIB:.1f} GiB free"
        if total.free < MIN_SHARED:
            advice = "give a container more, such as docker run --shm-size=2g; Ray uses /tmp else"
            yield warning("shared memory", text, advice)
        else:
            yield ok("shared memory", text)


def free_memory() -> int | None:
    """Bytes of main memory that are free, also within a container's limit; None: unknown."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        found.append(kib["MemAvailable"] * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8").strip()
        if limit != "max":
            found.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError, KeyError, IndexError):
        pass  # no Linux, or no cgroups: what was found so far counts
    return min(found, default=None)


def disk_findings() -> Iterator[Finding]:
    """Check the free space where Ray and packs write; that of an output is checked beside it."""
    folders = {"temporary folder": Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())}
    folders["cache of packs"] = cache_folder()
    for name, folder in folders.items():
        yield disk_finding(name, folder)


def disk_finding(name: str, folder: Path) -> Finding:
    """Check the free space of the disk of a folder, which need not exist."""
    there = existing(folder)
    free = shutil.disk_usage(there).free
    text = f"{there} has {free / GIB:.1f} GiB free"
    return _by_room(name, text, free, MIN_DISK, LOW_DISK, "make room, or name another place")


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def token_finding() -> Finding:
    """Check that Ray asks for a token, and that nobody else can read it."""
    path = token_path()
    if not uses_token():
        return warning(
            "token",
            f"{TOKEN_MODE} turns tokens off: whoever reaches Ray's ports runs code as you",
            f"unset {TOKEN_MODE}",
        )
    if os.environ.get(TOKEN):
        return ok("token", f"from the variable {TOKEN}")
    if not path.exists():
        return ok("token", f"none yet; the first run makes {path}, readable to you alone")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warning("token", f"{path} has mode {mode:04o}", f"chmod 600 {path}")
    return ok("token", f"{path}, readable to you alone")


def port_findings(in_cluster: bool) -> Iterator[Finding]:
    """Check whether a port of a Ray on this machine can be reached from other machines."""
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    if not any(table.exists() for table in tables):
        yield ok("ports", "not checked on this system")
        return
    open_ports = open_to_others(
        line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]
    )
    found = {port: name for port, name in RAY_PORTS.items() if port in open_ports}
    if in_cluster:
        found = {port: name for port, name in found.items() if port == 8265}
    for port, name in found.items():
        yield warning(
            "ports",
            f"port {port} ({name}) can be reached from other machines",
            "let a firewall admit the cluster's own nodes alone, or start Ray on 127.0.0.1",
        )
    if not found:
        what = "the dashboard is" if in_cluster else "no known port of a Ray is"
        what = "the dashboard is not" if in_cluster else what
        yield ok("ports", f"{what} open to other machines")


def open_to_others(lines: Iterable[str]) -> set[int]:
    """The ports that listen on other addresses than loopback.

    Args:
        lines: Of /proc/net/tcp and tcp6, without the headings.
    """
    found = set()
    for line in lines:
        words = line.split()
        address, _, port = words[1].partition(":")
        if words[3] == LISTENING and address not in LOOPBACK:
            found.add(int(port, 16))
    return found


def _by_room(subject: str, text: str, free: int, least: int, low: int, advice: str) -> Finding:
    if free < least:
        return fault(subject, text, advice)
    return warning(subject, text, advice) if free < low else ok(subject, text)
