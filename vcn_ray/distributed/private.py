"""Keeps a Ray of this machine to its user: by loopback, its own folder, and a private token.

Whoever reaches Ray's ports and knows its token runs code as the user who started it. Ray makes its
token's file readable to all users of a machine, listens on every network and keeps logs of all runs
in one folder. This module knows nothing of what runs on Ray.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray._private import ray_constants

from vcn_ray.errors import UsageError
from vcn_ray.redact import hide_value, one_line
from vcn_ray.run.token_file import TOKEN, TOKEN_PATH, token_path, uses_token

log = logging.getLogger(__name__)

LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is 0, all processes of a Ray listen on 127.0.0.1 alone. Ray sets it so on systems whose
firewalls would ask the user; it has no other way to choose where its processes listen."""

TOKEN_BYTES = 32  # as many as Ray's own tokens have
MAX_BASE = 24  # characters of a folder below which sockets have short enough names (107 characters)
FOLDER_PREFIX = "vcn-ray-"
REMOVE_SECONDS = 5.0  # for which Ray's last processes may still write into the folder


def protect_token(create: bool) -> None:
    """Make the file of Ray's token readable to its owner alone, and hide the token in all texts.

    Args:
        create: Make a token where there is none, before Ray makes one that others can read.
    """
    if not uses_token() or os.environ.get(TOKEN):
        return
    path = token_path()
    try:
        if TOKEN_PATH not in os.environ:  # a named file is the user's own business
            if create:
                _create_token(path)
            _tighten(path)
        hide_value(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        log.debug("the token of Ray is not protected", exc_info=True)  # Ray says what it lacks


def _create_token(path: Path) -> None:
    """Write a new token, unless the file exists; it appears whole and with its final mode."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
        with suppress(FileExistsError):  # another run was faster
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _tighten(path: Path) -> None:
    with suppress(FileNotFoundError):
        status = path.stat()
        others = stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
        if others and status.st_uid == os.getuid():
            path.chmod(0o600)
            log.warning(
                "%s was open to other users of this machine, and no longer is: remove it and end "
                "all of your Rays if somebody may have read it",
                path,
            )


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that is started meanwhile, and all its processes, listen on 127.0.0.1 alone."""
    before, constant = os.environ.get(LOOPBACK_VARIABLE), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[LOOPBACK_VARIABLE] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # this process has read the variable already
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if before is None:
            del os.environ[LOOPBACK_VARIABLE]
        else:
            os.environ[LOOPBACK_VARIABLE] = before


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for sockets and logs of one Ray, for its user alone; it is removed afterwards.

    With `--verbose` it is kept, because Ray's logs explain what broke.

    Raises:
        UsageError: No folder can be made where RAY_TMPDIR or the system wants it.
    """
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    base = base if len(base) <= MAX_BASE else "/tmp"
    try:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
        inner = folder / "r"  # Ray opens its own folder to all users, but none reaches it
        inner.mkdir()
    except OSError as error:
        raise UsageError(
            f"Ray cannot start on this machine: no folder can be made in {base} "
            f"({one_line(error, 200)}); set RAY_TMPDIR to another one, or use --local"
        ) from error
    try:
        yield inner
    finally:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("the logs of Ray are kept in %s", folder)
        else:
            _remove(folder)


def _remove(folder: Path) -> None:
    until = time.monotonic() + REMOVE_SECONDS
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        time.sleep(0.05)
