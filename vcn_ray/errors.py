"""The exception tree; it knows nothing of what raises it.

VcnError
├── UsageError(ValueError)        wrong option, column, pack, path: cannot be done as asked
│   ├── ConfigError               a configuration value or key
│   └── PackError                 a pack that is unknown, incomplete or does not match its checksums
│       └── DeviceError           a pack whose detector cannot run on the device
├── MediaError(RuntimeError)      a video that cannot be used, with its reason for `failures`
├── StorageError(OSError)         an input or output place that cannot be read or written
│   ├── S3Error                   what S3 refused, and of what kind that is
│   └── DamagedError              a file of an output that is not what was written
└── ShapeError(ValueError)        arrays that do not belong together: a bug of the caller
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from vcn_ray.redact import clean

Reason = Literal[
    "missing",
    "unreadable",
    "source_changed",
    "no_video_stream",
    "encrypted",
    "decode_error",
    "timeout",
    "crash",
    "out_of_memory",
    "too_large",
    "storage_error",
    "internal_error",
]
"""Why a video or a part of it failed: the closed list of the `failures` table."""

REASONS: tuple[str, ...] = get_args(Reason)


def listed(words: Iterable[str], limit: int) -> str:
    """The first words of a list, and how many more there are."""
    every = list(words)
    more = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {more:,} more" if more > 0 else "")


class VcnError(Exception):
    """Base of all errors this package raises on purpose; as text it is one clean line.

    Messages repeat file names, titles and what libraries said, which may hold anything.
    """

    def __str__(self) -> str:
        return clean(super().__str__())


class UsageError(VcnError, ValueError):
    """What was asked for cannot be done; the message says what to do instead."""


class ConfigError(UsageError):
    """A configuration key or value is wrong."""


class PackError(UsageError):
    """A pack is unknown, incomplete, or its files do not match their checksums."""


class DeviceError(PackError):
    """The detector of a pack cannot run on the device that was asked for."""


class StorageError(VcnError, OSError):
    """A place cannot be read or written."""


S3Kind = Literal["missing", "no_bucket", "denied", "changed", "altered", "unavailable", "other"]
"""What S3 may refuse: no such object or bucket, no right, not this version, no answer, the rest; or
the bytes that it sends are `altered`: they do not match the checksum that it keeps."""


class S3Error(StorageError):
    """S3 refused a request.

    Args:
        kind: What kind of refusal it was.
        message: One line for people: what came, what to do.
    """

    def __init__(self, kind: S3Kind, message: str) -> None:
        super().__init__(message)
        self.kind: S3Kind = kind

    def __reduce__(self) -> tuple[type[S3Error], tuple[S3Kind, str]]:
        return (S3Error, (self.kind, str(self)))


class DamagedError(StorageError):
    """A file of an output is missing, cut, altered or in the place of another one.

    Args:
        path: The file, below the output.
        message: One line for people: which file, and what is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, str]]:
        return (DamagedError, (self.path, str(self)))


class ShapeError(VcnError, ValueError):
    """Arrays that should belong together do not."""


class MediaError(VcnError, RuntimeError):
    """A video cannot be used.

    Args:
        reason: The entry of the closed list for the `failures` table.
        message: One line for people.

    Attributes:
        attempts: How often it was tried.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = clean(message)
        self.attempts = 1

    def __reduce__(self) -> tuple[type[MediaError], tuple[Reason, str], dict[str, int]]:
        return (MediaError, (self.reason, self.message), {"attempts": self.attempts})
