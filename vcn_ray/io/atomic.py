"""Files and folders of this machine that never appear in part; it does not know what they hold.

A file is written under a temporary name and renamed; a folder likewise, by one process, while the
others that want it wait. A killed process leaves a hidden name behind, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

MAX_SYNCED = 64  # files of a folder that are written out one by one
STALE_SECONDS = 24 * 3600  # age at which a temporary folder belongs to a killed process


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file, which becomes `path` on success and is removed on failure.

    The temporary file is empty, and in the same folder. On success its content is on the disk
    before the rename, so a crash leaves the old content or the new.

    Raises:
        OSError: The folder is not writable; this shows before the caller writes anything. Or the
            content cannot be written.
    """
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")  # matches no glob for results
    try:
        part.touch(exist_ok=False)
        yield part
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(slots=True)
class LinkedFile:
    """A file that `linked_file` makes.

    Attributes:
        part: The temporary file.
        new: False if there was a file already.
    """

    part: Path
    new: bool = True


@contextmanager
def linked_file(path: Path) -> Iterator[LinkedFile]:
    """Yield a temporary file, which becomes `path` on success if there is no such file by then.

    Of several processes, one makes the file. Where the file system knows no hard links, an
    exclusive lock file beside it decides.

    Raises:
        OSError: The content cannot be written.
    """
    made = LinkedFile(path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp"))
    try:
        made.part.touch(exist_ok=False)
        yield made
        sync(made.part)
        try:
            os.link(made.part, path)
        except FileExistsError:
            made.new = False
        except OSError:
            with FileLock(path.with_name(f".{path.name}.lock")):
                made.new = not path.exists()
                if made.new:
                    made.part.replace(path)
    finally:
        made.part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the content of all files of a folder is on the disk.

    Each file of its own costs milliseconds, so many are written out at once, with all else that the
    system has not written yet.
    """
    files = list(filter(Path.is_file, folder.rglob("*")))
    if len(files) > MAX_SYNCED:
        os.sync()
    else:
        for file in files:
            sync(file)


def fill_once(
    folder: Path,
    is_whole: Callable[[Path], bool],
    fill: Callable[[Path], None],
    last: tuple[str, ...] = (),
) -> None:
    """Fill a folder, unless it is whole; of several processes one does it and the others wait.

    A folder that is not whole keeps its other files: those of `fill` are added, or replace damaged
    ones. The lock only saves work: without one, as on some network file systems, each process fills
    a temporary folder of its own.

    Args:
        folder: The folder.
        is_whole: Whether a folder needs nothing.
        fill: Writes all files into an empty folder of the same name.
        last: Endings of the files that describe the others, and so are moved last.

    Raises:
        OSError: The disk is full or not writable.
    """
    if is_whole(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not is_whole(folder):
            _fill(folder, fill, last)


def _fill(folder: Path, fill: Callable[[Path], None], last: tuple[str, ...]) -> None:
    _remove_stale(folder)
    outside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    part = outside / folder.name
    part.mkdir(parents=True)
    try:
        fill(part)
        sync_folder(part)
        if folder.exists():
            _mend(folder, part, last)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(outside, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        with suppress(FileNotFoundError):  # another process removes it, too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _mend(folder: Path, part: Path, last: tuple[str, ...]) -> None:
    files = [path.relative_to(part) for path in part.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path.name.endswith(last)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (part / file).replace(folder / file)
