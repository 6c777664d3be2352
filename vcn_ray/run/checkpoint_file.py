"""The checkpoint of a fine-tuning in storage; it does not know what is in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from vcn_ray.errors import StorageError
from vcn_ray.io.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The last state of a fine-tuning, in a file; training continues where writing it fails."""

    storage: Storage
    path: str
    seconds: float  # of training between two

    def load(self) -> bytes | None:
        """The file's content, if there is one."""
        try:
            return self.storage.read_bytes(self.path) if self.storage.exists(self.path) else None
        except StorageError as error:
            log.warning("training starts from scratch: %s", error)
            return None

    def save(self, data: bytes) -> None:
        """Replace the file."""
        try:
            self.storage.write_bytes(self.path, data)
        except StorageError as error:
            log.warning("training continues without a checkpoint: %s", error)

    def discard(self) -> None:
        """Delete the file; nothing needs it once the title is committed."""
        try:
            self.storage.delete(self.path)
        except StorageError as error:
            log.warning("a checkpoint is left behind: %s", error)
