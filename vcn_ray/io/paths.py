"""Files of this machine as uris, and back: names that are not UTF-8 become `file://` addresses.

Tables hold UTF-8 alone, while a file system takes any bytes.
"""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from vcn_ray.errors import UsageError

FILE_SCHEME = "file://"


def file_uri(path: str) -> str:
    """The uri of a file: its path, or `file://` and escaped bytes where that is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return FILE_SCHEME + quote_from_bytes(os.fsencode(path))
    return path


def local_path(uri: str) -> str:
    """The path of a file of this machine, as a file system takes it.

    Args:
        uri: A path, which is taken as it is, or a `file://` address, whose escapes are decoded.

    Raises:
        UsageError: The address names another machine.
    """
    if not uri.startswith(FILE_SCHEME):
        return uri
    host = urlsplit(uri).netloc
    if host not in ("", "localhost"):
        raise UsageError(f"{uri} names a file of another machine: write file:///path")
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(FILE_SCHEME).removeprefix(host)))


def file_name(uri: str) -> str:
    """The last part of a uri for people; bytes that are not UTF-8 are escaped."""
    path = local_path(uri) if uri.startswith(FILE_SCHEME) else uri
    name = os.path.basename(path.rstrip("/"))
    return os.fsencode(name).decode("utf-8", "backslashreplace")
