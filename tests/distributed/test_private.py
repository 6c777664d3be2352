"""A Ray of this machine belongs to its user: its token, its ports, its folder."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from vcn_ray.config import ResourceConfig
from vcn_ray.distributed.private import LOOPBACK_VARIABLE, own_folder, protect_token
from vcn_ray.distributed.session import cluster
from vcn_ray.redact import HIDDEN, clean
from vcn_ray.run.token_file import token_path

LISTENING = "0A"  # state of a socket in /proc/net/tcp


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The level of the log without --verbose, which another test may have set."""
    logger = logging.getLogger("vcn_ray")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token of an empty home is expected."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(token: Path) -> None:
    protect_token(create=False)
    assert not token.exists()
    before = os.umask(0)
    try:
        protect_token(create=True)
    finally:
        os.umask(before)
    assert mode(token) == 0o600
    text = token.read_text()
    assert len(text) == 64
    assert clean(f"token {text}") == f"token {HIDDEN}"
    protect_token(create=True)
    assert token.read_text() == text
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_an_open_token_is_closed_with_a_warning(
    token: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token.parent.mkdir()
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        protect_token(create=False)
    assert mode(token) == 0o600
    assert "was open to other users" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x" * 64)]
)
def test_no_token_is_made_where_none_is_used(
    token: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    protect_token(create=True)
    assert not token.exists()


def test_the_file_that_the_user_names_keeps_its_mode(
    token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "mounted"
    named.write_text("0123456789abcdef")
    named.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(named))
    protect_token(create=True)
    assert mode(named) == 0o644
    assert not token.exists()


@pytest.mark.parametrize("base", ["short", "x" * 60])
def test_the_folder_is_private_and_removed(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{base}" if base != "short" else "/tmp")
    with own_folder() as folder:
        assert mode(folder.parent) == 0o700
        assert len(str(folder)) < 40  # sockets below it have at most 107 characters
        (folder / "logs").mkdir()
    assert not folder.parent.exists()


def test_the_folder_is_kept_with_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("vcn_ray")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with own_folder() as folder:
            pass
    finally:
        logger.setLevel(before)
    assert folder.is_dir()
    folder.rmdir()
    folder.parent.rmdir()


def worker_pid() -> int:
    return os.getpid()


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in lines.stdout.splitlines()]
    parents = {int(child): int(parent) for child, parent in pairs}
    found = {pid}
    while new := {p for p, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def listening(pids: set[int]) -> Iterator[str]:
    """The addresses on which processes listen, in the hex of /proc/net."""
    own = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                own.add(os.readlink(handle))
            except OSError:  # it was closed meanwhile
                continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING and f"socket:[{words[9]}]" in own:
                yield words[1].partition(":")[0]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings
def test_a_ray_of_this_machine_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the user's own token: Ray reads it once a process, and other tests run in this one."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = set(listening({os.getpid()}))
    with cluster(ResourceConfig()):
        assert ray.get(ray.remote(worker_pid).remote()) != os.getpid()
        folder = Path(ray._private.worker._global_node.get_session_dir_path()).parents[1]
        addresses = set(listening(family(os.getpid()))) - before
        assert mode(folder) == 0o700
        assert mode(token_path()) == 0o600
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert addresses
    assert not folder.exists()
    assert LOOPBACK_VARIABLE not in os.environ


@pytest.mark.ray
def test_a_ray_that_cannot_start_is_one_line(
    token: Path, film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    """In a process of its own, because Ray leaves half of its processes behind to be collected."""
    words = ["index", str(film), "--output", str(tmp_path / "out"), "--pack", str(yunet_pack)]
    nothing = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "nothing")}
    ran = subprocess.run(
        [sys.executable, "-m", "vcn_ray", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **nothing},
        check=False,
    )
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("vcn index: ")]
    assert "Ray cannot start on this machine" in line
    assert "Traceback" not in ran.stderr
