"""Ids and keys made of content: the same input gives the same id on any machine, in any order.

It knows nothing of steps; its callers list what a key depends on.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from io import BufferedIOBase
from typing import Any

ID_HEX = 12


def digest(*parts: Any) -> str:
    """Hash parts that JSON can hold to twelve hex digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_HEX]


def slug(name: str, length: int = 40) -> str:
    """A readable part of file and object names: lower-case letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:length].strip("-") or "untitled"


def stream_hash(stream: BufferedIOBase) -> str:
    """Hash a binary stream from its position to its end."""
    return hashlib.file_digest(stream, "blake2b").hexdigest()


def object_hash(etag: str, version: str) -> str:
    """Stand-in for the content hash of an S3 object, which needs no read of the object."""
    return f"etag:{etag}:{version}"


def video_id(name: str, size: int, content_hash: str) -> str:
    """`slug-hex` of a video: the slug is for people, the hex identifies the content."""
    return f"{slug(name)}-{digest('video', size, content_hash)}"


def hash_part(any_id: str) -> str:
    """The hex of a `slug-hex` id or folder."""
    return any_id.rsplit("-", 1)[-1]


def title_id(title: str, video_ids: list[str]) -> str:
    """`slug-hex` of a title: the hex depends on its name and its videos, in any order."""
    return f"{slug(title)}-{digest('title', title, sorted(video_ids))}"
