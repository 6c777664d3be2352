"""Names and keys made of content: the same input gives the same name anywhere, in any order.

It knows nothing of stages; callers say what a key depends on.
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
    """Twelve hex digits of a hash over JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_HEX]


def slug(name: str, length: int = 40) -> str:
    """A readable part for file and object names: lower-case letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:length].strip("-") or "untitled"


def stream_hash(stream: BufferedIOBase) -> str:
    """Hash of everything in a binary stream."""
    return hashlib.file_digest(stream, "blake2b").hexdigest()


def object_hash(etag: str, version: str) -> str:
    """What stands for the content of an object on S3: nothing of it has to be read."""
    return f"etag:{etag}:{version}"


def video_id(name: str, size: int, content_hash: str) -> str:
    """`slug-hex` of a video: the name is for people, the hex tells files apart by content."""
    return f"{slug(name)}-{digest('video', size, content_hash)}"


def title_id(title: str, video_ids: list[str]) -> str:
    """`slug-hex` of a title: the hex covers its name and its videos, in any order."""
    return f"{slug(title)}-{digest('title', title, sorted(video_ids))}"
